//! All zones of a server as one immutable snapshot, found by the longest suffix of a name.
//!
//! The next version of a catalog shares all zones but the changed ones, and copies only the shards of
//! the table that these stand in, so that a change among 100,000 zones costs as little as among ten.
//! RFC 1034 section 4.3.2 step 2.
//!
//! An apex may be held without a zone: it is ours, and what it holds is not known. Its names are found
//! there, and never in the zone above, which would deny them.
//!
//! **Invariant:** at most one zone or hold for an apex; all zones share the catalog's seed.
//! **Not here:** publishing (`publish`), what a zone answers (`zone`, `answer`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::Name;
use crate::name::words::is_same;
use crate::zone::path::NamePath;
use crate::zone::{HashSeed, Zone};

/// Zones by apex.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Begins every hash.
    seed: HashSeed,
    /// A power of two of them; the top bits of an apex's hash name the shard.
    shards: Box<[Arc<[CatalogEntry]>]>,
    /// How many zones and holds have an apex of each depth.
    depths: BTreeMap<u8, u64>,
    /// The depths at which there are any, the deepest first.
    deepest_first: Box<[u8]>,
    /// How many zones there are.
    zones: u64,
    /// How many apexes are held without one.
    holds: u64,
    /// If zones are stale: the hashes of the apexes of those that are not, in order.
    fresh: Option<Arc<[u64]>>,
}

/// One apex in its shard; the entries of a shard rise by hash.
#[derive(Clone, Debug)]
struct CatalogEntry {
    /// The apex's hash.
    hash: u64,
    /// What stands there.
    here: AtApex,
}

/// What stands at an apex that is ours.
#[derive(Clone, Debug)]
pub enum AtApex {
    /// Its zone.
    Zone(Arc<Zone>),
    /// Nothing that can be answered.
    Held(Arc<Hold>),
}

/// An apex that is ours and has no zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// The apex.
    pub apex: Name,
    /// Why it has none.
    pub reason: HoldReason,
}

/// Why there is no zone at an apex that is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoldReason {
    /// It is on its way.
    Loading,
    /// What it is made of cannot be read, or makes no zone.
    Broken,
    /// Nothing was heard of it for longer than it may be answered.
    Expired,
}

/// One step from a catalog to the next.
#[derive(Clone, Debug)]
pub enum CatalogChange {
    /// The zone of this apex is now this one; a hold ends.
    Put(Arc<Zone>),
    /// The apex is ours and has no zone that can be answered.
    Hold(Name, HoldReason),
    /// There is neither zone nor hold of this apex any more.
    Remove(Name),
}

impl CatalogChange {
    /// Returns the apex that it is about.
    pub fn apex(&self) -> &Name {
        match self {
            Self::Put(zone) => zone.apex(),
            Self::Hold(apex, _) | Self::Remove(apex) => apex,
        }
    }
}

impl AtApex {
    /// Returns the zone, if it is one.
    #[inline(always)]
    pub fn zone(&self) -> Option<&Arc<Zone>> {
        match self {
            Self::Zone(zone) => Some(zone),
            Self::Held(_) => None,
        }
    }

    /// Returns the apex.
    #[inline]
    pub fn apex(&self) -> &Name {
        match self {
            Self::Zone(zone) => zone.apex(),
            Self::Held(hold) => &hold.apex,
        }
    }
}

impl Catalog {
    /// Makes a catalog without zones.
    pub fn new(seed: HashSeed) -> Self {
        let shards = Box::new([Arc::from([])]);
        let (depths, deepest_first) = (BTreeMap::new(), Box::default());
        Self { seed, shards, depths, deepest_first, zones: 0, holds: 0, fresh: None }
    }

    /// Returns the seed of every zone's hashes.
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Returns the catalog with all zones stale but those of some apexes, by their hashes; `None` ends that.
    pub(crate) fn with_staleness(&self, fresh: Option<Vec<u64>>) -> Self {
        let sorted = |mut fresh: Vec<u64>| {
            fresh.sort_unstable();
            Arc::from(fresh)
        };
        Self { fresh: fresh.map(sorted), ..self.clone() }
    }

    /// Whether zones are stale: what they answer may be old, and nobody is there who would know.
    #[inline(always)] // once for each query
    pub fn has_stale(&self) -> bool {
        self.fresh.is_some()
    }

    /// Whether the zone whose apex has a hash is stale.
    #[cold]
    pub(crate) fn is_stale(&self, apex_hash: u64) -> bool {
        self.fresh.as_ref().is_some_and(|fresh| fresh.binary_search(&apex_hash).is_err())
    }

    /// Returns how many zones there are.
    pub fn zone_count(&self) -> u64 {
        self.zones
    }

    /// Returns how many apexes are held without a zone.
    pub fn held_count(&self) -> u64 {
        self.holds
    }

    /// Returns what stands at an apex, if it is ours.
    pub fn at(&self, apex: &Name) -> Option<&AtApex> {
        self.find_hash(self.seed.name_hash(apex.as_wire()), apex.as_wire())
    }

    /// Returns the zone of an apex.
    pub fn zone(&self, apex: &Name) -> Option<&Arc<Zone>> {
        self.at(apex)?.zone()
    }

    /// Iterates over the zones in no order.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.entries().filter_map(|entry| entry.here.zone())
    }

    /// Iterates over the apexes that are held without a zone, in no order.
    pub fn held(&self) -> impl Iterator<Item = &Hold> {
        self.entries().filter_map(|entry| match &entry.here {
            AtApex::Zone(_) => None,
            AtApex::Held(hold) => Some(&**hold),
        })
    }

    /// Iterates over all entries in no order.
    fn entries(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Returns what stands at the apex that is the longest suffix of a name.
    #[inline]
    pub fn find(&self, path: &NamePath) -> Option<&AtApex> {
        self.find_up_to(path, path.depth())
    }

    /// Returns what stands at the apex that is the longest suffix of a name with `depth_max` labels
    /// at most.
    ///
    /// Costs one probe for each depth at which there are zones or holds at all.
    #[inline(always)]
    pub(crate) fn find_up_to(&self, path: &NamePath, depth_max: usize) -> Option<&AtApex> {
        for &depth in &self.deepest_first {
            let depth = usize::from(depth);
            if depth > depth_max {
                continue;
            }
            if let Some(here) = self.find_hash(path.hash_at(depth), path.suffix_at(depth)) {
                return Some(here);
            }
        }
        None
    }

    /// Reads where the zone of a name would stand, to have it in the caches.
    #[inline]
    pub(crate) fn touch_shard(&self, path: &NamePath) -> u8 {
        let depth = self.deepest_first.iter().find(|depth| usize::from(**depth) <= path.depth());
        let Some(&depth) = depth else { return 0 };
        let hash = path.hash_at(usize::from(depth));
        let shard = &self.shards[shard_index(hash, self.shards.len())];
        shard.get(shard.len() / 2).map_or(0, |entry| entry.hash as u8)
    }

    /// Returns the zone that [`Catalog::find`] will find, unless two apexes have one hash; none where
    /// the apex is held.
    ///
    /// It reads nothing of the zone itself.
    #[inline]
    pub(crate) fn guess(&self, path: &NamePath) -> Option<&Zone> {
        let depths = self.deepest_first.iter().map(|depth| usize::from(*depth));
        let here = depths.filter(|depth| *depth <= path.depth()).find_map(|depth| {
            let hash = path.hash_at(depth);
            let shard = &self.shards[shard_index(hash, self.shards.len())];
            let at = shard.partition_point(|entry| entry.hash < hash);
            shard.get(at).filter(|entry| entry.hash == hash).map(|entry| &entry.here)
        });
        here.and_then(AtApex::zone).map(|zone| &**zone)
    }

    /// Returns the catalog after `changes`, made in order.
    ///
    /// # Panics
    /// If a zone was built with another seed.
    pub fn with_changes(&self, changes: Vec<CatalogChange>) -> Self {
        let mut next = self.clone();
        // A first load puts all zones at once: into a table cut for a few it would cost their square.
        next.reshape_if_needed(self.zones + self.holds + changes.len() as u64);
        let mut open: BTreeMap<usize, Vec<CatalogEntry>> = BTreeMap::new();
        for change in changes {
            let (apex, here) = match change {
                CatalogChange::Put(zone) => {
                    assert!(zone.seed() == self.seed, "seeds agree");
                    (zone.apex().clone(), Some(AtApex::Zone(zone)))
                }
                CatalogChange::Hold(apex, reason) => {
                    let hold = Hold { apex: apex.clone(), reason };
                    (apex, Some(AtApex::Held(Arc::new(hold))))
                }
                CatalogChange::Remove(apex) => (apex, None),
            };
            let hash = self.seed.name_hash(apex.as_wire());
            let index = shard_index(hash, next.shards.len());
            let shard = open.entry(index).or_insert_with(|| next.shards[index].to_vec());
            let place = shard.partition_point(|entry| entry.hash < hash);
            let same = shard[place..]
                .iter()
                .take_while(|entry| entry.hash == hash)
                .position(|entry| *entry.here.apex() == apex)
                .map(|at| place + at);
            next.count(here.as_ref(), 1);
            match (same, here) {
                (Some(at), Some(here)) => {
                    let before = std::mem::replace(&mut shard[at].here, here);
                    next.count(Some(&before), -1);
                }
                (Some(at), None) => {
                    let before = shard.remove(at);
                    next.count(Some(&before.here), -1);
                    next.count_depth(&apex, false);
                }
                (None, Some(here)) => {
                    shard.insert(place, CatalogEntry { hash, here });
                    next.count_depth(&apex, true);
                }
                (None, None) => {}
            }
        }
        for (index, shard) in open {
            next.shards[index] = shard.into();
        }
        let apexes = next.zones + next.holds;
        assert_eq!(apexes, next.depths.values().sum::<u64>(), "every apex has a depth");
        next.reshape_if_needed(apexes);
        next
    }

    /// Counts a zone or hold that came or went.
    fn count(&mut self, here: Option<&AtApex>, by: i64) {
        match here {
            Some(AtApex::Zone(_)) => self.zones = self.zones.saturating_add_signed(by),
            Some(AtApex::Held(_)) => self.holds = self.holds.saturating_add_signed(by),
            None => {}
        }
    }

    /// Counts an apex that came or went.
    fn count_depth(&mut self, apex: &Name, is_new: bool) {
        let depth = apex.label_count() as u8;
        let apexes = self.depths.entry(depth).or_insert(0);
        if is_new {
            *apexes += 1;
        } else {
            *apexes -= 1;
        }
        if *apexes == 0 {
            self.depths.remove(&depth);
        }
        if self.depths.len() != self.deepest_first.len() {
            self.deepest_first = self.depths.keys().rev().copied().collect();
        }
    }

    /// Cuts the table anew if it fits `apexes` badly: they have come or gone fourfold.
    fn reshape_if_needed(&mut self, apexes: u64) {
        let wanted = apexes.isqrt().next_power_of_two() as usize;
        if wanted <= self.shards.len() * 2 && wanted * 4 >= self.shards.len() {
            return;
        }
        let mut shards: Vec<Vec<CatalogEntry>> = vec![Vec::new(); wanted];
        for entry in self.entries() {
            shards[shard_index(entry.hash, wanted)].push(entry.clone());
        }
        for shard in &mut shards {
            shard.sort_by_key(|entry| entry.hash);
        }
        self.shards = shards.into_iter().map(Arc::from).collect();
    }

    /// Looks an apex up by its wire form and hash.
    #[inline(never)]
    fn find_hash(&self, hash: u64, apex: &[u8]) -> Option<&AtApex> {
        let shard = &self.shards[shard_index(hash, self.shards.len())];
        let mut at = 0;
        if shard.len() > 1 {
            at = shard.partition_point(|entry| entry.hash < hash);
        }
        let mut entry = shard.get(at)?;
        // Another apex with the same hash is as good as impossible, and still told apart.
        while entry.hash == hash {
            if is_same(entry.here.apex().as_wire(), apex) {
                return Some(&entry.here);
            }
            at += 1;
            entry = shard.get(at)?;
        }
        None
    }
}

/// Returns the shard of a hash among `shards`, a power of two.
fn shard_index(hash: u64, shards: usize) -> usize {
    debug_assert!(shards.is_power_of_two());
    (hash.rotate_left(shards.trailing_zeros()) as usize) & (shards - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordType, Rrset, Soa};

    const SEED: HashSeed = HashSeed(3);

    fn zone(apex: &str) -> Arc<Zone> {
        let apex = Name::from_text(apex).expect(apex);
        let rdata = Soa::default().to_rdata();
        let soa = Rrset::new(apex.clone(), RecordType::SOA, 1, [rdata]).expect("one record");
        Arc::new(crate::zone::build(apex, SEED, vec![soa]).expect("has an SOA"))
    }

    fn check(catalog: &Catalog, qname: &str, apex: Option<&str>) {
        let mut path = NamePath::new();
        path.set_canonical(Name::from_text(qname).expect(qname).as_wire(), SEED);
        let found = catalog.find(&path).map(|here| here.apex().to_string());
        assert_eq!(found.as_deref(), apex, "{qname}");
    }

    #[test]
    fn the_longest_suffix_wins() {
        let put = |apex| CatalogChange::Put(zone(apex));
        let catalog = Catalog::new(SEED).with_changes(vec![
            put("example"),
            put("b.example"),
            put("x.y.b.example"),
            put("test"),
        ]);
        check(&catalog, "a.example", Some("example"));
        check(&catalog, "b.example", Some("b.example"));
        check(&catalog, "y.b.example", Some("b.example"));
        check(&catalog, "q.x.y.b.example", Some("x.y.b.example"));
        check(&catalog, "com", None);
        check(&catalog, ".", None);
        let catalog = catalog
            .with_changes(vec![put("."), CatalogChange::Remove(zone("b.example").apex().clone())]);
        check(&catalog, "y.b.example", Some("example"));
        check(&catalog, "com", Some("."));
        assert_eq!(catalog.zone_count(), 4);
    }

    #[test]
    fn a_held_apex_is_found_like_a_zone_until_one_takes_its_place() {
        let apex = |text| Name::from_text(text).expect(text);
        let hold = |text| CatalogChange::Hold(apex(text), HoldReason::Broken);
        let counts = |catalog: &Catalog| {
            assert_eq!(catalog.zones().count() as u64, catalog.zone_count());
            assert_eq!(catalog.held().count() as u64, catalog.held_count());
            (catalog.zone_count(), catalog.held_count())
        };
        let catalog = Catalog::new(SEED)
            .with_changes(vec![CatalogChange::Put(zone("example")), hold("a.b.example")]);
        check(&catalog, "x.a.b.example", Some("a.b.example"));
        check(&catalog, "b.example", Some("example"));
        assert_eq!(counts(&catalog), (1, 1));
        assert!(catalog.zone(&apex("a.b.example")).is_none());
        let both = catalog.with_changes(vec![
            CatalogChange::Put(zone("a.b.example")),
            CatalogChange::Hold(apex("example"), HoldReason::Loading),
        ]);
        assert_eq!(counts(&both), (1, 1));
        assert!(both.zone(&apex("a.b.example")).is_some());
        assert_eq!(both.held().next().expect("one").reason, HoldReason::Loading);
        let none = both.with_changes(vec![
            hold("a.b.example"),
            CatalogChange::Remove(apex("example")),
            CatalogChange::Remove(apex("a.b.example")),
            CatalogChange::Remove(apex("a.b.example")),
        ]);
        assert_eq!(counts(&none), (0, 0));
        check(&none, "x.a.b.example", None);
    }

    #[test]
    fn thousands_of_zones_come_and_go() {
        let mut catalog = Catalog::new(SEED);
        for round in 0..20 {
            let puts =
                (0..150).map(|i| CatalogChange::Put(zone(&format!("z{}.test", round * 150 + i))));
            catalog = catalog.with_changes(puts.collect());
        }
        assert_eq!((catalog.zone_count(), catalog.zones().count()), (3_000, 3_000));
        check(&catalog, "a.b.z2999.test", Some("z2999.test"));
        let removes =
            (0..2_990).map(|i| CatalogChange::Remove(zone(&format!("z{i}.test")).apex().clone()));
        catalog = catalog.with_changes(removes.collect());
        assert_eq!((catalog.zone_count(), catalog.zones().count()), (10, 10));
        check(&catalog, "z2999.test", Some("z2999.test"));
        check(&catalog, "z1.test", None);
    }
}
