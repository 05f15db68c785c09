//! All zones of a server, found by longest suffix.
