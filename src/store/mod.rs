//! The store of record: zones and RRsets over a revisioned key-value store.
