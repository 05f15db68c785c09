//! Who may transfer zones, and how many transfers there may be at once.
//!
//! **Invariant:** a transfer is counted from its start to its end, however it ends.
//! **Not here:** what a transfer sends (`answer::transfer`).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;

use crate::answer::transfer::{Progress, Transfer};
use crate::limits::TRANSFERS_MAX;

/// Decides about transfers; a clone shares the count. The default allows nobody.
#[derive(Clone, Debug, Default)]
pub struct TransferPolicy {
    /// Networks whose addresses may transfer every zone.
    allowed: Arc<[IpNet]>,
    /// How many transfers run.
    running: Arc<AtomicU32>,
}

/// A transfer that is counted as long as it is here.
#[derive(Debug)]
pub(super) struct RunningTransfer {
    /// The transfer.
    transfer: Transfer,
    /// Where it is counted.
    running: Arc<AtomicU32>,
}

impl TransferPolicy {
    /// Allows every address of these networks to transfer every zone.
    pub fn new(allowed: impl Into<Arc<[IpNet]>>) -> Self {
        Self { allowed: allowed.into(), running: Arc::default() }
    }

    /// Whether an address may transfer zones.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&source))
    }

    /// Counts a transfer, unless there are as many as there may be.
    pub(super) fn start(&self, transfer: Transfer) -> Option<Box<RunningTransfer>> {
        let has_room = |running| (running < TRANSFERS_MAX).then_some(running + 1);
        let result = self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room);
        let running = Arc::clone(&self.running);
        result.is_ok().then(|| Box::new(RunningTransfer { transfer, running }))
    }
}

impl RunningTransfer {
    /// Writes the next message, see [`Transfer::next_message`].
    pub(super) fn next_message(&mut self, out: &mut Vec<u8>) -> Progress {
        let progress = self.transfer.next_message(out);
        if progress == Progress::Impossible {
            let apex = self.transfer.apex();
            tracing::warn!(%apex, "a record fits no message, so the zone cannot be transferred");
        }
        progress
    }
}

impl Drop for RunningTransfer {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_allowed_but_who_was_named() {
        let networks = ["127.0.0.0/8", "2001:db8:1::/48", "192.0.2.7/32"];
        let networks: Vec<IpNet> = networks.map(|text| text.parse().expect(text)).into();
        let policy = TransferPolicy::new(networks);
        for (source, is_allowed) in [
            ("127.1.2.3", true),
            ("128.0.0.1", false),
            ("2001:db8:1:2::3", true),
            ("2001:db8:2::", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::1", false),
        ] {
            let source = source.parse().expect(source);
            assert_eq!(policy.allows(source), is_allowed, "{source}");
            assert!(!TransferPolicy::default().allows(source));
        }
    }
}
