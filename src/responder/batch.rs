//! Queries that came together: read ahead of, so that their answers wait for memory together.
//!
//! The names are read once, here, and answered from what was read.
//!
//! **Invariant:** an answer is the same as [`Responder::respond`] gives; what was read ahead with one catalog
//! is answered from that one; nothing is allocated once a [`QueryBatch`] is made.
//! **Not here:** the steps through a zone's table (`zone::table::warm`).

use std::hint::black_box;

use arrayvec::ArrayVec;

use super::{AskedName, Peer, Responder, Verdict};
use crate::catalog::Catalog;
use crate::limits::{WARM_QUERIES_MAX, WARM_QUERIES_MIN};
use crate::message::HEADER_LEN;
use crate::zone::path::NamePath;
use crate::zone::{Warming, Zone};

/// The buffers of one worker for the queries that it answers together.
#[derive(Debug, Default)]
pub struct QueryBatch {
    /// What the queries ask for.
    names: BatchNames,
}

/// A batch that has been read ahead of.
#[derive(Clone, Copy, Debug)]
pub struct OpenBatch<'b> {
    /// Makes the answers.
    responder: &'b Responder,
    /// What they are made from, and what was read ahead in.
    catalog: &'b Catalog,
    /// What the queries ask for.
    names: &'b BatchNames,
}

impl QueryBatch {
    /// Takes the queries of a batch, in the order in which they will be answered.
    ///
    /// A few are not worth reading ahead of; of many, those beyond [`WARM_QUERIES_MAX`] are left as they are.
    #[inline]
    pub fn open<'b, 'q>(
        &'b mut self,
        responder: &'b Responder,
        catalog: &'b Catalog,
        queries: impl Iterator<Item = &'q [u8]> + Clone,
    ) -> OpenBatch<'b> {
        self.names.count = 0;
        if queries.clone().nth(WARM_QUERIES_MIN - 1).is_some() {
            self.names.read(catalog, queries);
        }
        OpenBatch { responder, catalog, names: &self.names }
    }
}

impl OpenBatch<'_> {
    /// Answers the query that was the one with this index, as [`Responder::respond`] does.
    #[inline]
    pub fn respond(&self, index: usize, query: &[u8], peer: &Peer, reply: &mut Vec<u8>) -> Verdict {
        match self.names.name(index) {
            Some((path, len)) => {
                debug_assert!(self.names.is_of(self.catalog, index, query), "another query");
                self.responder.respond_to(self.catalog, query, AskedName { path, len }, peer, reply)
            }
            None => self.responder.respond(self.catalog, query, peer, reply),
        }
    }
}

/// The names that the queries of a batch ask for.
#[derive(Debug)]
struct BatchNames {
    /// The names.
    paths: Box<[NamePath]>,
    /// Octets of each in its packet; 0 where no name could be read.
    lens: [u8; WARM_QUERIES_MAX],
    /// How many there are.
    count: usize,
}

impl Default for BatchNames {
    fn default() -> Self {
        let paths = (0..WARM_QUERIES_MAX).map(|_| NamePath::new()).collect();
        Self { paths, lens: [0; WARM_QUERIES_MAX], count: 0 }
    }
}

impl BatchNames {
    /// Reads the names of a batch and brings what their answers will read into the caches.
    ///
    /// Queries beyond [`WARM_QUERIES_MAX`] are left as they are.
    fn read<'q>(&mut self, catalog: &Catalog, queries: impl Iterator<Item = &'q [u8]>) {
        self.count = 0;
        let places = self.paths.iter_mut().zip(&mut self.lens);
        for (query, (path, len)) in queries.zip(places) {
            let octets = query.get(HEADER_LEN..).unwrap_or_default();
            *len = path.read(octets, catalog.seed()).unwrap_or(0) as u8;
            self.count += 1;
        }
        self.warm(catalog);
    }

    /// Returns the name of one query and its octets in the packet, 0 if it could not be read;
    /// `None` of a query that was left as it was.
    #[inline]
    fn name(&self, index: usize) -> Option<(&NamePath, usize)> {
        (index < self.count).then(|| (&self.paths[index], usize::from(self.lens[index])))
    }

    /// Whether the name that was read of the query with this index is that of `query`.
    fn is_of(&self, catalog: &Catalog, index: usize, query: &[u8]) -> bool {
        let mut path = NamePath::new();
        let octets = query.get(HEADER_LEN..).unwrap_or_default();
        let len = path.read(octets, catalog.seed()).unwrap_or(0);
        let (known, known_len) = (&self.paths[index], usize::from(self.lens[index]));
        len == known_len && (len == 0 || path.hash() == known.hash())
    }

    /// Takes all look-ups one step after the other.
    fn warm(&self, catalog: &Catalog) {
        let named = || {
            let names = self.paths.iter().zip(self.lens).take(self.count);
            names.filter(|(_, len)| *len > 0).map(|(path, _)| path)
        };
        let mut octets = 0;
        for path in named() {
            octets ^= catalog.touch_shard(path);
        }
        let mut zones: ArrayVec<(&NamePath, &Zone), WARM_QUERIES_MAX> = ArrayVec::new();
        for path in named() {
            if let Some(zone) = catalog.guess(path) {
                let _ = zones.try_push((path, zone));
            }
        }
        for (_, zone) in &zones {
            octets ^= zone.apex_depth() as u8;
        }
        let mut batch: ArrayVec<Warming<'_>, { 2 * WARM_QUERIES_MAX }> = ArrayVec::new();
        for (path, zone) in zones {
            octets ^= zone.apex().as_wire()[0];
            let _ = batch.try_push(zone.warming(path.hash()));
            // Where the name does not exist, its parent is looked up next: a zone cut, perhaps.
            let parent = path.depth().saturating_sub(1);
            if parent > zone.apex_depth() {
                let _ = batch.try_push(zone.warming(path.hash_at(parent)));
            }
        }
        black_box(octets);
        Warming::warm(&mut batch);
    }
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
            let mut names = BatchNames::default();
            names.read(catalog, packets.iter().map(Vec::as_slice));
            assert!(names.name(WARM_QUERIES_MAX - 1).is_some() && names.name(1 << 10).is_none());
            let lens: Vec<_> = (0..8).map(|i| names.name(i).map_or(0, |name| name.1)).collect();
            assert_eq!(lens, [0, 0, 0, 0, 9, 12, 12, 5]);
            names.read(catalog, std::iter::empty());
            assert!(names.name(0).is_none());
        }
    }
}
