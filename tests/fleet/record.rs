//! What all threads of a run write down.
//!
//! **Invariant:** a process that was killed is not noted as ready by whoever waited for its former life.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::contact::{Place, Timeline, Turn};
use crate::history::{Commit, Reading, Round, Time};

/// The record of a run.
pub struct Record {
    began: Instant,
    timeline: Mutex<Timeline>,
    lives: Mutex<Vec<Life>>,
    pub commits: Mutex<Vec<Commit>>,
    pub readings: Mutex<Vec<Reading>>,
    pub rounds: Mutex<Vec<Round>>,
}

/// The present life of a process.
#[derive(Clone, Debug, Default)]
struct Life {
    number: u64,
    is_ready: bool,
    is_paused: bool,
}

impl Record {
    pub fn new(places: usize) -> Self {
        Self {
            began: Instant::now(),
            timeline: Mutex::default(),
            lives: Mutex::new(vec![Life::default(); places]),
            commits: Mutex::default(),
            readings: Mutex::default(),
            rounds: Mutex::default(),
        }
    }

    pub fn now(&self) -> Time {
        u64::try_from(self.began.elapsed().as_micros()).expect("a short run")
    }

    pub fn note(&self, turn: Turn) {
        let mut timeline = lock(&self.timeline);
        let now = self.now();
        timeline.push((now, turn));
    }

    /// Notes what held from a time on that is past.
    pub fn note_since(&self, at: Time, turn: Turn) {
        lock(&self.timeline).push((at, turn));
    }

    pub fn timeline(&self) -> Timeline {
        lock(&self.timeline).clone()
    }

    /// Begins a life, which is ready later; returns its number.
    pub fn begin_life(&self, place: Place) -> u64 {
        let mut lives = lock(&self.lives);
        lives[place] = Life { number: lives[place].number + 1, ..Life::default() };
        lives[place].number
    }

    /// Notes that a life is ready, if it is the present one.
    pub fn note_ready(&self, place: Place, number: u64) {
        let mut lives = lock(&self.lives);
        let life = &mut lives[place];
        if life.number == number {
            life.is_ready = true;
            if !life.is_paused {
                self.note(Turn::Runs(place, true));
            }
        }
    }

    pub fn note_paused(&self, place: Place, is_paused: bool) {
        let mut lives = lock(&self.lives);
        let life = &mut lives[place];
        life.is_paused = is_paused;
        if life.is_ready {
            self.note(Turn::Runs(place, !is_paused));
        }
    }

    /// Ends a life; returns whether it was ready.
    pub fn end_life(&self, place: Place) -> bool {
        let mut lives = lock(&self.lives);
        let number = lives[place].number + 1;
        let ended = std::mem::replace(&mut lives[place], Life { number, ..Life::default() });
        self.note(Turn::Runs(place, false));
        ended.is_ready
    }

    pub fn is_ready(&self, place: Place) -> bool {
        lock(&self.lives)[place].is_ready
    }
}

/// Locks what a thread that has failed may have held.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
