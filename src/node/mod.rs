//! The whole node: configuration, HTTP API, metrics, start and stop.
//!
//! **Not here:** the parts that it puts together (`store`, `export`, `client`, `serve`).

pub mod config;
pub mod run;
pub mod zone_files;
