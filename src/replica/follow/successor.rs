//! Goes over to the feed that takes the place of the one that is followed, without a gap.
//!
//! The new feed is followed beside the old one by a client of its own, which nobody asks. Once that has all that is
//! answered here, and has it on the disk, the old feed stands still for a moment, and what the new one has made
//! takes its place in one step. Both are in memory until then.
//!
//! An edge that follows behind on purpose reads the new feed behind, too. The first state of it is of no use until it
//! is as old as what is answered: so the edge goes over when it has read the new feed for as long as it stays behind,
//! at once if it was told to catch up, and not at all while it is held.
//!
//! **Invariant:** no zone goes back to a lower revision, and none is missing between the two; nothing is answered that
//! was to be held back, and an edge that has not heard its author counts as silent until it hears the new one's.
//! **Not here:** what the author says (`notice`), which ticket holds after a restart (`moves`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Follow;
use crate::limits::{MOVE_FREEZE_MS_MAX, MOVE_RETRY_MS};
use crate::mesh::Mesh;
use crate::replica::AspenDnsClient;
use crate::replica::archive::Archive;
use crate::replica::moves::client_beside;
use crate::replica::opening::open;
use crate::replica::silence::ContactFile;
use crate::ticket::{DnsClientTicket, TicketPeer};

/// What follows the feed that takes the place of this one.
pub(super) struct Successor {
    /// What it has.
    client: Arc<AspenDnsClient>,
    /// Asks it to come over.
    hand_over: CancellationToken,
    /// The task that follows.
    task: JoinHandle<Option<Box<Follow>>>,
    /// Ends it when this is dropped.
    guard: DropGuard,
}

/// How following a feed has ended.
pub(in crate::replica) enum RunEnd {
    /// For good.
    Over,
    /// Another feed has taken its place: what follows that.
    Next(Box<Follow>),
    /// It was asked to come over.
    Handed(Box<Follow>),
}

impl RunEnd {
    /// What goes on in its place.
    pub(in crate::replica) fn next(self) -> Option<Box<Follow>> {
        match self {
            Self::Next(follow) => Some(follow),
            Self::Over | Self::Handed(_) => None,
        }
    }
}

/// What a task ends with that follows a feed beside another.
type Leading = Pin<Box<dyn Future<Output = Option<Box<Follow>>> + Send>>;

impl Follow {
    /// Follows the feed that takes the place of this one beside it, if there is one and nobody does.
    pub(super) fn start_successor(&mut self, stop: &CancellationToken) {
        let is_due = self.successor.is_none() && self.hand_over.is_none();
        let is_rested = self.moved_at.is_none_or(|at| at.elapsed() >= MOVE_RETRY);
        let Some(ticket) = self.moves_to.clone().filter(|_| is_due && is_rested) else { return };
        let Some(client) = client_beside(&self.client, &ticket) else { return };
        self.moved_at = Some(Instant::now());
        tracing::info!("another feed takes the place of this one: it is read beside it");
        let (stop, hand_over) = (stop.child_token(), CancellationToken::new());
        let known = self.peers.all();
        let leading = begin(
            (Arc::clone(&client), self.mesh.clone(), ticket, known),
            stop.clone(),
            hand_over.clone(),
        );
        let (task, guard) = (tokio::spawn(leading), stop.drop_guard());
        self.successor = Some(Successor { client, hand_over, task, guard });
    }

    /// Asks the one that follows the new feed to come over, once it has all that is answered here; nothing is
    /// taken of the old feed meanwhile.
    pub(super) fn look_at_successor(&mut self) {
        let is_long = |since: Instant| since.elapsed() >= Duration::from_millis(MOVE_FREEZE_MS_MAX);
        if self.frozen_since.is_some_and(is_long) {
            tracing::warn!("the feed that takes the place of this one does not come over yet");
            self.frozen_since = None;
        }
        let Some(successor) = &self.successor else { return };
        successor.client.behind.follow_mode_of(&self.client.behind);
        if self.frozen_since.is_some() || successor.hand_over.is_cancelled() {
            return;
        }
        if self.is_ahead(&successor.client) {
            self.frozen_since = Some(Instant::now());
            successor.hand_over.cancel();
        }
    }

    /// Whether what another client has is not behind what is answered here, nor to be held back yet, and would be
    /// there after a restart.
    fn is_ahead(&self, other: &AspenDnsClient) -> bool {
        if !self.client.behind.lets_over(&other.behind) {
            return false;
        }
        let now = self.client.now_ms();
        let status = other.with_mirror(|mirror| (mirror.status(now), mirror.served_place()));
        let Some((status, (history, place))) = status else { return false };
        let namespace = other.ticket().map(|ticket| ticket.namespace).unwrap_or_default();
        let is_kept = self.mesh.dir().is_none_or(|dir| Archive::is_there(dir, &namespace));
        if !status.status.is_synced() || !is_kept {
            return false;
        }
        let own = self.client.with_mirror(|mirror| mirror.served_place()).unwrap_or_default();
        if history != own.0 {
            return history.epoch > own.0.epoch;
        }
        place.revision >= self.client.answered_up_to()
    }

    /// Takes what follows the new feed, in the place of this task; none if it has ended, or is behind after all.
    pub(super) fn take_handed(
        &mut self,
        handed: Option<Box<Self>>,
        stop: &CancellationToken,
    ) -> Option<Box<Self>> {
        let successor = self.successor.take()?;
        self.frozen_since = None;
        let mut next = handed?;
        next.hand_over = None;
        // It goes on whoever has it.
        let own_stop = successor.guard.disarm();
        if !self.is_ahead(&next.client) || !self.takes_over(&next.client) {
            let hand_over = CancellationToken::new();
            next.hand_over = Some(hand_over.clone());
            let client = Arc::clone(&next.client);
            let (task, guard) = (tokio::spawn(lead(next, own_stop.clone())), own_stop.drop_guard());
            self.successor = Some(Successor { client, hand_over, task, guard });
            return None;
        }
        let beside = std::mem::replace(&mut next.client, Arc::clone(&self.client));
        self.client.take_from(&beside);
        self.client.note_ticket(&next.ticket);
        tracing::info!(
            namespace = data_encoding::HEXLOWER.encode(&next.ticket.namespace[..8]),
            "the feed that has taken the place of the old one is answered"
        );
        debug_assert!(
            !stop.is_cancelled() || own_stop.is_cancelled(),
            "the one is the child of the other"
        );
        Some(next)
    }

    /// Has it kept with the new feed how the edge is to follow; says whether it is.
    fn takes_over(&self, other: &AspenDnsClient) -> bool {
        let taken = self.client.behind.take_over(&other.behind);
        if let Err(error) = &taken {
            tracing::warn!(%error, "how the new feed is to be followed cannot be kept: it is not yet");
        }
        taken.is_ok()
    }

    /// Ends this feed for good: another has taken its place.
    pub(super) async fn give_way(mut self: Box<Self>) {
        let (dir, namespace) =
            (self.mesh.dir().map(std::path::Path::to_owned), self.ticket.namespace);
        self.archive = None;
        // When the author was heard is kept with the new feed.
        self.contact = ContactFile::new(None);
        let notice = self.notice.clone();
        let hub = self.mesh.hub().clone();
        self.end().await;
        if let Some(dir) = dir {
            Archive::forget(&dir, &namespace);
        }
        if let Some((_, octets)) = notice {
            // Who asks this node for the old feed is told where to go.
            hub.note_moved(namespace, octets);
        }
    }

    /// Whether this task has been asked to come over, and can: zones of another history wait for each other.
    pub(super) fn is_leaving(&self) -> bool {
        self.hand_over.as_ref().is_some_and(CancellationToken::is_cancelled)
            && self.client.with_mirror(|mirror| mirror.is_gathering()) == Some(false)
    }

    /// Whether nothing is under way that would be lost by a change of hands.
    pub(super) fn is_quiet(&self) -> bool {
        self.building.is_none() && self.held.is_empty()
    }
}

impl Successor {
    /// The task, to be waited for at the end.
    pub(super) fn end(self) -> JoinHandle<Option<Box<Follow>>> {
        drop(self.guard);
        self.task
    }
}

/// Waits until it is asked to come over; for ever where nobody will.
pub(super) async fn asked(hand_over: Option<CancellationToken>) {
    match hand_over {
        Some(hand_over) => hand_over.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Waits for what follows the new feed; for ever where there is none.
pub(super) async fn handed(successor: &mut Option<Successor>) -> Option<Box<Follow>> {
    let Some(successor) = successor else { return std::future::pending().await };
    (&mut successor.task).await.unwrap_or_else(|error| {
        tracing::error!(%error, "following the feed that takes the place of this one ended badly");
        None
    })
}

/// Opens a feed and follows it, until it is asked to come over or to end. Boxed: it may do the same in its turn.
fn begin(
    (client, mesh, ticket, known): (Arc<AspenDnsClient>, Mesh, DnsClientTicket, Vec<TicketPeer>),
    stop: CancellationToken,
    hand_over: CancellationToken,
) -> Leading {
    Box::pin(async move {
        let opening = async {
            let doc = open(&mesh, &ticket).await?;
            Follow::open(client, &mesh, &ticket, doc, &stop).await
        };
        match opening.await {
            Ok(mut follow) => {
                follow.hand_over = Some(hand_over);
                // Whoever has handed on the old feed may have the new one.
                follow.peers.hear(known);
                lead(Box::new(follow), stop).await
            }
            Err(error) => {
                tracing::warn!(%error, "the feed that takes the place of this one cannot be opened");
                None
            }
        }
    })
}

/// Follows a feed until it is asked to come over or to end.
fn lead(follow: Box<Follow>, stop: CancellationToken) -> Leading {
    Box::pin(async move {
        match follow.run(stop).await {
            RunEnd::Handed(follow) => Some(follow),
            RunEnd::Over | RunEnd::Next(_) => None,
        }
    })
}

/// How long to wait until the new feed is tried again.
const MOVE_RETRY: Duration = Duration::from_millis(MOVE_RETRY_MS);
