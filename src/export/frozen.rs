//! A feed that is frozen: its author says that it lives, and nothing else, until the feed is thawed.
//!
//! Edges keep what they have, and know that they are not behind. What was committed meanwhile goes out when the
//! feed is opened anew. Where it stood is noted in the source, so that who writes it next, or after a restart,
//! says the same; one that was never noted is not written until then.
//!
//! **Invariant:** nothing that was committed after the freeze is read here.
//! **Not here:** the freeze itself (the source's), how a feed is opened (`opening`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::ExportError;
use super::book::Book;
use super::chronicle::Signer;
use super::opening::{adopt, read_root};
use super::parts::ExportTask;
use super::term;
use super::version::Round;
use crate::clock::now_ms;
use crate::feed::segment::{Position, VersionRef};
use crate::feed::{Hash, HistoryId};
use crate::limits::{FEED_BEAT_MS, FREEZE_NOTE_MS_MAX};
use crate::octets::OctetReader;
use crate::store::history::Freeze;

/// Where a feed stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrozenAt {
    /// The history.
    history: HistoryId,
    /// The position that its log leads to.
    at: Position,
    /// What all zones come to there.
    sum: u128,
    /// How many there are.
    zones: u64,
    /// The number of the newest version of the document.
    number: u64,
    /// The term of who wrote it.
    term: u64,
}

/// A writer that has stopped where it stood.
pub(super) struct Stopped {
    /// Signs for it.
    signer: Signer,
    /// Where it stood.
    frozen: FrozenAt,
    /// How many heartbeats there were.
    beats: u64,
}

impl FrozenAt {
    /// Returns the octets of the note.
    fn to_octets(self) -> Vec<u8> {
        let Self { history, at, sum, zones, number, term } = self;
        let mut octets = Vec::new();
        octets.extend_from_slice(&history.id.to_be_bytes());
        octets.extend_from_slice(&sum.to_be_bytes());
        for word in [history.epoch, at.revision, at.tag, zones, number, term] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        octets
    }

    /// Reads the octets of the note.
    fn from_octets(octets: &[u8]) -> Option<Self> {
        let mut reader = OctetReader::new(octets);
        let id = u128::from_be_bytes(reader.array("history").ok()?);
        let sum = u128::from_be_bytes(reader.array("sum").ok()?);
        let mut word = || reader.u64("number").ok();
        let (epoch, revision, tag) = (word()?, word()?, word()?);
        let (zones, number, term) = (word()?, word()?, word()?);
        reader.end().ok()?;
        let (history, at) = (HistoryId { epoch, id }, Position { revision, tag });
        Some(Self { history, at, sum, zones, number, term })
    }
}

impl ExportTask {
    /// Stops a round where it stands.
    pub(super) async fn stop_round(&mut self, round: Round) -> Stopped {
        let (sum, zones) = round.book.log_sum();
        let signer = round.chronicle.signer.clone();
        let (history, term) = (signer.history, signer.term);
        let (at, number, beats) = (round.chronicle.at(), round.number, round.beats);
        round.end().await;
        Stopped { signer, frozen: FrozenAt { history, at, sum, zones, number, term }, beats }
    }

    /// Says that the author lives until the feed is thawed.
    ///
    /// # Errors
    /// Those of the source, where it must say how far the feed was.
    pub(super) async fn stay_frozen(
        &mut self,
        freeze: Freeze,
        stopped: Option<Stopped>,
    ) -> Result<(), ExportError> {
        let mut thawed = self.parts.source.freeze();
        let feed = self.parts.config.name.clone();
        // A feed that is rotated meanwhile is called otherwise, and another has its name.
        let key = self.parts.config.key().to_owned();
        let mut unnoted = stopped.as_ref().map(|stopped| stopped.frozen);
        let mut stopped = match stopped {
            Some(stopped) => Some(stopped),
            None => match self.parts.source.frozen_at(&key, freeze.id).await? {
                Some(octets) => self.show_frozen(&octets).await,
                None => None,
            },
        };
        match &stopped {
            Some(stopped) => {
                tracing::warn!(feed, at = stopped.frozen.at.revision, "the feed is frozen");
            }
            None => tracing::warn!(
                feed,
                "the feeds are frozen, and this one was never written before that: it is not until they are thawed"
            ),
        }
        let mut tick = tokio::time::interval(Duration::from_millis(FEED_BEAT_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = is_another(&mut thawed, freeze) => {
                    tracing::warn!(feed, "the feed is not frozen any more: what was committed goes out");
                    self.status.is_frozen = false;
                    return Ok(());
                }
            }
            while self.evidence.try_recv().is_ok() {}
            if let Some(stopped) = &mut stopped {
                stopped.beat(self);
            }
            if let Some(frozen) = unnoted {
                let octets = frozen.to_octets();
                let noting = self.parts.source.note_frozen_at(&key, freeze.id, &octets);
                let limit = Duration::from_millis(FREEZE_NOTE_MS_MAX);
                if matches!(tokio::time::timeout(limit, noting).await, Ok(Ok(()))) {
                    unnoted = None;
                }
            }
            self.note_frozen(stopped.as_ref(), unnoted.is_none());
        }
    }

    /// Shows what was written of the feed before the freeze, by whomever: the last version, if it lies here. Where it
    /// does not, whoever comes with nothing is sent on to those who follow.
    async fn show_frozen(&mut self, octets: &[u8]) -> Option<Stopped> {
        let frozen = FrozenAt::from_octets(octets)?;
        let parts = &self.parts;
        let last = parts.root_file.as_deref().and_then(read_root).filter(|root| {
            root.namespace == parts.namespace
                && root.history == frozen.history
                && root.at.revision <= frozen.at.revision
        });
        let known = last.as_ref().map_or(0, |root| root.term).max(frozen.term).max(self.term);
        let known = parts.config.tenure.as_ref().map_or(known, |turn| known.max(turn.term_above));
        let term = term::begin(parts.root_file.as_deref().map(term::file_of).as_deref(), known);
        let (namespace, author) = (parts.namespace, parts.author.clone());
        let signer = Signer { namespace, author, history: frozen.history, term };
        parts.log.begin_bare(frozen.history, frozen.at);
        if let Some(root) = last
            && let Ok(octets) = root.to_octets()
        {
            let mut book = Book::new(root.digest_key);
            adopt(&mut book, &*parts.depot, &root).await;
            let hash = *iroh_blobs::Hash::new(&octets).as_bytes();
            let mut kept: HashSet<Hash> = book.bundles().copied().collect();
            kept.extend(root.indexes.iter().map(|index| index.hash));
            kept.insert(hash);
            Arc::clone(&parts.depot).keep(kept);
            // Contents may have gone while somebody else wrote the feed.
            if !book.is_behind() && book.doc_sum() == (root.sum, root.zones) {
                let version = VersionRef { number: root.number, hash, len: octets.len() as u32 };
                let segment: Bytes = signer.version(root.at, version);
                parts.log.set_version(version, root.at, &segment);
                self.status.document = root.at;
                self.status.version = root.number;
            }
        }
        self.term = term;
        Some(Stopped { signer, frozen, beats: 0 })
    }

    /// Notes how far the feed is, and that it goes no further.
    fn note_frozen(&mut self, stopped: Option<&Stopped>, is_noted: bool) {
        if let Some(Stopped { frozen, .. }) = stopped {
            self.status.history = frozen.history;
            self.status.revision = frozen.at;
            self.status.zone_count = frozen.zones;
        }
        // Whoever asked for it may rely on it, whatever becomes of this process.
        self.status.is_frozen = is_noted;
        self.status.is_working = true;
        self.status.alive_ms = now_ms();
        self.tell();
    }
}

impl Stopped {
    /// Writes a heartbeat.
    fn beat(&mut self, task: &ExportTask) {
        self.beats += 1;
        let FrozenAt { at, sum, zones, number, .. } = self.frozen;
        let beat = self.signer.beat_of(self.beats, at, (sum, zones), number);
        task.parts.log.set_beat(at, &beat);
    }
}

/// Waits until the feeds are frozen, and returns how.
pub(super) async fn frozen(freeze: &mut watch::Receiver<Option<Freeze>>) -> Freeze {
    loop {
        if let Some(frozen) = *freeze.borrow_and_update() {
            return frozen;
        }
        if freeze.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until a freeze is over.
async fn is_another(freeze: &mut watch::Receiver<Option<Freeze>>, own: Freeze) {
    if freeze.wait_for(|now| *now != Some(own)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_feed_stands_reads_back() {
        let (history, at) = (HistoryId { epoch: 3, id: 9 << 70 }, Position { revision: 7, tag: 8 });
        let frozen = FrozenAt { history, at, sum: 5 << 80, zones: 4, number: 2, term: 6 };
        let octets = frozen.to_octets();
        assert_eq!(FrozenAt::from_octets(&octets), Some(frozen));
        assert_eq!(FrozenAt::from_octets(&octets[1..]), None);
    }
}
