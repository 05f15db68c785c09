//! Looks at what is kept for a restart, from time to time: the store of contents believes its own index.
//!
//! Where a content is damaged the whole store is put aside and begun anew, since it takes nothing anew
//! that it believes to have; but only while a peer is there who has all of it. What is served stays. What
//! is merely gone is fetched again.
//!
//! **Not here:** fetching (`sync::mirror`), the store (`mesh::blobs`).

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Follow;
use crate::limits::{CONTENTS_LOOK_MS, CONTENTS_RENEW_MS};
use crate::mesh::blobs::Looked;
use crate::sync::mirror::Mirror;

/// What was found of all that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Nothing that must be done.
    Well,
    /// Some of it is gone.
    Gone,
    /// Some of it is damaged.
    Damaged,
}

impl Follow {
    /// Begins to look, or to begin anew, if that is due.
    pub(super) fn look(&mut self) {
        self.has_damage |= self.fetcher.take_damage();
        if self.looking.is_some() {
            return;
        }
        let pause_ms = if self.has_damage { CONTENTS_RENEW_MS } else { CONTENTS_LOOK_MS };
        let pause = Duration::from_millis(pause_ms);
        if self.looked_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        let blobs = self.mesh.blobs().clone();
        if !self.has_damage {
            self.looked_at = Some(Instant::now());
            let kept = self.kept.clone();
            self.looking = Some(tokio::spawn(async move {
                match blobs.look_at_all(kept).await {
                    Ok(gone) if !gone.is_empty() => Found::Gone,
                    Err(Looked::Damaged) => Found::Damaged,
                    // One that does not answer is opened again by others.
                    Ok(_) | Err(_) => Found::Well,
                }
            }));
        } else if self.upstream.is_some() {
            self.looked_at = Some(Instant::now());
            self.has_damage = false;
            tracing::warn!("contents on this machine are damaged: all of them are fetched anew");
            let generation = blobs.generation();
            self.looking = Some(tokio::spawn(async move {
                match blobs.renew(generation).await {
                    // The next generation of the store has nothing: it is noticed (`keeping`).
                    Ok(()) => Found::Well,
                    Err(error) => {
                        tracing::warn!(%error, "that cannot be done yet");
                        Found::Damaged
                    }
                }
            }));
        }
    }

    /// Takes what was found.
    pub(super) fn take_looked(&mut self, found: Found) {
        match found {
            Found::Well => {}
            Found::Gone => {
                self.client.with_mirror(Mirror::retake);
            }
            Found::Damaged => self.has_damage = true,
        }
    }
}

/// Waits for the task that looks; for ever when there is none.
pub(super) async fn looked(looking: &mut Option<JoinHandle<Found>>) -> Found {
    let Some(task) = looking else { return std::future::pending().await };
    let looked = task.await;
    *looking = None;
    looked.unwrap_or(Found::Well)
}
