//! Holds back what an edge has at its start until all of it is there.
//!
//! The zones of a replica are built one after the other. Published as they are ready, a zone would
//! deny for a moment what a zone below it holds, and resolvers would remember that for longer (RFC
//! 2308). So the first of them wait for the others that lie on this machine; but not for what only
//! a peer has, and not for ever.
//!
//! **Invariant:** what was held is given back once, in its order, and nothing is held afterwards.
//! **Not here:** what is published (`apply`), when nothing more is to be built (`listener`).

use crate::limits::FIRST_LOAD_MS_MAX;

/// The first load of a listener: steps that were computed and are not yet published.
#[derive(Debug)]
pub(super) struct FirstLoad<T> {
    /// What waits; none once the load is over.
    held: Option<Vec<T>>,
    /// When the first of it was there.
    since_ms: Option<u64>,
}

impl<T> Default for FirstLoad<T> {
    fn default() -> Self {
        Self { held: Some(Vec::new()), since_ms: None }
    }
}

impl<T> FirstLoad<T> {
    /// Takes what is ready to be published; returns what is to be published now.
    pub(super) fn take(&mut self, ready: Vec<T>, now_ms: u64) -> Vec<T> {
        let Some(held) = &mut self.held else { return ready };
        held.extend(ready);
        self.since_ms.get_or_insert(now_ms);
        self.poll(false, now_ms)
    }

    /// Ends the load if it `is_whole`, or has taken long; returns what is to be published now. A load
    /// that nothing was there for has not begun.
    pub(super) fn poll(&mut self, is_whole: bool, now_ms: u64) -> Vec<T> {
        let Some(since_ms) = self.since_ms else { return Vec::new() };
        if is_whole || now_ms.saturating_sub(since_ms) >= FIRST_LOAD_MS_MAX {
            return self.end();
        }
        Vec::new()
    }

    /// Ends the load; returns what is to be published now.
    fn end(&mut self) -> Vec<T> {
        self.since_ms = None;
        self.held.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing to publish.
    const NONE: [u8; 0] = [];

    #[test]
    fn what_is_there_first_waits_for_the_rest_and_what_comes_later_does_not() {
        let mut load = FirstLoad::default();
        assert_eq!(load.take(vec![1, 2], 10), NONE);
        assert_eq!(load.poll(false, 20), NONE);
        assert_eq!(load.take(vec![3], 30), NONE);
        assert_eq!(load.poll(true, 40), [1, 2, 3]);
        assert_eq!(load.take(vec![4], 50), [4]);
        assert_eq!(load.poll(true, 60), NONE);
        assert_eq!(load.poll(false, 60 + FIRST_LOAD_MS_MAX), NONE);
    }

    #[test]
    fn a_load_that_takes_long_does_not_wait_for_its_end() {
        let mut load = FirstLoad::default();
        assert_eq!(load.poll(false, FIRST_LOAD_MS_MAX), NONE);
        assert_eq!(load.take(vec![1], 7), NONE);
        assert_eq!(load.poll(false, 7 + FIRST_LOAD_MS_MAX - 1), NONE);
        assert_eq!(load.take(vec![2], 7 + FIRST_LOAD_MS_MAX), [1, 2]);
        assert_eq!(load.take(vec![3], 7 + FIRST_LOAD_MS_MAX), [3]);
    }

    #[test]
    fn an_empty_replica_does_not_end_the_load() {
        let mut load = FirstLoad::default();
        assert_eq!(load.poll(true, 0), NONE);
        assert_eq!(load.take(vec![1], 1_000_000), NONE);
        assert_eq!(load.poll(false, 0), NONE, "a clock that steps back");
        assert_eq!(load.poll(true, 0), [1]);
        assert_eq!(load.take(vec![2], 0), [2]);
    }
}
