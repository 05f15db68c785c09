//! A part of a node that runs by itself: with a name, a way to end it, and an owner who waits for its end.
//!
//! **Invariant:** a service that is dropped has ended, or is ended then; nothing of a node runs without one.
//! **Not here:** what the services of a node are (`services`).

use std::future::Future;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::limits::STOP_MS;

/// A task that runs until it is told to end.
#[derive(Debug)]
pub(super) struct Service {
    /// What it does, as `the task that … has ended` reads.
    what: &'static str,
    /// Tells it to end.
    stop: CancellationToken,
    /// The task.
    task: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts a task that ends by the token that it is given.
    pub(super) fn spawn<F>(what: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        Self { what, stop, task: Some(task) }
    }

    /// Returns what it does.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Returns what tells whether it still runs, for who watches over it.
    pub(super) fn watched(&self) -> Option<AbortHandle> {
        self.task.as_ref().map(JoinHandle::abort_handle)
    }

    /// Tells it to end and waits until it has, [`STOP_MS`] at most; then it is ended where it stands.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else { return };
        let limit = Duration::from_millis(STOP_MS);
        match tokio::time::timeout(limit, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the task that {} ended badly", self.what),
            Err(_) => task.abort(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn a_service_that_is_stopped_has_done_what_it_does_at_its_end() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        let service = Service::spawn("waits", |stop| async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            ended.store(true, Ordering::Relaxed);
        });
        assert!(service.watched().is_some_and(|task| !task.is_finished()));
        service.stop().await;
        assert!(has_ended.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_service_that_is_dropped_does_not_go_on() {
        let service = Service::spawn("does not listen", |_| std::future::pending());
        let watched = service.watched().expect("it runs");
        drop(service);
        while !watched.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}
