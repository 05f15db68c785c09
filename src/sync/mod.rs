//! Turns feed entries, in any order, into batches of zone changes; sans-IO.
