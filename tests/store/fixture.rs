//! Stores over the embedded engine, and text for what goes in and comes out.

use std::sync::Arc;
use std::time::Duration;

use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset, Soa, rdata};
use aspen_dns::store::history::{Commit, ZoneChange};
use aspen_dns::store::redb::RedbStore;
use aspen_dns::store::rules::RuleError;
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{CommitStream, DnsStore, Operation, StoreError};

/// A store in a directory of its own.
pub struct Fixture {
    pub store: Arc<DnsStore>,
    pub dir: tempfile::TempDir,
}

pub async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    Fixture { store, dir }
}

pub async fn open(dir: &tempfile::TempDir) -> Arc<DnsStore> {
    let engine = RedbStore::open(&dir.path().join("store.redb")).unwrap();
    DnsStore::open(Arc::new(engine)).await.unwrap()
}

pub fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

/// Makes an RRset of `owner TYPE RDATA`, with `|` between records; TTL 60.
pub fn rrset(text: &str) -> Rrset {
    let mut words = text.splitn(3, ' ');
    let (owner, rtype) = (words.next().unwrap(), words.next().unwrap());
    let rtype: RecordType = rtype.parse().unwrap();
    let records: Vec<Vec<u8>> = words
        .next()
        .unwrap()
        .split('|')
        .map(|text| rdata::parse(rtype, text, &Name::root()).unwrap())
        .collect();
    Rrset::new(name(owner), rtype, 60, records).unwrap()
}

/// Makes an operation of `+ RRSET`, `- OWNER TYPE`, `+zone APEX` or `-zone APEX`.
pub fn operation(text: &str) -> Operation {
    let (what, rest) = text.split_once(' ').unwrap();
    match what {
        "+" => Operation::PutRrset(rrset(rest)),
        "-" => {
            let (owner, rtype) = rest.split_once(' ').unwrap();
            Operation::DeleteRrset { owner: name(owner), rtype: rtype.parse().unwrap() }
        }
        "+zone" => Operation::PutZone(ZoneSettings::new(name(rest))),
        "-zone" => Operation::DeleteZone { apex: name(rest) },
        _ => panic!("{text}"),
    }
}

/// Applies operations, one a line.
pub async fn apply(store: &DnsStore, text: &str) -> Result<u64, StoreError> {
    let operations: Vec<Operation> = text.lines().map(|line| operation(line.trim())).collect();
    store.apply(operations.into()).await.map(|committed| committed.revision)
}

/// Returns the rule that broke.
pub fn rule<T: std::fmt::Debug>(result: Result<T, StoreError>) -> RuleError {
    match result {
        Err(StoreError::Rule(rule)) => rule,
        other => panic!("{other:?} breaks no rule"),
    }
}

/// Shows an RRset as text, the SOA by its serial alone.
pub fn show(rrset: &Rrset) -> String {
    let mut text = format!("{} {}", rrset.owner, rrset.rtype);
    if rrset.rtype == RecordType::SOA {
        return format!("{text} {}", soa_serial(rrset));
    }
    for (index, record) in rrset.rdata.iter().enumerate() {
        text.push(if index == 0 { ' ' } else { '|' });
        rdata::write(rrset.rtype, record, &mut text);
    }
    text
}

pub fn soa_serial(rrset: &Rrset) -> u32 {
    Soa::read(rrset.rdata.first()).unwrap().serial
}

pub fn show_commit(commit: &Commit) -> String {
    let mut shown = Vec::new();
    for zone in &commit.zones {
        let change = match &zone.change {
            ZoneChange::Replaced => "replaced".to_owned(),
            ZoneChange::Removed => "removed".to_owned(),
            ZoneChange::Changes(changes) => {
                let show = |change: &Change| match change {
                    Change::Put(rrset) => format!("+{}", show(rrset)),
                    Change::Delete { owner, rtype } => format!("-{owner} {rtype}"),
                };
                changes.iter().map(show).collect::<Vec<_>>().join(", ")
            }
        };
        shown.push(format!("{}: {change}", zone.apex));
    }
    shown.join("; ")
}

pub async fn next(commits: &mut CommitStream) -> Commit {
    tokio::time::timeout(Duration::from_secs(10), commits.next()).await.unwrap().unwrap()
}

/// Follows a zone from its beginning to what it is now: each commit continues the one before it, with the
/// next serial. Returns the owners that were put, sorted, each as often as it was told.
pub async fn told_once(commits: &mut CommitStream, store: &DnsStore, apex: &str) -> Vec<String> {
    let zone = store.get_zone(&name(apex)).await.unwrap().unwrap();
    let (mut previous, mut told) = (None, Vec::new());
    for serial in 1..=zone.serial {
        let commit = next(commits).await;
        let of_zone = &commit.zones[0];
        assert_eq!(of_zone.serial, serial, "each commit once");
        assert_eq!(of_zone.prev_revision, previous, "the chain has no gap");
        previous = Some(commit.revision);
        let ZoneChange::Changes(changes) = &of_zone.change else { continue };
        let put = changes.iter().filter(|change| change.rtype() != RecordType::SOA);
        told.extend(put.map(|change| change.owner().to_string().trim_end_matches('.').to_owned()));
    }
    assert_eq!(previous, Some(zone.revision), "the newest commit is told, too");
    told.sort();
    told
}

/// Returns all RRsets of a zone as text, read by pages of `limit`.
pub async fn listing(store: &DnsStore, apex: &str, limit: u32) -> Vec<String> {
    let (mut shown, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.records(&name(apex), cursor.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit as usize && !page.items.is_empty());
        shown.extend(page.items.iter().map(|found| show(&found.rrset)));
        cursor = page.next;
        if cursor.is_none() {
            return shown;
        }
    }
}

/// Returns all RRsets of a zone as text, as an exporter reads them.
pub async fn contents(store: &DnsStore, apex: &str) -> Vec<String> {
    let mut contents = store.open_zone(&name(apex)).await.unwrap();
    let mut shown = Vec::new();
    while let Some(page) = contents.next_page().await.unwrap() {
        shown.extend(page.iter().map(show));
    }
    shown
}
