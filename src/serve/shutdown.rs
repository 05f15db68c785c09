//! The request to stop, seen by every front end.
//!
//! **Invariant:** once requested it stays requested, and every waker runs exactly once.
//! **Not here:** waiting for the threads to end (`serve::server`).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A handle to the request; clones mean the same one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<ShutdownState>);

/// What the clones share.
#[derive(Default)]
struct ShutdownState {
    /// Whether the request was made.
    is_requested: AtomicBool,
    /// Run when it is made.
    wakers: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Shutdown {
    /// Returns a handle to a request that has not been made.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the front end is to stop.
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.load(Ordering::Acquire)
    }

    /// Makes the request and runs every waker. Again: nothing.
    pub fn request(&self) {
        self.0.is_requested.store(true, Ordering::Release);
        for waker in self.take_wakers() {
            waker();
        }
    }

    /// Has `waker` run when the request is made, or at once if it was made before. A front end
    /// that waits for readiness wakes itself with it.
    pub fn on_request(&self, waker: impl FnOnce() + Send + 'static) {
        self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(waker));
        // The request may have been made between a look at the flag and the push.
        if self.is_requested() {
            for waker in self.take_wakers() {
                waker();
            }
        }
    }

    /// Takes the wakers out, so that none runs twice.
    fn take_wakers(&self) -> Vec<Box<dyn FnOnce() + Send>> {
        std::mem::take(&mut *self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for ShutdownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShutdownState").field(&self.is_requested).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_waker_runs_once_whether_it_came_before_or_after_the_request() {
        let (shutdown, runs) = (Shutdown::new(), Arc::new(AtomicU32::new(0)));
        let waker = || {
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        shutdown.on_request(waker());
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        shutdown.request();
        shutdown.request();
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        shutdown.clone().on_request(waker());
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert!(shutdown.is_requested());
    }
}
