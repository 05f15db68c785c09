//! What counting zones anew has found.
//!
//! **Invariant:** a zone that could not be read is among those that are told until it could.
//! **Not here:** the counting (`store::digests`).

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use crate::name::Name;

/// What counting zones anew has found since the start.
#[derive(Debug, Default)]
pub struct Recounts {
    /// Zones that were counted, again and again.
    pub counted: AtomicU64,
    /// Those that were wrong, and are right now.
    pub mended: AtomicU64,
    /// Those that could not be read when it was their turn last.
    unreadable: Mutex<BTreeSet<Name>>,
}

impl Recounts {
    /// How many zones could not be read when it was their turn last, and the first of them; none if all
    /// could.
    pub fn unreadable(&self) -> Option<(usize, String)> {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        Some((unreadable.len(), unreadable.first()?.to_string()))
    }

    /// The zones that could not be read when it was their turn last.
    pub(super) fn unreadable_zones(&self) -> BTreeSet<Name> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether a zone can be counted; says whether that is news.
    pub(super) fn note(&self, apex: &Name, is_readable: bool) -> bool {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if is_readable { unreadable.remove(apex) } else { unreadable.insert(apex.clone()) }
    }
}
