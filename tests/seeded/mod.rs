//! Numbers that follow from a seed, for tests whose failures must come back.
//!
//! **Invariant:** one seed gives the same numbers everywhere and always, whatever a dependency does.
//! **Not here:** where a seed comes from: whoever draws one prints it.

/// Numbers by SplitMix64.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

#[allow(dead_code)] // each test uses its part
impl Seeded {
    /// Returns any number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.word() % count as u64) as usize
    }

    /// Whether something with this chance of a hundred happens.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}
