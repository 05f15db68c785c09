//! The whole node: configuration, HTTP API, metrics, start and stop.
//!
//! **Not here:** the parts that it puts together (`store`, `export`, `replica`, `serve`).

pub(crate) mod api;
pub mod config;
mod early;
pub mod error;
pub(crate) mod everywhere;
mod feed;
pub(crate) mod feed_book;
pub(crate) mod feed_error;
mod feed_list;
pub(crate) mod feed_text;
pub(crate) mod feed_verbs;
pub(crate) mod feeds;
pub mod flags;
pub(crate) mod fleet;
pub(crate) mod follow;
pub(crate) mod health;
mod kept;
pub(crate) mod metrics;
pub mod origin;
mod parts;
mod prepare;
pub(crate) mod progress;
mod recount;
pub(crate) mod reload;
pub mod run;
mod service;
mod services;
pub(crate) mod sharing;
pub(crate) mod state;
pub mod status;
pub(crate) mod timing;
pub(crate) mod watchdog;
