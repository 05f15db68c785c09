//! What an engine knows of itself without asking anybody.
//!
//! **Invariant:** none; these are words for people and their monitoring.
//! **Not here:** whether commits are taken (`kv::KeyValueStore::health`).

use serde::Serialize;

/// How an engine is, from memory.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct EngineReport {
    /// Which one it is: `redb` or `etcd`.
    pub engine: &'static str,
    /// The member that is asked, where there are members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The id of the member that led when one was asked last; none if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// For how many milliseconds no member has answered; each is asked every few seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_ms_ago: Option<u64>,
    /// Octets of the member's database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_octets: Option<u64>,
    /// Why the cluster refuses every write until somebody helps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<&'static str>,
}
