//! Reads zone files on all processors, each of its compiled form if that is current.
//!
//! **Not here:** which zones are served (`masterfiles::known`), what is kept of it (`masterfiles::store`).

use std::hash::{BuildHasher as _, RandomState};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::image::{ImageHead, ImageWriter, fits};
use super::source::{Source, SourceKey};
use super::store::{CompiledPlace, Store, Unrested, Version};
use super::{MasterFile, ZoneFileError, apex_of, build, origin_of, read_master};
use crate::limits::COMPILED_OWN_OCTETS_MIN;
use crate::name::Name;
use crate::zone::{HashSeed, Zone};

/// What one file has come to.
#[derive(Debug)]
pub(super) struct FileZone {
    /// The zone.
    pub(super) zone: Arc<Zone>,
    /// The hash of the states of the files that it was made of; none where one changed meanwhile.
    pub(super) state_hash: Option<u64>,
    /// The files that it includes.
    pub(super) included: Option<Box<[PathBuf]>>,
    /// Its compiled form.
    pub(super) place: Option<CompiledPlace>,
    /// What an author should look at.
    pub(super) warnings: Vec<String>,
    /// Whether it was built of its compiled form.
    pub(super) is_compiled: bool,
}

/// A file that cannot be read, or makes no zone.
#[derive(Debug)]
pub(super) struct Unread {
    /// Why.
    pub(super) error: ZoneFileError,
    /// The apex that its zone would have, as far as that can be told.
    pub(super) apex: Option<Name>,
    /// The zone of its compiled form, of when it was good last.
    pub(super) last_good: Option<Box<FileZone>>,
}

/// The results in the order of the files, and the blocks that the workers wrote.
pub(super) type Loaded = (Vec<(usize, Result<FileZone, Unread>)>, Vec<Vec<u8>>);

/// Reads the files of `indexes` among `paths`; of one that cannot be read its last good form, unless
/// its zone `is_served`.
pub(super) fn load(
    paths: &[PathBuf],
    indexes: &[usize],
    is_served: impl Fn(&Path) -> bool + Sync,
    store: Option<&Store>,
    seed: HashSeed,
    hasher: &RandomState,
) -> Loaded {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(indexes.len());
    // Fewer files than processors: a large one may have several.
    let each = (processors / threads.max(1)) as u64;
    let next = AtomicUsize::new(0);
    let (next, is_served) = (&next, &is_served);
    let (mut results, mut buffers) = (Vec::with_capacity(indexes.len()), Vec::new());
    thread::scope(|scope| {
        let read_some = |buffer| {
            let blocks = Vec::new();
            let mut worker = LoadWorker { store, seed, hasher, threads: each, buffer, blocks };
            let mut results = Vec::new();
            while let Some(&index) = indexes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let path = &paths[index];
                let read = worker.load(path);
                results.push((index, read.map_err(|e| worker.unread(path, e, is_served(path)))));
            }
            (results, worker.blocks)
        };
        let workers: Vec<_> =
            (0..threads).map(|buffer| scope.spawn(move || read_some(buffer))).collect();
        for worker in workers {
            // A worker that panicked would lose files silently: the panic goes on in the caller.
            let joined = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.extend(joined.0);
            buffers.push(joined.1);
        }
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    (results, buffers)
}

/// One of the threads.
struct LoadWorker<'s> {
    /// Where compiled zones are, if they are kept.
    store: Option<&'s Store>,
    /// The seed of every zone's hashes.
    seed: HashSeed,
    /// Makes the hashes of the states of files.
    hasher: &'s RandomState,
    /// How many processors it may use.
    threads: u64,
    /// Which buffer its blocks are in.
    buffer: usize,
    /// Blocks of compiled zones.
    blocks: Vec<u8>,
}

impl LoadWorker<'_> {
    /// Reads one file; its name without `.zone` is the initial origin.
    fn load(&mut self, path: &Path) -> Result<FileZone, ZoneFileError> {
        let (seed, threads) = (self.seed, self.threads);
        let compiled = self.store.map(|store| store.load(path, Version::Current, seed, threads));
        match compiled {
            Some(Ok(Some((zone, head, place)))) => {
                let ImageHead { sources, warnings, .. } = head;
                return Ok(self.file_zone(zone, Some(sources), Some(place), warnings, true));
            }
            Some(Err((file, error))) => {
                let file = file.display();
                tracing::warn!("{file}: {error}; {} is read instead", path.display());
            }
            _ => {}
        }
        let origin = origin_of(path)
            .map_err(|source| ZoneFileError::FileName { path: path.into(), source })?;
        let master = read_master(path, &origin)?;
        let warnings = master.zone.warnings.kept.iter().map(ToString::to_string).collect();
        let is_steady = master.sources.iter().all(|read| read.is_steady);
        let (zone, place) = match self.store.filter(|_| is_steady) {
            Some(store) => self.compile(path, &master, store)?,
            None => (build(path, &master.zone, self.seed, &mut |_| {})?, None),
        };
        let sources = master.sources.into_iter().map(|read| read.source).collect();
        let sources = Some(sources).filter(|_| is_steady);
        Ok(self.file_zone(zone, sources, place, warnings, false))
    }

    /// Finds what there is in the place of a file that cannot be read.
    fn unread(&self, path: &Path, error: ZoneFileError, is_served: bool) -> Unread {
        let store = self.store.filter(|_| !is_served);
        let (seed, threads) = (self.seed, self.threads);
        let last = store.map(|store| store.load(path, Version::LastGood, seed, threads));
        let last_good = match last {
            Some(Ok(Some((zone, _, place)))) => {
                Some(Box::new(self.file_zone(zone, None, Some(place), Vec::new(), true)))
            }
            // What is wrong with the compiled file was said when it was looked at first.
            _ => None,
        };
        Unread { error, apex: apex_of(path), last_good }
    }

    /// Logs the warnings, and makes the result for one file; of its sources little is kept, there may be
    /// many.
    fn file_zone(
        &self,
        zone: Zone,
        sources: Option<Vec<Source>>,
        place: Option<CompiledPlace>,
        warnings: Vec<String>,
        is_compiled: bool,
    ) -> FileZone {
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let state_hash = sources.as_ref().map(|sources| {
            let keys = sources.iter().map(|source| source.key);
            self.hasher.hash_one(keys.collect::<Vec<SourceKey>>())
        });
        let included = sources.unwrap_or_default().into_iter().skip(1).map(|source| source.path);
        let included: Vec<PathBuf> = included.collect();
        let included = (!included.is_empty()).then(|| included.into_boxed_slice());
        FileZone { zone: Arc::new(zone), state_hash, included, place, warnings, is_compiled }
    }

    /// Builds a zone and writes its compiled form on the way.
    fn compile(
        &mut self,
        path: &Path,
        master: &MasterFile,
        store: &Store,
    ) -> Result<(Zone, Option<CompiledPlace>), ZoneFileError> {
        let head = ImageHead {
            sources: master.sources.iter().map(|read| read.source.clone()).collect(),
            warnings: master.zone.warnings.kept.iter().map(ToString::to_string).collect(),
            names: master.zone.name_count(),
        };
        let unrested: Vec<Unrested> = master
            .sources
            .iter()
            .filter_map(|read| Some((read.source.clone(), read.unrested?)))
            .collect();
        let octets: u64 = head.sources.iter().map(|source| source.key.octets).sum();
        if !fits(&head) {
            return Ok((build(path, &master.zone, self.seed, &mut |_| {})?, None));
        }
        if octets >= COMPILED_OWN_OCTETS_MIN {
            return self.compile_own(path, master, store, &head, unrested);
        }
        let start = self.blocks.len();
        let mut writer = ImageWriter::new(&mut self.blocks, master.zone.apex.clone(), &head);
        let mut written = Ok(());
        let zone = build(path, &master.zone, self.seed, &mut |rrset| {
            if written.is_ok() {
                written = writer.push(rrset);
            }
        });
        let written = written.and_then(|()| writer.finish().map(|_| ()));
        if written.is_err() || zone.is_err() {
            self.blocks.truncate(start);
            return Ok((zone?, None));
        }
        let blocks = start..self.blocks.len();
        Ok((zone?, Some(CompiledPlace::Fresh { buffer: self.buffer, blocks, unrested })))
    }

    /// Builds a large zone and writes its compiled form to a file of its own on the way.
    fn compile_own(
        &self,
        path: &Path,
        master: &MasterFile,
        store: &Store,
        head: &ImageHead,
        unrested: Vec<Unrested>,
    ) -> Result<(Zone, Option<CompiledPlace>), ZoneFileError> {
        let complain = |error: std::io::Error| {
            tracing::warn!("{}: no compiled form is kept: {error}", path.display());
        };
        let mut own = match store.begin_own(path) {
            Ok(own) => own,
            Err(error) => {
                complain(error);
                return Ok((build(path, &master.zone, self.seed, &mut |_| {})?, None));
            }
        };
        let out = BufWriter::with_capacity(1 << 16, own.file());
        let mut writer = ImageWriter::new(out, master.zone.apex.clone(), head);
        let mut written = Ok(());
        let zone = build(path, &master.zone, self.seed, &mut |rrset| {
            if written.is_ok() {
                written = writer.push(rrset);
            }
        });
        let written = written
            .and_then(|()| writer.finish())
            .and_then(|out| out.into_inner().map(|_| ()).map_err(|error| error.into_error()));
        own.unrested = unrested;
        match written {
            Ok(()) if zone.is_ok() => Ok((zone?, Some(CompiledPlace::FreshOwn(Box::new(own))))),
            written => {
                written.unwrap_or_else(complain);
                own.discard();
                Ok((zone?, None))
            }
        }
    }
}
