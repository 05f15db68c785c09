//! Which of two SOA serials is newer (RFC 1982).
//!
//! **Not here:** the next serial of a zone that is edited (`store::serial`).

/// Whether serial `a` is newer than `b` (RFC 1982 section 3.2).
///
/// Of two that lie exactly 2^31 apart neither is newer.
pub(crate) fn is_newer(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_wraps_and_half_the_circle_is_undefined() {
        // RFC 1982 section 5.2 in 32 bits.
        for (a, b, newer) in [
            (1, 0, true),
            (0, 1, false),
            (0, u32::MAX, true),
            (1 << 31, 0, false),
            (0, 1 << 31, false),
            ((1 << 31) - 1, 0, true),
            (5, 5, false),
        ] {
            assert_eq!(is_newer(a, b), newer, "{a} {b}");
        }
    }
}
