//! Front ends that answer packets from the published catalog.
