//! Follows behind on purpose: what comes is held back, and goes on when it is old enough.
//!
//! Of versions that are held all contents are fetched at once: by the time that they are due, who made them has
//! forgotten them. The first version of all is not held: there is nothing older to show.
//!
//! **Invariant:** what is held back is neither shown, nor kept for a restart, nor handed on to others; that the author
//! lives is known at once.
//! **Not here:** what is due when (`behind`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Follow;
use crate::feed::Hash;
use crate::feed::index::Index;
use crate::feed::root::Root;
use crate::feed::segment::{Segment, SegmentBody, VersionRef};
use crate::limits::{BEHIND_FETCH_MS, FETCHES_MAX};
use crate::mesh::Blobs;
use crate::replica::behind::{BehindReport, DelayLine, FollowMode};
use crate::replica::fetch::{Ask, Fetcher};
use crate::replica::upstream::ContentPeers;
use crate::sync::mirror::Mirror;

/// What is held back, and what is fetched for it.
#[derive(Debug)]
pub(super) struct HeldBack {
    /// What is held back.
    line: DelayLine,
    /// Whether there is anything to stay behind with.
    has_begun: bool,
    /// The newest heartbeat: its epoch, term and count.
    beat: Option<(u64, u64, u64)>,
    /// Versions whose contents are fetched, or are here.
    fetches: Vec<VersionFetch>,
    /// How many contents were spared for them last.
    spared: usize,
}

/// The contents of a version that is held back.
#[derive(Debug)]
struct VersionFetch {
    /// The version.
    version: VersionRef,
    /// All that is known of them.
    contents: Arc<Mutex<HashSet<Hash>>>,
    /// What fetches them; none once it has ended.
    task: Option<JoinHandle<()>>,
    /// Whether all of them are here.
    is_here: Arc<AtomicBool>,
    /// When it began.
    at: Instant,
}

impl Drop for VersionFetch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl HeldBack {
    /// Nothing is held back; `has_begun` says whether something is shown.
    pub(super) fn new(delay_ms: u64, has_begun: bool) -> Self {
        let line = DelayLine::new(delay_ms);
        Self { line, has_begun, beat: None, fetches: Vec::new(), spared: 0 }
    }

    /// The contents that are not to be collected.
    pub(super) fn contents(&self) -> HashSet<Hash> {
        let known = |fetch: &VersionFetch| {
            fetch.contents.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.fetches.iter().flat_map(known).collect()
    }

    /// How many contents there are, of each version.
    fn contents_count(&self) -> usize {
        let count = |fetch: &VersionFetch| {
            fetch.contents.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.fetches.iter().map(count).sum()
    }

    /// What is held back.
    pub(super) fn line(&self) -> &DelayLine {
        &self.line
    }
}

impl Follow {
    /// Takes a segment of a peer: at once, or behind. Says whether it was believed.
    pub(super) fn take_arrived(&mut self, octets: &Bytes) -> bool {
        if self.held_back.is_none() {
            return self.take_segment(octets, true);
        }
        if !self.author.has_signed(octets) {
            tracing::warn!("a segment that the feed's author has not signed is refused");
            self.lose_upstream();
            return false;
        }
        let Ok(segment) = Segment::from_octets(octets) else { return false };
        self.hear_author(&segment);
        let (mode, now) = (self.client.behind.mode(), self.client.now_ms());
        let Some(back) = &mut self.held_back else { return false };
        let is_beat = matches!(segment.body, SegmentBody::Beat(_));
        if !back.has_begun {
            // The author's word that this was all by then ends the beginning.
            let last = segment.head.last.revision;
            let is_all =
                |mirror: &mut Mirror| mirror.has_first() && mirror.place().1.revision >= last;
            if is_beat && self.client.with_mirror(is_all) != Some(true) {
                return true;
            }
            if is_beat {
                self.begin_behind();
            }
            return self.take_segment(octets, true);
        }
        let is_through = back.line.is_empty() && (is_beat || mode == FollowMode::Released);
        if is_through {
            return self.take_segment(octets, true);
        }
        if let Some(version) = back.line.push(octets.clone(), &segment, now) {
            self.fetch_version(version);
        }
        true
    }

    /// Notes that the author lives, where a heartbeat is news.
    fn hear_author(&mut self, segment: &Segment) {
        let (SegmentBody::Beat(beat), Some(back)) = (&segment.body, &mut self.held_back) else {
            return;
        };
        let mark = (segment.head.history.epoch, segment.head.term, beat.count);
        if segment.head.namespace == self.ticket.namespace && back.beat.is_none_or(|old| old < mark)
        {
            back.beat = Some(mark);
            let now = self.client.now_ms();
            self.client.with_mirror(|mirror| mirror.handle_author(mark, now));
        }
    }

    /// Holds back what comes from now on.
    fn begin_behind(&mut self) {
        let Some(back) = &mut self.held_back else { return };
        back.has_begun = true;
        self.client.behind.begin();
        tracing::info!(
            "the newest version of the feed is taken, as nothing older is here; what comes is held back"
        );
    }

    /// Shows what is old enough.
    pub(super) fn show_due(&mut self) {
        let is_leaving = self.is_leaving();
        let Some(back) = &mut self.held_back else { return };
        // Where another feed takes the place of this one, what is shown stands still.
        if !back.has_begun || self.frozen_since.is_some() || is_leaving {
            return;
        }
        let (mode, now) = (self.client.behind.mode(), self.client.now_ms());
        while let Some(octets) = self.held_back.as_mut().and_then(|back| back.line.poll(mode, now))
        {
            self.take_segment(&octets, true);
        }
        if let Some(archive) = &mut self.archive {
            archive.write();
        }
    }

    /// Goes on with versions that are held back, and says what is.
    pub(super) fn tend_behind(&mut self) {
        self.show_due();
        let now = self.client.now_ms();
        let Some(back) = &mut self.held_back else { return };
        let mut again = Vec::new();
        for fetch in &mut back.fetches {
            if fetch.task.as_ref().is_some_and(JoinHandle::is_finished)
                && fetch.task.take().is_some()
            {
                if fetch.is_here.load(Ordering::Acquire) {
                    back.line.note_fetched(fetch.version, true);
                } else if fetch.at.elapsed() < Duration::from_millis(BEHIND_FETCH_MS) {
                    again.push(fetch.version);
                } else {
                    tracing::warn!(
                        version = fetch.version.number,
                        "a version that is held back cannot be fetched: a later one has to do"
                    );
                    back.line.note_fetched(fetch.version, false);
                }
            }
        }
        let line = &back.line;
        // What was shown is spared by who shows it.
        back.fetches.retain(|fetch| line.has_version(fetch.version));
        let spared = back.contents_count();
        if std::mem::replace(&mut back.spared, spared) != spared {
            self.spared = None;
        }
        let report = BehindReport { has_begun: back.has_begun, ..back.line.report(now) };
        self.client.behind.note(report);
        again.into_iter().for_each(|version| self.fetch_version(version));
    }

    /// Begins to fetch all contents of a version, or begins again.
    fn fetch_version(&mut self, version: VersionRef) {
        let (blobs, sources) = (self.mesh.blobs().clone(), Arc::clone(&self.sources));
        let Some(back) = &mut self.held_back else { return };
        let known = back.fetches.iter_mut().find(|fetch| fetch.version == version);
        let contents =
            known.as_ref().map_or_else(Arc::default, |fetch| Arc::clone(&fetch.contents));
        let is_here = known.as_ref().map_or_else(Arc::default, |fetch| Arc::clone(&fetch.is_here));
        let (fetched, spared) = (Arc::clone(&is_here), Arc::clone(&contents));
        let task = Some(tokio::spawn(async move {
            let is_whole = fetch_all(blobs, sources, version, spared).await;
            fetched.store(is_whole, Ordering::Release);
        }));
        match known {
            Some(fetch) => fetch.task = task,
            None => {
                let at = Instant::now();
                back.fetches.push(VersionFetch { version, contents, task, is_here, at });
            }
        }
    }
}

/// Fetches all contents of a version, and notes which they are before they come; says whether all are here.
async fn fetch_all(
    blobs: Blobs,
    sources: Arc<ContentPeers>,
    version: VersionRef,
    contents: Arc<Mutex<HashSet<Hash>>>,
) -> bool {
    let stop = CancellationToken::new();
    let _ending = stop.clone().drop_guard();
    let (sender, answers) = mpsc::channel(FETCHES_MAX);
    let mut fetch =
        Fetching { fetcher: Fetcher::new(blobs, sources as _, sender, stop), answers, contents };
    let Some(root) = fetch.load(&[version.hash]).await else { return false };
    let Some(root) = root.first().and_then(|octets| Root::from_octets(octets).ok()) else {
        return false;
    };
    let indexes: Vec<Hash> = root.indexes.iter().map(|index| index.hash).collect();
    let Some(indexes) = fetch.load(&indexes).await else { return false };
    let mut bundles = HashSet::new();
    for octets in indexes {
        let Ok(index) = Index::from_octets(&octets) else { return false };
        bundles.extend(index.bundles.iter().map(|bundle| bundle.hash));
    }
    let bundles: Vec<Hash> = bundles.into_iter().collect();
    fetch.get(&bundles, false).await.is_some()
}

/// Fetches contents, and waits for them.
struct Fetching {
    /// Fetches them.
    fetcher: Fetcher,
    /// Those that were fetched.
    answers: mpsc::Receiver<crate::replica::fetch::Fetched>,
    /// All that were asked for.
    contents: Arc<Mutex<HashSet<Hash>>>,
}

impl Fetching {
    /// Returns the octets of contents; none if one of them is not to be had.
    async fn load(&mut self, hashes: &[Hash]) -> Option<Vec<Bytes>> {
        self.get(hashes, true).await
    }

    /// Has contents on this machine, and returns their octets if they are wanted.
    async fn get(&mut self, hashes: &[Hash], is_loaded: bool) -> Option<Vec<Bytes>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).extend(hashes);
        let mut octets = Vec::new();
        for group in hashes.chunks(FETCHES_MAX) {
            let asks: Vec<Ask> = group.iter().map(|&hash| Ask { hash, is_loaded }).collect();
            self.fetcher.fetch(&asks);
            for _ in group {
                let answer = self.answers.recv().await?;
                if !answer.is_here {
                    return None;
                }
                octets.extend(answer.content);
            }
        }
        Some(octets)
    }
}
