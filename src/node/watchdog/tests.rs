//! What the watchdog makes of what it is shown.

use super::*;

/// What a node shows that works.
fn well() -> Answers {
    let exporter = ExporterAnswer {
        feed: "main".to_owned(),
        has_ended: false,
        is_working: true,
        alive_ms: 1,
        restarts: 0,
        document_failing_ms: 0,
        partings: 0,
        wrong_zones: 0,
    };
    Answers {
        has_front_ends: true,
        documents_missed: 0,
        contents_missed: 0,
        store_silent_ms: 0,
        is_mesh_open: true,
        exporters: vec![exporter],
        ended: Vec::new(),
        edge_unkept_ms: 0,
        edge_unfetched_ms: 0,
        unreadable: None,
    }
}

/// Says what a verdict is, in a line.
fn text(verdict: &WatchdogVerdict) -> String {
    match verdict {
        WatchdogVerdict::Goes(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!("goes: {}", faults.join("; "))
        }
        WatchdogVerdict::Ends(fault) => format!("ends: {fault}"),
    }
}

#[test]
fn a_part_that_misses_two_questions_ends_the_node_and_the_store_does_not() {
    let check = |change: fn(&mut Answers), wanted: &str| {
        let mut answers = well();
        change(&mut answers);
        assert_eq!(text(&Watch::default().poll(0, &answers)), wanted);
    };
    check(|_| {}, "goes: ");
    check(|answers| answers.documents_missed = 1, "goes: ");
    check(|answers| answers.contents_missed = 1, "goes: ");
    check(|answers| answers.documents_missed = 2, "ends: the document engine does not answer");
    check(|answers| answers.contents_missed = 29, "goes: ");
    check(|answers| answers.contents_missed = 30, "ends: the store of contents does not answer");
    check(|answers| answers.store_silent_ms = STORE_SILENT_MS, "goes: the store does not answer");
    check(|answers| answers.store_silent_ms = u64::MAX, "goes: the store does not answer");
    check(|answers| answers.has_front_ends = false, "ends: a front end has ended");
    check(|answers| answers.is_mesh_open = false, "ends: the mesh has closed");
    check(
        |answers| answers.ended.push("follows the feed"),
        "ends: the task that follows the feed has ended",
    );
    check(
        |answers| answers.exporters[0].document_failing_ms = 3_500,
        "goes: the document of the feed main could not be written for 3 s: changes arrive, and edges \
         that start get an older state; the log says what fails",
    );
    check(
        |answers| answers.exporters[0].wrong_zones = 2,
        "goes: 2 zones of the document of the feed main are not what they must be: edges that start \
         cannot build them; the log says which",
    );
    check(|answers| answers.exporters[0].partings = 2, "goes: ");
    check(
        |answers| answers.exporters[0].partings = 3,
        "goes: the feed main is written elsewhere too: peers keep showing what this authority has \
         not written; end the other one, which runs on a copy of this data directory",
    );
    check(
        |answers| answers.edge_unkept_ms = 3_000,
        "goes: what arrives could not be kept on the disk for 3 s: a restart would answer an older \
         state; the log says what fails",
    );
    check(|answers| answers.edge_unfetched_ms = 2_999, "goes: ");
    check(
        |answers| answers.edge_unfetched_ms = 3_000,
        "goes: nothing of the feed's document could be fetched, or put on the disk, for 3 s: zones that \
         are not here yet are answered with SERVFAIL; see whether the disk is full",
    );
    check(
        |answers| answers.exporters[0].has_ended = true,
        "ends: the exporter of the feed main does not go on",
    );
}

#[test]
fn an_exporter_that_stands_still_is_a_fault_and_then_the_end() {
    let (mut watch, mut answers) = (Watch::default(), well());
    assert_eq!(text(&watch.poll(0, &answers)), "goes: ");
    assert_eq!(text(&watch.poll(EXPORT_SILENT_MS - 1, &answers)), "goes: ");
    let said = text(&watch.poll(EXPORT_SILENT_MS, &answers));
    assert_eq!(said, "goes: the exporter of the feed main gives no sign of life");
    answers.exporters[0].alive_ms = 0;
    let now_ms = EXPORT_SILENT_MS + 1;
    let said = text(&watch.poll(now_ms, &answers));
    assert_eq!(said, "goes: ", "a clock that was set back is a sign of life too");
    let said = text(&watch.poll(now_ms + 2 * EXPORT_SILENT_MS, &answers));
    assert_eq!(said, "ends: the exporter of the feed main does not go on");
}

#[test]
fn an_exporter_that_fails_is_a_fault_until_it_works_for_a_while_and_never_the_end() {
    let (mut watch, mut answers) = (Watch::default(), well());
    let mut now_ms = 0;
    let mut poll = |answers: &Answers, after_ms: u64| {
        now_ms += after_ms;
        text(&watch.poll(now_ms, answers))
    };
    let broken = "goes: the feed main cannot be written";
    answers.exporters[0].is_working = false;
    assert_eq!(poll(&answers, 100 * EXPORT_DOWN_MS), "goes: ", "it may begin with a long look");
    answers.exporters[0].restarts = 1;
    assert_eq!(poll(&answers, 1), "goes: ", "once is nothing");
    assert_eq!(poll(&answers, EXPORT_DOWN_MS), broken);
    // It works for a moment, and fails again.
    answers.exporters[0].is_working = true;
    assert_eq!(poll(&answers, 1), broken);
    (answers.exporters[0].is_working, answers.exporters[0].restarts) = (false, 2);
    assert_eq!(poll(&answers, 1), broken);
    assert_eq!(poll(&answers, 100 * EXPORT_SILENT_MS), broken, "a full disk heals");
    (answers.exporters[0].is_working, answers.exporters[0].alive_ms) = (true, 2);
    assert_eq!(poll(&answers, 1), broken);
    assert_eq!(poll(&answers, EXPORT_DOWN_MS), "goes: ");
}

#[test]
fn lag_is_the_age_of_the_oldest_that_is_not_answered() {
    let mut lag = Lag::default();
    assert_eq!(lag.note(0, 5, 5), 0);
    assert_eq!(lag.note(100, 5, 6), 0, "just seen");
    assert_eq!(lag.note(300, 5, 9), 200);
    assert_eq!(lag.note(400, 6, 9), 0, "six is answered, nine is new");
    assert_eq!(lag.note(450, 8, 9), 50);
    assert_eq!(lag.note(500, 9, 9), 0);
    assert_eq!(lag.note(600, 10, 9), 0, "a revision read a moment ago");
}

#[test]
fn an_edge_that_does_not_hear_its_author_is_ready_for_as_long_as_it_may_be() {
    let forever = ReadyLimits { lag_ms: 10, silence_ms: None };
    assert_eq!(forever.judge(10, u64::MAX), None);
    assert_eq!(forever.judge(11, 0), Some(Unready::Behind { lag_ms: 11 }));
    let bound = ReadyLimits { silence_ms: Some(5_000), ..forever };
    assert_eq!(bound.judge(0, 5_000), None);
    assert_eq!(bound.judge(0, 7_001), Some(Unready::Silent { seconds: 7 }));
}
