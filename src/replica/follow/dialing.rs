//! Dials, and follows whoever welcomes this node.
//!
//! **Not here:** whom to dial, and how (`upstream`).

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Follow;
use super::behind::HeldBack;
use crate::clock::now_ms;
use crate::feed::frame::Hello;
use crate::limits::{UPSTREAM_LOSSES_MAX, UPSTREAM_WAIT_MS};
use crate::replica::upstream::Upstream;

impl Follow {
    /// Dials, if nobody is followed, or somebody who is not the author.
    pub(super) fn dial(&mut self) {
        if self.dialing.is_some() || self.is_to_wait() {
            return;
        }
        let followed = match &self.upstream {
            None => None,
            Some(upstream) if !upstream.welcome.is_author => Some(upstream.id),
            Some(_) => return,
        };
        let place = self.client.with_mirror(|mirror| mirror.place());
        let held = self.held_back.as_ref().map(HeldBack::line);
        let (history, position) = held.and_then(|line| line.last()).or(place).unwrap_or_default();
        let held_proofs = held.map(|line| line.proofs()).filter(|proofs| !proofs.is_empty());
        let hello = Hello {
            namespace: self.ticket.namespace,
            history,
            position,
            peer: self.mesh.own_peer(),
            proofs: held_proofs.unwrap_or_else(|| self.relay.proofs()),
        };
        let dialer = self.dialer.clone();
        self.dialing = Some(tokio::spawn(async move { dialer.dial(hello, followed).await }));
    }

    /// Whether nobody is to be dialed yet: whoever was followed was lost too often.
    fn is_to_wait(&self) -> bool {
        let Some(since) = self.alone_since.filter(|_| self.quick_losses >= UPSTREAM_LOSSES_MAX)
        else {
            return false;
        };
        let doublings = (self.quick_losses - UPSTREAM_LOSSES_MAX).min(5);
        since.elapsed() < Duration::from_millis(UPSTREAM_WAIT_MS << doublings)
    }

    /// Follows whoever has welcomed us.
    pub(super) async fn take_dialed(&mut self, dialed: Option<Upstream>) {
        let Some(upstream) = dialed else { return };
        if self.entries.is_some() {
            tracing::info!("the feed has a log now: it is followed");
            self.end_entry_listener().await;
            self.client.end_entries();
        }
        tracing::info!(
            peer = %upstream.id.fmt_short(),
            is_author = upstream.welcome.is_author,
            history = %upstream.welcome.history,
            from = upstream.welcome.from.revision,
            "following"
        );
        self.sources.follow(Some(upstream.id));
        self.client.note_upstream(upstream.id.as_bytes(), &upstream.welcome, now_ms());
        let now = self.client.now_ms();
        self.client.with_mirror(|mirror| mirror.handle_streams(1, now));
        self.upstream = Some(upstream);
        self.forget_told();
        self.alone_since = None;
        self.followed_since = Instant::now();
    }
}

/// Waits for somebody who welcomes us; for ever when nobody is dialed.
pub(super) async fn dialed(dialing: &mut Option<JoinHandle<Upstream>>) -> Option<Upstream> {
    let Some(task) = dialing else { return std::future::pending().await };
    let dialed = task.await;
    *dialing = None;
    dialed.ok()
}
