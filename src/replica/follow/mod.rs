//! Follows a feed with a log: moves segments and contents into the mirror, and what the mirror asks
//! for back.
//!
//! One task reads the stream of whoever is followed, keeps what comes for a restart and for those who
//! follow this node, fetches contents, builds and publishes. What lies on the disk is loaded first
//! and becomes visible at once, before anybody is dialed.
//!
//! Short batches are published at a pace ([`Pace`]); while it rests, segments gather in the stream.
//!
//! **Invariant:** the mirror's steps are published in order, one batch at a time; a segment is
//! believed only if the feed's author has signed it; zones of a first load, or of another history,
//! become visible together.
//! **Not here:** what segments mean (`sync::mirror`), dialing (`upstream`), files (`archive`).

mod barred;
mod behind;
mod dialing;
mod end;
mod entries;
mod keeping;
mod load;
mod look;
mod notice;
mod publish;
mod report;
mod segments;
mod successor;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use behind::HeldBack;
use bytes::Bytes;
use dialing::dialed;
use iroh_docs::api::Doc;
use keeping::{Keeping, kept};
use look::{Found, looked};
use report::{Told, fleet_changed, rested};
use successor::{RunEnd, Successor, asked, handed};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::AspenDnsClient;
use super::apply::Prepared;
use super::archive::Archive;
use super::document::announcements;
use super::fetch::{Fetched, Fetcher};
use super::opening::ListenerError;
use super::silence::ContactFile;
use super::upstream::{ContentPeers, Dialer, Upstream};
use crate::feed::Hash;
use crate::feed::frame::ServerFrame;
use crate::feed::notice::Notice;
use crate::limits::{
    ADOPT_MS_MAX, BEAT_FRESH_MS_MAX, DEAF_MS_MAX, DEAF_MS_MIN, FEED_BEAT_MS, FETCHES_MAX,
    LISTENER_TICK_MS, MOVED_TOLD_MAX, UPSTREAM_HELD_MS, UPSTREAM_LOSSES_MAX,
};
use crate::mesh::author::AuthorKey;
use crate::mesh::hub::Offer;
use crate::mesh::log::Log;
use crate::mesh::peers::Peers;
use crate::mesh::relay::Relay;
use crate::mesh::{Keep, Mesh};
use crate::publish::pace::Pace;
use crate::sync::mirror::{Mirror, MirrorConfig};
use crate::ticket::DnsClientTicket;

/// The task that follows a feed.
pub(super) struct Follow {
    /// What is served.
    client: Arc<AspenDnsClient>,
    /// The peer that this node is.
    mesh: Mesh,
    /// What is followed.
    ticket: DnsClientTicket,
    /// Whose segments are believed.
    author: AuthorKey,
    /// What is kept for a restart.
    archive: Option<Archive>,
    /// Who else there is.
    peers: Arc<Peers>,
    /// What is handed on to those who follow this node.
    relay: Relay,
    /// Dials.
    dialer: Dialer,
    /// Whom contents are fetched from.
    sources: Arc<ContentPeers>,
    /// Which contents are spared.
    keep: Keep,
    /// Those of the version that was adopted last.
    adopted: HashSet<Hash>,
    /// Those of the version that lies on the disk for a restart, until it is adopted.
    kept: HashSet<Hash>,
    /// The version that is being kept, or waits to be.
    keeping: Option<Keeping>,
    /// Since when one cannot be kept.
    unkept_since: Option<Instant>,
    /// Since when segments are missing among those that are kept.
    torn_since: Option<Instant>,
    /// The engine of contents whose contents were last known to be there.
    generation: u64,
    /// Whether a content on this machine is not what its hash says.
    has_damage: bool,
    /// The task that looks at what is kept, or begins anew where it is damaged.
    looking: Option<JoinHandle<Found>>,
    /// When that began last.
    looked_at: Option<Instant>,
    /// The edition of contents to be spared that was told last.
    spared: Option<u64>,
    /// Fetches contents.
    fetcher: Fetcher,
    /// Contents that were fetched.
    answers: mpsc::Receiver<Fetched>,
    /// Contents that are being fetched.
    fetching: usize,
    /// Steps that are being computed.
    building: Option<JoinHandle<Vec<Prepared>>>,
    /// Steps that wait until others can become visible with them.
    held: Vec<Prepared>,
    /// When the next short batch may be published.
    pace: Pace,
    /// Whom we follow.
    upstream: Option<Upstream>,
    /// Whom we shall follow.
    dialing: Option<JoinHandle<Upstream>>,
    /// The namespace.
    doc: Doc,
    /// What joins it, and reads what comes through it.
    joining: JoinSet<()>,
    /// Announcements that came through the namespace, by hash.
    root_entries: mpsc::Receiver<Hash>,
    /// Those that are being fetched.
    root_asked: HashSet<Hash>,
    /// What follows a feed of the first format, until there is a log.
    entries: Option<(CancellationToken, JoinHandle<()>)>,
    /// When the newest version was adopted.
    adopted_at: Instant,
    /// Since when nobody is followed.
    alone_since: Option<Instant>,
    /// Since when somebody is.
    followed_since: Instant,
    /// How long to stay with an edge that hears nothing of the author.
    deaf_ms: u64,
    /// How often in a row whoever was followed was lost soon after.
    quick_losses: u32,
    /// What was told to whom is followed.
    told: Told,
    /// When the author was heard last.
    contact: ContactFile,
    /// What is held back, where this edge follows behind on purpose.
    held_back: Option<HeldBack>,
    /// What the author says of the feed itself, by its number.
    notice: Option<(u64, Bytes)>,
    /// What those who have left the feed have handed on of that.
    notices: mpsc::Receiver<Bytes>,
    /// The feed that takes the place of this one.
    moves_to: Option<DnsClientTicket>,
    /// When it was tried last to follow that.
    moved_at: Option<Instant>,
    /// What follows it, beside this task.
    successor: Option<Successor>,
    /// Asks this task to come over to the one beside which it follows a feed.
    hand_over: Option<CancellationToken>,
    /// Since when nothing is taken of the feed, as another is about to take its place.
    frozen_since: Option<Instant>,
    /// Whether others may follow this node.
    is_offered: bool,
}

impl Follow {
    /// Opens what is kept of a feed and publishes it; returns the task that goes on from there.
    ///
    /// # Errors
    /// [`ListenerError::Replica`].
    pub(super) async fn open(
        client: Arc<AspenDnsClient>,
        mesh: &Mesh,
        ticket: &DnsClientTicket,
        doc: Doc,
        stop: &CancellationToken,
    ) -> Result<Self, ListenerError> {
        let opened = mesh.dir().map(|dir| Archive::open(dir, &ticket.namespace)).transpose();
        let opened =
            opened.map_err(|error| ListenerError::Replica { reason: error.to_string() })?;
        let (archive, kept) = opened.unzip();
        let own = *mesh.endpoint().id().as_bytes();
        let file = mesh.dir().map(|dir| Archive::dir_in(dir, &ticket.namespace).join("peers"));
        let peers = Arc::new(Peers::load(own, &ticket.peers, file));
        let sources = ContentPeers::new(mesh.endpoint().clone(), Arc::clone(&peers));
        let (sender, answers) = mpsc::channel(FETCHES_MAX);
        let blobs = mesh.blobs().clone();
        let fetcher = Fetcher::new(blobs, Arc::clone(&sources) as _, sender, stop.clone());
        let config = MirrorConfig {
            namespace: ticket.namespace,
            zone_filter: ticket.zone_filter.clone(),
            stale_after_ms: client.stale_after_ms,
            is_behind: client.behind.delay_ms.is_some(),
        };
        *client.mirror() = Some(Mirror::new(config, client.now_ms()));
        let contact =
            ContactFile::new(mesh.dir().map(|dir| Archive::dir_in(dir, &ticket.namespace)));
        contact.load(&client);
        if let Some(dir) = mesh.dir() {
            client.behind.load(Archive::dir_in(dir, &ticket.namespace).join("behind"));
        }
        let (notices_sender, notices) = mpsc::channel(MOVED_TOLD_MAX);
        let endpoint = mesh.endpoint().clone();
        let dialer = Dialer::new(endpoint, Arc::clone(&peers), notices_sender);
        let (root_entries, joining) =
            announcements(doc.clone(), ticket, Arc::clone(&peers), stop).await?;
        let now = Instant::now();
        let mut follow = Self {
            client,
            mesh: mesh.clone(),
            ticket: ticket.clone(),
            author: AuthorKey::new(&ticket.author),
            archive,
            peers,
            relay: Relay::new(Arc::new(Log::new(ticket.namespace))),
            dialer,
            sources,
            keep: mesh.keep(ticket.namespace),
            adopted: HashSet::new(),
            kept: HashSet::new(),
            keeping: None,
            unkept_since: None,
            torn_since: None,
            spared: None,
            has_damage: false,
            looking: None,
            looked_at: None,
            generation: mesh.blobs().generation(),
            fetcher,
            answers,
            fetching: 0,
            building: None,
            held: Vec::new(),
            pace: Pace::default(),
            upstream: None,
            dialing: None,
            doc,
            joining,
            root_entries,
            root_asked: HashSet::new(),
            entries: None,
            adopted_at: now,
            alone_since: Some(now),
            followed_since: now,
            quick_losses: 0,
            deaf_ms: DEAF_MS_MIN,
            told: Told::nothing(mesh.hub().watch_fleet()),
            contact,
            held_back: None,
            notice: None,
            notices,
            moves_to: None,
            moved_at: None,
            successor: None,
            hand_over: None,
            frozen_since: None,
            is_offered: false,
        };
        follow.load_notice();
        follow.load(kept.unwrap_or_default(), stop).await;
        // What was followed before is served still: what the feed has no more of it goes.
        follow.client.adopt_served();
        follow.note_silence();
        let has_begun = follow.has_state();
        let delay_ms = follow.client.behind.delay_ms;
        follow.held_back = delay_ms.map(|delay_ms| HeldBack::new(delay_ms, has_begun));
        if has_begun {
            follow.client.behind.begin();
        }
        Ok(follow)
    }

    /// Whether anything was kept of the feed.
    pub(super) fn has_state(&self) -> bool {
        self.client.with_mirror(|mirror| mirror.place().1.revision > 0).unwrap_or(false)
    }

    /// Works until `stop`, or until somebody else goes on in its place.
    pub(super) async fn run(mut self: Box<Self>, stop: CancellationToken) -> RunEnd {
        self.offer();
        let no_log = Arc::clone(&self.dialer.no_log);
        let mut tick = tokio::time::interval(Duration::from_millis(LISTENER_TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let rest_us = self.pace.rest_us(self.client.now_us());
            let report_rest = self.report_rest();
            self.dial();
            self.start_successor(&stop);
            let (is_frozen, is_leaving) = (self.frozen_since.is_some(), self.is_leaving());
            tokio::select! {
                () = stop.cancelled() => break,
                () = asked(self.hand_over.clone()), if self.is_quiet() => {
                    return RunEnd::Handed(self);
                }
                next = handed(&mut self.successor) => {
                    if let Some(mut next) = self.take_handed(next, &stop) {
                        next.contact.end(&next.client).await;
                        self.give_way().await;
                        return RunEnd::Next(next);
                    }
                }
                frame = next_frame(&mut self.upstream), if rest_us == 0 && !is_frozen && !is_leaving => {
                    self.take_frames(frame);
                }
                dialed = dialed(&mut self.dialing) => self.take_dialed(dialed).await,
                Some(answer) = self.answers.recv() => {
                    self.fetching = self.fetching.saturating_sub(1);
                    self.take_answer(answer);
                }
                built = built(&mut self.building) => self.take_built(built),
                kept = kept(&mut self.keeping) => self.take_kept(kept),
                found = looked(&mut self.looking) => self.take_looked(found),
                Some(hash) = self.root_entries.recv() => self.ask_announcement(hash),
                Some(octets) = self.notices.recv() => drop(self.take_notice(&octets)),
                () = no_log.notified() => drop(self.follow_entries(&stop).await),
                () = tokio::time::sleep(Duration::from_micros(rest_us)), if rest_us > 0 => {}
                () = rested(report_rest) => {}
                () = fleet_changed(&mut self.told) => self.told.has_fleet_news = true,
                _ = tick.tick() => self.tick(),
            }
            if self.is_leaving() {
                // What is under way comes to its end, and nothing is begun.
                self.keep_version();
                self.publish_held(false);
            } else if self.frozen_since.is_none() {
                self.work().await;
                self.report().await;
            }
        }
        self.end().await;
        RunEnd::Over
    }

    /// Lets others follow this node, unless it follows behind: they would do so without knowing.
    fn offer(&mut self) {
        if std::mem::replace(&mut self.is_offered, true) {
            return;
        }
        if self.held_back.is_some() {
            let peers = self.peers.all();
            return self.mesh.hub().stand_by(self.ticket.namespace, peers);
        }
        let (log, peers) = (Arc::clone(self.relay.log()), Arc::clone(&self.peers));
        self.mesh.hub().offer(Offer { log, peers, evidence: None });
    }

    /// Takes a frame and all that have arrived behind it, or that the stream has ended.
    fn take_frames(&mut self, first: Result<ServerFrame, crate::mesh::dial::DialError>) {
        let mut next = first.map(Some);
        loop {
            match next {
                Ok(Some(ServerFrame::Segment(octets))) => {
                    self.take_arrived(&octets);
                }
                Ok(Some(ServerFrame::Notice(octets))) => {
                    if !self.take_notice(&octets) {
                        self.lose_upstream();
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    tracing::info!(%error, "the one who was followed is gone");
                    self.lose_upstream();
                    break;
                }
            }
            let Some(upstream) = &mut self.upstream else { break };
            next = upstream.stream.poll();
        }
        self.show_due();
        let now = self.client.now_ms();
        if self.upstream.is_some() {
            self.client.with_mirror(|mirror| mirror.handle_contact(now));
        }
        if let Some(archive) = &mut self.archive {
            archive.write();
        }
    }

    /// Follows nobody any more.
    fn lose_upstream(&mut self) {
        let held = Duration::from_millis(UPSTREAM_HELD_MS);
        let is_quick = self.upstream.is_some() && self.followed_since.elapsed() < held;
        self.quick_losses = if is_quick { self.quick_losses + 1 } else { 0 };
        if self.quick_losses == UPSTREAM_LOSSES_MAX {
            tracing::warn!(
                "whoever is followed ends the stream again and again: does another edge run on a copy \
                 of this data directory?"
            );
        }
        if let Some(lost) = self.upstream.take() {
            self.sources.lose(lost.id);
        }
        self.alone_since.get_or_insert_with(Instant::now);
        // One that waits for the author alone is too choosy now.
        if let Some(dialing) = self.dialing.take() {
            dialing.abort();
        }
        let now = self.client.now_ms();
        self.client.with_mirror(|mirror| mirror.handle_streams(0, now));
    }

    /// Takes a content that was fetched, or could not be.
    fn take_answer(&mut self, answer: Fetched) {
        let now = self.client.now_ms();
        let Fetched { hash, is_here, content } = answer;
        if self.root_asked.remove(&hash) {
            match content {
                Some(octets) if Notice::is_one(&octets) => drop(self.take_notice(&octets)),
                Some(octets) => drop(self.take_arrived(&octets)),
                None => {}
            }
            return;
        }
        self.client.with_mirror(|mirror| match is_here {
            true => mirror.handle_content(hash, content),
            false => mirror.handle_content_failed(hash, now),
        });
    }

    /// Does what time brings.
    fn tick(&mut self) {
        let now = self.client.now_ms();
        self.client.with_mirror(|mirror| mirror.handle_time(now));
        let is_old = self.adopted_at.elapsed() >= Duration::from_millis(ADOPT_MS_MAX);
        let is_due = self
            .archive
            .as_ref()
            .is_some_and(|archive| archive.is_long() || (is_old && !archive.is_empty()));
        if is_due {
            self.adopted_at = Instant::now();
            self.client.with_mirror(Mirror::refresh);
        }
        self.note_barred();
        self.look_at_successor();
        self.keep_again();
        self.note_keeping();
        self.tend_behind();
        self.note_silence();
        self.contact.tick(&self.client);
        let status = self.client.with_mirror(|mirror| mirror.status(now));
        let Some(status) = status else { return };
        if status.status.is_synced() {
            self.client.note_damage(false);
        }
        self.end_first_load(&status);
        let heard_after = |ms: u64| status.beat_age_ms.is_some_and(|age_ms| age_ms > ms);
        self.dialer.is_deaf.store(heard_after(2 * FEED_BEAT_MS), Ordering::Relaxed);
        let is_deaf = heard_after(2 * BEAT_FRESH_MS_MAX);
        if !is_deaf {
            self.deaf_ms = DEAF_MS_MIN;
        }
        let is_long = self.followed_since.elapsed() >= Duration::from_millis(self.deaf_ms);
        let is_edge = self.upstream.as_ref().is_some_and(|upstream| !upstream.welcome.is_author);
        if is_deaf && is_long && is_edge {
            self.deaf_ms = (self.deaf_ms * 2).min(DEAF_MS_MAX);
            tracing::info!(
                "the edge that is followed hears nothing of the author: others are tried"
            );
            self.lose_upstream();
        }
        self.look();
    }
}

/// Waits for the next frame; for ever when nobody is followed.
async fn next_frame(
    upstream: &mut Option<Upstream>,
) -> Result<ServerFrame, crate::mesh::dial::DialError> {
    match upstream {
        Some(upstream) => upstream.stream.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for the building thread; for ever when there is none.
async fn built(building: &mut Option<JoinHandle<Vec<Prepared>>>) -> Option<Vec<Prepared>> {
    match building {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
