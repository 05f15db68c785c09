//! How often an export that begins has to wait for a source that is far away.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use iroh_docs::Author;

use super::*;
use crate::export::FeedConfig;
use crate::export::depot::Depot;
use crate::feed::digest::DigestKey;
use crate::mesh::log::Log;
use crate::store::history::{Commit, ZoneContents};

/// A source without zones whose answers come when all that is asked at a time has been asked.
#[derive(Default)]
struct Far {
    /// The trips that are over.
    trips: AtomicU64,
    /// Whether anybody waits for the next one.
    is_asked: AtomicBool,
}

impl Far {
    /// Waits for the trip that is made next.
    async fn trip(&self) {
        let before = self.trips.load(Ordering::Relaxed);
        self.is_asked.store(true, Ordering::Relaxed);
        poll_fn(|_| match self.trips.load(Ordering::Relaxed) > before {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

#[async_trait]
impl ZoneSource for Far {
    async fn history(&self) -> Result<History, SourceError> {
        self.trip().await;
        Ok(HISTORY)
    }

    async fn begin_history(&self, _: &History, _: u64) -> Result<History, SourceError> {
        unreachable!("it is the one that was exported")
    }

    async fn revision(&self) -> Result<u64, SourceError> {
        self.trip().await;
        Ok(NEWEST)
    }

    async fn newest(&self) -> Result<Position, SourceError> {
        self.trip().await;
        Ok(at(NEWEST))
    }

    async fn zones(&self) -> Result<Vec<ZoneState>, SourceError> {
        self.trip().await;
        Ok(Vec::new())
    }

    async fn zone_contents(&self, _: &Name) -> Result<Option<ZoneContents>, SourceError> {
        Ok(None)
    }

    async fn zones_contents(&self, _: &[Name]) -> Result<Vec<ZoneContents>, SourceError> {
        Ok(Vec::new())
    }

    async fn commits(&self, after: u64) -> Result<Box<dyn CommitSource>, SourceError> {
        self.trip().await;
        Ok(Box::new(Line { after }))
    }
}

/// Commits up to the newest, each of no zone.
struct Line {
    after: u64,
}

#[async_trait]
impl CommitSource for Line {
    async fn next(&mut self) -> Result<Commit, SourceError> {
        if self.after == NEWEST {
            return std::future::pending().await;
        }
        self.after += 1;
        Ok(Commit { revision: self.after, tag: at(self.after).tag, zones: Vec::new() })
    }
}

/// A depot that nobody asks.
struct Unused;

#[async_trait]
impl Depot for Unused {
    async fn put(&self, _: Bytes) -> Result<Hash, ExportError> {
        unreachable!()
    }

    async fn get(&self, _: Hash) -> Result<Option<Bytes>, ExportError> {
        unreachable!()
    }

    async fn has(&self, _: Hash) -> Result<bool, ExportError> {
        unreachable!()
    }

    async fn look_at(&self, _: Vec<Hash>) -> Result<HashSet<Hash>, ExportError> {
        unreachable!()
    }

    async fn sync(&self) -> Result<(), ExportError> {
        unreachable!()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn keep(&self, _: HashSet<Hash>) {}
}

fn at(revision: u64) -> Position {
    Position { revision, tag: revision * 10 }
}

/// They were five, one after the other, while edges waited.
#[tokio::test]
async fn who_goes_on_with_a_feed_makes_three_trips_to_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root {
        namespace: FEED,
        cluster_id: String::new(),
        history: id_of(&HISTORY),
        term: 1,
        number: 1,
        at: at(5),
        digest_key: HISTORY.digest_key,
        time_ms: 0,
        zones: 0,
        sum: 0,
        indexes: Vec::new(),
    };
    let (file, far) = (dir.path().join("root"), Arc::new(Far::default()));
    std::fs::write(&file, root.to_octets().unwrap()).unwrap();
    let parts = Parts {
        source: Arc::clone(&far) as _,
        depot: Arc::new(Unused),
        log: Arc::new(Log::new(FEED)),
        config: FeedConfig::default(),
        namespace: FEED,
        author: Author::from_bytes(&[3; 32]),
        root_file: Some(file),
    };
    let mut opening = pin!(open(&parts, None, 0));
    let trip_after_trip = poll_fn(|context| {
        let opened = opening.as_mut().poll(context);
        if opened.is_pending() {
            let is_asked = far.is_asked.swap(false, Ordering::Relaxed);
            far.trips.fetch_add(u64::from(is_asked), Ordering::Relaxed);
            context.waker().wake_by_ref();
        }
        opened
    });
    let opened = tokio::time::timeout(Duration::from_secs(20), trip_after_trip).await;
    let opened = opened.expect("it opens").unwrap();
    assert_eq!((opened.chronicle.at(), parts.log.base()), (at(NEWEST), at(5)));
    assert_eq!(far.trips.load(Ordering::Relaxed), 3);
}

/// The feed.
const FEED: [u8; 32] = [7; 32];
/// The history.
const HISTORY: History = History { epoch: 1, id: 2, digest_key: DigestKey([4; 16]) };
/// The newest revision of the source.
const NEWEST: u64 = 7;
