//! Decides when a lease is looked at, taken, and given up. Asks no clock and no engine.
//!
//! **Invariant:** a holding ends, by the holder's own measure, after two thirds of the time that others wait.
//! **Not here:** the engine (`store::lease`).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{LeaseState, LeaseTimeError};
use crate::limits::{LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN};
use crate::store::kv::KvError;

/// The times of a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseTimes {
    /// How long a beat must stand still before others take the lease.
    length: Duration,
}

/// A holding of the lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseHeld {
    /// Its number: above that of every holding before.
    pub term: u64,
}

/// The row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LeaseRow {
    /// A random number of the holder; none if the lease was given back.
    pub(super) holder: Option<u128>,
    /// What it calls itself.
    pub(super) name: String,
    /// The number of the holding.
    pub(super) term: u64,
    /// Rises while it is held.
    pub(super) beat: u64,
}

/// The stored row, JSON.
#[derive(Serialize, Deserialize)]
struct StoredLease {
    /// 32 hexadecimal digits; none if the lease was given back.
    holder: Option<String>,
    /// What it calls itself.
    name: String,
    /// The number of the holding.
    term: u64,
    /// Rises while it is held.
    beat: u64,
}

/// One that wants the lease.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    /// Its random number.
    id: u128,
    /// What it calls itself.
    name: String,
    /// The times.
    times: LeaseTimes,
    /// The row as it was seen last, if there was one.
    seen: Option<LeaseRow>,
    /// When it was first seen like that; none before the first look.
    since: Option<Instant>,
    /// How often it was seen like that.
    looks: u32,
    /// The newest row that was asked for, and when it was first.
    asked: Option<(LeaseRow, Instant)>,
    /// Until when our own holding lasts.
    held_until: Option<Instant>,
    /// When something is to be done next.
    due: Option<Instant>,
}

impl Default for LeaseTimes {
    /// Returns a lease of [`LEASE_MS_DEFAULT`].
    fn default() -> Self {
        Self { length: Duration::from_millis(LEASE_MS_DEFAULT) }
    }
}

impl LeaseTimes {
    /// A lease that others take when its holder has been silent for so many milliseconds.
    ///
    /// # Errors
    /// [`LeaseTimeError`] if that is too short for a store to answer, or too long to be of use.
    pub fn new(ms: u64) -> Result<Self, LeaseTimeError> {
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) {
            return Err(LeaseTimeError { ms });
        }
        Ok(Self { length: Duration::from_millis(ms) })
    }

    /// For how long a holder counts on the lease from when it asked for it.
    fn hold(self) -> Duration {
        self.length * 2 / 3
    }

    /// Between two beats: some are lost before the lease is.
    fn beat(self) -> Duration {
        self.length / 5
    }

    /// Between two looks of others: they add little to the time that they wait.
    fn look(self) -> Duration {
        self.length / 8
    }
}

impl LeaseHeld {
    /// That of an engine that nobody shares.
    pub(super) const ALWAYS: Self = Self { term: 0 };
}

impl LeaseRow {
    /// Returns the stored octets.
    pub(super) fn encode(&self) -> Vec<u8> {
        let hex = |id: u128| data_encoding::HEXLOWER.encode(&id.to_be_bytes());
        let holder = self.holder.map(hex);
        let stored =
            StoredLease { holder, name: self.name.clone(), term: self.term, beat: self.beat };
        serde_json::to_vec(&stored).expect("a lease has string keys and no failing field")
    }

    /// Reads the stored octets.
    ///
    /// # Errors
    /// [`KvError::Unreadable`].
    pub(super) fn decode(octets: &[u8]) -> Result<Self, KvError> {
        let unreadable = KvError::Unreadable { what: "the lease of the feeds" };
        let stored: StoredLease = serde_json::from_slice(octets).map_err(|_| unreadable.clone())?;
        let number = |text: String| {
            let octets = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
            octets.try_into().ok().map(u128::from_be_bytes)
        };
        let holder = match stored.holder {
            Some(text) => Some(number(text).ok_or(unreadable)?),
            None => None,
        };
        Ok(Self { holder, name: stored.name, term: stored.term, beat: stored.beat })
    }
}

impl Contender {
    /// One that has not looked yet.
    pub(super) fn new(id: u128, name: &str, times: LeaseTimes) -> Self {
        let name = name.to_owned();
        Self {
            id,
            name,
            times,
            seen: None,
            since: None,
            looks: 0,
            asked: None,
            held_until: None,
            due: None,
        }
    }

    /// When something is to be done next.
    pub(super) fn due(&self, now: Instant) -> Instant {
        self.due.unwrap_or(now)
    }

    /// Until when the lease is held; none if it is not.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The row that the engine is expected to have.
    #[cfg(test)]
    pub(super) fn seen(&self) -> Option<&LeaseRow> {
        self.seen.as_ref()
    }

    /// The row that is to be written now; none if it is to be looked at.
    pub(super) fn ask(&mut self, now: Instant) -> Option<LeaseRow> {
        let since = self.since?;
        let wanted = match &self.seen {
            None => self.row(1),
            Some(seen) if self.held_until.is_some() => {
                LeaseRow { beat: seen.beat + 1, ..seen.clone() }
            }
            Some(seen) => {
                // A row of ours that has run out is as good as nobody's.
                let is_free = seen.holder.is_none_or(|holder| holder == self.id);
                let waited = now.saturating_duration_since(since);
                let is_silent = waited >= self.times.length && self.looks >= LOOKS_MIN;
                if !is_free && !is_silent {
                    return None;
                }
                self.row(seen.term.saturating_add(1))
            }
        };
        // One that was asked for before may have been made then: it counts from there.
        if self.asked.as_ref().is_none_or(|(asked, _)| *asked != wanted) {
            self.asked = Some((wanted.clone(), now));
        }
        Some(wanted)
    }

    /// Takes what stands there, as it was told at `now`; false if the lease was won and has run out already.
    pub(super) fn take(&mut self, row: Option<LeaseRow>, now: Instant) -> bool {
        if self.since.is_none() || row != self.seen {
            (self.since, self.looks) = (Some(now), 0);
        }
        self.looks = self.looks.saturating_add(1);
        let is_own = row.as_ref().is_some_and(|row| row.holder == Some(self.id));
        self.held_until = match &self.asked {
            Some((asked, at)) if row.as_ref() == Some(asked) => {
                Some(*at + self.times.hold()).filter(|until| *until > now)
            }
            _ => self.held_until.filter(|_| is_own),
        };
        let is_free = row.as_ref().is_none_or(|row| row.holder.is_none());
        self.seen = row;
        self.due = Some(match self.held_until {
            // Counted from when it was asked for, as the holding is: one that was told of late may be nearly over.
            Some(until) => (until - self.times.hold() + self.times.beat()).max(now),
            None if is_free => now,
            None => now + self.times.look(),
        });
        !is_own || self.held_until.is_some()
    }

    /// The engine did not say what stands there.
    pub(super) fn fail(&mut self, now: Instant) {
        self.due = Some(now + self.times.look());
    }

    /// The holding has ended before the engine said that it goes on.
    pub(super) fn run_out(&mut self, now: Instant) {
        self.held_until = None;
        // What was asked for may be made yet: it is looked at anew.
        self.since = None;
        self.due = Some(now);
    }

    /// Gives the lease up; returns the row that says so, if it was held.
    pub(super) fn resign(&mut self) -> Option<LeaseRow> {
        self.held_until.take()?;
        let seen = self.seen.as_ref()?;
        Some(LeaseRow { holder: None, beat: seen.beat + 1, ..seen.clone() })
    }

    /// Whether another one held it when it was seen last.
    pub(super) fn is_anothers(&self) -> bool {
        let holder = self.seen.as_ref().and_then(|row| row.holder);
        holder.is_some_and(|holder| holder != self.id)
    }

    /// What is known at `now`.
    pub(super) fn state(&self, now: Instant) -> LeaseState {
        let row = self.seen.as_ref();
        let term = row.map_or(0, |row| row.term);
        let is_held = self.held_until.is_some_and(|until| until > now);
        let held = is_held.then_some(LeaseHeld { term });
        let holder = row.filter(|row| row.holder.is_some()).map(|row| row.name.clone());
        LeaseState { held, holder, term }
    }

    /// The first row of a holding.
    fn row(&self, term: u64) -> LeaseRow {
        LeaseRow { holder: Some(self.id), name: self.name.clone(), term, beat: 1 }
    }
}

/// Looks that find a beat standing still before it counts as that: an engine that was silent itself must not
/// take the lease from its holder.
const LOOKS_MIN: u32 = 3;
