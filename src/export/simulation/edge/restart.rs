//! What becomes of an edge that crashes: it begins with what lies on its disk, as one does that follows a
//! feed, and must not show less than before.

use super::{Edge, World, mirror};
use crate::seeded::Seeded;

impl Edge {
    /// Ends as by a crash and starts again; without its disk if `is_lost`.
    pub(in crate::export::task::simulation) fn restart(
        &mut self,
        is_lost: bool,
        world: &World<'_>,
        random: &mut Seeded,
    ) {
        let before = std::mem::replace(self, Self::new(self.fault));
        self.faults = before.faults;
        self.differed = before.differences();
        self.wrong = before.wrong;
        self.mirror = mirror(world.now_ms);
        if is_lost {
            return;
        }
        self.disk = before.disk;
        self.load(world, random);
        for (apex, was) in before.shown {
            let is_older = match self.shown.get(&apex) {
                Some(now) => {
                    now.revision < was.revision
                    // The same in another history is shown as it was.
                    && now.contents != was.contents
                }
                None => false,
            };
            if is_older && !world.store.is_parted(self.mirror.place().0) {
                let now = self.shown.get(&apex).map(|now| now.revision);
                let disk = self.disk.describe();
                let was = was.revision;
                let place = self.mirror.place();
                self.complain(format!(
                    "{apex} is at {now:?} after a restart, {was:?} before: {disk}, {place:?}"
                ));
            }
        }
    }

    /// Loads what lies on the disk.
    fn load(&mut self, world: &World<'_>, random: &mut Seeded) {
        let Some((announcement, root)) = self.disk.root.clone() else {
            return self.disk.logs = Default::default();
        };
        if !self.take_segment(&announcement, false, world.now_ms) {
            return self.disk.logs = Default::default();
        }
        for (_, segment) in self.disk.logs.clone().concat() {
            self.take_segment(&segment, false, world.now_ms);
        }
        let root_hash = *iroh_blobs::Hash::new(&root).as_bytes();
        let mut is_whole = true;
        loop {
            let mut wishes = self.mirror.poll_wishes(world.now_ms);
            wishes.sort_unstable_by_key(|wish| wish.hash);
            self.fetching.extend(wishes);
            if self.fetching.is_empty() {
                let Some(batches) = self.mirror.poll_batch() else { break };
                self.prepare_all(batches, world);
                continue;
            }
            let wish = self.fetching.swap_remove(random.below(self.fetching.len()));
            if wish.hash == root_hash {
                self.mirror.handle_content(root_hash, Some(root.clone()));
                continue;
            }
            let is_here = self.has(&wish.hash);
            is_whole &= is_here;
            self.take_content(wish, is_here, world);
        }
        while let Some(batches) = self.mirror.poll_batch() {
            self.prepare_all(batches, world);
        }
        if is_whole {
            self.publish_held(true, world);
        } else {
            self.complain("what was kept is not whole".to_owned());
        }
        // It lies on the disk already.
        self.kept = self.mirror.contents().cloned().unwrap_or_default();
        if let Some((version, ..)) = self.mirror.whole_version() {
            self.mirror.handle_kept(version);
        }
        self.take_adopted();
    }
}
