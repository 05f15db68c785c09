//! Reads the document as an edge does, zone after zone, all the time and slowly, and sees that each comes
//! to what its row says. One that does not is written anew.
//!
//! **Invariant:** of a zone the packs and the digest of one moment are compared.
//! **Not here:** whether rows agree with the source (`opening`), contents that are gone (`version`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::ExportError;
use super::book::{Book, Head, Place};
use super::depot::Depot;
use super::task::ExportTask;
use super::version::Round;
use crate::feed::Hash;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::merge::for_each_rrset;
use crate::limits::{AUDIT_MS_MIN, AUDIT_OCTETS_MAX, AUDIT_OCTETS_PER_S, AUDIT_ZONES_MAX};
use crate::name::Name;

/// How far the document was read.
pub(super) struct Audit {
    /// The zone that was read last.
    after: Option<Name>,
    /// When the next may be read.
    due: Instant,
    /// Those that are being read.
    task: Option<JoinHandle<Vec<Audited>>>,
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

/// A zone whose packs do not come to what its row says.
pub(super) struct Audited {
    /// The zone.
    apex: Name,
    /// What its row said.
    doc: Head,
    /// What the packs come to; none if they do not read.
    found: Option<Digest>,
}

impl Audit {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Self { after: None, due: Instant::now(), task: None }
    }

    /// Stops reading.
    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl ExportTask {
    /// Begins to read the next zones if it is time.
    pub(super) fn start_audit(&self, round: &mut Round) {
        let now = Instant::now();
        if round.audit.task.is_some() || now < round.audit.due {
            return;
        }
        let (samples, octets) = samples(&round.book, round.audit.after.as_ref());
        round.audit.after = samples.last().map(|sample| sample.apex.clone());
        let pause = Duration::from_millis(octets * 1_000 / AUDIT_OCTETS_PER_S);
        round.audit.due = now + pause.max(Duration::from_millis(AUDIT_MS_MIN));
        if !samples.is_empty() {
            let (depot, key) = (Arc::clone(&self.parts.depot), round.book.key());
            round.audit.task = Some(tokio::spawn(read(depot, key, samples)));
        }
    }

    /// Has zones written anew that an edge would not come to.
    pub(super) fn take_audited(&mut self, round: &mut Round, wrong: Vec<Audited>) {
        for Audited { apex, doc, found } in wrong {
            if round.book.doc(&apex) != doc {
                // It was written anew meanwhile.
                continue;
            }
            let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
            tracing::error!(%apex, must = %doc.digest, found,
                "a zone of the document does not come to what its row says: it is written anew");
            self.status.digest_faults += 1;
            round.book.want(&apex);
        }
    }
}

/// Waits for the zones that are being read.
pub(super) async fn audited(audit: &mut Audit) -> Vec<Audited> {
    let Some(task) = &mut audit.task else { return std::future::pending().await };
    let wrong = task.await;
    audit.task = None;
    wrong.unwrap_or_default()
}

/// Returns the zones of the document that come next, and how many octets their packs are.
fn samples(book: &Book, after: Option<&Name>) -> (Vec<Sample>, u64) {
    let (mut samples, mut octets) = (Vec::new(), 0);
    for apex in book.next_in_doc(after, AUDIT_ZONES_MAX) {
        if octets >= AUDIT_OCTETS_MAX {
            break;
        }
        let places = book.places(apex);
        octets += places.iter().map(|place| u64::from(place.len)).sum::<u64>();
        samples.push(Sample { apex: apex.clone(), doc: book.doc(apex), places });
    }
    (samples, octets)
}

/// Reads zones; returns those that are wrong. One of which something is gone says nothing here.
async fn read(depot: Arc<dyn Depot>, key: DigestKey, samples: Vec<Sample>) -> Vec<Audited> {
    let mut wrong = Vec::new();
    let mut bundles: HashMap<Hash, Bytes> = HashMap::new();
    for Sample { apex, doc, places } in samples {
        let Ok(Some(packs)) = packs_of(&*depot, &mut bundles, &places).await else { continue };
        if packs.is_empty() {
            // It could not be built, and its row says so.
            continue;
        }
        let counting = tokio::task::spawn_blocking(move || {
            let found = count(&apex, key, &packs);
            (found != Some(doc.digest)).then_some(Audited { apex, doc, found })
        });
        wrong.extend(counting.await.ok().flatten());
    }
    wrong
}

/// Returns the packs that lie at these places; none if one of them is gone.
async fn packs_of(
    depot: &dyn Depot,
    bundles: &mut HashMap<Hash, Bytes>,
    places: &[Place],
) -> Result<Option<Vec<Bytes>>, ExportError> {
    let mut packs = Vec::with_capacity(places.len());
    for place in places {
        let hash = place.bundle.hash;
        if !bundles.contains_key(&hash) {
            if bundles.len() >= BUNDLES_MAX {
                bundles.clear();
            }
            let Some(bundle) = depot.get(hash).await? else { return Ok(None) };
            bundles.insert(hash, bundle);
        }
        let (start, end) = (place.offset as usize, (place.offset + place.len) as usize);
        let bundle = bundles.get(&hash).filter(|bundle| bundle.len() >= end);
        let Some(bundle) = bundle else { return Ok(None) };
        packs.push(bundle.slice(start..end));
    }
    Ok(Some(packs))
}

/// Returns what packs come to; none if they do not read.
pub(super) fn count(apex: &Name, key: DigestKey, packs: &[Bytes]) -> Option<Digest> {
    let mut sum = Digest::default();
    let read = for_each_rrset(apex, packs, &[], |rrset| sum = sum.plus(key.rrset(&rrset)));
    read.is_ok().then_some(sum)
}

/// Bundles that are held at a time, beside the packs of one zone.
const BUNDLES_MAX: usize = 16;
