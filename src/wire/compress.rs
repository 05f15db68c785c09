//! Names in a reply that stand behind its question: written compressed, found again.
//!
//! Only answers through aliases come here; all other names were compressed when their zone was
//! built. RFC 1035 section 4.1.4.
//!
//! **Invariant:** pointers lead backwards and into their 14 bits; a search is bounded by the labels and
//! pointers that a name can have.
//! **Not here:** RRsets (`wire::reply`), prepared names (`zone::prepare`).

use super::reply::Reply;
use crate::message::{HEADER_LEN, POINTER, POINTER_MAX};

impl Reply<'_> {
    /// Lets later names point to the one that stands at `at`.
    pub fn learn_name(&mut self, at: u16) {
        let _ = self.names.try_push(at);
    }

    /// Appends a pointer to the name that stands at `at`, or a copy of it where no pointer reaches.
    pub(super) fn write_owner_at(&mut self, at: u16) {
        if at <= POINTER_MAX {
            self.out.extend_from_slice(&(POINTER | at).to_be_bytes());
            return;
        }
        let mut at = usize::from(at);
        for _ in 0..NAME_STEPS_MAX {
            let Some(&len) = self.out.get(at) else { return };
            let is_pointer = len & 0xc0 == 0xc0;
            let end = if is_pointer { at + 2 } else { at + usize::from(len) + 1 };
            if end > self.out.len() {
                return;
            }
            self.out.extend_from_within(at..end);
            if is_pointer || len == 0 {
                return;
            }
            at = end;
        }
    }

    /// Returns where the name ends that starts at `at`.
    pub(super) fn name_end(&self, mut at: usize) -> usize {
        loop {
            match self.out.get(at) {
                Some(len) if len & 0xc0 == 0xc0 => return at + 2,
                Some(&len) if len > 0 => at += usize::from(len) + 1,
                _ => return at + 1,
            }
        }
    }

    /// Appends a name, its longest known suffix as a pointer.
    pub(super) fn write_name(&mut self, wire: &[u8]) {
        let mut at = 0;
        while wire[at] != 0 {
            if let Some(target) = self.find_suffix(&wire[at..]) {
                let place = self.out.len();
                self.out.extend_from_slice(&wire[..at]);
                self.out.extend_from_slice(&(POINTER | target).to_be_bytes());
                if at > 0 && place < usize::from(POINTER_MAX) {
                    self.learn_name(place as u16);
                }
                return;
            }
            at += usize::from(wire[at]) + 1;
        }
        let place = self.out.len();
        self.out.extend_from_slice(wire);
        if at > 0 && place < usize::from(POINTER_MAX) {
            self.learn_name(place as u16);
        }
    }

    /// Returns where a canonical name stands in the message, in whatever case, if it does.
    pub fn find_owner(&self, wire: &[u8]) -> Option<u16> {
        self.find(wire, <[u8]>::eq_ignore_ascii_case)
    }

    /// Returns where a name that is copied into an owner pointer may be pointed to: what stands at
    /// `at`, or what this points to if it is a pointer itself.
    pub fn resolve_pointer(&self, at: u16) -> u16 {
        match self.out.get(usize::from(at)..).and_then(<[u8]>::first_chunk::<2>) {
            Some(pair) if pair[0] & 0xc0 == 0xc0 => u16::from_be_bytes(*pair) & !POINTER,
            _ => at,
        }
    }

    /// Looks for a name that ends in `suffix` among those that stand in the message.
    fn find_suffix(&self, suffix: &[u8]) -> Option<u16> {
        self.find(suffix, |left, right| left == right)
    }

    /// Looks for a name among the suffixes of those that stand in the message.
    fn find(&self, wire: &[u8], same: impl Fn(&[u8], &[u8]) -> bool + Copy) -> Option<u16> {
        std::iter::once(HEADER_LEN as u16)
            .chain(self.names.iter().copied())
            .find_map(|start| self.find_in(usize::from(start), wire, same))
    }

    /// Looks for `wire` among the suffixes of the name that stands at `at`.
    fn find_in(
        &self,
        mut at: usize,
        wire: &[u8],
        same: impl Fn(&[u8], &[u8]) -> bool + Copy,
    ) -> Option<u16> {
        for _ in 0..NAME_STEPS_MAX {
            let len = *self.out.get(at)?;
            if len & 0xc0 == 0xc0 {
                at = usize::from(u16::from_be_bytes([len & 0x3f, *self.out.get(at + 1)?]));
                continue;
            }
            if len == 0 {
                return None;
            }
            if self.is_name_at(at, wire, same) {
                return u16::try_from(at).ok().filter(|at| *at <= POINTER_MAX);
            }
            at += usize::from(len) + 1;
        }
        None
    }

    /// Whether the name that stands at `at` is `wire`.
    fn is_name_at(
        &self,
        mut at: usize,
        mut wire: &[u8],
        same: impl Fn(&[u8], &[u8]) -> bool,
    ) -> bool {
        for _ in 0..NAME_STEPS_MAX {
            let Some(&len) = self.out.get(at) else { return false };
            if len & 0xc0 == 0xc0 {
                let Some(&low) = self.out.get(at + 1) else { return false };
                at = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                continue;
            }
            let end = usize::from(len) + 1;
            match (self.out.get(at..at + end), wire.get(..end)) {
                (Some(left), Some(right)) if same(left, right) => {}
                _ => return false,
            }
            if len == 0 {
                return true;
            }
            (at, wire) = (at + end, &wire[end..]);
        }
        false
    }
}

/// Labels and pointers that a name is read over: as many as it can have of each.
const NAME_STEPS_MAX: usize = 2 * (crate::limits::NAME_LABELS_MAX + 1);
