//! The connections of one worker, and who among them has waited longest.
//!
//! Each connection is in one of three phases, and each phase has one deadline for all, so a queue
//! by time of entry is a queue by deadline: finding what has expired, or what is to make room,
//! looks at the head of a queue and never at all connections.
//!
//! **Invariant:** every connection stands in exactly one queue, and the times in a queue rise.
//! **Not here:** the deadlines themselves (`serve::tcp`), sockets (`serve::tcp::connection`).

use std::time::Instant;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The first octet of a query.
    Idle,
    /// The rest of a query.
    Receiving,
    /// The peer, to take its replies.
    Sending,
}

/// Connections by key, in three queues. A key is used again after its connection is gone.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// The connections; a key is an index.
    entries: Vec<Option<TableEntry<T>>>,
    /// Indices of empty entries.
    free: Vec<usize>,
    /// The first and the last of each phase.
    queues: [Queue; 3],
}

/// One connection and its place.
#[derive(Debug)]
struct TableEntry<T> {
    /// The connection.
    value: T,
    /// Its phase, and so its queue.
    phase: Phase,
    /// When it entered the queue.
    since: Instant,
    /// The one before it.
    previous: Option<usize>,
    /// The one behind it.
    next: Option<usize>,
}

/// The ends of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// Who has waited longest.
    first: Option<usize>,
    /// Who came last.
    last: Option<usize>,
}

impl<T> Table<T> {
    /// Makes an empty table.
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), queues: [Queue::default(); 3] }
    }

    /// Returns how many connections there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns the keys of all connections.
    pub(super) fn keys(&self) -> Vec<usize> {
        (0..self.entries.len()).filter(|key| self.entries[*key].is_some()).collect()
    }

    /// Adds a connection to the end of a queue, and returns its key.
    pub(super) fn insert(&mut self, value: T, phase: Phase, now: Instant) -> usize {
        let entry = TableEntry { value, phase, since: now, previous: None, next: None };
        let key = match self.free.pop() {
            Some(key) => {
                self.entries[key] = Some(entry);
                key
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() - 1
            }
        };
        self.link(key);
        key
    }

    /// Returns a connection.
    pub(super) fn value_mut(&mut self, key: usize) -> Option<&mut T> {
        Some(&mut self.entries.get_mut(key)?.as_mut()?.value)
    }

    /// Puts a connection at the end of the queue of `phase`; if it is there already it keeps its
    /// place, unless `is_renewed`.
    pub(super) fn set_phase(&mut self, key: usize, phase: Phase, is_renewed: bool, now: Instant) {
        let Some(entry) = self.entries.get(key).and_then(Option::as_ref) else { return };
        if entry.phase == phase && !is_renewed {
            return;
        }
        self.unlink(key);
        if let Some(entry) = &mut self.entries[key] {
            (entry.phase, entry.since) = (phase, now);
        }
        self.link(key);
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        self.entries.get(key)?.as_ref()?;
        self.unlink(key);
        self.free.push(key);
        self.entries[key].take().map(|entry| entry.value)
    }

    /// Returns who has been longest in a phase, and since when.
    pub(super) fn oldest(&self, phase: Phase) -> Option<(usize, Instant)> {
        let key = self.queues[phase as usize].first?;
        self.entries[key].as_ref().map(|entry| (key, entry.since))
    }

    /// Puts an entry at the end of its phase's queue.
    fn link(&mut self, key: usize) {
        let Some(entry) = &mut self.entries[key] else { return };
        let queue = &mut self.queues[entry.phase as usize];
        (entry.previous, entry.next) = (queue.last, None);
        let last = queue.last.replace(key);
        match last.and_then(|last| self.entries[last].as_mut()) {
            Some(last) => {
                debug_assert_eq!(last.next, None);
                last.next = Some(key);
            }
            None => queue.first = Some(key),
        }
    }

    /// Takes an entry out of its queue.
    fn unlink(&mut self, key: usize) {
        let Some(entry) = &self.entries[key] else { return };
        let (phase, previous, next) = (entry.phase, entry.previous, entry.next);
        match previous.and_then(|previous| self.entries[previous].as_mut()) {
            Some(previous) => previous.next = next,
            None => self.queues[phase as usize].first = next,
        }
        match next.and_then(|next| self.entries[next].as_mut()) {
            Some(next) => next.previous = previous,
            None => self.queues[phase as usize].last = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_came_first_is_oldest_until_it_is_renewed_or_gone() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut table = Table::new();
        let keys: Vec<_> = (0..4_u64).map(|n| table.insert(n, Phase::Idle, at(n))).collect();
        assert_eq!(table.oldest(Phase::Idle), Some((keys[0], at(0))));
        table.set_phase(keys[0], Phase::Idle, false, at(9));
        assert_eq!(table.oldest(Phase::Idle), Some((keys[0], at(0))));
        table.set_phase(keys[0], Phase::Idle, true, at(10));
        assert_eq!(table.oldest(Phase::Idle), Some((keys[1], at(1))));
        table.set_phase(keys[2], Phase::Sending, false, at(11));
        assert_eq!(table.oldest(Phase::Sending), Some((keys[2], at(11))));
        assert_eq!(table.remove(keys[1]), Some(1));
        assert_eq!(table.remove(keys[1]), None);
        assert_eq!(table.oldest(Phase::Idle), Some((keys[3], at(3))));
        assert_eq!(table.insert(7, Phase::Receiving, at(12)), keys[1]);
        assert_eq!((table.len(), table.oldest(Phase::Receiving)), (4, Some((keys[1], at(12)))));
    }

    #[test]
    fn queues_hold_what_a_list_would_over_any_operations() {
        let (mut table, mut state, start) = (Table::new(), 4_711_u64, Instant::now());
        let mut model: Vec<(usize, usize)> = Vec::new(); // key and phase, oldest first
        let phases = [Phase::Idle, Phase::Receiving, Phase::Sending];
        for step in 0..5_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (choice, phase) = ((state >> 33) as usize, (state >> 50) as usize % 3);
            let now = start + Duration::from_nanos(step);
            match choice % 3 {
                0 => model.push((table.insert(step, phases[phase], now), phase)),
                1 if !model.is_empty() => {
                    let (key, _) = model.remove(choice / 3 % model.len());
                    assert!(table.remove(key).is_some());
                }
                2 if !model.is_empty() => {
                    let (key, _) = model.remove(choice / 3 % model.len());
                    table.set_phase(key, phases[phase], true, now);
                    model.push((key, phase));
                }
                _ => {}
            }
            assert_eq!(table.len(), model.len());
            for (index, phase) in phases.into_iter().enumerate() {
                let oldest = model.iter().find(|row| row.1 == index).map(|row| row.0);
                assert_eq!(table.oldest(phase).map(|(key, _)| key), oldest, "step {step}");
            }
        }
    }
}
