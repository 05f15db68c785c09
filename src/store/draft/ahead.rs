//! Reads what the steps of batches will ask for, all of it in one trip to the engine, or in two if the zone is
//! not known: one that is far away takes as long for each as for a commit.
//!
//! **Invariant:** what is read is what the steps would read themselves; where one asks for more, it does.
//! **Not here:** the steps (`store::draft`).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Draft;
use super::zone::ZoneDraft;
use crate::name::Name;
use crate::record::RecordType;
use crate::store::generation::Generation;
use crate::store::keys;
use crate::store::kv::{KeyRange, KvError};
use crate::store::operation::{Batch, Expectation, Operation};

/// An RRset that a step is about.
pub(super) struct Target<'b> {
    /// The zone, if the step names it.
    pub(super) apex: Option<&'b Name>,
    /// The owner.
    pub(super) owner: &'b Name,
    /// The type.
    pub(super) rtype: RecordType,
    /// Whether the step may make a name that was not there.
    is_put: bool,
}

impl Target<'_> {
    /// Returns the apex of the zone that takes the RRset, as the step finds it itself: `deepest` finds the
    /// deepest zone that holds a name.
    pub(super) fn holder(&self, deepest: impl Fn(&Name) -> Option<Name>) -> Option<Name> {
        if let Some(apex) = self.apex {
            return Some(apex.clone());
        }
        let found = deepest(self.owner)?;
        let is_at_cut = self.rtype == RecordType::DS && found == *self.owner;
        let parent = self.owner.parent().filter(|_| is_at_cut);
        Some(parent.and_then(|parent| deepest(&parent)).unwrap_or(found))
    }
}

/// What is to be read of one zone.
pub(super) struct Wanted {
    /// Under which generation.
    generation: Generation,
    /// Owners, whole.
    pub(super) owners: HashSet<Name>,
    /// Names above those that are put, of which a DNAME would be in the way.
    pub(super) above: HashSet<Name>,
}

/// What is to be read of some zones.
pub(super) type WantedZones = BTreeMap<Name, Wanted>;

impl Draft<'_> {
    /// Reads the zones of some batches, and the owners: both at once of zones that are known already.
    ///
    /// # Errors
    /// Those of the engine.
    pub(in crate::store) async fn read_ahead(&mut self, batches: &[&Batch]) -> Result<(), KvError> {
        let (targets, apexes) = targets_of(batches);
        let guessed = self.want(&targets, |target| {
            let apex = target.holder(|name| self.hints.deepest(name))?;
            let generation = self.hints.generation(&apex)?;
            Some((apex, generation))
        });
        let missing: Vec<Name> =
            apexes.into_iter().filter(|apex| !self.slots.contains_key(apex)).collect();
        self.look(missing, guessed).await?;
        let existing =
            self.slots.iter().filter_map(|(apex, slot)| Some((apex, slot.zone.as_ref()?)));
        let existing: HashMap<&Name, &ZoneDraft> = existing.collect();
        let deepest = |name: &Name| {
            std::iter::successors(Some(name.clone()), Name::parent)
                .find(|name| existing.contains_key(name))
        };
        let mut holders = HashMap::new();
        let wanted = self.want(&targets, |target| {
            let apex = target.holder(deepest)?;
            let zone = existing.get(&apex).filter(|zone| !zone.has_no_rows())?;
            holders.insert(apex.clone(), zone.object.generation);
            Some((apex, zone.object.generation))
        });
        self.hints.remember(holders.into_iter());
        if wanted.values().any(|wanted| !wanted.owners.is_empty() || !wanted.above.is_empty()) {
            self.look(Vec::new(), wanted).await?;
        }
        Ok(())
    }

    /// Returns what steps will ask of their zones, and that was not read yet. `holder` returns the zone of
    /// one, and its generation.
    pub(super) fn want<'t>(
        &self,
        targets: &[Target<'t>],
        mut holder: impl FnMut(&Target<'t>) -> Option<(Name, Generation)>,
    ) -> WantedZones {
        let mut wanted = WantedZones::new();
        for target in targets {
            let Some((apex, generation)) = holder(target) else { continue };
            if target.rtype == RecordType::SOA || !target.owner.is_at_or_below(&apex) {
                continue;
            }
            let zone = self.slots.get(&apex).and_then(|slot| slot.zone.as_ref());
            let above = std::iter::successors(target.owner.parent(), Name::parent);
            let above = above.take_while(|name| target.is_put && name.is_at_or_below(&apex));
            let is_new = |name: &Name| zone.is_none_or(|zone| !zone.dnames.contains_key(name));
            let above: Vec<Name> = above.filter(is_new).collect();
            let new = || Wanted { generation, owners: HashSet::new(), above: HashSet::new() };
            let wanted = wanted.entry(apex).or_insert_with(new);
            wanted.above.extend(above);
            if zone.is_none_or(|zone| !zone.owners.contains_key(target.owner)) {
                wanted.owners.insert(target.owner.clone());
            }
        }
        wanted
    }

    /// Reads zones, and what is wanted of zones; what a zone has under another generation is not taken.
    async fn look(&mut self, apexes: Vec<Name>, wanted: WantedZones) -> Result<(), KvError> {
        let mut zone_keys: Vec<Vec<u8>> = apexes.iter().map(keys::zone_key).collect();
        let mut ranges = Vec::new();
        for (apex, wanted) in &wanted {
            let generation = wanted.generation;
            let range = |owner: &Name| KeyRange::prefix(&keys::rows_at(generation, apex, owner));
            ranges.extend(wanted.owners.iter().map(range));
            let dname = |name: &Name| keys::row_key(generation, apex, name, RecordType::DNAME);
            zone_keys.extend(wanted.above.iter().map(dname));
        }
        let (values, entries) = match self.view.look(&zone_keys, &ranges).await {
            // Another process has replaced a zone: what stood under the generation that is remembered is gone.
            Err(KvError::Unreadable { .. }) if !apexes.is_empty() => {
                return Box::pin(self.look(apexes, WantedZones::new())).await;
            }
            looked => looked?,
        };
        let (mut values, mut entries) = (values.into_iter(), entries.into_iter());
        for (apex, base) in apexes.into_iter().zip(values.by_ref()) {
            self.take_zone(apex, base)?;
        }
        for (apex, wanted) in wanted {
            let zone = self.slots.get_mut(&apex).and_then(|slot| slot.zone.as_mut());
            let mut zone = zone.filter(|zone| zone.object.generation == wanted.generation);
            for (owner, entries) in wanted.owners.into_iter().zip(entries.by_ref()) {
                if let Some(zone) = &mut zone {
                    zone.take_owner(owner, entries)?;
                }
            }
            for (name, found) in wanted.above.into_iter().zip(values.by_ref()) {
                if let Some(zone) = &mut zone {
                    zone.dnames.insert(name, found.is_some());
                }
            }
        }
        Ok(())
    }
}

/// Returns the RRsets that some batches are about, and the zones that must be known for them.
pub(super) fn targets_of<'b>(batches: &[&'b Batch]) -> (Vec<Target<'b>>, HashSet<Name>) {
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
    (targets, apexes)
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
