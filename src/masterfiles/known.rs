//! The zones of files as they are served, and what is looked at to see a change.
//!
//! **Invariant:** a file counts as unchanged only if every file that its zone was made of is as it
//! was when it was read.
//! **Not here:** reading (`masterfiles::load`), publishing (`masterfiles::publish`).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::{self, FileZone, Unread};
use super::source::SourceKey;
use super::store::{CompiledPlace, LeftOut, Store, StoreDraft, Writing};
use super::{FailedFile, Instead, Refreshed, ZoneFileError, list_dir};
use crate::name::Name;
use crate::zone::{HashSeed, Zone};

/// Zone files that are served.
#[derive(Debug)]
pub struct ZoneFiles {
    /// Where `NAME.zone` files are.
    dir: Option<PathBuf>,
    /// Further files, which must be there.
    named: Vec<PathBuf>,
    /// Where compiled zones are kept, if they are.
    compiled: Option<PathBuf>,
    /// The seed of every zone's hashes.
    seed: HashSeed,
    /// The files that are served, by the hash of their paths.
    known: Vec<KnownFile>,
    /// Apexes of files that make no zone.
    held: Vec<Name>,
    /// Makes the hashes.
    hasher: RandomState,
    /// The thread that writes what is compiled.
    writing: Option<Writing>,
}

/// A file that is served; small, since there are as many as zones.
#[derive(Debug)]
struct KnownFile {
    /// The hash of its path.
    path_hash: u64,
    /// The hash of the states of all files that its zone was made of.
    state_hash: u64,
    /// Whether the files must be read again, whatever their state.
    is_unsure: bool,
    /// The zone.
    zone: Arc<Zone>,
    /// Files that it includes.
    included: Option<Box<[PathBuf]>>,
}

impl ZoneFiles {
    /// Begins with the `NAME.zone` files of a directory, without reading anything; nothing is compiled.
    pub fn in_dir(dir: impl Into<PathBuf>, seed: HashSeed) -> Self {
        Self::new(Some(dir.into()), Vec::new(), None, seed)
    }

    /// Begins without reading anything.
    pub fn new(
        dir: Option<PathBuf>,
        named: Vec<PathBuf>,
        compiled: Option<PathBuf>,
        seed: HashSeed,
    ) -> Self {
        let (known, held, hasher) = (Vec::new(), Vec::new(), RandomState::new());
        Self { dir, named, compiled, seed, known, held, hasher, writing: None }
    }

    /// Reads all files that are new or have changed.
    ///
    /// The first call reads all. A thread of its own then writes what was compiled.
    ///
    /// # Errors
    /// [`ZoneFileError::Read`] if the directory cannot be read; nothing has changed then.
    pub fn refresh(&mut self) -> Result<Refreshed, ZoneFileError> {
        let mut paths = match &self.dir {
            Some(dir) => list_dir(dir)?,
            None => Vec::new(),
        };
        let from_dir = paths.len();
        paths.extend(self.named.iter().cloned());
        let (store, left_out) = self.open_store();
        let (same, changed) = self.sort_out(&paths);
        let is_served = |path: &Path| self.find(path).is_some();
        let (loaded, buffers) =
            load::load(&paths, &changed, is_served, store.as_ref(), self.seed, &self.hasher);
        let mut draft = StoreDraft::new(buffers, left_out);
        let mut next = Next::new(self, &paths, from_dir);
        let mut same = same.into_iter().peekable();
        for (index, result) in loaded {
            while let Some((index, known)) = same.next_if(|(before, _)| *before < index) {
                next.keep_file(index, known, store.as_ref(), &mut draft);
            }
            // A restart must find the last good form of a file that is broken then.
            let older = store.as_ref().and_then(|store| store.place_of(&paths[index]));
            let is_unread = result.is_err();
            match next.take(index, result) {
                Some(place) => draft.push(self.path_hash(&paths[index]), place, older),
                None if is_unread => draft.places.extend(older),
                None => {}
            }
        }
        for (index, known) in same {
            next.keep_file(index, known, store.as_ref(), &mut draft);
        }
        let (known, refreshed) = next.finish();
        self.known = known;
        self.held.clone_from(&refreshed.held);
        if let Some(store) = store {
            match store.spawn_write(draft) {
                Ok(writing) => self.writing = Some(writing),
                Err(error) => tracing::warn!(%error, "compiled zones are not kept"),
            }
        }
        Ok(refreshed)
    }

    /// Waits until what was compiled is written: two seconds after the last change of a file.
    pub fn wait_written(&mut self) {
        if let Some(writing) = self.writing.take() {
            writing.wait();
        }
    }

    /// Waits until what can be kept by now is written.
    pub fn stop(mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.hurry();
        }
    }

    /// Reads the directory of compiled zones, once what can be written by now is there: who asks for a reading is
    /// not kept waiting for files to rest. Returns also what could not be.
    fn open_store(&mut self) -> (Option<Store>, LeftOut) {
        let left_out = self.writing.take().map(Writing::hurry).unwrap_or_default();
        let opened = self.compiled.as_ref().and_then(|dir| {
            let unkept = |error: &std::io::Error| {
                tracing::warn!(dir = %dir.display(), %error, "compiled zones are not kept");
            };
            Store::open(dir).inspect_err(unkept).ok()
        });
        (opened, left_out)
    }

    /// Parts paths, by their indexes, into those that are as they were, with their place among the
    /// known ones, and all others.
    fn sort_out(&self, paths: &[PathBuf]) -> (Vec<(usize, usize)>, Vec<usize>) {
        let (mut same, mut changed) = (Vec::new(), Vec::new());
        for (index, path) in paths.iter().enumerate() {
            match self.find(path) {
                Some(known) if self.is_same(path, &self.known[known]) => same.push((index, known)),
                _ => changed.push(index),
            }
        }
        (same, changed)
    }

    /// Returns where a file stands among the known ones.
    fn find(&self, path: &Path) -> Option<usize> {
        let hash = self.path_hash(path);
        self.known.binary_search_by_key(&hash, |known| known.path_hash).ok()
    }

    /// Returns the hash that a file is known by: of its path as it is spelled, not of its components.
    fn path_hash(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path.as_os_str())
    }

    /// Whether a file, and what it includes, is as it was.
    fn is_same(&self, path: &Path, known: &KnownFile) -> bool {
        let included = known.included.iter().flatten().map(PathBuf::as_path);
        let keys: Option<Vec<SourceKey>> =
            std::iter::once(path).chain(included).map(SourceKey::at).collect();
        keys.is_some_and(|keys| !known.is_unsure && self.hasher.hash_one(keys) == known.state_hash)
    }
}

/// The known files to be.
struct Next<'f> {
    /// Those before.
    files: &'f ZoneFiles,
    /// All files.
    paths: &'f [PathBuf],
    /// How many of them are of the directory.
    from_dir: usize,
    /// Which file holds each zone, by the hash of its apex.
    apexes: HashMap<u64, usize>,
    /// The files.
    known: Vec<KnownFile>,
    /// What is told the caller.
    refreshed: Refreshed,
}

impl<'f> Next<'f> {
    /// Begins without any.
    fn new(files: &'f ZoneFiles, paths: &'f [PathBuf], from_dir: usize) -> Self {
        Self {
            files,
            paths,
            from_dir,
            apexes: HashMap::with_capacity(paths.len()),
            known: Vec::with_capacity(paths.len()),
            refreshed: Refreshed::default(),
        }
    }

    /// Keeps a file as it was, and its compiled form, if it has one.
    fn keep_file(
        &mut self,
        index: usize,
        known: usize,
        store: Option<&Store>,
        draft: &mut StoreDraft,
    ) {
        if self.keep(index, known)
            && let Some(store) = store
        {
            draft.keep(self.files.known[known].path_hash, store.place_of(&self.paths[index]));
        }
    }

    /// Keeps a file as it was, unless one in front of it holds its zone now; says whether it does.
    fn keep(&mut self, index: usize, known: usize) -> bool {
        let before = &self.files.known[known];
        let KnownFile { path_hash, state_hash, is_unsure, .. } = *before;
        let (zone, included) = (Arc::clone(&before.zone), before.included.clone());
        self.add(index, KnownFile { path_hash, state_hash, is_unsure, zone, included })
    }

    /// Takes what a file has come to; returns where its compiled form is.
    fn take(&mut self, index: usize, result: Result<FileZone, Unread>) -> Option<CompiledPlace> {
        match result {
            Ok(file) => self.take_zone(index, file),
            Err(unread) => {
                self.take_unread(index, unread);
                None
            }
        }
    }

    /// Takes the zone of a file, unless one in front of it holds the same; returns where its compiled
    /// form is.
    fn take_zone(&mut self, index: usize, file: FileZone) -> Option<CompiledPlace> {
        let FileZone { zone, state_hash, included, place, warnings, is_compiled } = file;
        let known = KnownFile {
            path_hash: self.files.path_hash(&self.paths[index]),
            state_hash: state_hash.unwrap_or_default(),
            is_unsure: state_hash.is_none(),
            zone: Arc::clone(&zone),
            included,
        };
        if !self.add(index, known) {
            return None;
        }
        self.refreshed.changed.push(zone);
        self.refreshed.add_warnings(warnings);
        self.refreshed.compiled_count += u64::from(is_compiled);
        place
    }

    /// Takes that a file makes no zone: what it was is served on, or else its apex is held. It is
    /// looked at again the next time.
    fn take_unread(&mut self, index: usize, unread: Unread) {
        let Unread { error, apex, last_good } = unread;
        let is_there = match (self.files.find(&self.paths[index]), last_good) {
            (Some(before), _) => self.keep(index, before),
            (None, Some(file)) => {
                let count = self.known.len();
                self.take_zone(index, *file);
                self.known.len() > count
            }
            (None, None) => false,
        };
        let instead = match (self.known.last_mut().filter(|_| is_there), apex) {
            (Some(last), _) => {
                last.is_unsure = true;
                Instead::LastGood(Arc::clone(&last.zone))
            }
            (None, Some(apex)) => Instead::Nothing(apex),
            (None, None) => Instead::Others,
        };
        let is_named = index >= self.from_dir;
        self.refreshed.errors.push(FailedFile { is_named, error, instead });
    }

    /// Adds a file, unless one in front of it holds the same zone; says whether it did.
    fn add(&mut self, index: usize, file: KnownFile) -> bool {
        let apex = file.zone.apex();
        let hash = self.files.hasher.hash_one(apex.as_wire());
        if let Some(&first) = self.apexes.get(&hash)
            && self.known[first].zone.apex() == apex
        {
            let (path, apex) = (self.paths[index].clone(), apex.clone());
            let error = ZoneFileError::ApexTwice { path, apex };
            let (is_named, instead) = (index >= self.from_dir, Instead::Others);
            self.refreshed.errors.push(FailedFile { is_named, error, instead });
            return false;
        }
        self.apexes.insert(hash, self.known.len());
        self.known.push(file);
        true
    }

    /// Ends the files.
    fn finish(mut self) -> (Vec<KnownFile>, Refreshed) {
        let served = |apex: &Name| {
            let hash = self.files.hasher.hash_one(apex.as_wire());
            self.apexes.get(&hash).is_some_and(|at| self.known[*at].zone.apex() == apex)
        };
        let before = self.files.known.iter().map(|known| &known.zone);
        // What another file has a zone for is not held, wherever that file stands.
        let mut held = Vec::new();
        for failed in &mut self.refreshed.errors {
            match &failed.instead {
                Instead::Nothing(apex) if served(apex) => failed.instead = Instead::Others,
                Instead::Nothing(apex) => held.push(apex.clone()),
                _ => {}
            }
        }
        let is_released = |apex: &&Name| !held.contains(apex) && !served(apex);
        self.refreshed.released = self.files.held.iter().filter(is_released).cloned().collect();
        self.refreshed.held = held;
        self.refreshed.gone = before.filter(|zone| !served(zone.apex())).cloned().collect();
        self.refreshed.zone_count = self.known.len() as u64;
        self.known.sort_unstable_by_key(|known| known.path_hash);
        (self.known, self.refreshed)
    }
}
