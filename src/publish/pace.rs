//! How soon the next publish may follow: at once while it is quiet, a little later under load.
//!
//! A publish copies a shard and the way to it, wakes who waits for it, and takes from the caches of
//! those who answer; changes that are published together share all of that. So a publish owes a
//! rest of [`PUBLISH_REST_FACTOR`] times the time that it took, and time that passes pays it off.
//! One that finds nothing owed is made at once, whatever came before. A timer cannot wait for less
//! than [`PUBLISH_REST_US_MIN`]: less than that is owed further, and a rest pays off all of it.
//!
//! Publishing so takes a share of `1 / (1 + PUBLISH_REST_FACTOR)` of one core at most, as long as
//! no publish takes longer than [`PUBLISH_REST_US_MAX`] allows for; and no change ever waits longer
//! than that for others to come.
//!
//! **Invariant:** a rest ends at the latest [`PUBLISH_REST_US_MAX`] after the publish that it
//! follows, whatever the clock does.
//! **Not here:** the clock, and what is published (whoever publishes).

use crate::limits::{PUBLISH_REST_FACTOR, PUBLISH_REST_US_MAX, PUBLISH_REST_US_MIN};

/// The pace of one publisher. All times are microseconds of one clock of the caller's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pace {
    /// What was owed after the last publish.
    owed_us: u64,
    /// When the last publish ended.
    ended_us: u64,
}

impl Pace {
    /// Takes that a publish has ended, and that making it took `took_us`.
    pub(crate) fn note_publish(&mut self, took_us: u64, ended_us: u64) {
        let began_us = ended_us.saturating_sub(took_us);
        let owed_us = self.owed_us.saturating_sub(began_us.saturating_sub(self.ended_us));
        let added_us = took_us.saturating_mul(PUBLISH_REST_FACTOR);
        self.owed_us = owed_us.saturating_add(added_us).min(PUBLISH_REST_US_MAX);
        self.ended_us = ended_us;
    }

    /// Returns for how long no publish is to be made; 0 if the next may be made now.
    pub(crate) fn rest_us(&self, now_us: u64) -> u64 {
        if self.owed_us < PUBLISH_REST_US_MIN {
            return 0;
        }
        // A clock that steps back would have us rest until it has caught up: then nothing is owed.
        let Some(passed_us) = now_us.checked_sub(self.ended_us) else { return 0 };
        let rest_us = self.owed_us.saturating_sub(passed_us);
        debug_assert!(rest_us <= PUBLISH_REST_US_MAX);
        rest_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishes that take `took_us` each, one after the other as soon as they may, for a second;
    /// returns how much of it they took and how many there were.
    fn busy_share(took_us: u64) -> (f64, u64) {
        let (mut pace, mut now_us, mut busy_us, mut count) = (Pace::default(), 0, 0, 0);
        while now_us < 1_000_000 {
            now_us += pace.rest_us(now_us);
            assert_eq!(pace.rest_us(now_us), 0, "a rest is over when it was said to be");
            now_us += took_us;
            pace.note_publish(took_us, now_us);
            (busy_us, count) = (busy_us + took_us, count + 1);
        }
        (busy_us as f64 / now_us as f64, count)
    }

    #[test]
    fn a_change_on_a_quiet_server_never_waits() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest_us(0), 0);
        let took_us = PUBLISH_REST_US_MIN - 1;
        for now_us in (1..100).map(|step| step * (PUBLISH_REST_US_MAX + took_us)) {
            assert_eq!(pace.rest_us(now_us), 0, "at {now_us}");
            pace.note_publish(took_us, now_us + took_us);
        }
    }

    #[test]
    fn publishing_takes_its_share_of_a_core_and_no_more() {
        let share_max = 1.0 / (1 + PUBLISH_REST_FACTOR) as f64;
        for took_us in [10, 30, 100, 333, PUBLISH_REST_US_MAX / PUBLISH_REST_FACTOR] {
            let (share, _) = busy_share(took_us);
            assert!(share < share_max * 1.05, "{took_us} us each take {share}");
            assert!(share > share_max * 0.90, "{took_us} us each take {share}: it rests too much");
        }
    }

    #[test]
    fn short_rests_are_saved_up_for_one_that_a_timer_can_wait_for() {
        let mut pace = Pace::default();
        let took_us = PUBLISH_REST_US_MIN / PUBLISH_REST_FACTOR / 4;
        let mut now_us = 0;
        for _ in 0..4 {
            assert_eq!(pace.rest_us(now_us), 0);
            now_us += took_us;
            pace.note_publish(took_us, now_us);
        }
        // Each pays off some of what those before it owe, so that it takes a few more than four.
        let mut more = 0;
        while pace.rest_us(now_us) == 0 {
            now_us += took_us;
            pace.note_publish(took_us, now_us);
            more += 1;
        }
        assert!(more < 8, "{more}");
        assert!(pace.rest_us(now_us) >= PUBLISH_REST_US_MIN);
    }

    #[test]
    fn no_rest_is_longer_than_its_bound() {
        let longest_us = PUBLISH_REST_US_MAX.div_ceil(PUBLISH_REST_FACTOR);
        for took_us in [longest_us - 1, longest_us, longest_us + 1, 250_000, u64::MAX] {
            let mut pace = Pace::default();
            pace.note_publish(took_us, took_us);
            pace.note_publish(took_us, took_us);
            assert!(pace.rest_us(took_us) <= PUBLISH_REST_US_MAX, "{took_us}");
            assert_eq!(
                pace.rest_us(took_us.saturating_add(PUBLISH_REST_US_MAX)) == 0,
                took_us < u64::MAX
            );
        }
    }

    #[test]
    fn a_clock_that_steps_back_ends_a_rest() {
        let mut pace = Pace::default();
        pace.note_publish(PUBLISH_REST_US_MAX, 1 << 40);
        assert_eq!(pace.rest_us(1 << 40), PUBLISH_REST_US_MAX);
        assert_eq!(pace.rest_us(7), 0);
        pace.note_publish(PUBLISH_REST_US_MAX, 8);
        assert_eq!(pace.rest_us(8), PUBLISH_REST_US_MAX);
        assert_eq!(pace.rest_us(8 + PUBLISH_REST_US_MAX), 0);
    }
}
