//! Immutable zones: node store, find, build, edit, checks.
