//! The edge of the model: the core under test, and what a caller around it would hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aspen_dns::feed::Hash;
use aspen_dns::feed::Revision;
use aspen_dns::feed::items::ItemRef;
use aspen_dns::feed::merge::for_each_rrset;
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType};
use aspen_dns::sync::batch::{ZoneBatch, ZoneStep};
use aspen_dns::sync::core::{SyncConfig, SyncCore};
use aspen_dns::sync::entry::{FeedEntry, Origin};
use bytes::Bytes;

use super::{AUTHOR, Authority, Choose, Contents, Written, apply};

/// An edge: the core, and what a caller around it would hold.
pub struct Edge {
    /// The core.
    pub core: SyncCore,
    /// What is published.
    pub zones: BTreeMap<Name, Contents>,
    /// The highest revision published of each zone.
    published: HashMap<Name, Revision>,
    /// The served revision when it was last asked.
    served: Revision,
    /// Hashes being fetched.
    fetching: Vec<Hash>,
    /// The time.
    pub now_ms: u64,
}

impl Edge {
    /// Begins with an empty replica.
    pub fn new(config: SyncConfig) -> Self {
        let core = SyncCore::new(SyncConfig { author: Some(AUTHOR), ..config }, 0);
        Self {
            core,
            zones: BTreeMap::new(),
            published: HashMap::new(),
            served: Revision::default(),
            fetching: Vec::new(),
            now_ms: 0,
        }
    }

    /// Takes an entry.
    pub fn take(&mut self, written: &Written, origin: Origin, content: Option<Bytes>) {
        let entry = FeedEntry {
            key: &written.key,
            author: AUTHOR,
            hash: written.hash,
            len: written.len,
            timestamp_us: written.timestamp_us,
            origin,
            content,
        };
        let _ = self.core.handle_entry(&entry, self.now_ms);
    }

    /// Fetches something, or fails to; may publish.
    pub fn work(&mut self, authority: &Authority, choose: &mut impl Choose, loss_percent: usize) {
        self.now_ms += choose.below(50) as u64;
        self.core.handle_time(self.now_ms);
        let wanted = self.core.poll_fetch(self.now_ms, choose.below(4) + 1);
        self.fetching.extend(wanted);
        for _ in 0..choose.below(4) {
            if self.fetching.is_empty() {
                break;
            }
            let hash = self.fetching.swap_remove(choose.below(self.fetching.len()));
            match authority.blobs.get(&hash) {
                Some(octets) if !choose.percent(loss_percent) => {
                    self.core.handle_content(hash, octets, self.now_ms);
                }
                _ => self.core.handle_content_failed(hash, self.now_ms),
            }
        }
        if choose.percent(50) {
            self.publish(authority);
        }
    }

    /// Publishes a batch, and checks every step against the authority's history.
    pub fn publish(&mut self, authority: &Authority) {
        for batch in self.core.poll_batch(self.now_ms).unwrap_or_default() {
            let ZoneBatch { apex, revision, step, .. } = batch;
            let before = self.published.insert(apex.clone(), revision);
            assert!(before.is_none_or(|before| before < revision), "{apex} went back");
            match step {
                ZoneStep::Remove => {
                    self.zones.remove(&apex);
                }
                ZoneStep::Edit(edits) => {
                    let zone = self.zones.get_mut(&apex).expect("an edit follows a rebuild");
                    edits.iter().for_each(|edit| apply(zone, edit));
                }
                ZoneStep::Rebuild { packs, edits, .. } => {
                    self.zones.insert(apex.clone(), build(&apex, &packs, &edits));
                }
            }
            let expected = &authority.history[&(apex.clone(), revision)];
            assert_eq!(self.zones.get(&apex), expected.as_ref(), "{apex} at {revision:?}");
            self.core.handle_applied(&apex, revision, self.now_ms);
        }
        let served = self.core.revision();
        assert!(served >= self.served, "the served revision fell");
        assert!(served <= self.core.heard_revision());
        self.served = served;
    }

    /// Lists the whole replica, and works until nothing is left to do.
    pub fn settle(&mut self, authority: &Authority, choose: &mut impl Choose) {
        self.core.handle_scan_started(self.now_ms);
        let mut entries: Vec<&Written> = authority.replica.values().collect();
        while !entries.is_empty() {
            let written = entries.swap_remove(choose.below(entries.len()));
            self.take(written, Origin::Scan, None);
        }
        self.core.handle_scan_complete(self.now_ms);
        self.core.handle_reconciled(self.now_ms);
        for _ in 0..200 {
            self.now_ms += 20_000;
            self.core.handle_contact(self.now_ms);
            self.core.handle_time(self.now_ms);
            self.fetching.extend(self.core.poll_fetch(self.now_ms, usize::MAX));
            for hash in std::mem::take(&mut self.fetching) {
                match authority.blobs.get(&hash) {
                    Some(octets) => {
                        self.core.handle_content(hash, octets, self.now_ms);
                    }
                    None => self.core.handle_content_failed(hash, self.now_ms),
                }
            }
            self.publish(authority);
            if self.core.status().is_synced() && self.zones == authority.contents() {
                break;
            }
        }
    }
}

/// Builds a zone as a caller would.
fn build(apex: &Name, packs: &[Bytes], edits: &[Change]) -> Contents {
    let mut contents = Contents::new();
    let mut last: Option<(Name, RecordType)> = None;
    for_each_rrset(apex, packs, edits, |rrset| {
        let Some(Change::Put(rrset)) = ItemRef::Put(rrset).to_change() else { return };
        let place = (rrset.owner.clone(), rrset.rtype);
        assert!(last.as_ref().is_none_or(|last| *last < place), "in canonical order");
        last = Some(place.clone());
        contents.insert(place, rrset);
    })
    .expect("the authority's packs are good");
    contents
}

/// Runs one whole story and checks its end.
pub fn run(choose: &mut impl Choose, config: SyncConfig) -> Edge {
    let mut authority = Authority::new();
    let mut edge = Edge::new(config);
    if choose.percent(70) {
        edge.core.handle_scan_complete(0);
    }
    let mut told = 0;
    let mut late: Vec<Written> = Vec::new();
    for _ in 0..choose.below(60) + 5 {
        authority.act(choose);
        for written in &authority.events[told..] {
            match choose.below(10) {
                0 => {} // lost for ever
                1..=3 => late.push(written.clone()),
                4 => {
                    edge.take(written, Origin::Event, None);
                    late.push(written.clone());
                }
                _ => edge.take(written, Origin::Event, None),
            }
        }
        told = authority.events.len();
        while !late.is_empty() && choose.percent(60) {
            let written = late.swap_remove(choose.below(late.len()));
            edge.take(&written, Origin::Event, None);
        }
        if choose.percent(5) {
            // What no entry names any more is collected.
            let named: BTreeSet<Hash> = authority.replica.values().map(|w| w.hash).collect();
            authority.blobs.retain(|hash, _| named.contains(hash));
        }
        edge.work(&authority, choose, 20);
    }
    authority.write_beat();
    edge.settle(&authority, choose);
    assert_eq!(edge.zones, authority.contents(), "the edge ends as the authority");
    assert!(edge.core.status().is_synced(), "{:?}", edge.core.stats());
    assert_eq!(edge.core.revision(), edge.core.heard_revision());
    edge
}
