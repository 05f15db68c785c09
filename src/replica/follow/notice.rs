//! Takes what the author says of the feed itself: who may have it, and which feed takes its place.
//!
//! It comes with the log of whoever is followed, and through the namespace; it lies on the disk for the next start.
//! This node keeps to the list for those who follow it, and hands the notice on to them.
//!
//! **Invariant:** only what the author has signed is believed, and never an older one after a newer.
//! **Not here:** going over (`successor`), the form (`feed::notice`).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::Follow;
use crate::mesh::access::Audience;
use crate::replica::moves::{believe, keep_notice, next_ticket, read_notice};

impl Follow {
    /// Takes what lies on the disk.
    pub(super) fn load_notice(&mut self) {
        let kept = self.mesh.dir().and_then(|dir| read_notice(dir, &self.ticket));
        if let Some((_, octets)) = kept {
            // It was signed when it was read.
            let _ = self.take_notice(&octets);
        }
    }

    /// Takes a notice, if it is newer than what is known; says whether the author has signed it.
    pub(super) fn take_notice(&mut self, octets: &Bytes) -> bool {
        let Some(notice) = believe(&self.author, &self.ticket, octets) else {
            tracing::warn!("a notice that the feed's author has not signed is passed over");
            return false;
        };
        if self.notice.as_ref().is_some_and(|(number, _)| notice.number <= *number) {
            return true;
        }
        self.notice = Some((notice.number, octets.clone()));
        if let Some(dir) = self.mesh.dir() {
            keep_notice(dir, &self.ticket.namespace, octets);
        }
        self.moves_to = next_ticket(&self.ticket, &notice);
        // Before it is handed on: to nobody who may not have it.
        self.keep_to(notice.audience);
        self.relay.log().set_notice(notice.number, octets);
        true
    }

    /// Serves the feed to those alone who may have it, unless this node writes it itself: then it knows better.
    fn keep_to(&self, audience: Option<Vec<[u8; 32]>>) {
        let own = *self.mesh.endpoint().id().as_bytes();
        if self.ticket.peers.iter().any(|peer| peer.id == own) {
            return;
        }
        let audience = match audience {
            None => Audience::All,
            Some(listed) => {
                let authorities = self.ticket.peers.iter().map(|peer| peer.id);
                let listed: BTreeSet<[u8; 32]> =
                    listed.into_iter().chain(authorities).chain([own]).collect();
                Audience::Listed(Arc::new(listed))
            }
        };
        self.mesh.access().set(self.ticket.namespace, audience);
    }
}
