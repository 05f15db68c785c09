//! What stands in a feed: keys, manifests, packs, live changes, heartbeats. Pure formats.

pub mod key;
