//! The whole node: configuration, HTTP API, metrics, start and stop.
