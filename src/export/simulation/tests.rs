//! Runs of the simulation: by seeds, and of what once went wrong.

use super::*;
use crate::name::Name;

/// Runs `count` seeds; those of the environment instead, if any are given there.
fn runs(from: u64, count: u64, fault: Fault, has_disasters: bool, reads_early: bool) {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seed, steps) = (given("ASPEN_TEST_SEED"), given("ASPEN_TEST_STEPS"));
    let from = seed.unwrap_or(from);
    let count = match steps {
        Some(all) => all.div_ceil(STEPS as u64),
        None => seed.map_or(count, |_| 1),
    };
    for seed in from..from + count {
        let plan = Plan { seed, steps: STEPS, fault, has_disasters, reads_early };
        if let Err(wrong) = run(plan) {
            panic!("ASPEN_TEST_SEED={seed} {plan:?}\n{wrong}");
        }
    }
}

#[test]
fn every_edge_comes_to_what_the_store_holds() {
    runs(3, 7, Fault::None, false, false);
}

#[test]
fn seeds_that_failed_once_hold() {
    // A segment that was cut off the archive, or waited for another; bundles that waited for
    // their zones; a zone that stayed in the document; a gap that a restart found again; a zone
    // that waited for what was removed; a delta over a later base; segments without a version; zones
    // that were gone; a bridge that was given up.
    for seed in [2, 11, 15, 17, 18, 21, 23, 24, 28, 32, 42, 108] {
        let plan = Plan {
            seed,
            steps: STEPS,
            fault: Fault::None,
            has_disasters: false,
            reads_early: false,
        };
        assert_eq!(run(plan).map(drop), Ok(()), "{plan:?}");
    }
}

#[test]
fn what_an_edge_does_wrong_is_seen_and_heals() {
    let (mut differed, mut healed) = (0, 0);
    for seed in 3..8 {
        let plan = Plan {
            seed,
            steps: STEPS,
            fault: Fault::DropsRrsets,
            has_disasters: false,
            reads_early: false,
        };
        let edges = run(plan).unwrap_or_else(|wrong| panic!("{plan:?}\n{wrong}"));
        differed += edges.iter().map(|edge| edge.0).sum::<u64>();
        healed += edges.iter().map(|edge| edge.1).sum::<u64>();
    }
    assert!(differed > 0 && healed > 0, "{differed} {healed}");
}

#[test]
fn a_step_that_cannot_be_made_is_made_up_for() {
    runs(3, 3, Fault::Refuses, false, false);
}

#[test]
fn an_edge_that_compares_nothing_is_caught() {
    let plan = |seed| Plan {
        seed,
        steps: STEPS,
        fault: Fault::ComparesNothing,
        has_disasters: false,
        reads_early: false,
    };
    assert!((3..10).any(|seed| run(plan(seed)).is_err()));
}

#[test]
fn stores_that_are_put_back_and_versions_that_are_lost_heal() {
    runs(3, 2, Fault::None, true, false);
    runs(6, 2, Fault::None, true, false);
    runs(9, 2, Fault::None, true, false);
    // Announcements of two histories with one number; steps of a history that was over; rows of the
    // one before; zones gone behind their version, and rows of them that are long over; versions without
    // zones that could not be read; segments that came before the version of their history;
    // what was told again in less detail.
    for seed in [35, 50, 56, 131, 206, 236, 261, 271, 315, 491] {
        runs(seed, 1, Fault::None, true, false);
    }
}

#[test]
fn what_is_committed_while_a_version_is_made_is_in_the_next() {
    runs(3, 3, Fault::None, false, true);
    runs(3, 3, Fault::None, true, true);
    // A zone that was replaced by the same records: what came behind needs the version that says so.
    runs(39, 1, Fault::None, false, true);
}

#[test]
fn a_commit_of_more_zones_than_the_log_takes_comes_by_the_document() {
    // A zone that is gone behind a version which holds no further than the one before; what two
    // exporters told of one commit, each in its own detail, found together by a restart.
    for (seed, zones_max) in [(3, 0), (4, 1), (5, 1), (6, 2), (1040, 1)] {
        let (steps, fault) = (STEPS, Fault::None);
        let plan = Plan { seed, steps, fault, has_disasters: false, reads_early: false };
        assert_eq!(run_with(plan, zones_max).map(drop), Ok(()), "{plan:?}, {zones_max}");
    }
}

#[test]
fn a_version_of_a_store_that_was_put_back_has_what_is_committed_meanwhile() {
    for seed in 1..20 {
        let mut random = Seeded(seed);
        let store = Store::new(&mut random);
        let mut exporter = Exporter::new(Arc::clone(&store));
        exporter.begin(false);
        let mut work = |exporter: &mut Exporter, commits: usize| {
            (0..commits).for_each(|_| store.commit(&mut random));
            exporter.take_commits(usize::MAX);
        };
        for _ in 0..3 {
            work(&mut exporter, 30);
            exporter.finish_making();
            let copy = store.state().clone();
            work(&mut exporter, 30);
            exporter.finish_making();
            exporter.end();
            store.put_back(copy);
            exporter.begin(true);
            for _ in 0..6 {
                work(&mut exporter, 4);
                exporter.make(true);
            }
            exporter.finish_making();
            assert_eq!(exporter.wrong, None, "seed {seed}");
            let heads = exporter.heads();
            assert!(heads.iter().all(|head| head.1 <= head.2), "seed {seed}: {heads:?}");
        }
    }
}

#[test]
fn a_zone_of_the_document_that_is_not_what_it_says_is_found_and_written_anew() {
    let mut random = Seeded(1);
    let store = Store::new(&mut random);
    (0..30).for_each(|_| store.commit(&mut random));
    let mut exporter = Exporter::new(Arc::clone(&store));
    exporter.begin(false);
    exporter.finish_making();
    assert_eq!((exporter.audit(), exporter.is_behind()), (0, false));
    exporter.plant_wrong_row();
    assert!(exporter.wrong_zone().is_some());
    assert_eq!((exporter.audit(), exporter.is_behind()), (1, true));
    exporter.finish_making();
    assert_eq!((exporter.audit(), exporter.wrong_zone()), (0, None));
}

#[test]
fn a_feed_of_zones_that_do_not_change_has_versions_that_the_log_goes_on_from() {
    let mut random = Seeded(5);
    let store = Store::new(&mut random);
    let mut exporter = Exporter::new(Arc::clone(&store));
    exporter.carry(vec![Name::from_text("quiet.test").expect("a name")]);
    exporter.begin(false);
    exporter.finish_making();
    assert!(!exporter.makes_when_due(), "nothing has happened");
    // What it is told of at its next start begins behind the last version.
    exporter.end();
    exporter.carry(vec![Name::from_text("quiet.test").expect("a name")]);
    (0..50).for_each(|_| store.commit(&mut random));
    store.compact(&mut random);
    exporter.begin(false);
    exporter.finish_making();
    let (version, log) = exporter.version_and_log();
    assert!(version < log, "{version} {log}");
    assert!(exporter.makes_when_due());
    exporter.finish_making();
    let (version, log) = exporter.version_and_log();
    assert!(version >= log, "{version} {log}");
    assert!(!exporter.makes_when_due());
}

/// Things that happen in one run.
const STEPS: usize = 2_000;
