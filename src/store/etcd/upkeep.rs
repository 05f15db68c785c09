//! What goes on beside all requests: the member in use is asked how it is, and left if it does not say; old slots
//! are swept.
//!
//! **Invariant:** it ends with the engine.
//! **Not here:** what comes of it (`etcd::pulse`, `etcd::commit`).

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::Shared;
use super::commit::sweep_slots;
use super::connection::PAUSE;
use crate::limits::{ETCD_PULSE_MS, ETCD_SLOT_LOOK_MS};
use crate::store::unchanged::Unchanged;

/// Asks and sweeps until the engine is gone.
pub(super) async fn run(shared: Weak<Shared>, mut unchanged: Unchanged) {
    let mut swept_at = Instant::now();
    loop {
        let is_well = {
            let Some(shared) = shared.upgrade() else { return };
            let is_well = shared.connection.ask_status().await;
            if swept_at.elapsed() >= Duration::from_millis(ETCD_SLOT_LOOK_MS) {
                swept_at = Instant::now();
                if let Err(error) = sweep_slots(&shared, &mut unchanged).await {
                    tracing::debug!(%error, "old slots stay until the next look");
                }
            }
            is_well
        };
        // Who was silent may have led: another one is found only after an election.
        let rest = if is_well { Duration::from_millis(ETCD_PULSE_MS) } else { PAUSE };
        tokio::time::sleep(rest).await;
    }
}
