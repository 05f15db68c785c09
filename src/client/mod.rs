//! The edge: follows a feed and publishes its zones.
