//! Says that the feed is not for this edge any more, and why, where its authority has told it.
//!
//! What is here is answered on. The edge asks again now and then: who is put on the feed's list is let in.
//!
//! **Not here:** who may have a feed (`mesh::access`), asking (`upstream`).

use data_encoding::HEXLOWER;

use super::Follow;
use crate::feed::frame::RefusedReason;

impl Follow {
    /// Takes why nobody lets this edge in, and says it once.
    pub(super) fn note_barred(&mut self) {
        let barred = self.dialer.barred().filter(|_| self.upstream.is_none());
        if !self.client.note_barred(barred) {
            return;
        }
        let endpoint = HEXLOWER.encode(self.mesh.endpoint().id().as_bytes());
        match barred {
            Some(RefusedReason::NotListed) => tracing::warn!(
                endpoint,
                "this edge is not on the list of its feed: what is here is answered on, and nothing new comes; its \
                 authority lets it in by `aspen-dns feed allow FEED {endpoint}`"
            ),
            Some(reason) => tracing::warn!(
                endpoint,
                "{}: what is here is answered on, and nothing new comes; ask its authority for another ticket",
                told(reason)
            ),
            None => tracing::info!(endpoint, "this edge is let in to its feed again"),
        }
    }
}

/// Why a feed has ended, as its edges say it.
fn told(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Expired => "the time of the feed is over",
        _ => "the feed was revoked",
    }
}
