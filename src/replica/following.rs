//! Following a feed: what a client offers to those who start it, and to the task that does it.
//!
//! **Invariant:** one task drives a client; a client that none drives says so, however that one has ended.
//! **Not here:** the task (`follow`), feeds without a log (`listener`).

use std::ops::{Bound, RangeBounds as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::apply::{Applied, Served};
use super::archive::Archive;
use super::follow::Follow;
use super::moves::settle_ticket;
use super::opening::{ListenerError, open, peer_addrs};
use super::{AspenDnsClient, FollowMode, QUERIES_UNKNOWN};
use crate::catalog::{CatalogChange, HoldReason};
use crate::feed::HistoryId;
use crate::feed::digest::{Digest, DigestKey};
use crate::feed::frame::fleet::{BEHIND_HELD_S, EdgeFacts};
use crate::feed::frame::{RefusedReason, Welcome};
use crate::mesh::{Documents, Mesh};
use crate::name::Name;
use crate::publish::stage::Rank;
use crate::sync::mirror::{Mirror, MirrorStatus};
use crate::ticket::DnsClientTicket;

/// Whom an edge follows.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamInfo {
    /// Its public key.
    pub id: [u8; 32],
    /// Whether it writes the feed itself.
    pub is_author: bool,
    /// The history that it has.
    pub history: HistoryId,
    /// By how many milliseconds its clock was ahead of ours when it welcomed us.
    pub clock_skew_ms: i64,
}

/// A feed that a client follows; given up when this is dropped. The zones stay served as they are then.
#[derive(Debug)]
#[must_use = "the feed is given up when this is dropped"]
pub struct Following {
    /// Ends the task.
    stop: CancellationToken,
    /// Follows the feed; none once its end was seen.
    task: Option<JoinHandle<()>>,
}

/// Where the replicas of an edge are to be kept: on its disk only while it has nothing of the feed in
/// the present form.
pub(crate) fn documents_for(mesh_dir: &Path, ticket: &DnsClientTicket) -> Documents {
    let ticket = settle_ticket(mesh_dir, ticket);
    let is_there = Archive::is_there(mesh_dir, &ticket.namespace);
    if is_there { Documents::InMemory } else { Documents::OnDisk }
}

/// Makes `client` follow the feed that the ticket names, until the token is cancelled. What lies on
/// the disk is served when this returns, whether or not a peer answers. [`AspenDnsClient::follow`]
/// does so with the ticket that the client has.
///
/// # Errors
/// Every [`ListenerError`]. A peer that does not answer is none.
pub async fn spawn_dns_sync_listener(
    client: Arc<AspenDnsClient>,
    mesh: &Mesh,
    ticket: &DnsClientTicket,
) -> Result<(CancellationToken, JoinHandle<()>), ListenerError> {
    peer_addrs(ticket)?;
    // It may have been moved to another feed since the ticket was made.
    let settled = mesh.dir().map(|dir| settle_ticket(dir, ticket));
    let ticket = settled.as_ref().unwrap_or(ticket);
    let mut followed = Followed::begin(&client)?;
    let stop = followed.stop.clone();
    client.note_ticket(ticket);
    let doc = open(mesh, ticket).await?;
    let mut follow = Follow::open(Arc::clone(&client), mesh, ticket, doc, &stop).await?;
    followed.has_begun = true;
    if !follow.has_state() && mesh.has_old_documents() {
        follow.begin_with_entries(&stop).await;
    }
    client.tell_progress();
    let token = stop.clone();
    let task = tokio::spawn(async move {
        let _followed = followed;
        let mut next = Some(Box::new(follow));
        while let Some(follow) = next {
            next = follow.run(token.clone()).await.next();
        }
    });
    Ok((stop, task))
}

/// A client that is followed for; it is not any more when this is dropped, however the task has ended.
#[derive(Debug)]
struct Followed {
    /// The client.
    client: Arc<AspenDnsClient>,
    /// Ends all that is done for it.
    stop: CancellationToken,
    /// Whether entries were followed before.
    had_entries: bool,
    /// Whether a feed was opened.
    has_begun: bool,
}

impl Followed {
    /// Begins to follow, if nobody else does: from now on entries are not taken by hand.
    fn begin(client: &Arc<AspenDnsClient>) -> Result<Self, ListenerError> {
        if client.is_followed.swap(true, Ordering::AcqRel) {
            return Err(ListenerError::AlreadyFollowed);
        }
        let had_entries = client.has_entries.swap(false, Ordering::AcqRel);
        let (client, stop) = (Arc::clone(client), CancellationToken::new());
        Ok(Self { client, stop, had_entries, has_begun: false })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.cancel();
        let client = &self.client;
        if self.has_begun {
            let now = client.now_ms();
            client.with_mirror(|mirror| mirror.handle_streams(0, now));
            client.tell_progress();
        } else {
            client.has_entries.store(self.had_entries, Ordering::Release);
        }
        client.is_followed.store(false, Ordering::Release);
    }
}

impl Following {
    /// Gives the feed up, and returns when nothing is done for it any more: only now the mesh has nobody who
    /// dials by it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits until the feed is followed no more, which happens by itself only through a fault of ours.
    /// Safe to cancel; returns at once when it is over.
    pub async fn ended(&mut self) {
        let Some(task) = &mut self.task else { return };
        if let Err(error) = task.await {
            tracing::error!(%error, "following the feed ended badly");
        }
        self.task = None;
    }

    /// Whether the feed is followed no more.
    pub fn is_over(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl AspenDnsClient {
    /// Follows the feed of the ticket that the client was built with, until the handle is stopped or dropped.
    /// What lies on the disk of the mesh is served when this returns, whether or not a peer answers.
    ///
    /// # Errors
    /// [`ListenerError::NoTicket`], [`ListenerError::AlreadyFollowed`], and every other one for what the
    /// ticket names. A peer that does not answer is none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use aspen_dns::mesh::{Mesh, MeshConfig};
    /// use aspen_dns::replica::AspenDnsClient;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = AspenDnsClient::builder().ticket(std::env::var("TICKET")?.parse()?).build()?;
    /// let mesh = Mesh::start(MeshConfig::default()).await?;
    /// let following = client.follow(&mesh).await?;
    /// client.wait_synced(Duration::from_secs(10)).await?;
    /// // … until the program ends:
    /// following.stop().await;
    /// mesh.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn follow(self: &Arc<Self>, mesh: &Mesh) -> Result<Following, ListenerError> {
        let ticket = self.ticket().ok_or(ListenerError::NoTicket)?;
        let (stop, task) = spawn_dns_sync_listener(Arc::clone(self), mesh, &ticket).await?;
        Ok(Following { stop, task: Some(task) })
    }

    /// The mirror, for a short while: never across an await.
    pub(super) fn mirror(&self) -> MutexGuard<'_, Option<Mirror>> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the mirror, if there is one.
    pub(super) fn with_mirror<T>(&self, with: impl FnOnce(&mut Mirror) -> T) -> Option<T> {
        self.mirror().as_mut().map(with)
    }

    /// How the edge stands to a feed with a log; none while it follows another kind of feed.
    pub(crate) fn mirror_status(&self) -> Option<MirrorStatus> {
        if self.has_entries.load(Ordering::Acquire) {
            return None;
        }
        let now_ms = self.now_ms();
        self.with_mirror(|mirror| mirror.status(now_ms))
    }

    /// What the first `limit` zones of the feed from `from` on, by name, come to, and at which
    /// revisions, of those that are served.
    pub(crate) fn zone_digests(&self, from: Bound<&Name>, limit: u32) -> Vec<(Name, u64, Digest)> {
        let read = |mirror: &mut Mirror| {
            let zones =
                mirror.zone_digests().filter(|(apex, ..)| (from, Bound::Unbounded).contains(*apex));
            let mut zones: Vec<_> = zones.collect();
            if let Some(behind) =
                zones.len().checked_sub(limit as usize).filter(|behind| *behind > 0)
            {
                let kept = zones.len() - behind;
                zones.select_nth_unstable_by_key(kept, |(apex, ..)| *apex);
                zones.truncate(kept);
            }
            zones.sort_unstable_by_key(|(apex, ..)| *apex);
            let owned = zones.into_iter();
            owned.map(|(apex, revision, digest)| (apex.clone(), revision, digest)).collect()
        };
        self.with_mirror(read).unwrap_or_default()
    }

    /// What a zone of the feed that is served comes to, and at which revision.
    pub fn zone_digest(&self, apex: &Name) -> Option<(u64, Digest)> {
        self.with_mirror(|mirror| mirror.zone_digest(apex)).flatten()
    }

    /// The key of all digests of the feed.
    pub fn digest_key(&self) -> Option<DigestKey> {
        self.with_mirror(|mirror| mirror.digest_key())
    }

    /// Whom the edge follows, or followed last.
    pub fn upstream(&self) -> Option<UpstreamInfo> {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the feed is not for this edge, where its authority has said so: it is not on the feed's list, or the feed
    /// was revoked or has expired. What is here is answered on.
    pub fn barred(&self) -> Option<RefusedReason> {
        *self.barred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether that is so; says whether it is news.
    pub(super) fn note_barred(&self, reason: Option<RefusedReason>) -> bool {
        let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *barred, reason) != reason
    }

    /// Since when what arrives cannot be kept for a restart, if it cannot.
    pub(crate) fn unkept_since(&self) -> Option<Instant> {
        *self.unkept_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what this edge had on its disk is damaged or gone in part, so that an older state may be
    /// answered: until the author's word says that it is the newest.
    pub(crate) fn has_damage(&self) -> bool {
        self.has_damage.load(Ordering::Relaxed)
    }

    /// Notes whether that is so.
    pub(super) fn note_damage(&self, has_damage: bool) {
        self.has_damage.store(has_damage, Ordering::Relaxed);
    }

    /// Notes since when what arrives cannot be kept.
    pub(super) fn note_unkept(&self, since: Option<Instant>) {
        *self.unkept_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Notes how many queries were answered in the last second, for those who look at the fleet.
    pub fn note_queries(&self, per_s: u32) {
        self.queries_per_s.store(per_s, Ordering::Relaxed);
    }

    /// What is said of this edge beside how far it is. Looks at all zones if some are held.
    pub(super) fn facts(&self) -> EdgeFacts {
        let catalog = self.stage.catalog();
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let hold = (catalog.held_count() > 0).then(|| catalog.held().next()).flatten();
        let refused = self.with_mirror(|mirror| mirror.stats().refused).unwrap_or_default()
            + self.counters.records_refused.load(Ordering::Relaxed);
        let queries_per_s = self.queries_per_s.load(Ordering::Relaxed);
        EdgeFacts {
            name: self.name.clone(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            queries_per_s: (queries_per_s != QUERIES_UNKNOWN).then_some(queries_per_s),
            zones: count(catalog.zone_count()),
            held: count(catalog.held_count()),
            refused: count(refused),
            behind_s: self.behind().and_then(|behind| match behind.mode {
                FollowMode::Behind => u32::try_from(behind.delay_ms / 1_000).ok(),
                FollowMode::Held => Some(BEHIND_HELD_S),
                FollowMode::Released => None,
            }),
            reason: hold.map(|hold| match hold.reason {
                HoldReason::Loading => format!("{}: is not here yet", hold.apex.to_fqdn()),
                HoldReason::Broken => format!("{}: cannot be read", hold.apex.to_fqdn()),
                HoldReason::Expired => format!("{}: has expired", hold.apex.to_fqdn()),
            }),
        }
    }

    /// Notes whom the edge follows.
    pub(super) fn note_upstream(&self, id: &[u8; 32], welcome: &Welcome, now_ms: u64) {
        let skew = i128::from(welcome.time_ms) - i128::from(now_ms);
        let clock_skew_ms = i64::try_from(skew).unwrap_or(i64::MAX);
        let (is_author, history) = (welcome.is_author, welcome.history);
        let info = UpstreamInfo { id: *id, is_author, history, clock_skew_ms };
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = Some(info);
    }

    /// Entries are followed from now on.
    pub(super) fn begin_entries(&self) {
        self.has_entries.store(true, Ordering::Release);
    }

    /// Entries are not followed any more: the log goes on with what they made.
    pub(super) fn end_entries(&self) {
        self.has_entries.store(false, Ordering::Release);
        self.adopt_served();
    }

    /// Tells the mirror which zones are served that it has not made itself.
    pub(super) fn adopt_served(&self) {
        let catalog = self.stage.catalog();
        let served = catalog.zones().map(|zone| zone.apex());
        let is_fed = |apex: &&Name| self.stage.zone(Rank::Feed, apex).is_some();
        let served = served.filter(is_fed).cloned().collect();
        self.with_mirror(|mirror| mirror.adopt_served(served));
    }

    /// Holds the zones that ought to be served and are not, so that no zone above denies their names:
    /// SERVFAIL until they are here. Not while zones are still to become visible together, unless that
    /// is over, as some of them are visible now.
    pub(super) fn hold_absent(&self, is_over: bool) {
        let absent = self.with_mirror(|mirror| {
            (is_over || !mirror.is_gathering()).then(|| mirror.absent_zones().clone())
        });
        let Some(absent) = absent.flatten() else { return };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held == absent {
            return;
        }
        let is_free = |apex: &&Name| self.stage.zone(Rank::Feed, apex).is_none();
        // Nothing has changed of a zone that is held: these count for nothing.
        let hold = |apex: &Name| (CatalogChange::Hold(apex.clone(), HoldReason::Loading), 0);
        let mut changes: Vec<_> = absent.difference(&held).filter(is_free).map(hold).collect();
        let over = held.difference(&absent).filter(is_free);
        changes.extend(over.map(|apex| (CatalogChange::Remove(apex.clone()), 0)));
        *held = absent;
        drop(held);
        self.stage.publish_edits(Rank::Feed, changes);
    }

    /// Tells the mirror what became of its steps.
    pub(super) fn settle_mirror(&self, applied: Vec<Applied>) {
        let now_ms = self.now_ms();
        for step in applied {
            match step.outcome {
                Ok(served) => {
                    let is_there = served == Served::Yes;
                    self.with_mirror(|mirror| {
                        mirror.handle_applied(&step.apex, step.digest, is_there, now_ms);
                    });
                }
                Err(error) => {
                    tracing::error!(apex = %step.apex, revision = %step.revision, %error,
                        "a zone stays as it is: its new version cannot be built");
                    self.with_mirror(|mirror| mirror.handle_refused(&step.apex, now_ms));
                }
            }
        }
    }
}
