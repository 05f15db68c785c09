//! Writes the store's zones and commits into an iroh-docs namespace.
