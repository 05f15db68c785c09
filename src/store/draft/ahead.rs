//! Reads what the steps of batches will ask for, all of it in two trips to the engine: one that is far away
//! takes as long for each as for a commit.
//!
//! **Invariant:** what is read is what the steps would read themselves, as one does that asks for more.
//! **Not here:** the steps (`store::draft`).

use std::collections::{BTreeMap, HashSet};

use super::Draft;
use crate::name::Name;
use crate::record::RecordType;
use crate::store::kv::KvError;
use crate::store::operation::{Batch, Expectation, Operation};

/// An RRset that a step is about.
struct Target<'b> {
    /// The zone, if the step names it.
    apex: Option<&'b Name>,
    /// The owner.
    owner: &'b Name,
    /// The type.
    rtype: RecordType,
    /// Whether the step may make a name that was not there.
    is_put: bool,
}

impl Target<'_> {
    /// Returns the apex of the zone that takes the RRset, of those that exist; as the step finds it itself.
    fn holder(&self, existing: &HashSet<&Name>) -> Option<Name> {
        let deepest = |name: Option<Name>| {
            std::iter::successors(name, Name::parent).find(|name| existing.contains(name))
        };
        if let Some(apex) = self.apex {
            return Some(apex.clone());
        }
        let found = deepest(Some(self.owner.clone()))?;
        let is_at_cut = self.rtype == RecordType::DS && found == *self.owner;
        let parent = if is_at_cut { deepest(self.owner.parent()) } else { None };
        Some(parent.unwrap_or(found))
    }
}

/// What is to be read of one zone.
#[derive(Default)]
struct Wanted {
    /// Owners, whole.
    owners: HashSet<Name>,
    /// Names above those that are put, of which a DNAME would be in the way.
    above: HashSet<Name>,
}

impl Draft<'_> {
    /// Reads the zones of some batches, and then the owners.
    ///
    /// # Errors
    /// Those of the engine.
    pub(in crate::store) async fn read_ahead(&mut self, batches: &[&Batch]) -> Result<(), KvError> {
        let (mut targets, mut apexes) = (Vec::new(), HashSet::new());
        for operation in batches.iter().flat_map(|batch| &batch.operations) {
            match operation {
                Operation::PutZone(settings) => add_above(&mut apexes, &settings.apex),
                Operation::DeleteZone { apex } => add_above(&mut apexes, apex),
                _ => targets.extend(target_of(operation)),
            }
        }
        for expectation in batches.iter().flat_map(|batch| &batch.preconditions) {
            match expectation {
                Expectation::ZoneSerial { apex, .. }
                | Expectation::ZoneAtRevision { apex, .. }
                | Expectation::ZoneAbsent { apex } => drop(apexes.insert(apex.clone())),
                Expectation::RrsetAtRevision { owner, rtype, .. }
                | Expectation::RrsetAbsent { owner, rtype } => {
                    targets.push(Target { apex: None, owner, rtype: *rtype, is_put: false });
                }
            }
        }
        for target in &targets {
            match target.apex {
                Some(apex) => drop(apexes.insert(apex.clone())),
                None => add_above(&mut apexes, target.owner),
            }
        }
        self.load(&apexes.into_iter().collect::<Vec<_>>()).await?;
        let mut wanted: BTreeMap<Name, Wanted> = BTreeMap::new();
        let existing = self.slots.iter().filter(|(_, slot)| slot.zone.is_some());
        let existing: HashSet<&Name> = existing.map(|(apex, _)| apex).collect();
        for target in &targets {
            if let Some(apex) = target.holder(&existing) {
                self.want(&mut wanted, apex, target);
            }
        }
        self.read_wanted(wanted).await
    }

    /// Adds what a step will ask of a zone.
    fn want(&self, wanted: &mut BTreeMap<Name, Wanted>, apex: Name, target: &Target<'_>) {
        let zone = self.slots.get(&apex).and_then(|slot| slot.zone.as_ref());
        let has_rows = zone.is_some_and(|zone| !zone.has_no_rows());
        if !has_rows || target.rtype == RecordType::SOA || !target.owner.is_at_or_below(&apex) {
            return;
        }
        let above = std::iter::successors(target.owner.parent(), Name::parent);
        let above = above.take_while(|name| target.is_put && name.is_at_or_below(&apex));
        let above: Vec<Name> = above.collect();
        let wanted = wanted.entry(apex).or_default();
        wanted.owners.insert(target.owner.clone());
        wanted.above.extend(above);
    }

    /// Reads what is wanted of each zone.
    async fn read_wanted(&mut self, wanted: BTreeMap<Name, Wanted>) -> Result<(), KvError> {
        let (mut ranges, mut dnames) = (Vec::new(), Vec::new());
        for (apex, wanted) in &wanted {
            let Some(zone) = self.slots.get(apex).and_then(|slot| slot.zone.as_ref()) else {
                continue;
            };
            ranges.extend(wanted.owners.iter().map(|owner| zone.owner_range(owner)));
            dnames.extend(wanted.above.iter().map(|name| zone.dname_key(name)));
        }
        if ranges.is_empty() {
            return Ok(());
        }
        // At once: neither waits for the other.
        let reading = tokio::try_join!(self.view.read_ranges(&ranges), self.view.read(&dnames));
        let (owners, dnames) = reading?;
        let (mut owners, mut dnames) = (owners.into_iter(), dnames.into_iter());
        for (apex, wanted) in wanted {
            let Some(zone) = self.slots.get_mut(&apex).and_then(|slot| slot.zone.as_mut()) else {
                continue;
            };
            for (owner, entries) in wanted.owners.into_iter().zip(owners.by_ref()) {
                zone.take_owner(owner, entries)?;
            }
            for (name, found) in wanted.above.into_iter().zip(dnames.by_ref()) {
                zone.dnames.insert(name, found.is_some());
            }
        }
        Ok(())
    }
}

/// Returns the RRset that a step is about, if it is about one.
fn target_of(operation: &Operation) -> Option<Target<'_>> {
    let is_put = matches!(
        operation,
        Operation::PutRrset(_) | Operation::PutRrsetIn { .. } | Operation::ExtendRrsetIn { .. }
    );
    let (apex, owner, rtype) = match operation {
        Operation::PutRrset(rrset) => (None, &rrset.owner, rrset.rtype),
        Operation::PutRrsetIn { apex, rrset } => (Some(apex), &rrset.owner, rrset.rtype),
        Operation::DeleteRrset { owner, rtype } => (None, owner, *rtype),
        Operation::DeleteRrsetIn { apex, owner, rtype }
        | Operation::ExtendRrsetIn { apex, owner, rtype, .. }
        | Operation::PruneRrsetIn { apex, owner, rtype, .. } => (Some(apex), owner, *rtype),
        Operation::PutZone(_) | Operation::DeleteZone { .. } => return None,
    };
    Some(Target { apex, owner, rtype, is_put })
}

/// Adds a name and all above it.
fn add_above(names: &mut HashSet<Name>, name: &Name) {
    names.extend(std::iter::successors(Some(name.clone()), Name::parent));
}
