//! What is remembered of zones: a guess of which ones a batch is about, and under which generation their rows
//! stand.
//!
//! **Invariant:** a wrong guess costs another look, and is never believed without one.
//! **Not here:** what the zones are (`store::draft`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::generation::Generation;
use super::operation::Operation;
use crate::limits::ZONE_HINTS_MAX;
use crate::name::Name;
use crate::record::Rrset;

/// Zones that batches were about, and the generations that they had.
#[derive(Debug, Default)]
pub(super) struct ZoneHints(Mutex<HashMap<Name, Generation>>);

impl ZoneHints {
    /// Remembers zones and their generations.
    pub(super) fn remember(&self, zones: impl ExactSizeIterator<Item = (Name, Generation)>) {
        let mut hints = self.lock();
        if hints.len() + zones.len() > ZONE_HINTS_MAX {
            hints.clear();
        }
        hints.extend(zones);
    }

    /// Returns the generation of a zone's rows.
    pub(super) fn generation(&self, apex: &Name) -> Option<Generation> {
        self.lock().get(apex).copied()
    }

    /// Guesses the zones of some operations, as far as they can be guessed.
    pub(super) fn guess<'o>(
        &self,
        operations: impl Iterator<Item = &'o Operation>,
    ) -> Vec<Option<Name>> {
        let hints = self.lock();
        operations.map(|operation| guess(operation, &hints)).collect()
    }

    /// Returns the deepest zone that holds a name.
    pub(super) fn deepest(&self, name: &Name) -> Option<Name> {
        deepest(name, &self.lock())
    }

    /// Locks what is remembered; it is whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Generation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guesses the zone of an operation, of those that `hints` names where it does not.
fn guess(operation: &Operation, hints: &HashMap<Name, Generation>) -> Option<Name> {
    match operation {
        Operation::PutZone(settings) => Some(settings.apex.clone()),
        Operation::PutRrsetIn { apex, .. }
        | Operation::DeleteRrsetIn { apex, .. }
        | Operation::ExtendRrsetIn { apex, .. }
        | Operation::PruneRrsetIn { apex, .. }
        | Operation::DeleteZone { apex } => Some(apex.clone()),
        Operation::PutRrset(Rrset { owner, .. }) | Operation::DeleteRrset { owner, .. } => {
            deepest(owner, hints)
        }
    }
}

/// Returns the deepest zone that holds a name.
fn deepest(name: &Name, hints: &HashMap<Name, Generation>) -> Option<Name> {
    std::iter::successors(Some(name.clone()), Name::parent).find(|apex| hints.contains_key(apex))
}
