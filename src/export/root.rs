//! Puts the root of a version and announces it: contents, the root's file, the log, the namespace.
//!
//! What waits for the disk is done in tasks beside the loop, so that no change waits with it.
//!
//! **Invariant:** a root is announced when everything that it names, and the root itself, outlive the
//! process; the namespace names no version that the log has not announced.
//! **Not here:** packs and indexes (`version`), when a version is made (`version`).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ExportError;
use super::depot::Depot;
use super::doc::FeedDoc;
use super::parts::ExportTask;
use super::version::{Making, Round};
use crate::clock::now_ms;
use crate::durable;
use crate::feed::Hash;
use crate::feed::root::Root;
use crate::feed::segment::{Position, VersionRef};
use crate::limits::RETIRED_S;

impl ExportTask {
    /// Writes the root of a version, which holds at a position, and begins to put it.
    ///
    /// # Errors
    /// [`ExportError::Unreadable`].
    pub(super) fn start_new_root(
        &mut self,
        round: &mut Round,
        at: Position,
    ) -> Result<(), ExportError> {
        let (sum, zones) = round.book.doc_sum();
        // Never below the commits, most of which make no version: where the last root was an older copy,
        // what was announced since has a lower number.
        round.number = (round.number + 1).max(round.chronicle.at().revision);
        let signer = &round.chronicle.signer;
        let root = Root {
            namespace: self.parts.namespace,
            cluster_id: self.parts.config.cluster_id.clone(),
            history: signer.history,
            term: signer.term,
            number: round.number,
            at,
            digest_key: round.book.key(),
            time_ms: now_ms(),
            zones,
            sum,
            indexes: round.shelf.indexes(),
        };
        self.start_root(round, root)?;
        self.status.versions_written += 1;
        Ok(())
    }

    /// Begins to put a root.
    ///
    /// # Errors
    /// [`ExportError::Unreadable`].
    pub(super) fn start_root(&self, round: &mut Round, root: Root) -> Result<(), ExportError> {
        let (depot, file) = (Arc::clone(&self.parts.depot), self.parts.root_file.clone());
        let (octets, number) = (Bytes::from(root.to_octets()?), root.number);
        let task = tokio::spawn(put(depot, file, octets, number));
        round.making = Some(Making::Root { root, task });
        Ok(())
    }

    /// Says what is kept of a version whose root was put, and tells everybody.
    pub(super) fn take_root(
        &mut self,
        round: &mut Round,
        root: &Root,
        put: Result<VersionRef, ExportError>,
    ) -> Result<(), ExportError> {
        let version = put?;
        if self.parts.depot.generation() != round.made_in {
            // What it names may have gone with the store that it was put into.
            let reason = "the store of contents was replaced meanwhile".to_owned();
            return Err(ExportError::Blobs { reason });
        }
        let segment = round.chronicle.signer.version(root.at, version);
        let mut kept: HashSet<Hash> = round.book.bundles().copied().collect();
        kept.extend(root.indexes.iter().map(|index| index.hash));
        kept.insert(version.hash);
        self.keep(round, kept);
        round.doc_at = root.at;
        self.parts.log.set_version(version, root.at, &segment);
        if version.number < round.number {
            // Peers have shown a later one meanwhile: this one is not news to them.
            self.start_making(round);
            return Ok(());
        }
        match &self.doc {
            Some(doc) => {
                let (doc, number) = (Arc::clone(doc), version.number);
                let task = tokio::spawn(put_entry(doc, number, segment));
                round.making = Some(Making::Entry { number, task });
            }
            None => self.end_version(round),
        }
        Ok(())
    }

    /// Notes that a version is whole and everybody can find it.
    pub(super) fn end_version(&mut self, round: &mut Round) {
        if !round.has_failed {
            round.retry = None;
            self.failing_since = None;
        }
    }

    /// Spares the contents of the newest version, and for a while those of older ones.
    fn keep(&self, round: &mut Round, kept: HashSet<Hash>) {
        let now = Instant::now();
        let before = std::mem::replace(&mut round.kept, kept);
        let gone: HashSet<Hash> =
            before.into_iter().filter(|hash| !round.kept.contains(hash)).collect();
        if !gone.is_empty() {
            round.retired.push_back((now, gone));
        }
        let limit = Duration::from_secs(RETIRED_S);
        while round.retired.front().is_some_and(|(since, _)| now - *since > limit) {
            round.retired.pop_front();
        }
        let mut all = round.kept.clone();
        all.extend(round.retired.iter().flat_map(|(_, hashes)| hashes));
        self.parts.depot.keep(all);
    }
}

/// Has the namespace name a version; returns the number that it names then.
async fn put_entry(doc: Arc<FeedDoc>, number: u64, segment: Bytes) -> Result<u64, ExportError> {
    let Err(error) = doc.put(number, segment).await else { return Ok(number) };
    // One that is there with a later number is never replaced.
    match doc.newest().await {
        Ok(Some((_, newest))) if newest >= number => Ok(newest),
        _ => Err(error),
    }
}

/// Puts a root, and returns when it and all that it names outlive the process.
async fn put(
    depot: Arc<dyn Depot>,
    file: Option<PathBuf>,
    octets: Bytes,
    number: u64,
) -> Result<VersionRef, ExportError> {
    let len = octets.len() as u32;
    let hash = depot.put(octets.clone()).await?;
    depot.sync().await?;
    if let Some(path) = file {
        let writing = tokio::task::spawn_blocking(move || {
            let made = path.parent().map_or(Ok(()), durable::create_dir);
            let written = made.and_then(|()| durable::write(&path, &octets));
            written.map_err(|source| ExportError::File { path, source })
        });
        writing.await.map_err(|error| ExportError::Blobs { reason: error.to_string() })??;
    }
    Ok(VersionRef { number, hash, len })
}
