//! What every engine must do, whatever it is made of. Each case takes a fresh, empty engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aspen_dns::store::kv::{
    ChangeEvent, ChangeStream, Cursor, KeyRange, KeyValueStore, KvCommit, KvError, Precondition,
};

/// Runs one case of the suite, by name, so that an engine can run each in a place of its own.
macro_rules! cases {
    ($($case:ident)*) => {
        /// The names of all cases.
        pub const CASES: &[&str] = &[$(stringify!($case)),*];

        /// Runs the case of that name.
        pub async fn run(case: &str, store: Arc<dyn KeyValueStore>) {
            match case {
                $(stringify!($case) => $case(store).await,)*
                _ => panic!("no case {case}"),
            }
        }
    };
}

cases! {
    a_value_reads_back_with_the_revision_that_wrote_it
    a_commit_is_all_or_nothing
    every_precondition_is_judged
    a_key_twice_or_too_much_is_refused
    of_two_that_expect_the_same_one_wins
    a_range_is_cut_only_with_a_cursor
    many_ranges_give_the_first_page_of_each
    a_snapshot_stays_as_it_was
    the_feed_tells_each_commit_once_and_in_order
    the_feed_leaves_quiet_keys_out_and_tells_what_was_before
    the_feed_goes_on_where_it_was_left
    the_feed_refuses_a_revision_ahead
    a_waiting_follower_is_woken_at_once
    concurrent_writers_get_revisions_of_their_own
}

/// Makes a commit of puts.
pub fn puts(entries: &[(&str, &str)]) -> KvCommit {
    let put = |(key, value): &(&str, &str)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    KvCommit { puts: entries.iter().map(put).collect(), ..KvCommit::default() }
}

/// Makes a commit of deletes.
fn deletes(keys: &[&str]) -> KvCommit {
    let deletes = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    KvCommit { deletes, ..KvCommit::default() }
}

/// Reads a value as text.
async fn read(store: &dyn KeyValueStore, key: &str) -> Option<(String, u64)> {
    let found = store.get(key.as_bytes()).await.unwrap()?;
    Some((String::from_utf8(found.value).unwrap(), found.revision))
}

/// Writes an event as text: `K=V` or `-K`, each with the previous revision if there was one.
fn show(event: &ChangeEvent) -> String {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let show = |change: &aspen_dns::store::kv::KeyChange| {
        let prev = change.prev_revision.map(|r| format!("@{r}")).unwrap_or_default();
        match &change.value {
            Some(value) => format!("{}={}{prev}", text(&change.key), text(value)),
            None => format!("-{}{prev}", text(&change.key)),
        }
    };
    event.changes.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// Returns the next event; a feed that stays silent is a failure, not a test that hangs.
async fn next(feed: &mut ChangeStream) -> ChangeEvent {
    let waited = tokio::time::timeout(Duration::from_secs(20), feed.next()).await;
    waited.expect("an event within 20 s").expect("an event")
}

async fn a_value_reads_back_with_the_revision_that_wrote_it(store: Arc<dyn KeyValueStore>) {
    assert_eq!(read(&*store, "A").await, None);
    let first = store.commit(puts(&[("A", "1"), ("B", "2")])).await.unwrap();
    let second = store.commit(puts(&[("B", "3")])).await.unwrap();
    assert!(0 < first && first < second);
    assert_eq!(store.revision().await.unwrap(), second);
    assert_eq!(read(&*store, "A").await, Some(("1".into(), first)));
    assert_eq!(read(&*store, "B").await, Some(("3".into(), second)));
    let third = store.commit(deletes(&["A", "missing"])).await.unwrap();
    assert!(second < third);
    assert_eq!(read(&*store, "A").await, None);
    // Octets of every kind are keys and values.
    let octets: Vec<u8> = (0..=255).collect();
    let odd = KvCommit { puts: vec![(octets.clone(), octets.clone())], ..KvCommit::default() };
    store.commit(odd).await.unwrap();
    assert_eq!(store.get(&octets).await.unwrap().unwrap().value, octets);
}

async fn a_commit_is_all_or_nothing(store: Arc<dyn KeyValueStore>) {
    let first = store.commit(puts(&[("A", "1")])).await.unwrap();
    let mut commit = puts(&[("A", "2"), ("B", "2")]);
    commit.deletes.push(b"C".to_vec());
    commit.preconditions.push(Precondition::Absent { key: b"A".to_vec() });
    assert!(matches!(store.commit(commit).await, Err(KvError::Conflict { .. })));
    assert_eq!(read(&*store, "A").await, Some(("1".into(), first)));
    assert_eq!(read(&*store, "B").await, None);
}

async fn every_precondition_is_judged(store: Arc<dyn KeyValueStore>) {
    let revision = store.commit(puts(&[("A", "1")])).await.unwrap();
    let (a, b) = (|| b"A".to_vec(), || b"B".to_vec());
    let value = |text: &str| text.as_bytes().to_vec();
    for (precondition, holds) in [
        (Precondition::Absent { key: a() }, false),
        (Precondition::Absent { key: b() }, true),
        (Precondition::AtRevision { key: a(), revision }, true),
        (Precondition::AtRevision { key: a(), revision: revision + 1 }, false),
        (Precondition::AtRevision { key: b(), revision }, false),
        (Precondition::HasValue { key: a(), value: value("1") }, true),
        (Precondition::HasValue { key: a(), value: value("2") }, false),
        (Precondition::HasValue { key: a(), value: value("") }, false),
        (Precondition::HasValue { key: b(), value: value("") }, false),
    ] {
        let shown = format!("{precondition:?}");
        let mut commit = puts(&[("other", "x")]);
        commit.preconditions.push(precondition);
        assert_eq!(store.commit(commit).await.is_ok(), holds, "{shown}");
    }
    let revision = store.revision().await.unwrap();
    for (expected, holds) in [(revision, true), (revision, false), (0, false)] {
        let mut commit = deletes(&["other"]);
        commit.preconditions.push(Precondition::UnchangedSince { revision: expected });
        assert_eq!(store.commit(commit).await.is_ok(), holds, "since {expected}");
    }
}

async fn a_key_twice_or_too_much_is_refused(store: Arc<dyn KeyValueStore>) {
    let twice = puts(&[("A", "1"), ("A", "2")]);
    assert!(matches!(store.commit(twice).await, Err(KvError::DuplicateKey)));
    let limits = store.limits();
    let put = |index: u32| (format!("K{index:06}").into_bytes(), b"v".to_vec());
    let fits =
        KvCommit { puts: (0..limits.operations_max).map(put).collect(), ..KvCommit::default() };
    let revision = store.commit(fits).await.unwrap();
    assert_eq!(read(&*store, "K000000").await, Some(("v".into(), revision)));
    let more =
        KvCommit { puts: (0..=limits.operations_max).map(put).collect(), ..KvCommit::default() };
    assert!(matches!(store.commit(more).await, Err(KvError::TooManyOperations { .. })));
    let len = usize::try_from(limits.octets_max).unwrap() - 1;
    let fits = KvCommit { puts: vec![(b"q".to_vec(), vec![7; len])], ..KvCommit::default() };
    store.commit(fits).await.unwrap();
    assert_eq!(store.get(b"q").await.unwrap().unwrap().value.len(), len);
    let more = KvCommit { puts: vec![(b"q".to_vec(), vec![7; len + 1])], ..KvCommit::default() };
    assert!(matches!(store.commit(more).await, Err(KvError::TooManyOctets { .. })));
}

async fn of_two_that_expect_the_same_one_wins(store: Arc<dyn KeyValueStore>) {
    store.commit(puts(&[("A", "0")])).await.unwrap();
    for round in 0..20 {
        let expecting = |value: &str| {
            let mut commit = puts(&[("A", value)]);
            let expected = round.to_string().into_bytes();
            let key = b"A".to_vec();
            commit.preconditions.push(Precondition::HasValue { key, value: expected });
            commit
        };
        let next = (round + 1).to_string();
        let (left, right) =
            tokio::join!(store.commit(expecting(&next)), store.commit(expecting(&next)),);
        assert_eq!(u8::from(left.is_ok()) + u8::from(right.is_ok()), 1, "round {round}");
    }
}

async fn a_range_is_cut_only_with_a_cursor(store: Arc<dyn KeyValueStore>) {
    let keys: Vec<String> = (0..25).map(|index| format!("P{index:02}")).collect();
    let entries: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    store.commit(puts(&entries)).await.unwrap();
    store.commit(puts(&[("O", "x"), ("Q", "x")])).await.unwrap();
    let range = KeyRange::prefix(b"P");
    for limit in [1, 7, 24, 25, 26] {
        let (mut found, mut cursor): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
        loop {
            let page = store.range(&range, cursor.as_ref(), limit).await.unwrap();
            assert!(page.entries.len() <= limit as usize);
            let texts = page.entries.into_iter().map(|(key, _)| String::from_utf8(key).unwrap());
            found.extend(texts);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, keys, "limit {limit}");
    }
    let whole = store.range(&range, None, 25).await.unwrap();
    assert_eq!(whole.next, None, "a page that ends with the range says so");
    let empty = store.range(&KeyRange::prefix(b"R"), None, 10).await.unwrap();
    assert!(empty.entries.is_empty() && empty.next.is_none());
}

async fn many_ranges_give_the_first_page_of_each(store: Arc<dyn KeyValueStore>) {
    let keys: Vec<String> =
        (0..600).map(|index| format!("P{:03}{}", index / 2, index % 2)).collect();
    for keys in keys.chunks(100) {
        let entries: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        store.commit(puts(&entries)).await.unwrap();
    }
    let snapshot = store.snapshot().await.unwrap();
    // It stands where its first read finds the store, at the latest.
    assert!(snapshot.get_many(&[b"P0000".to_vec()]).await.unwrap()[0].is_some());
    store.commit(puts(&[("P0009", "later")])).await.unwrap();
    let pairs = (0..300).map(|index| KeyRange::prefix(format!("P{index:03}").as_bytes()));
    let ranges: Vec<KeyRange> = pairs.chain([KeyRange::prefix(b"Q")]).collect();
    for (limit, is_cut) in [(1, true), (2, false), (9, false)] {
        let pages = snapshot.ranges(&ranges, limit).await.unwrap();
        assert_eq!(pages.len(), ranges.len());
        for (index, page) in pages.iter().enumerate().take(300) {
            let found: Vec<&[u8]> = page.entries.iter().map(|(key, _)| &key[..]).collect();
            let count = if is_cut { 1 } else { 2 };
            let expected = &keys[2 * index..2 * index + count];
            assert_eq!(found, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
            assert_eq!(page.next.is_some(), is_cut);
        }
        assert!(pages[300].entries.is_empty() && pages[300].next.is_none());
    }
    // Keys and ranges together, more than a transaction takes, are of one view.
    let absent = b"P".to_vec();
    let asked = [b"P0000".to_vec(), absent, b"P0009".to_vec(), b"P2991".to_vec()];
    let (values, pages) = snapshot.look(&asked, &ranges, 9).await.unwrap();
    let found: Vec<bool> = values.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, false, false, true]);
    assert_eq!(pages.iter().map(|page| page.entries.len()).sum::<usize>(), 600);
    let many: Vec<Vec<u8>> = keys.iter().map(|key| key.clone().into_bytes()).collect();
    let values = snapshot.get_many(&many).await.unwrap();
    assert!(values.len() == 600 && values.iter().all(Option::is_some));
}

async fn a_snapshot_stays_as_it_was(store: Arc<dyn KeyValueStore>) {
    let first = store.commit(puts(&[("A", "1"), ("B", "1"), ("C", "1")])).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.revision().await.unwrap(), first);
    store.commit(puts(&[("A", "2"), ("D", "2")])).await.unwrap();
    store.commit(deletes(&["C"])).await.unwrap();
    let keys: Vec<Vec<u8>> = ["A", "C", "D"].iter().map(|key| key.as_bytes().to_vec()).collect();
    let found = snapshot.get_many(&keys).await.unwrap();
    let values: Vec<Option<&[u8]>> =
        found.iter().map(|found| found.as_ref().map(|found| found.value.as_slice())).collect();
    assert_eq!(values, [Some(&b"1"[..]), Some(b"1"), None]);
    let range = KeyRange { start: b"A".to_vec(), end: b"Z".to_vec() };
    let page = snapshot.range(&range, None, 2).await.unwrap();
    let rest = snapshot.range(&range, page.next.as_ref(), 9).await.unwrap();
    let all: Vec<Vec<u8>> =
        page.entries.into_iter().chain(rest.entries).map(|(key, _)| key).collect();
    assert_eq!(all, [b"A", b"B", b"C"]);
}

async fn the_feed_tells_each_commit_once_and_in_order(store: Arc<dyn KeyValueStore>) {
    let first = store.commit(puts(&[("B", "1"), ("A", "1")])).await.unwrap();
    let mut feed = store.changes(0).await.unwrap();
    let second = store.commit(puts(&[("A", "2")])).await.unwrap();
    let mut both = deletes(&["B", "missing"]);
    both.puts.push((b"A".to_vec(), b"3".to_vec()));
    let third = store.commit(both).await.unwrap();
    for (revision, shown) in [
        (first, "A=1 B=1".to_owned()),
        (second, format!("A=2@{first}")),
        (third, format!("A=3@{second} -B@{first}")),
    ] {
        let event = next(&mut feed).await;
        assert_eq!((event.revision, show(&event)), (revision, shown));
    }
    // A refused commit is not told.
    let mut refused = puts(&[("A", "4")]);
    refused.preconditions.push(Precondition::Absent { key: b"A".to_vec() });
    assert!(store.commit(refused).await.is_err());
    let fourth = store.commit(puts(&[("Z", "z")])).await.unwrap();
    let event = next(&mut feed).await;
    assert_eq!((event.revision, show(&event)), (fourth, "Z=z".to_owned()));
}

async fn the_feed_leaves_quiet_keys_out_and_tells_what_was_before(store: Arc<dyn KeyValueStore>) {
    let mut feed = store.changes(0).await.unwrap();
    store.commit(puts(&[("quiet", "1"), ("r", "1")])).await.unwrap();
    let mixed = store.commit(puts(&[("quiet", "2"), ("A", "1")])).await.unwrap();
    store.commit(deletes(&["quiet"])).await.unwrap();
    store.commit(deletes(&["missing", "MISSING"])).await.unwrap();
    let deleted = store.commit(deletes(&["A"])).await.unwrap();
    let anew = store.commit(puts(&[("A", "2")])).await.unwrap();
    for (revision, shown) in
        [(mixed, "A=1".to_owned()), (deleted, format!("-A@{mixed}")), (anew, "A=2".to_owned())]
    {
        let event = next(&mut feed).await;
        assert_eq!((event.revision, show(&event)), (revision, shown));
    }
}

async fn the_feed_goes_on_where_it_was_left(store: Arc<dyn KeyValueStore>) {
    let mut revisions = Vec::new();
    for index in 0..50 {
        let value = index.to_string();
        revisions.push(store.commit(puts(&[("A", &value)])).await.unwrap());
    }
    for start in [0, 1, 25, 49, 50] {
        let after = if start == 0 { 0 } else { revisions[start - 1] };
        let mut feed = store.changes(after).await.unwrap();
        for revision in &revisions[start..] {
            assert_eq!(next(&mut feed).await.revision, *revision);
        }
        let quiet = tokio::time::timeout(Duration::from_millis(20), feed.next()).await;
        assert!(quiet.is_err(), "nothing comes twice");
    }
}

async fn the_feed_refuses_a_revision_ahead(store: Arc<dyn KeyValueStore>) {
    let revision = store.commit(puts(&[("A", "1")])).await.unwrap();
    assert!(store.changes(revision).await.is_ok());
    let ahead = store.changes(revision + 1_000).await;
    assert!(matches!(ahead.err(), Some(KvError::Ahead { .. })));
}

async fn a_waiting_follower_is_woken_at_once(store: Arc<dyn KeyValueStore>) {
    let mut feed = store.changes(0).await.unwrap();
    let (sender, mut times) = tokio::sync::mpsc::unbounded_channel();
    let follower = tokio::spawn(async move {
        for _ in 0..20 {
            let event = next(&mut feed).await;
            sender.send((event.revision, std::time::Instant::now())).unwrap();
        }
    });
    let mut waits = Vec::new();
    for index in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let revision = store.commit(puts(&[("A", &index.to_string())])).await.unwrap();
        let acknowledged = std::time::Instant::now();
        let (told, at) = times.recv().await.unwrap();
        assert_eq!(told, revision);
        waits.push(at.saturating_duration_since(acknowledged));
    }
    follower.await.unwrap();
    waits.sort();
    assert!(waits[10] < Duration::from_millis(50), "median {:?}", waits[10]);
}

async fn concurrent_writers_get_revisions_of_their_own(store: Arc<dyn KeyValueStore>) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut made = Vec::new();
            for index in 0..20 {
                let (key, value) = (format!("W{writer}"), index.to_string());
                made.push((store.commit(puts(&[(&key, &value)])).await.unwrap(), key, value));
            }
            made
        });
    }
    let mut made = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        made.extend(joined.unwrap());
    }
    let revisions: HashSet<u64> = made.iter().map(|(revision, ..)| *revision).collect();
    assert_eq!(revisions.len(), 320);
    made.sort();
    let mut feed = store.changes(0).await.unwrap();
    for (revision, key, value) in made {
        let event = next(&mut feed).await;
        assert_eq!(event.revision, revision);
        let change = &event.changes[0];
        assert_eq!(change.key, key.as_bytes());
        assert_eq!(change.value.as_deref(), Some(value.as_bytes()));
    }
}
