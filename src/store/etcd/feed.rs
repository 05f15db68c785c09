//! Following etcd: a watch that goes on at another member when its own fails.
//!
//! **Invariant:** every commit that changed a key that is not quiet, once and in order, all of one line of
//! commits, or an error.
//! **Not here:** requests and replies (`etcd::connection`).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{
    Event, EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream,
};

use super::connection::{Failure, PAUSE, classify};
use super::{Shared, header_revision, unsigned};
use crate::limits::ETCD_REPLY_OCTETS_MAX;
use crate::store::kv::{ChangeEvent, ChangeFeed, KeyChange, KvError, LEAD_KEY, QUIET_FIRST};

/// A watch that survives its member.
pub(super) struct WatchFeed {
    /// The engine.
    shared: Arc<Shared>,
    /// All commits up to this revision were received.
    after: u64,
    /// What the lead key was then; `None` as long as nobody has looked.
    lead: Option<Lead>,
    /// Received, not yet given out.
    ready: VecDeque<ChangeEvent>,
    /// The watch and the epoch of its member; `None` when it must be made anew.
    watch: Option<(u64, WatchStream)>,
    /// Set once the feed is at its end.
    ended: Option<KvError>,
}

/// What the lead key was at a revision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Lead {
    /// The revision that wrote it, 0 if nothing stood there.
    revision: i64,
    /// Stands for its value, which may be long.
    hash: u64,
}

impl Lead {
    /// Notes what stands there.
    fn of(kv: &KeyValue) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(kv.value());
        Self { revision: kv.mod_revision(), hash: hasher.finish() }
    }
}

impl WatchFeed {
    /// Begins behind revision `after`.
    ///
    /// # Errors
    /// [`KvError::Ahead`], [`KvError::Compacted`] or [`KvError::Engine`].
    pub(super) async fn open(shared: Arc<Shared>, after: u64) -> Result<Self, KvError> {
        let (lead, watch, ended) = (None, None, None);
        let mut feed = Self { shared, after, lead, ready: VecDeque::new(), watch, ended };
        feed.connect().await?;
        Ok(feed)
    }

    /// Makes the watch at a member that answers.
    ///
    /// Whether the cluster still is the one that was followed is asked behind the watch: it may take as long
    /// as it likes until a member answers, and the cluster may be put back meanwhile. From then on the watch
    /// is the proof, for it breaks with its member.
    ///
    /// # Errors
    /// As [`WatchFeed::check_begin`]; the feed has ended then.
    async fn connect(&mut self) -> Result<(), KvError> {
        loop {
            let (epoch, client) = self.shared.connection.client().await;
            let range_end = self.shared.key(&[QUIET_FIRST]);
            let options = WatchOptions::new()
                .with_range(range_end)
                .with_start_revision(i64::try_from(self.after + 1).unwrap_or(i64::MAX))
                .with_prev_key()
                .with_progress_notify();
            let mut watcher =
                client.watch_client().max_decoding_message_size(ETCD_REPLY_OCTETS_MAX);
            let made = watcher.watch(self.shared.key(b""), Some(options));
            let made = tokio::select! {
                made = tokio::time::timeout(CONNECT_TIMEOUT, made) => made,
                // It is not heard of there any more.
                () = self.shared.connection.left(epoch) => continue,
            };
            match made {
                Ok(Ok(mut stream)) => match self.check_begin().await {
                    Ok(true) => {
                        self.watch = Some((epoch, stream));
                        return Ok(());
                    }
                    Ok(false) => {}
                    Err(KvError::Compacted { compacted }) => {
                        let compacted = compacted_to(&mut stream).await.unwrap_or(compacted);
                        return Err(self.end(KvError::Compacted { compacted }));
                    }
                    Err(error) => return Err(error),
                },
                Ok(Err(error)) => match classify(&error) {
                    Failure::Final(error) => return Err(self.end(error)),
                    Failure::Unsure(error) => tracing::debug!(%error, "a watch was not made"),
                },
                Err(_) => tracing::debug!("a watch was not made in time"),
            }
            self.shared.connection.leave(epoch).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Checks that what was told is still what the cluster has, and that nothing behind it is compacted;
    /// `false` if nobody has answered in time.
    ///
    /// A cluster that was put back may have gone on to any revision, under the same identity, and would be
    /// followed in the middle of other commits; the lead key, read at the revision that was told last, says
    /// which commits they are.
    ///
    /// A watch would say that something is compacted, too, but late, and some versions of etcd lose a delete
    /// that was made at the very revision of the compaction; a read of revision `after` fails in both cases.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if what follows `after` is no longer whole, [`KvError::Ahead`] if the cluster
    /// has never been there, [`KvError::Replaced`] if it came there in another way, [`KvError::Engine`] if it
    /// refuses for good; the feed has ended then.
    async fn check_begin(&mut self) -> Result<bool, KvError> {
        let revision = i64::try_from(self.after.max(1)).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_revision(revision);
        let found = match self.shared.connection.try_get(self.shared.key(LEAD_KEY), options).await {
            Ok(found) => found.kvs().first().map(Lead::of).unwrap_or_default(),
            Err(Failure::Final(error)) => {
                let error = self.final_error(error).await;
                return Err(self.end(error));
            }
            Err(Failure::Unsure(error)) => {
                tracing::warn!(%error, "a feed waits for etcd to answer");
                return Ok(false);
            }
        };
        if *self.lead.get_or_insert(found) != found {
            let after = self.after;
            return Err(self.end(KvError::Replaced { after }));
        }
        Ok(true)
    }

    /// Says what it means that the cluster refuses to read at `after`.
    async fn final_error(&self, error: KvError) -> KvError {
        let after = self.after;
        match error {
            KvError::Compacted { .. } => KvError::Compacted { compacted: after + 1 },
            // It was put back, or is another one.
            KvError::Ahead { .. } => {
                let newest = newest_revision(&self.shared).await.unwrap_or(0);
                KvError::Ahead { after, revision: newest.min(after.saturating_sub(1)) }
            }
            error => error,
        }
    }

    /// Receives one reply; `None` if the watch broke, or its member is not in use any more: a silent one says
    /// nothing, and breaks late. Safe to cancel.
    async fn receive(&mut self) -> Option<WatchResponse> {
        let (epoch, stream) = self.watch.as_mut()?;
        let message = tokio::select! {
            message = stream.message() => message,
            () = self.shared.connection.left(*epoch) => return None,
        };
        match message {
            Ok(Some(response)) => Some(response),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "a watch broke");
                None
            }
        }
    }

    /// Takes what a reply says.
    fn take(&mut self, response: &WatchResponse) -> Result<(), KvError> {
        if response.compact_revision() > 0 {
            let compacted = unsigned(response.compact_revision()).saturating_sub(1);
            return Err(self.end(KvError::Compacted { compacted }));
        }
        if response.canceled() {
            tracing::debug!(reason = response.cancel_reason(), "a watch was canceled");
            self.watch = None;
            return Ok(());
        }
        if response.created() {
            return Ok(());
        }
        if response.events().is_empty() {
            // A progress notice: everything up to its revision was told.
            let told = unsigned(header_revision(response.header())?);
            self.after = self.after.max(told);
            return Ok(());
        }
        for event in response.events() {
            if let Err(error) = self.take_event(event) {
                return Err(self.end(error));
            }
        }
        // etcd never splits the events of one revision over replies unless it is asked to.
        for event in &mut self.ready {
            event.changes.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(())
    }

    /// Adds one key's change to its commit.
    fn take_event(&mut self, event: &Event) -> Result<(), KvError> {
        let kv =
            event.kv().ok_or(KvError::Unreadable { what: "an event of etcd without a key" })?;
        let revision = unsigned(kv.mod_revision());
        let is_put = event.event_type() == EventType::Put;
        let prev_revision = event.prev_kv().map(|kv| unsigned(kv.mod_revision()));
        // Without the value before, where there was one, etcd has compacted it meanwhile.
        if prev_revision.is_none() && (!is_put || kv.version() > 1) {
            return Err(KvError::Compacted { compacted: revision.saturating_sub(1) });
        }
        let change = KeyChange {
            key: self.shared.own_key(kv.key())?,
            value: is_put.then(|| kv.value().to_vec()),
            prev_revision,
        };
        let lead =
            (change.key == LEAD_KEY).then(|| if is_put { Lead::of(kv) } else { Lead::default() });
        match self.ready.back_mut() {
            Some(last) if last.revision == revision => last.changes.push(change),
            _ if revision <= self.after => return Ok(()), // told before the watch was made anew
            _ => self.ready.push_back(ChangeEvent { revision, changes: vec![change] }),
        }
        self.lead = lead.or(self.lead);
        self.after = self.after.max(revision);
        Ok(())
    }

    /// Ends the feed for good.
    fn end(&mut self, error: KvError) -> KvError {
        self.watch = None;
        self.ended = Some(error.clone());
        error
    }
}

#[async_trait]
impl ChangeFeed for WatchFeed {
    async fn next(&mut self) -> Result<ChangeEvent, KvError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            let Some((epoch, _)) = &self.watch else {
                self.connect().await?;
                continue;
            };
            let epoch = *epoch;
            match self.receive().await {
                Some(response) => {
                    self.take(&response)?;
                    if self.watch.is_none() {
                        // What canceled this watch may cancel the next one at once.
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                None => {
                    self.watch = None;
                    self.shared.connection.leave(epoch).await;
                }
            }
        }
    }
}

/// Returns the revision up to which the cluster has compacted, as a watch that comes too late is told; none if it is
/// not told soon.
async fn compacted_to(stream: &mut WatchStream) -> Option<u64> {
    let told = async {
        while let Ok(Some(response)) = stream.message().await {
            if response.compact_revision() > 0 {
                return Some(unsigned(response.compact_revision()));
            }
        }
        None
    };
    tokio::time::timeout(COMPACTED_TIMEOUT, told).await.ok().flatten()
}

/// Returns the cluster's newest revision.
async fn newest_revision(shared: &Shared) -> Result<u64, KvError> {
    let options = GetOptions::new().with_count_only();
    let newest = shared.connection.get(shared.key(b""), options).await?;
    Ok(unsigned(header_revision(newest.header())?))
}

/// How long a member may take to say how far it has compacted: a watch that begins just there is not told.
const COMPACTED_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
/// How long a member may take to confirm a watch.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
