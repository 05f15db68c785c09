//! Counts the zones of the store anew, one after the other and for ever: what every node compares itself
//! with must be what the records come to.
//!
//! It takes a hundredth of one core. A zone that was wrong is mended by a commit that changes no record,
//! counted, and told; one that cannot be read is a fault of the node.
//!
//! **Not here:** the counting (`store::digests`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::limits::{RECOUNT_PAGE_ZONES, RECOUNT_PAUSE_FACTOR, RECOUNT_PAUSE_MS_MIN};
use crate::store::{DnsStore, PageCursor};

/// Counts until `stop`.
pub(super) async fn run(store: Arc<DnsStore>, stop: CancellationToken) {
    let mut after: Option<PageCursor> = None;
    let mut was_failing = false;
    loop {
        let began = Instant::now();
        let counted = store.recount_page(after.as_ref(), RECOUNT_PAGE_ZONES).await;
        // Where it fails as a whole, it goes on from there.
        let is_failing = counted.is_err();
        match counted {
            Ok(next) => after = next,
            Err(error) if !was_failing => {
                tracing::warn!(%error, "zones cannot be counted anew now");
            }
            Err(_) => {}
        }
        was_failing = is_failing;
        let pause = (began.elapsed() * RECOUNT_PAUSE_FACTOR)
            .max(Duration::from_millis(RECOUNT_PAUSE_MS_MIN));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
