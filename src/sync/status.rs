//! What an edge may say about how well it follows its feed.
//!
//! | from | connecting | contact | complete | behind | lost | silence |
//! |---|---|---|---|---|---|---|
//! | Disconnected | Connecting | Syncing | | | | Stale |
//! | Connecting | | Syncing | | | Disconnected | Stale |
//! | Syncing | | | Synced | | Disconnected | Stale |
//! | Synced | | | | Syncing | Disconnected | Stale |
//! | Stale | | Syncing | | | | |
//!
//! **Invariant:** `Stale` comes from silence alone: a quiet zone whose heartbeat arrives is never
//! stale, and one that changes is stale only when nobody speaks any more. `Synced` is said by
//! whoever holds everything, never because an event happened to arrive.
//! **Not here:** what complete means (`sync::core`), the clock (the caller's).

/// How well an edge follows its feed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub enum SyncStatus {
    /// Nobody tries to reach a peer.
    #[default]
    Disconnected,
    /// A peer is being reached for; none has spoken yet.
    Connecting,
    /// A peer speaks; not everything is here yet.
    Syncing,
    /// Everything that the feed is known to hold is published.
    Synced,
    /// Nobody has spoken for longer than the threshold; what is served may be old.
    Stale,
}

/// What moves the status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusEvent {
    /// A connection is tried.
    Connecting,
    /// A peer has spoken: any entry, heartbeat or finished reconciliation.
    Contact,
    /// All of the feed is published.
    Complete,
    /// Something has been missing for too long.
    Behind,
    /// The last peer is gone.
    Lost,
    /// The threshold has passed without contact.
    Silence,
}

impl SyncStatus {
    /// Returns the status after an event; the table above.
    pub fn after(self, event: StatusEvent) -> Self {
        use StatusEvent as E;
        match (self, event) {
            (Self::Disconnected, E::Connecting) => Self::Connecting,
            (Self::Disconnected | Self::Connecting | Self::Stale, E::Contact) => Self::Syncing,
            (Self::Syncing, E::Complete) => Self::Synced,
            (Self::Synced, E::Behind) => Self::Syncing,
            (Self::Connecting | Self::Syncing | Self::Synced, E::Lost) => Self::Disconnected,
            (_, E::Silence) => Self::Stale,
            (unmoved, _) => unmoved,
        }
    }

    /// Whether this is [`SyncStatus::Synced`].
    pub fn is_synced(self) -> bool {
        self == Self::Synced
    }
}

impl std::fmt::Display for SyncStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Syncing => "syncing",
            Self::Synced => "synced",
            Self::Stale => "stale",
        })
    }
}

/// What the core counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SyncStats {
    /// Entries handed in.
    pub entries: u64,
    /// Entries of other authors, dropped.
    pub foreign_authors: u64,
    /// Entries of zones outside the filter, dropped.
    pub filtered: u64,
    /// Emptied entries that change nothing.
    pub emptied: u64,
    /// Entries and contents that break a rule.
    pub refused: u64,
    /// Live changes taken in.
    pub live: u64,
    /// Content that arrived.
    pub contents: u64,
    /// Fetches that failed.
    pub fetch_failures: u64,
    /// Steps that the caller could not build.
    pub build_failures: u64,
    /// How often a bound was hit and something had to be dropped.
    pub bound_hits: u64,
    /// Rescans asked for.
    pub rescans: u64,
    /// Entries that wait for content now.
    pub waiting: u64,
    /// Live changes that wait for what stands between, now.
    pub held: u64,
    /// Zones that are served now.
    pub zones: u64,
}

/// The status with the time of the last contact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusClock {
    /// The status now.
    status: SyncStatus,
    /// The status that was last told.
    told: SyncStatus,
    /// When a peer last spoke; before the first time, when the clock was started.
    contact_ms: u64,
    /// Milliseconds without contact after which the status is stale.
    stale_after_ms: u64,
}

impl StatusClock {
    /// Starts at [`SyncStatus::Disconnected`].
    pub(crate) fn new(stale_after_ms: u64, now_ms: u64) -> Self {
        let status = SyncStatus::default();
        Self { status, told: status, contact_ms: now_ms, stale_after_ms }
    }

    /// Returns the status now.
    pub(crate) fn status(&self) -> SyncStatus {
        self.status
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, event: StatusEvent, now_ms: u64) {
        if event == StatusEvent::Contact {
            self.contact_ms = self.contact_ms.max(now_ms);
        }
        self.status = self.status.after(event);
    }

    /// Takes the time; `has_data` says whether anything is served that could be old.
    pub(crate) fn handle_time(&mut self, now_ms: u64, has_data: bool) {
        if has_data && now_ms.saturating_sub(self.contact_ms) >= self.stale_after_ms {
            self.handle(StatusEvent::Silence, now_ms);
        }
    }

    /// Returns the status if it is another than was last returned.
    pub(crate) fn poll(&mut self) -> Option<SyncStatus> {
        if self.told == self.status {
            return None;
        }
        self.told = self.status;
        Some(self.status)
    }

    /// Returns when silence will make the status stale.
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        let due_ms = self.contact_ms.saturating_add(self.stale_after_ms);
        (self.status != SyncStatus::Stale).then_some(due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::StatusEvent as E;
    use super::SyncStatus as S;
    use super::*;

    #[test]
    fn the_table_in_the_module_page_holds() {
        let events = [E::Connecting, E::Contact, E::Complete, E::Behind, E::Lost, E::Silence];
        for (from, to) in [
            (
                S::Disconnected,
                [
                    S::Connecting,
                    S::Syncing,
                    S::Disconnected,
                    S::Disconnected,
                    S::Disconnected,
                    S::Stale,
                ],
            ),
            (
                S::Connecting,
                [
                    S::Connecting,
                    S::Syncing,
                    S::Connecting,
                    S::Connecting,
                    S::Disconnected,
                    S::Stale,
                ],
            ),
            (
                S::Syncing,
                [S::Syncing, S::Syncing, S::Synced, S::Syncing, S::Disconnected, S::Stale],
            ),
            (S::Synced, [S::Synced, S::Synced, S::Synced, S::Syncing, S::Disconnected, S::Stale]),
            (S::Stale, [S::Stale, S::Syncing, S::Stale, S::Stale, S::Stale, S::Stale]),
        ] {
            for (event, to) in events.into_iter().zip(to) {
                assert_eq!(from.after(event), to, "{from} {event:?}");
            }
        }
    }

    #[test]
    fn silence_counts_from_the_last_contact_and_only_with_data() {
        let mut clock = StatusClock::new(100, 1_000);
        clock.handle_time(5_000, false);
        assert_eq!(clock.status(), S::Disconnected);
        clock.handle(E::Contact, 5_000);
        clock.handle(E::Complete, 5_001);
        clock.handle_time(5_099, true);
        assert_eq!(clock.status(), S::Synced);
        clock.handle_time(5_100, true);
        assert_eq!(clock.status(), S::Stale);
        assert_eq!((clock.poll(), clock.poll()), (Some(S::Stale), None));
        clock.handle(E::Contact, 4_000);
        assert_eq!(clock.contact_ms, 5_000, "a clock that steps back takes nothing back");
    }
}
