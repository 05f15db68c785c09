//! The whole node: configuration, HTTP API, metrics, start and stop.
//!
//! **Not here:** the parts that it puts together (`store`, `export`, `replica`, `serve`).

pub mod api;
pub mod config;
pub mod error;
pub mod feeds;
pub mod flags;
pub mod follow;
pub mod health;
pub mod metrics;
pub mod origin;
mod parts;
mod prepare;
pub mod progress;
mod recount;
pub mod reload;
pub mod run;
mod service;
mod services;
pub mod state;
pub mod status;
pub mod timing;
pub mod watchdog;
