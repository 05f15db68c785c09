//! For how long keys have stood as they are, by our own clock.
//!
//! Several processes write to one store, and their clocks differ: how old something is may not be read off
//! what another one has written. Whoever sweeps waits itself for as long as it takes.
//!
//! **Invariant:** a key that is written meanwhile begins anew; one that is gone is forgotten.
//! **Not here:** what is done with those that have stood for long (`store::sweep`, `store::etcd`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The keys that were there when we looked last.
#[derive(Debug, Default)]
pub(super) struct Unchanged {
    /// Each with its revision, and since when we have seen it so.
    since: HashMap<Vec<u8>, (u64, Instant)>,
}

impl Unchanged {
    /// Takes all keys that are there at `now`, with their revisions, and returns those that we have seen as
    /// they are for at least `age`.
    pub(super) fn look(
        &mut self,
        now: Instant,
        found: Vec<(Vec<u8>, u64)>,
        age: Duration,
    ) -> Vec<(Vec<u8>, u64)> {
        let (mut since, mut old) = (HashMap::with_capacity(found.len()), Vec::new());
        for (key, revision) in found {
            let known = self.since.get(&key).filter(|(seen, _)| *seen == revision);
            let at = known.map_or(now, |(_, at)| *at);
            if now.saturating_duration_since(at) >= age {
                old.push((key.clone(), revision));
            }
            since.insert(key, (revision, at));
        }
        self.since = since;
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_old_once_it_was_seen_unchanged_for_long_enough() {
        let (mut unchanged, began, age) =
            (Unchanged::default(), Instant::now(), Duration::from_secs(10));
        let mut look = |seconds: u64, found: &[(&str, u64)]| {
            let found = found.iter().map(|(key, at)| (key.as_bytes().to_vec(), *at)).collect();
            let old = unchanged.look(began + Duration::from_secs(seconds), found, age);
            let text = |(key, revision)| (String::from_utf8(key).unwrap(), revision);
            old.into_iter().map(text).collect::<Vec<_>>()
        };
        assert!(look(0, &[("a", 1), ("b", 2)]).is_empty());
        assert!(look(9, &[("a", 1), ("b", 3)]).is_empty());
        assert_eq!(look(10, &[("a", 1), ("b", 3)]), [("a".to_owned(), 1)]);
        assert!(look(11, &[("b", 3)]).is_empty(), "it was written");
        assert_eq!(look(19, &[("a", 1), ("b", 3)]), [("b".to_owned(), 3)], "another a");
    }
}
