//! From a query's octets to a reply's.
