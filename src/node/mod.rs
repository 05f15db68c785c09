//! The whole node: configuration, HTTP API, metrics, start and stop.
//!
//! **Not here:** the parts that it puts together (`store`, `export`, `replica`, `serve`).

pub mod api;
pub mod config;
pub mod feeds;
pub mod follow;
pub mod health;
pub mod metrics;
pub mod origin;
mod prepare;
mod recount;
pub mod reload;
pub mod run;
pub mod state;
pub mod status;
pub mod watchdog;
