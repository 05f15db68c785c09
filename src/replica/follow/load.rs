//! The first load: what lies on the disk, visible at once and before anybody is dialed.
//!
//! **Invariant:** nothing older than the newest state on the disk becomes visible.
//! **Not here:** the files (`archive`).

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Follow;
use crate::feed::Hash;
use crate::feed::segment::{Segment, SegmentBody};
use crate::limits::FETCHES_MAX;
use crate::replica::archive::Kept;
use crate::replica::fetch::{Ask, Fetcher};
use crate::replica::upstream::Nobody;
use crate::sync::mirror::Mirror;

impl Follow {
    /// Loads what is kept on the disk, and makes it visible at once.
    pub(super) async fn load(&mut self, kept: Kept, stop: &CancellationToken) {
        self.client.note_damage(kept.is_damaged);
        let Some((announcement, root)) = kept.root else { return self.forget_kept() };
        let root_hash = *iroh_blobs::Hash::new(&root).as_bytes();
        if !names(&announcement, &root_hash) {
            tracing::warn!("the announcement that this edge has kept is of another root");
            return self.forget_kept();
        }
        if !self.take_segment(&announcement, false) {
            return self.forget_kept();
        }
        for segment in kept.segments {
            self.take_segment(&segment, false);
        }
        let (sender, mut answers) = mpsc::channel(FETCHES_MAX);
        let blobs = self.mesh.blobs().clone();
        let local = Fetcher::new(blobs, Arc::new(Nobody), sender, stop.clone());
        let mut root = Some(root);
        let (mut fetching, mut is_whole) = (0, true);
        loop {
            let now = self.client.now_ms();
            let wishes = self.client.with_mirror(|mirror| mirror.poll_wishes(now));
            let wishes = wishes.unwrap_or_default();
            let is_over = wishes.is_empty() && fetching == 0;
            let mut asks = Vec::new();
            for wish in wishes {
                // The root leads to indexes, these to bundles.
                match root.take_if(|_| wish.hash == root_hash) {
                    Some(octets) => {
                        self.client.with_mirror(|mirror| {
                            mirror.handle_content(root_hash, Some(octets));
                        });
                    }
                    None => asks.push(Ask { hash: wish.hash, is_loaded: wish.is_loaded }),
                }
            }
            fetching += asks.len();
            local.fetch(&asks);
            self.build_now().await;
            if is_over {
                break;
            }
            if fetching == 0 {
                continue;
            }
            let Some(answer) = answers.recv().await else { break };
            fetching -= 1;
            is_whole &= answer.is_here;
            self.take_answer(answer);
        }
        if !is_whole {
            // Zones of which something is gone are held until a peer has it.
            tracing::warn!("some of what this edge had is gone from its disk, and is fetched anew");
        }
        self.has_damage = local.take_damage();
        self.publish_held(true);
        // It lies on the disk already.
        let contents = self.client.with_mirror(|mirror| {
            let contents = mirror.contents().cloned();
            if let Some((version, ..)) = mirror.whole_version() {
                mirror.handle_kept(version);
            }
            contents
        });
        self.kept = contents.flatten().unwrap_or_default();
        self.take_adopted();
        self.client.hold_absent(true);
    }

    /// Begins anew: segments without the version that they follow on would mix with those to come,
    /// which may tell the same otherwise.
    fn forget_kept(&mut self) {
        if let Some(archive) = &mut self.archive {
            archive.clear();
        }
    }

    /// Computes all steps that can be done now, one batch after the other.
    async fn build_now(&mut self) {
        while let Some(batches) = self.client.with_mirror(Mirror::poll_batch).flatten() {
            let client = Arc::clone(&self.client);
            let built = tokio::task::spawn_blocking(move || {
                batches.into_iter().map(|batch| client.prepare(batch)).collect::<Vec<_>>()
            });
            match built.await {
                Ok(prepared) => self.held.extend(prepared),
                Err(error) => tracing::error!(%error, "the thread that builds zones ended badly"),
            }
        }
    }
}

/// Whether a segment announces the version with a root.
fn names(announcement: &Bytes, root: &Hash) -> bool {
    Segment::from_octets(announcement).is_ok_and(
        |segment| matches!(segment.body, SegmentBody::Version(version) if version.hash == *root),
    )
}
