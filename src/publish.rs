//! The one write and the one read of the served catalog.
