//! The text an edge needs to follow a feed.
