//! Lays packs one behind the other into bundles, so that many small zones share one content.
//!
//! **Invariant:** a bundle ends at its aim, or holds one pack alone.
//! **Not here:** what packs hold (`pack`), where bundles are kept (`depot`).

use crate::limits::BUNDLE_OCTETS_TARGET;

/// Where a pack was laid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Laid {
    /// The bundle, counted from zero.
    pub(super) bundle: usize,
    /// Where it begins there.
    pub(super) offset: u32,
    /// Its length in octets.
    pub(super) len: u32,
}

/// Fills bundles one after another.
#[derive(Debug, Default)]
pub(super) struct Bundler {
    /// The one that is being filled.
    open: Vec<u8>,
    /// How many were filled.
    closed: usize,
}

impl Bundler {
    /// Lays a pack; also returns a bundle that is full without it.
    pub(super) fn push(&mut self, pack: &[u8]) -> (Laid, Option<Vec<u8>>) {
        let is_full = !self.open.is_empty() && self.open.len() + pack.len() > BUNDLE_OCTETS_TARGET;
        let full = if is_full { self.close() } else { None };
        let (offset, len) = (self.open.len() as u32, pack.len() as u32);
        self.open.extend_from_slice(pack);
        (Laid { bundle: self.closed, offset, len }, full)
    }

    /// Ends the bundle that is being filled, if anything is in it.
    pub(super) fn close(&mut self) -> Option<Vec<u8>> {
        if self.open.is_empty() {
            return None;
        }
        self.closed += 1;
        Some(std::mem::take(&mut self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_packs_share_a_bundle_and_a_large_one_has_its_own() {
        let mut bundler = Bundler::default();
        let mut bundles = Vec::new();
        let sizes = [10, 20, BUNDLE_OCTETS_TARGET - 30, 1, BUNDLE_OCTETS_TARGET * 2, 5];
        let laid: Vec<Laid> = sizes
            .iter()
            .map(|size| {
                let (laid, full) = bundler.push(&vec![*size as u8; *size]);
                bundles.extend(full);
                laid
            })
            .collect();
        bundles.extend(bundler.close());
        assert_eq!(bundler.close(), None);
        assert_eq!(laid.iter().map(|laid| laid.bundle).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 3]);
        for (laid, size) in laid.iter().zip(sizes) {
            let (start, end) = (laid.offset as usize, (laid.offset + laid.len) as usize);
            assert_eq!(bundles[laid.bundle][start..end], vec![size as u8; size]);
        }
    }
}
