//! Counts the zones of the store anew, one after the other and for ever: what every node compares itself
//! with must be what the records come to.
//!
//! It takes a hundredth of one core. A zone that was wrong is mended by a commit that changes no record,
//! counted, and told.
//!
//! **Not here:** the counting (`store::digests`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::limits::{RECOUNT_PAGE_ZONES, RECOUNT_PAUSE_FACTOR, RECOUNT_PAUSE_MS_MIN};
use crate::store::{DnsStore, PageCursor, StoreError};

/// Counts until `stop`.
pub(super) async fn run(store: Arc<DnsStore>, stop: CancellationToken) {
    let mut after: Option<PageCursor> = None;
    loop {
        let began = Instant::now();
        match count_page(&store, after.take()).await {
            Ok(next) => after = next,
            Err(error) => tracing::warn!(%error, "zones cannot be counted anew now"),
        }
        let pause = (began.elapsed() * RECOUNT_PAUSE_FACTOR)
            .max(Duration::from_millis(RECOUNT_PAUSE_MS_MIN));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Counts the zones of one page; returns where to go on, none at the end.
async fn count_page(
    store: &DnsStore,
    after: Option<PageCursor>,
) -> Result<Option<PageCursor>, StoreError> {
    let page = store.list_zones(after.as_ref(), RECOUNT_PAGE_ZONES).await?;
    for zone in page.items {
        let apex = zone.settings.apex;
        match store.recount(&apex).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::error!(%apex, "the store did not say what the records of a zone come to: mended");
            }
            // It keeps none of the others from being counted.
            Err(error) => tracing::warn!(%apex, %error, "a zone cannot be counted anew"),
        }
    }
    Ok(page.next)
}
