//! The store of the simulation: zones, commits, histories, and all that was ever true.
//!
//! **Invariant:** what a zone was at a revision of a history is remembered for ever, so that whatever
//! an edge shows can be judged.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::feed::HistoryId;
use crate::feed::digest::{Digest, DigestKey};
use crate::name::Name;
use crate::record::{Change, RecordType, Rrset, Soa};
use crate::seeded::Seeded;
use crate::store::history::{
    Commit, CommitSource, History, SourceError, ZoneChange, ZoneCommit, ZoneContents, ZoneSource,
    ZoneState,
};

/// The RRsets of a zone.
pub(super) type Contents = BTreeMap<(Name, RecordType), Rrset>;

/// What a zone was at its revisions.
type Line = BTreeMap<u64, Vec<Option<Arc<Contents>>>>;

/// The store.
pub(super) struct Store {
    /// What it holds now.
    state: Mutex<State>,
    /// All that was ever true: a truth for each line of commits.
    truths: Mutex<Vec<Truth>>,
    /// Histories of which the store was put back: they have two lines.
    parted: Mutex<HashSet<HistoryId>>,
    /// Whether reading zones fails now.
    pub(super) is_failing: AtomicBool,
}

/// What was ever true in one line of commits: a history has more where its store was put back.
struct Truth {
    /// The history.
    history: HistoryId,
    /// The zones.
    zones: BTreeMap<Name, Line>,
}

/// What a store holds.
#[derive(Clone)]
pub(super) struct State {
    /// Which line of commits it is.
    line: usize,
    /// The history.
    pub(super) history: History,
    /// The newest revision.
    pub(super) revision: u64,
    /// The commits that are known.
    commits: Vec<Commit>,
    /// Up to where they are not known any more.
    compacted: u64,
    /// The zones, those included that are disabled.
    zones: BTreeMap<Name, Zone>,
}

/// A zone.
#[derive(Clone)]
struct Zone {
    /// Its RRsets.
    contents: Arc<Contents>,
    /// The newest commit that touched it.
    revision: u64,
    /// Its serial.
    serial: u32,
    /// What it comes to.
    digest: Digest,
    /// Whether it is answered.
    is_enabled: bool,
}

impl Store {
    /// An empty store with a history.
    pub(super) fn new(random: &mut Seeded) -> Arc<Self> {
        let key = DigestKey(u128::from(random.word()).to_be_bytes());
        let history = History { epoch: 1, id: u128::from(random.word()), digest_key: key };
        let state = State {
            line: 0,
            history,
            revision: 0,
            commits: Vec::new(),
            compacted: 0,
            zones: BTreeMap::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            truths: Mutex::new(vec![Truth { history: id_of(&history), zones: BTreeMap::new() }]),
            parted: Mutex::default(),
            is_failing: AtomicBool::new(false),
        })
    }

    /// What it holds.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test holds it while it panics")
    }

    /// Puts an older copy back.
    pub(super) fn put_back(&self, copy: State) {
        self.parted.lock().expect("not poisoned").insert(id_of(&copy.history));
        let mut truths = self.truths.lock().expect("not poisoned");
        // Of the line that the copy was made of it has what came before.
        let mut zones = truths[copy.line].zones.clone();
        zones.values_mut().for_each(|line| line.retain(|revision, _| *revision <= copy.revision));
        let line = truths.len();
        truths.push(Truth { history: id_of(&copy.history), zones });
        *self.state() = State { line, ..copy };
    }

    /// Whether a history has two lines.
    pub(super) fn is_parted(&self, history: HistoryId) -> bool {
        self.parted.lock().expect("not poisoned").contains(&history)
    }

    /// Whether a zone was this at a revision of the history with an epoch; `None` is no zone.
    pub(super) fn was(
        &self,
        epoch: u64,
        apex: &Name,
        revision: u64,
        is: Option<&Contents>,
    ) -> bool {
        let truths = self.truths.lock().expect("not poisoned");
        truths.iter().filter(|truth| truth.history.epoch == epoch).any(|truth| {
            let Some(line) = truth.zones.get(apex) else { return is.is_none() };
            match is {
                Some(is) => line
                    .get(&revision)
                    .is_some_and(|was| was.iter().flatten().any(|was| **was == *is)),
                // A version that was made later may not have it any more.
                None => {
                    let is_gone = |was: &Vec<Option<_>>| was.iter().any(Option::is_none);
                    line.range(..=revision).next_back().is_none_or(|(_, was)| is_gone(was))
                        || line.range(revision..).any(|(_, was)| is_gone(was))
                }
            }
        })
    }

    /// Whether who shows a zone as it was at a revision lacks nothing of it up to `served`; none shows
    /// no zone.
    pub(super) fn has_all(
        &self,
        history: HistoryId,
        apex: &Name,
        shown: Option<u64>,
        served: u64,
    ) -> bool {
        let truths = self.truths.lock().expect("not poisoned");
        truths.iter().filter(|truth| truth.history == history).all(|truth| {
            let Some(line) = truth.zones.get(apex) else { return true };
            let Some((newest, _)) = line.range(..=served).next_back() else { return true };
            let is_gone = |was: &Vec<Option<_>>| was.iter().any(Option::is_none);
            match shown {
                Some(shown) => shown >= *newest,
                // It may have gone since.
                None => line.range(newest..).any(|(_, was)| is_gone(was)),
            }
        })
    }

    /// What is answered now.
    pub(super) fn answered(&self) -> BTreeMap<Name, (u64, Arc<Contents>)> {
        let state = self.state();
        let zones = state.zones.iter().filter(|(_, zone)| zone.is_enabled);
        zones.map(|(apex, zone)| (apex.clone(), (zone.revision, zone.contents.clone()))).collect()
    }

    /// The commits after a revision; none if they are not known.
    pub(super) fn commits_after(&self, after: u64, count_max: usize) -> Option<Vec<Commit>> {
        let state = self.state();
        if after < state.compacted || after > state.revision {
            return None;
        }
        let start = state.commits.partition_point(|commit| commit.revision <= after);
        Some(state.commits[start..].iter().take(count_max).cloned().collect())
    }

    /// Forgets all commits but the newest.
    pub(super) fn compact(&self, random: &mut Seeded) {
        let mut state = self.state();
        let keep = random.below(6).min(state.commits.len());
        let drop = state.commits.len() - keep;
        let last = state.commits.drain(..drop).next_back();
        if let Some(last) = last {
            state.compacted = last.revision;
        }
    }

    /// Commits something.
    pub(super) fn commit(&self, random: &mut Seeded) {
        let mut state = self.state();
        state.revision += 1 + random.below(2) as u64;
        let revision = state.revision;
        let mut zones: Vec<ZoneCommit> = Vec::new();
        for _ in 0..1 + random.below(3) * random.below(2) {
            let apex = apexes()[random.below(apexes().len())].clone();
            if zones.iter().all(|zone| zone.apex != apex)
                && let Some(zone) = state.change(apex, revision, random)
            {
                zones.push(zone);
            }
        }
        for zone in &zones {
            let now = state.zones.get(&zone.apex).filter(|zone| zone.is_enabled);
            let now = now.map(|zone| zone.contents.clone());
            self.note(state.line, &zone.apex, revision, now);
        }
        let tag = random.word() | 1;
        state.commits.push(Commit { revision, tag, zones });
    }

    /// Remembers what a zone was.
    fn note(&self, line: usize, apex: &Name, revision: u64, now: Option<Arc<Contents>>) {
        let mut truths = self.truths.lock().expect("not poisoned");
        let line = truths[line].zones.entry(apex.clone()).or_default();
        line.entry(revision).or_default().push(now);
    }

    /// Says that reading fails, if it does.
    fn check(&self) -> Result<(), SourceError> {
        match self.is_failing.load(Ordering::Relaxed) {
            true => Err(SourceError::Failed { reason: "planted".to_owned() }),
            false => Ok(()),
        }
    }
}

impl State {
    /// Does something to a zone; `None` if nobody need be told.
    fn change(&mut self, apex: Name, revision: u64, random: &mut Seeded) -> Option<ZoneCommit> {
        let key = self.history.digest_key;
        let before = self.zones.get(&apex).cloned();
        let prev_revision = before.as_ref().map(|zone| zone.revision);
        let serial = before.as_ref().map_or(1, |zone| zone.serial + 1);
        let whole = |contents: Contents, is_enabled| Zone {
            digest: key.rrsets(contents.values().cloned()),
            contents: Arc::new(contents),
            revision,
            serial,
            is_enabled,
        };
        let choice = random.below(20);
        let (after, change) = match before {
            None => (Some(whole(make(&apex, serial, random), true)), ZoneChange::Replaced),
            Some(zone) if choice == 0 => match zone.is_enabled {
                true => (None, ZoneChange::Removed),
                false => {
                    self.zones.remove(&apex);
                    return None;
                }
            },
            Some(zone) if choice == 1 => {
                let is_enabled = !zone.is_enabled;
                let after = Zone { revision, is_enabled, ..zone };
                let change = if is_enabled { ZoneChange::Replaced } else { ZoneChange::Removed };
                (Some(after), change)
            }
            Some(zone) if choice == 2 => {
                (Some(whole(make(&apex, serial, random), zone.is_enabled)), ZoneChange::Replaced)
            }
            Some(zone) if choice == 3 => {
                (Some(Zone { revision, ..zone }), ZoneChange::Changes(Vec::new()))
            }
            Some(zone) if choice == 4 => (Some(Zone { revision, ..zone }), ZoneChange::Replaced),
            Some(zone) => {
                let count = if choice == 5 { 300 } else { 1 + random.below(4) };
                let changes = changes(&apex, serial, &zone.contents, count, random);
                let mut contents = Contents::clone(&zone.contents);
                changes.iter().for_each(|change| apply(&mut contents, change));
                (Some(whole(contents, zone.is_enabled)), ZoneChange::Changes(changes))
            }
        };
        let was_enabled = self.zones.get(&apex).is_some_and(|zone| zone.is_enabled);
        let is_enabled = after.as_ref().is_some_and(|zone| zone.is_enabled);
        let told = after.as_ref().filter(|zone| zone.is_enabled);
        let digest = told.map_or_else(Digest::default, |zone| zone.digest);
        let serial = told.map_or(0, |zone| zone.serial);
        match after {
            Some(zone) => drop(self.zones.insert(apex.clone(), zone)),
            None => drop(self.zones.remove(&apex)),
        }
        (was_enabled || is_enabled).then_some(ZoneCommit {
            apex,
            prev_revision,
            serial,
            digest,
            change,
        })
    }
}

/// The zones that there may be.
pub(super) fn apexes() -> &'static [Name] {
    static APEXES: std::sync::OnceLock<Vec<Name>> = std::sync::OnceLock::new();
    APEXES.get_or_init(|| {
        let names = ["example", "a.example", "b.example", "x.a.example", "example.net", "test"];
        names.map(|name| name.parse().expect("a name")).to_vec()
    })
}

/// Makes a zone of 1 to 600 records.
fn make(apex: &Name, serial: u32, random: &mut Seeded) -> Contents {
    let count = match random.below(12) {
        0 => 200 + random.below(400),
        1 => 20 + random.below(60),
        _ => random.below(6),
    };
    let mut contents = Contents::new();
    apply(&mut contents, &Change::Put(soa(apex, serial)));
    for host in 0..count {
        apply(&mut contents, &Change::Put(rrset(apex, host, random)));
    }
    contents
}

/// Makes changes of a zone.
fn changes(
    apex: &Name,
    serial: u32,
    contents: &Contents,
    count: usize,
    random: &mut Seeded,
) -> Vec<Change> {
    let mut changes =
        BTreeMap::from([((apex.clone(), RecordType::SOA), Change::Put(soa(apex, serial)))]);
    for _ in 0..count {
        let rrset = rrset(apex, random.below(count * 2), random);
        let place = (rrset.owner.clone(), rrset.rtype);
        let is_delete = random.percent(30) && contents.contains_key(&place);
        let change = match is_delete {
            true => Change::Delete { owner: rrset.owner, rtype: rrset.rtype },
            false => Change::Put(rrset),
        };
        changes.insert(place, change);
    }
    changes.into_values().collect()
}

/// Makes the SOA of a zone.
fn soa(apex: &Name, serial: u32) -> Rrset {
    let rdata = Soa { serial, ..Soa::default() }.to_rdata();
    Rrset::new(apex.clone(), RecordType::SOA, 60, [rdata]).expect("an RRset")
}

/// Makes an RRset.
fn rrset(apex: &Name, host: usize, random: &mut Seeded) -> Rrset {
    let owner = apex.with_label(format!("h{host}").as_bytes()).expect("a name");
    let rdata = [192, 0, 2, random.below(200) as u8];
    Rrset::new(owner, RecordType::A, 60 + random.below(2) as u32, [rdata]).expect("an RRset")
}

/// Makes a change of some RRsets.
pub(super) fn apply(contents: &mut Contents, change: &Change) {
    match change {
        Change::Put(rrset) => {
            contents.insert((rrset.owner.clone(), rrset.rtype), rrset.clone());
        }
        Change::Delete { owner, rtype } => {
            contents.remove(&(owner.clone(), *rtype));
        }
    }
}

/// How a feed names a history.
pub(super) fn id_of(history: &History) -> HistoryId {
    HistoryId { epoch: history.epoch, id: history.id }
}

#[async_trait]
impl ZoneSource for Store {
    async fn history(&self) -> Result<History, SourceError> {
        Ok(self.state().history)
    }

    async fn begin_history(&self, _: &History, above: u64) -> Result<History, SourceError> {
        let mut state = self.state();
        let epoch = state.history.epoch.max(above) + 1;
        let id = state.history.id.wrapping_mul(31).wrapping_add(u128::from(epoch));
        state.history = History { epoch, id, ..state.history };
        state.line = {
            let mut truths = self.truths.lock().expect("not poisoned");
            truths.push(Truth { history: id_of(&state.history), zones: BTreeMap::new() });
            truths.len() - 1
        };
        for (apex, zone) in state.zones.iter().filter(|(_, zone)| zone.is_enabled) {
            self.note(state.line, apex, zone.revision, Some(zone.contents.clone()));
        }
        Ok(state.history)
    }

    async fn revision(&self) -> Result<u64, SourceError> {
        Ok(self.state().revision)
    }

    async fn zones(&self) -> Result<Vec<ZoneState>, SourceError> {
        self.check()?;
        let state = self.state();
        let zones = state.zones.iter().filter(|(_, zone)| zone.is_enabled);
        Ok(zones.map(|(apex, zone)| zone.state(apex)).collect())
    }

    async fn zone_contents(&self, apex: &Name) -> Result<Option<ZoneContents>, SourceError> {
        Ok(self.zones_contents(std::slice::from_ref(apex)).await?.pop())
    }

    async fn zones_contents(&self, apexes: &[Name]) -> Result<Vec<ZoneContents>, SourceError> {
        self.check()?;
        let state = self.state();
        let zones = apexes.iter().filter_map(|apex| {
            let zone = state.zones.get(apex).filter(|zone| zone.is_enabled)?;
            let rrsets = zone.contents.values().cloned().collect();
            Some(ZoneContents { revision: state.revision, zone: zone.state(apex), rrsets })
        });
        Ok(zones.collect())
    }

    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError> {
        let commits = self.commits_after(after, usize::MAX);
        let commits = commits.ok_or(SourceError::Compacted { after })?;
        Ok(Box::new(Stream(commits.into_iter())))
    }
}

impl Zone {
    /// The zone without its records.
    fn state(&self, apex: &Name) -> ZoneState {
        ZoneState {
            apex: apex.clone(),
            revision: self.revision,
            serial: self.serial,
            digest: self.digest,
        }
    }
}

/// The commits that there were when the stream began.
struct Stream(std::vec::IntoIter<Commit>);

#[async_trait]
impl CommitSource for Stream {
    async fn next(&mut self) -> Result<Commit, SourceError> {
        match self.0.next() {
            Some(commit) => Ok(commit),
            None => std::future::pending().await,
        }
    }
}
