//! Follows a feed of the first format, or of the original system's: moves its namespace's entries into the core, and what the core asks for back.
//!
//! Two tasks. One reads the subscription and does nothing else, since an unread subscription
//! stops the document engine. The other, here called the worker, empties the mailbox, fetches
//! contents, builds and publishes, and looks after the connection. It subscribes first, then
//! joins, then scans the replica: so a restarted edge answers from its own disk before any peer
//! is reached, and nothing that arrives in between is missed.
//!
//! Short batches are published at a pace ([`Pace`]). While it rests, what arrives stays in the
//! mailbox, so that changes share also their way from there into the journal and the core. A long
//! batch is not paced: it is its own rest, in which others gather.
//!
//! What the replica holds at the start becomes visible at once (`first_load`).
//!
//! **Invariant:** the core's steps are published in order, one batch at a time. A step that
//! takes long is computed on a thread of its own while entries are still taken in. A change waits
//! [`PUBLISH_REST_US_MAX`](crate::limits::PUBLISH_REST_US_MAX) for others at most, and none when
//! the listener is told to stop.
//! **Not here:** when to join and reconcile (`supervisor`), contents (`fetch`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh_docs::Entry;
use iroh_docs::api::Doc;
use iroh_docs::store::Query;
use n0_future::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::AspenDnsClient;
use super::apply::Prepared;
use super::fetch::{Ask, Fetched, Fetcher};
use super::first_load::FirstLoad;
use super::journal::{Journal, JournalEntry};
use super::link::{LinkEvent, Links};
use super::mailbox::{Mailbox, drain};
use super::opening::{ListenerError, docs_result, open, peer_addrs};
use super::supervisor::{Action, Supervisor};
use crate::feed::key::{LIVE_PREFIX, ZONE_PREFIX};
use crate::limits::{
    DOCS_CALL_MS_MAX, FETCHES_MAX, INLINE_CHANGES_MAX, LINK_EVENTS_MAX, LISTENER_TICK_MS,
};
use crate::mesh::{Blobs, Mesh};
use crate::publish::pace::Pace;
use crate::sync::batch::{ZoneBatch, ZoneStep};
use crate::sync::entry::{FeedEntry, Origin};
use crate::ticket::DnsClientTicket;

/// Makes `client` follow the feed that the ticket names, until the token is cancelled.
///
/// # Errors
/// Every [`ListenerError`]. A peer that does not answer is none.
pub(super) async fn spawn_entry_listener(
    client: Arc<AspenDnsClient>,
    mesh: &Mesh,
    ticket: &DnsClientTicket,
    stop: CancellationToken,
) -> Result<(JoinHandle<()>, oneshot::Receiver<()>), ListenerError> {
    let peers = peer_addrs(ticket)?;
    let doc = open(mesh, ticket).await?;
    let mailbox = Arc::new(Mailbox::default());
    let events = docs_result(doc.subscribe().await)?;
    tokio::spawn(drain(events, Arc::clone(&mailbox), stop.clone()));
    let is_writer = peers.iter().any(|peer| peer.id == mesh.endpoint().id());
    let (link_sender, link_events) = mpsc::channel(LINK_EVENTS_MAX);
    let endpoint = mesh.endpoint().clone();
    let links = Links::spawn(endpoint, peers, &link_sender, &stop);
    let (answer_sender, answers) = mpsc::channel(FETCHES_MAX);
    let (blobs, sources) = (mesh.blobs().clone(), Arc::new(links.clone()));
    let fetcher = Fetcher::new(blobs, sources, answer_sender, stop.clone());
    let journal = mesh.dir().map(|dir| Journal::open(dir, &ticket.namespace));
    let (journal, remembered) = journal.unzip();
    let (loaded_sender, loaded) = oneshot::channel();
    let listener = Listener {
        client,
        blobs: mesh.blobs().clone(),
        journal,
        remembered: remembered.unwrap_or_default(),
        is_flush_wanted: false,
        doc,
        mailbox,
        links,
        fetcher,
        answers,
        link_events,
        supervisor: Supervisor::new(Instant::now()),
        fetching: 0,
        building: None,
        is_scan_wanted: true,
        is_reconciled: false,
        is_writer,
        pace: Pace::default(),
        taking_us: 0,
        first_load: FirstLoad::default(),
        loaded: Some(loaded_sender),
    };
    let token = stop.clone();
    Ok((tokio::spawn(async move { listener.run(token).await }), loaded))
}

/// The task that works on what arrives.
struct Listener {
    /// What is served.
    client: Arc<AspenDnsClient>,
    /// The replica.
    doc: Doc,
    /// What has arrived.
    mailbox: Arc<Mailbox>,
    /// Where contents are kept.
    blobs: Blobs,
    /// Live entries that the replica may not have written out yet.
    journal: Option<Journal>,
    /// What the journal held at the start.
    remembered: Vec<JournalEntry>,
    /// A manifest has arrived: before it shows, the replica is written out.
    is_flush_wanted: bool,
    /// Connections to the ticket's peers.
    links: Links,
    /// Fetches contents.
    fetcher: Fetcher,
    /// Contents that were fetched.
    answers: mpsc::Receiver<Fetched>,
    /// Changes of links.
    link_events: mpsc::Receiver<LinkEvent>,
    /// Looks after the connection.
    supervisor: Supervisor,
    /// Contents that are being fetched.
    fetching: usize,
    /// Steps that are being computed.
    building: Option<JoinHandle<Vec<Prepared>>>,
    /// The replica must be scanned.
    is_scan_wanted: bool,
    /// A reconciliation has ended; its entries are in the replica.
    is_reconciled: bool,
    /// This node writes the namespace itself: it never leaves it.
    is_writer: bool,
    /// When the next short batch may be published.
    pace: Pace,
    /// Microseconds that the last look into the mailbox took, if nothing was published since.
    taking_us: u64,
    /// What the replica held at the start, until all of it is there.
    first_load: FirstLoad<Prepared>,
    /// Whom to tell that the first load is over.
    loaded: Option<oneshot::Sender<()>>,
}

impl Listener {
    /// Works until `stop`.
    async fn run(mut self, stop: CancellationToken) {
        let now_ms = self.client.now_ms();
        self.client.core().handle_connecting(now_ms);
        stop.run_until_cancelled(self.join()).await;
        let mut tick = tokio::time::interval(Duration::from_millis(LISTENER_TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let is_resting = self.rest_us() > 0;
            if !is_resting {
                self.take_arrived();
            }
            // The document engine may be stuck: what tells us to end is heard all the same.
            if self.is_scan_wanted && stop.run_until_cancelled(self.scan()).await.is_none() {
                break;
            }
            self.work(is_resting).await;
            let mailbox = Arc::clone(&self.mailbox);
            let client = Arc::clone(&self.client);
            let rest_us = self.rest_us();
            let wait = self.next_wait(rest_us);
            tokio::select! {
                () = stop.cancelled() => break,
                () = mailbox.arrived(), if rest_us == 0 => {}
                () = client.wake.notified() => {}
                Some(answer) = self.answers.recv() => self.take_answers(answer),
                Some(event) = self.link_events.recv() => self.take_link(event),
                built = built(&mut self.building) => self.publish_built(built),
                () = sleep(wait) => {}
                _ = tick.tick() => {
                    stop.run_until_cancelled(self.supervise()).await;
                }
            }
            let now_ms = self.client.now_ms();
            self.client.core().handle_time(now_ms);
        }
        let now_ms = self.client.now_ms();
        self.client.core().handle_lost(now_ms);
        self.client.tell_progress();
    }

    /// Microseconds for which nothing is taken in or published.
    fn rest_us(&self) -> u64 {
        self.pace.rest_us(self.client.now_us())
    }

    /// Returns how long to wait at most: until a rest ends, or the core wants to be told the time.
    fn next_wait(&self, rest_us: u64) -> Option<Duration> {
        if rest_us > 0 {
            return Some(Duration::from_micros(rest_us));
        }
        let now_ms = self.client.now_ms();
        let at_ms = self.client.core().poll_timeout()?;
        // A batch that waits for the building thread is due all the time.
        if self.building.is_some() && at_ms <= now_ms {
            return None;
        }
        Some(Duration::from_millis(at_ms.saturating_sub(now_ms).max(1)))
    }

    /// Gives the core's wishes to those who fulfill them.
    async fn work(&mut self, mut is_resting: bool) {
        let now_ms = self.client.now_ms();
        let room = FETCHES_MAX.saturating_sub(self.fetching);
        let hashes = self.client.core().poll_fetch(now_ms, room);
        self.fetching += hashes.len();
        let asks: Vec<Ask> = hashes.into_iter().map(|hash| Ask { hash, is_loaded: true }).collect();
        self.fetcher.fetch(&asks);
        while !is_resting && self.building.is_none() {
            let Some(batches) = self.client.core().poll_batch(now_ms) else { break };
            if std::mem::take(&mut self.is_flush_wanted) {
                self.flush().await;
            }
            if is_short(&batches) {
                self.publish_short(batches);
                is_resting = self.rest_us() > 0;
            } else {
                let client = Arc::clone(&self.client);
                self.building = Some(tokio::task::spawn_blocking(move || {
                    batches.into_iter().map(|batch| client.prepare(batch)).collect()
                }));
            }
        }
        self.poll_first_load();
        loop {
            let complaint = self.client.core().poll_complaint();
            let Some(complaint) = complaint else { break };
            let key = complaint.key.escape_ascii().to_string();
            tracing::warn!(key, error = %complaint.error, "an entry of the feed is refused");
        }
        if self.client.core().poll_rescan(now_ms) {
            self.supervisor.want_reconcile();
            self.is_scan_wanted = true;
        }
        self.client.tell_progress();
    }

    /// Has the replica and its contents written out, so that a restart finds what will be served.
    async fn flush(&self) {
        let store = self.blobs.store();
        let flushing = async {
            // A listing reads what is on disk, so the store writes out what is not.
            let listed = self.doc.get_many(Query::all().limit(1).build()).await;
            let synced = store.sync_db().await;
            listed.is_ok() && synced.is_ok()
        };
        let limit = Duration::from_millis(DOCS_CALL_MS_MAX);
        if tokio::time::timeout(limit, flushing).await != Ok(true) {
            tracing::warn!("the replica could not be written out");
        }
    }

    /// Computes and publishes what takes no thread of its own.
    fn publish_short(&mut self, batches: Vec<ZoneBatch>) {
        let began_us = self.client.now_us();
        let prepared = batches.into_iter().map(|batch| self.client.prepare(batch)).collect();
        self.take_prepared(prepared);
        let ended_us = self.client.now_us();
        let taking_us = std::mem::take(&mut self.taking_us);
        self.pace.note_publish(taking_us + ended_us.saturating_sub(began_us), ended_us);
    }

    /// Publishes what the building thread has computed.
    fn publish_built(&mut self, built: Option<Vec<Prepared>>) {
        self.building = None;
        match built {
            Some(prepared) => self.take_prepared(prepared),
            None => tracing::error!("the thread that builds zones ended badly"),
        }
        self.client.stage.free_retired();
    }

    /// Publishes what was computed, or holds it back while the first load goes on.
    fn take_prepared(&mut self, prepared: Vec<Prepared>) {
        let ready = self.first_load.take(prepared, self.client.now_ms());
        self.publish(ready);
    }

    /// Ends the first load once the replica was listed and all of its contents that are on this
    /// machine were handed out and built.
    fn poll_first_load(&mut self) {
        let is_whole = !self.is_scan_wanted
            && self.fetching == 0
            && self.building.is_none()
            && self.client.core().has_nothing_to_give();
        let ready = self.first_load.poll(is_whole, self.client.now_ms());
        self.publish(ready);
        if is_whole && let Some(loaded) = self.loaded.take() {
            // Nobody waits where entries are followed later than from the start.
            let _ = loaded.send(());
        }
    }

    /// Publishes steps, all at once.
    fn publish(&self, prepared: Vec<Prepared>) {
        if !prepared.is_empty() {
            self.client.settle(self.client.publish(prepared));
        }
    }

    /// Takes everything out of the mailbox.
    fn take_arrived(&mut self) {
        let arrived = self.mailbox.take();
        let (now, began_us) = (Instant::now(), self.client.now_us());
        if !arrived.entries.is_empty() {
            self.supervisor.handle_heard(now);
        }
        for entry in &arrived.entries {
            let key = entry.key();
            self.is_flush_wanted |= key.starts_with(ZONE_PREFIX.as_bytes());
            if let Some(journal) = &mut self.journal
                && key.starts_with(LIVE_PREFIX.as_bytes())
                && entry.content_len() > 0
            {
                journal.push(entry);
            }
            self.take_entry(entry, Origin::Event);
        }
        if let Some(journal) = &mut self.journal {
            journal.write();
        }
        self.taking_us = self.client.now_us().saturating_sub(began_us);
        for peer in arrived.neighbors_up {
            self.supervisor.handle_neighbor_up(peer);
            self.links.add_neighbor(peer);
        }
        for peer in arrived.neighbors_down {
            self.supervisor.handle_neighbor_down(peer, now);
            self.links.remove_neighbor(peer);
        }
        if arrived.syncs_ok > 0 {
            self.supervisor.handle_reconciled();
        }
        if arrived.syncs_failed > 0 {
            self.supervisor.handle_failed(now);
        }
        if arrived.syncs_ok + arrived.syncs_failed > 0 {
            // The last entries may come after this word of them: the replica has them all.
            self.is_scan_wanted = true;
            self.is_reconciled |= arrived.syncs_ok > 0;
        }
        self.is_scan_wanted |= arrived.is_overflowed;
        if arrived.is_closed {
            tracing::error!("the namespace's events have ended; only scans tell what is new");
        }
    }

    /// Hands one entry to the core.
    fn take_entry(&self, entry: &Entry, origin: Origin) {
        let entry = FeedEntry {
            key: entry.key(),
            author: *entry.author().as_bytes(),
            hash: *entry.content_hash().as_bytes(),
            len: entry.content_len(),
            timestamp_us: entry.timestamp(),
            origin,
            content: None,
        };
        self.client.take_entry(&entry);
    }

    /// Hands all entries of the replica to the core.
    async fn scan(&mut self) {
        self.is_scan_wanted = false;
        let is_reconciled = std::mem::take(&mut self.is_reconciled);
        let now_ms = self.client.now_ms();
        self.client.core().handle_scan_started(now_ms);
        for entry in std::mem::take(&mut self.remembered) {
            let entry = FeedEntry {
                key: &entry.key,
                author: entry.author,
                hash: entry.hash,
                len: entry.len,
                timestamp_us: entry.timestamp_us,
                origin: Origin::Scan,
                content: None,
            };
            self.client.take_entry(&entry);
        }
        let query = Query::all().include_empty().build();
        let mut entries = match docs_result(self.doc.get_many(query).await) {
            Ok(entries) => std::pin::pin!(entries),
            Err(error) => {
                tracing::warn!(%error, "the replica cannot be scanned");
                return;
            }
        };
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) => self.take_entry(&entry, Origin::Scan),
                Err(error) => {
                    tracing::warn!(%error, "the replica was scanned in part only");
                    self.is_scan_wanted = true;
                    return;
                }
            }
        }
        let now_ms = self.client.now_ms();
        let mut core = self.client.core();
        core.handle_scan_complete(now_ms);
        if is_reconciled {
            core.handle_reconciled(now_ms);
        }
    }

    /// Takes contents that were fetched, all that wait.
    fn take_answers(&mut self, first: Fetched) {
        let mut next = Some(first);
        while let Some(answer) = next {
            let now_ms = self.client.now_ms();
            self.fetching = self.fetching.saturating_sub(1);
            let mut core = self.client.core();
            match answer.content {
                Some(content) => core.handle_content(answer.hash, &content, now_ms),
                None => core.handle_content_failed(answer.hash, now_ms),
            }
            drop(core);
            next = self.answers.try_recv().ok();
        }
    }

    /// Takes a change of a link.
    fn take_link(&mut self, event: LinkEvent) {
        let (now, now_ms) = (Instant::now(), self.client.now_ms());
        self.supervisor.handle_link(event, now);
        let mut core = self.client.core();
        match event {
            LinkEvent::Up(peer) => {
                tracing::debug!(peer = %peer.fmt_short(), "a peer answers");
                core.handle_contact(now_ms);
            }
            LinkEvent::Down(peer) => {
                tracing::info!(peer = %peer.fmt_short(), "a peer does not answer any more");
                if !self.supervisor.is_linked() {
                    core.handle_lost(now_ms);
                    core.handle_connecting(now_ms);
                }
            }
        }
    }

    /// Does what the connection needs.
    async fn supervise(&mut self) {
        let has_beat = self.client.core().header().is_some();
        match self.supervisor.poll(Instant::now(), has_beat) {
            Some(Action::Rejoin) if !self.is_writer => {
                let limit = Duration::from_millis(DOCS_CALL_MS_MAX);
                if !matches!(tokio::time::timeout(limit, self.doc.leave()).await, Ok(Ok(()))) {
                    tracing::warn!("the namespace could not be left in time");
                }
                self.join().await;
            }
            Some(Action::Rejoin | Action::Reconcile) => self.join().await,
            None => {}
        }
    }

    /// Joins the namespace and reconciles with all peers; returns before that has ended.
    async fn join(&mut self) {
        let limit = Duration::from_millis(DOCS_CALL_MS_MAX);
        let peers = self.links.peers().to_vec();
        match tokio::time::timeout(limit, self.doc.start_sync(peers)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the namespace could not be joined"),
            Err(_) => tracing::warn!("the namespace could not be joined in time"),
        }
    }
}

/// Waits for the building thread; for ever when there is none.
async fn built(building: &mut Option<JoinHandle<Vec<Prepared>>>) -> Option<Vec<Prepared>> {
    match building {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

/// Sleeps so long; for ever when there is nothing to wait for.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Whether steps are computed so quickly that a thread of their own is not worth it.
fn is_short(batches: &[ZoneBatch]) -> bool {
    let is_edit = |batch: &ZoneBatch| !matches!(batch.step, ZoneStep::Rebuild { .. });
    let changes: usize = batches.iter().map(|batch| batch.step.change_count()).sum();
    batches.iter().all(is_edit) && changes <= INLINE_CHANGES_MAX
}
