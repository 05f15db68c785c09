//! Reads ahead of a batch of queries, so that their answers wait for memory together.
//!
//! **Invariant:** an answer is the same without it; never allocates.
//! **Not here:** the steps through a zone's table (`zone::table_warm`).

use arrayvec::ArrayVec;

use crate::catalog::Catalog;
use crate::limits::WARM_QUERIES_MAX;
use crate::zone::Warming;
use crate::zone::path::NamePath;
use crate::zone::prepare::HEADER_LEN;

/// Brings what the answers to these queries will read into the caches; queries beyond
/// [`WARM_QUERIES_MAX`] are left as they are.
pub fn warm<'q>(catalog: &Catalog, queries: impl Iterator<Item = &'q [u8]>) {
    let mut batch: ArrayVec<Warming<'_>, { 2 * WARM_QUERIES_MAX }> = ArrayVec::new();
    let mut path = NamePath::new();
    for query in queries.take(WARM_QUERIES_MAX) {
        let Some(question) = query.get(HEADER_LEN..) else { continue };
        if path.read(question, catalog.seed()).is_none() {
            continue;
        }
        let Some(zone) = catalog.find(&path) else { continue };
        let _ = batch.try_push(zone.warming(path.hash()));
        // Where the name does not exist, its parent is looked up next: a zone cut, perhaps.
        let parent = path.depth().saturating_sub(1);
        if parent > zone.apex_depth() {
            let _ = batch.try_push(zone.warming(path.hash_at(parent)));
        }
    }
    Warming::warm(&mut batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::CatalogChange;
    use crate::name::Name;
    use crate::record::master::{MasterOptions, read_zone};
    use crate::zone::{HashSeed, build};
    use std::sync::Arc;

    #[test]
    fn any_octets_are_read_ahead_of_in_a_catalog_of_any_size() {
        let text = b"@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
        let master = read_zone(
            text,
            &Name::from_text("example.").expect("a name"),
            MasterOptions::default(),
            &mut |_| {},
        )
        .expect("a zone");
        let seed = HashSeed(1);
        let zone = build(master.apex, seed, master.rrsets).expect("a zone");
        let empty = Catalog::new(seed);
        let full = empty.with_changes(vec![CatalogChange::Put(Arc::new(zone))]);
        let mut packets = vec![vec![], vec![0; 11], vec![0; 12], vec![255; 300]];
        for name in ["example.", "ns.example.", "no.example.", "org."] {
            let name = Name::from_text(name).expect("a name");
            packets.push([&[0; 12][..], name.as_wire()].concat());
        }
        packets.extend(vec![packets[5].clone(); 2 * WARM_QUERIES_MAX]);
        for catalog in [&empty, &full] {
            warm(catalog, packets.iter().map(Vec::as_slice));
            warm(catalog, std::iter::empty());
        }
    }
}
