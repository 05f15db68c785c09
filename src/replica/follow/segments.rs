//! Takes the segments of the log: verified, to the mirror, to the disk and to those who follow.
//!
//! **Invariant:** nothing that the feed's author has not signed reaches the mirror.
//! **Not here:** what a segment says (`feed::segment`), whom it comes from (`upstream`), what is handed
//! on of it (`mesh::relay`).

use bytes::Bytes;

use super::Follow;
use crate::feed::segment::Segment;
use crate::feed::{Hash, Revision};
use crate::mesh::relay::Outline;
use crate::replica::fetch::Ask;
use crate::sync::mirror::Taken;

impl Follow {
    /// Fetches an announcement that came through the namespace, if no log tells of it.
    pub(super) fn ask_announcement(&mut self, hash: Hash) {
        if self.upstream.is_none() && self.root_asked.insert(hash) {
            self.fetching += 1;
            self.fetcher.fetch(&[Ask { hash, is_loaded: true }]);
        }
    }

    /// Takes a segment, from a peer if `is_new`; says whether it was believed.
    pub(super) fn take_segment(&mut self, octets: &Bytes, is_new: bool) -> bool {
        // What lies on this machine was verified when it came.
        if is_new && !self.author.has_signed(octets) {
            tracing::warn!("a segment that the feed's author has not signed is refused");
            self.lose_upstream();
            return false;
        }
        let segment = match Segment::from_octets(octets) {
            Ok(segment) => segment,
            Err(error) => {
                tracing::warn!(%error, "a segment does not read");
                return false;
            }
        };
        let (head, outline) = (segment.head, Outline::of(&segment));
        let now = self.client.now_ms();
        let taken = self.client.with_mirror(|mirror| mirror.handle_segment(segment, now));
        let taken = taken.unwrap_or(Taken::Refused);
        if is_new
            && outline.is_to_keep(taken)
            && let Some(archive) = &mut self.archive
        {
            archive.push(octets, Revision::new(head.history.epoch, head.last.revision));
        }
        self.relay.take(octets, outline, taken, is_new);
        taken != Taken::Refused
    }
}
