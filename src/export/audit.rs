//! Reads the document as an edge does, zone after zone, all the time and slowly, and sees that each comes
//! to what its row says. One that does not is written anew, once, and read again until it is right: one that
//! stays wrong is a fault that somebody must look at.
//!
//! **Invariant:** of a zone the packs and the digest of one moment are compared.
//! **Not here:** whether rows agree with the source (`opening`), contents that are gone (`version`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::ExportError;
use super::book::{Book, Head, Place};
use super::depot::Depot;
use crate::feed::Hash;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::items::ItemRef;
use crate::feed::pack::Pack;
use crate::limits::{AUDIT_MS_MIN, AUDIT_OCTETS_MAX, AUDIT_OCTETS_PER_S, AUDIT_ZONES_MAX};
use crate::name::Name;
use crate::record::RecordType;

/// How far the document was read.
pub(super) struct Audit {
    /// The zones that are still to be read, until all have been.
    pending: Vec<Name>,
    /// When the next may be read.
    due: Instant,
    /// Those that are being read.
    task: Option<JoinHandle<Vec<Audited>>>,
    /// Those that were wrong when they were read last.
    wrong: BTreeSet<Name>,
}

/// A zone of the document as it was once.
struct Sample {
    /// The zone.
    apex: Name,
    /// What its row says.
    doc: Head,
    /// Where its packs lie.
    places: Vec<Place>,
}

/// A zone that was read.
pub(super) struct Audited {
    /// The zone.
    apex: Name,
    /// What its row said.
    doc: Head,
    /// What the packs come to; none if they do not read.
    found: Option<Digest>,
}

impl Sample {
    /// Octets of its packs.
    fn octets(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.len)).sum()
    }
}

impl Audit {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Self { pending: Vec::new(), due: Instant::now(), task: None, wrong: BTreeSet::new() }
    }

    /// How many zones were wrong when they were read last.
    pub(super) fn wrong_zones(&self) -> u64 {
        self.wrong.len() as u64
    }

    /// Stops reading.
    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Begins to read the next zones if it is time.
    pub(super) fn start(&mut self, book: &Book, depot: &Arc<dyn Depot>) {
        let now = Instant::now();
        if self.task.is_some() || now < self.due {
            return;
        }
        self.wrong.retain(|apex| book.is_in_doc(apex));
        let mut samples = samples(book, &mut self.pending);
        let wrong = self.wrong.iter().take(AUDIT_WRONG_MAX);
        samples.extend(wrong.map(|apex| sample(book, apex)));
        let octets = samples.iter().map(Sample::octets).sum::<u64>();
        let pause = Duration::from_millis(octets * 1_000 / AUDIT_OCTETS_PER_S);
        self.due = now + pause.max(Duration::from_millis(AUDIT_MS_MIN));
        if !samples.is_empty() {
            let (depot, key) = (Arc::clone(depot), book.key());
            self.task = Some(tokio::spawn(read(depot, key, samples)));
        }
    }

    /// Has zones written anew that an edge would not come to; returns how many are so.
    pub(super) fn take(&mut self, book: &mut Book, read: Vec<Audited>) -> u64 {
        let mut faults = 0;
        for Audited { apex, doc, found } in read {
            if found == Some(doc.digest) {
                self.wrong.remove(&apex);
                continue;
            }
            // It may have been written anew meanwhile, or once already.
            if book.doc(&apex) != doc || !self.wrong.insert(apex.clone()) {
                continue;
            }
            let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
            tracing::error!(%apex, must = %doc.digest, found,
                "a zone of the document does not come to what its row says: it is written anew");
            faults += 1;
            book.want(&apex);
        }
        faults
    }
}

/// Waits for the zones that are being read.
pub(super) async fn audited(audit: &mut Audit) -> Vec<Audited> {
    let Some(task) = &mut audit.task else { return std::future::pending().await };
    let read = task.await;
    audit.task = None;
    read.unwrap_or_default()
}

/// Returns the zones of the document that come next; begins with all of them where none is left.
fn samples(book: &Book, pending: &mut Vec<Name>) -> Vec<Sample> {
    if pending.is_empty() {
        *pending = book.apexes().filter(|apex| book.is_in_doc(apex)).cloned().collect();
    }
    let (mut samples, mut octets) = (Vec::new(), 0);
    while samples.len() < AUDIT_ZONES_MAX
        && octets < AUDIT_OCTETS_MAX
        && let Some(apex) = pending.pop()
    {
        // One that is gone by now has no packs, as one that could not be built.
        let next = sample(book, &apex);
        octets += next.octets();
        samples.push(next);
    }
    samples
}

/// Returns what is to be read of a zone.
fn sample(book: &Book, apex: &Name) -> Sample {
    Sample { apex: apex.clone(), doc: book.doc(apex), places: book.places(apex) }
}

/// Reads zones; returns what they come to. One of which something is gone says nothing here. One bundle
/// is held at a time, however large a zone is.
async fn read(depot: Arc<dyn Depot>, key: DigestKey, samples: Vec<Sample>) -> Vec<Audited> {
    let (mut read, mut bundle) = (Vec::new(), None);
    for Sample { apex, doc, places } in samples {
        let mut is_here = !places.is_empty();
        let mut count = Count::new(key);
        let (deltas, bases) = places.iter().partition::<Vec<_>, _>(|place| place.is_delta);
        for place in deltas.into_iter().chain(bases) {
            let Ok(Some(pack)) = pack_of(&*depot, &mut bundle, place).await else {
                is_here = false;
                break;
            };
            count.take(&pack);
            tokio::task::yield_now().await;
        }
        if is_here {
            read.push(Audited { apex, doc, found: count.end() });
        }
    }
    read
}

/// Returns the pack that lies at a place; none if it is gone. `last` is the bundle that was read last.
async fn pack_of(
    depot: &dyn Depot,
    last: &mut Option<(Hash, Bytes)>,
    place: &Place,
) -> Result<Option<Bytes>, ExportError> {
    let hash = place.bundle.hash;
    let bundle = match last {
        Some((known, bundle)) if *known == hash => bundle,
        _ => {
            let Some(bundle) = depot.get(hash).await? else { return Ok(None) };
            &last.insert((hash, bundle)).1
        }
    };
    let (start, end) = (place.offset as usize, (place.offset + place.len) as usize);
    Ok((bundle.len() >= end).then(|| bundle.slice(start..end)))
}

/// Counts what the packs of a zone come to, the deltas first.
pub(super) struct Count {
    /// The key of all digests.
    key: DigestKey,
    /// What the deltas say of RRsets, by owner and type.
    changed: HashMap<(Vec<u8>, RecordType), Digest>,
    /// The sum of the RRsets that no delta has changed; none after a pack that does not read.
    sum: Option<Digest>,
}

impl Count {
    /// Nothing was counted yet.
    pub(super) fn new(key: DigestKey) -> Self {
        Self { key, changed: HashMap::new(), sum: Some(Digest::default()) }
    }

    /// Counts a pack.
    pub(super) fn take(&mut self, octets: &[u8]) {
        let (Some(mut sum), Ok(pack)) = (self.sum.take(), Pack::check(octets)) else { return };
        let mut items = pack.items();
        while let Some(item) = items.next() {
            let (owner, rtype, digest) = match item {
                ItemRef::Put(rrset) => (rrset.owner, rrset.rtype, self.key.rrset(&rrset)),
                ItemRef::Delete { owner, rtype } => (owner, rtype, Digest::default()),
            };
            let place = || (owner.to_vec(), rtype);
            if pack.is_delta() {
                self.changed.insert(place(), digest);
            } else if self.changed.is_empty() || !self.changed.contains_key(&place()) {
                sum = sum.plus(digest);
            }
        }
        self.sum = Some(sum);
    }

    /// What all of them come to; none if one does not read.
    pub(super) fn end(self) -> Option<Digest> {
        let add = |sum: Digest, changed: &Digest| sum.plus(*changed);
        self.sum.map(|sum| self.changed.values().fold(sum, add))
    }
}

/// Zones that were wrong and are read each time.
const AUDIT_WRONG_MAX: usize = 16;
