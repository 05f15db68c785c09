//! The directory that compiled zones lie in.
//!
//! A long master file has a compiled file of its own, all short ones share one: a hundred thousand
//! files would cost a restart more than the text of theirs.
//!
//! **Invariant:** a compiled file appears whole, under its name, or not at all; nothing is lost
//! where one is missing, since the master files hold everything.
//! **Not here:** the format (`masterfiles::image`), which zone comes from where (`masterfiles`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::image::{
    BlockReader, ImageError, ImageHead, ZonePlace, file_head, list_zones, read_zone,
};
use super::parts;
use super::source::{Source, SourceKey, has_come_to_rest};
use crate::clock;
use crate::durable;
use crate::limits::COMPILED_SHARED_OCTETS_MAX;
use crate::zone::{HashSeed, Zone};

/// What the directory holds.
#[derive(Debug)]
pub(crate) struct Store {
    /// The directory.
    dir: PathBuf,
    /// The shared file.
    shared: Vec<u8>,
    /// The zones in it, by path.
    zones: Vec<ZonePlace>,
    /// Names of the other files.
    own: HashSet<OsString>,
}

/// Where the compiled form of a zone is.
#[derive(Debug)]
pub(crate) enum CompiledPlace {
    /// In the shared file, as the zone of this index.
    Shared(usize),
    /// In a file of its own.
    Own(OsString),
    /// Not on disk yet: blocks in one of the buffers of a [`StoreDraft`].
    Fresh {
        /// Which buffer.
        buffer: usize,
        /// Where in it.
        blocks: Range<usize>,
        /// What has to come to rest first.
        unrested: Vec<Unrested>,
    },
    /// Written to a file of its own that has not its name yet.
    FreshOwn(Box<OwnDraft>),
    /// Left out, and there was none before.
    Nowhere,
}

/// A source that was read soon after it had changed, and the SHA-1 of its octets.
pub(crate) type Unrested = (Source, [u8; 20]);

/// A file of its own without its name.
#[derive(Debug)]
pub(crate) struct OwnDraft {
    /// The file.
    file: File,
    /// Its path for the time being.
    draft: PathBuf,
    /// The name that it will have.
    name: OsString,
    /// What has to come to rest first.
    pub unrested: Vec<Unrested>,
}

/// What is to be in the directory.
#[derive(Debug, Default)]
pub(crate) struct StoreDraft {
    /// Blocks that are on no disk yet.
    pub buffers: Vec<Vec<u8>>,
    /// Every compiled zone, in the order of their master files.
    pub places: Vec<CompiledPlace>,
    /// Where forms of before are, by the index of the place that follows them: they stay until it has come to
    /// rest, so that there is always one of a file that was good once.
    pub older: HashMap<usize, CompiledPlace>,
    /// The hash of the path of each file whose form is not on disk yet, by the index of its place.
    fresh: HashMap<usize, u64>,
    /// What was left out before and is not placed yet.
    left_out: HashMap<u64, CompiledPlace>,
}

/// Forms that were left out of a writing that was hurried, by the hashes of the paths of their files.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Blocks that are on no disk yet.
    buffers: Vec<Vec<u8>>,
    /// The forms.
    places: HashMap<u64, CompiledPlace>,
}

impl StoreDraft {
    /// Begins with the blocks of files that were read, and with what was left out before.
    pub(crate) fn new(mut buffers: Vec<Vec<u8>>, mut left_out: LeftOut) -> Self {
        for place in left_out.places.values_mut() {
            if let CompiledPlace::Fresh { buffer, .. } = place {
                *buffer += buffers.len();
            }
        }
        buffers.append(&mut left_out.buffers);
        Self { buffers, left_out: left_out.places, ..Self::default() }
    }

    /// Adds the place of a file that is as it was: the form that was left out, if one was, or the one on disk.
    pub(crate) fn keep(&mut self, path_hash: u64, on_disk: Option<CompiledPlace>) {
        match self.left_out.remove(&path_hash) {
            Some(place) => self.push(path_hash, place, on_disk),
            None => self.places.extend(on_disk),
        }
    }

    /// Adds the place of a file that was read, and the one of the form of before.
    pub(crate) fn push(
        &mut self,
        path_hash: u64,
        place: CompiledPlace,
        older: Option<CompiledPlace>,
    ) {
        if let Some(older) = older {
            self.older.insert(self.places.len(), older);
        }
        self.fresh.insert(self.places.len(), path_hash);
        self.places.push(place);
    }

    /// Looks what has come to rest by now, and goes back to the form of before where something has not; returns
    /// what is left out for that, by the hashes of the paths.
    fn settle(&mut self) -> HashMap<u64, CompiledPlace> {
        let mut left_out = HashMap::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            let unrested = match place {
                CompiledPlace::Fresh { unrested, .. } => unrested,
                CompiledPlace::FreshOwn(own) => &mut own.unrested,
                _ => continue,
            };
            unrested.retain(|(source, digest)| !has_come_to_rest(source, digest));
            if unrested.is_empty() {
                continue;
            }
            let older = self.older.remove(&index).unwrap_or(CompiledPlace::Nowhere);
            let fresh = std::mem::replace(place, older);
            left_out.extend(self.fresh.get(&index).map(|path_hash| (*path_hash, fresh)));
        }
        left_out
    }
}

/// The thread that writes a [`StoreDraft`].
#[derive(Debug)]
pub(crate) struct Writing {
    /// As long as it is there, the thread waits for sources to rest.
    patience: mpsc::SyncSender<()>,
    /// The thread; it returns what it has left out.
    thread: thread::JoinHandle<LeftOut>,
}

/// Which compiled form of a master file is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    /// Only that of the file as it is now.
    Current,
    /// That of the file when it was good last.
    LastGood,
}

/// A zone that was built of its compiled form.
pub(crate) type Compiled = (Zone, ImageHead, CompiledPlace);

impl Store {
    /// Reads the directory, which is made if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        durable::create_dir(dir)?;
        let mut own = HashSet::new();
        for entry in fs::read_dir(dir)? {
            own.insert(entry?.file_name());
        }
        let mut shared = Vec::new();
        if own.remove(SHARED_NAME.as_ref() as &std::ffi::OsStr) {
            let file = File::open(dir.join(SHARED_NAME))?;
            let len = file.metadata()?.len();
            if len <= COMPILED_SHARED_OCTETS_MAX {
                shared.reserve_exact(len as usize);
                file.take(COMPILED_SHARED_OCTETS_MAX).read_to_end(&mut shared)?;
            }
        }
        let mut zones = list_zones(&shared);
        // They were written in this order; of two with one path the first counts.
        zones.sort_by(|a, b| shared[a.path.clone()].cmp(&shared[b.path.clone()]));
        Ok(Self { dir: dir.into(), shared, zones, own })
    }

    /// Returns where the compiled form of a master file is, if there is one.
    pub(crate) fn place_of(&self, path: &Path) -> Option<CompiledPlace> {
        let octets = path.as_os_str().as_bytes();
        let found = self.zones.binary_search_by(|zone| self.shared[zone.path.clone()].cmp(octets));
        if let Ok(index) = found {
            return Some(CompiledPlace::Shared(index));
        }
        let name = own_name(path);
        self.own.contains(&name).then_some(CompiledPlace::Own(name))
    }

    /// Builds the zone of a master file of its compiled form, if that is there and of the version that
    /// is wanted; a large one on up to `threads` processors.
    ///
    /// # Errors
    /// The compiled file and what is wrong with it.
    pub(crate) fn load(
        &self,
        path: &Path,
        version: Version,
        seed: HashSeed,
        threads: u64,
    ) -> Result<Option<Compiled>, (PathBuf, ImageError)> {
        let is_as_it_was = |source: &Source| SourceKey::at(&source.path) == Some(source.key);
        let is_current = |head: &ImageHead| {
            head.sources.first().is_some_and(|first| first.path == path)
                && (version == Version::LastGood || head.sources.iter().all(is_as_it_was))
        };
        let Some(place) = self.place_of(path) else { return Ok(None) };
        let (file, zone) = match &place {
            CompiledPlace::Shared(index) => {
                let range = self.zones[*index].blocks.clone();
                let (at, len) = (range.start as u64, range.len() as u64);
                let mut blocks = BlockReader::new(&self.shared[range], at);
                (SHARED_NAME.as_ref(), read_zone(&mut blocks, len, seed, is_current))
            }
            CompiledPlace::Own(name) => {
                (name.as_os_str(), self.load_own(name, seed, threads, is_current))
            }
            _ => return Ok(None),
        };
        match zone {
            Ok(zone) => Ok(zone.map(|(zone, head)| (zone, head, place))),
            Err(error) => Err((self.dir.join(file), error)),
        }
    }

    /// Builds the zone of a file of its own.
    fn load_own(
        &self,
        name: &OsString,
        seed: HashSeed,
        threads: u64,
        is_current: impl FnOnce(&ImageHead) -> bool,
    ) -> Result<Option<(Zone, ImageHead)>, ImageError> {
        let mut file = File::open(self.dir.join(name))?;
        let expected = file_head();
        let mut head = vec![0; expected.len()];
        // The form of another version of the program is as good as none.
        if file.read_exact(&mut head).is_err() || head != expected {
            return Ok(None);
        }
        parts::read_zone(&file, head.len() as u64, threads, seed, is_current)
    }

    /// Begins a file of its own for a master file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn begin_own(&self, path: &Path) -> io::Result<OwnDraft> {
        let name = own_name(path);
        let draft = self.draft_path(&name);
        let mut file = create(&draft)?;
        file.write_all(&file_head())?;
        Ok(OwnDraft { file, draft, name, unrested: Vec::new() })
    }

    /// Returns the path under which a file is written until it is whole.
    fn draft_path(&self, name: &OsString) -> PathBuf {
        let mut draft = OsString::from(format!(".{}.", std::process::id()));
        draft.push(name);
        self.dir.join(draft)
    }

    /// Starts a thread that writes what is not on disk yet, waiting first for sources to rest, and
    /// removes what belongs to no master file any more.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn spawn_write(self, mut draft: StoreDraft) -> io::Result<Writing> {
        let (patience, hurry) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("compile".to_owned()).spawn(move || {
            // Nothing is ever sent: this waits for its time, or until nobody has patience any more.
            let _: Result<(), _> = hurry.recv_timeout(rest_left(&draft));
            let places = draft.settle();
            if let Err(error) = self.write(&draft, &places) {
                let dir = self.dir.display();
                tracing::warn!(%dir, %error, "the compiled form of zone files is not kept");
            }
            if places.is_empty() {
                LeftOut::default()
            } else {
                LeftOut { buffers: draft.buffers, places }
            }
        })?;
        Ok(Writing { patience, thread })
    }

    /// Writes what is not on disk yet; the files of what is left out stay as they are.
    fn write(&self, draft: &StoreDraft, left_out: &HashMap<u64, CompiledPlace>) -> io::Result<()> {
        let mut kept: HashSet<OsString> = HashSet::from([SHARED_NAME.into()]);
        let (mut old, mut fresh) = (0, 0);
        for place in &draft.places {
            match place {
                CompiledPlace::Shared(_) => old += 1,
                CompiledPlace::Fresh { .. } => fresh += 1,
                CompiledPlace::Own(name) => drop(kept.insert(name.clone())),
                CompiledPlace::FreshOwn(own) => {
                    own.file.sync_all()?;
                    fs::rename(&own.draft, self.dir.join(&own.name))?;
                    kept.insert(own.name.clone());
                }
                CompiledPlace::Nowhere => {}
            }
        }
        for place in left_out.values() {
            if let CompiledPlace::FreshOwn(own) = place {
                kept.extend(own.draft.file_name().map(OsString::from));
            }
        }
        if fresh > 0 || old != self.zones.len() {
            self.write_shared(draft)?;
        }
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if !kept.contains(&name) {
                fs::remove_file(self.dir.join(&name))?;
            }
        }
        File::open(&self.dir)?.sync_all()
    }

    /// Writes the shared file.
    fn write_shared(&self, draft: &StoreDraft) -> io::Result<()> {
        let path = self.draft_path(&SHARED_NAME.into());
        let mut out = BufWriter::with_capacity(1 << 20, create(&path)?);
        out.write_all(&file_head())?;
        for place in &draft.places {
            match place {
                CompiledPlace::Shared(index) => {
                    out.write_all(&self.shared[self.zones[*index].blocks.clone()])?;
                }
                CompiledPlace::Fresh { buffer, blocks, .. } => {
                    out.write_all(&draft.buffers[*buffer][blocks.clone()])?;
                }
                _ => {}
            }
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if file.stream_position()? > COMPILED_SHARED_OCTETS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.sync_all()?;
        fs::rename(&path, self.dir.join(SHARED_NAME))
    }
}

impl Writing {
    /// Waits until everything is written.
    pub(crate) fn wait(self) {
        // It has logged what went wrong.
        let _ = self.thread.join();
    }

    /// Waits until what has come to rest by now is written, and returns the rest.
    pub(crate) fn hurry(self) -> LeftOut {
        drop(self.patience);
        self.thread.join().unwrap_or_default()
    }
}

impl OwnDraft {
    /// Returns the file, to write blocks to.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Removes the file: the zone has no compiled form.
    pub(crate) fn discard(self) {
        // What stays is removed with the next writing.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Returns how long it takes until all sources have rested, by a clock of whole milliseconds as well.
fn rest_left(draft: &StoreDraft) -> Duration {
    let now_ms = clock::now_ms();
    let unrested = draft.places.iter().flat_map(|place| match place {
        CompiledPlace::Fresh { unrested, .. } => unrested.as_slice(),
        CompiledPlace::FreshOwn(own) => own.unrested.as_slice(),
        _ => &[],
    });
    let left = unrested.map(|(source, _)| source.key.rest_left(now_ms)).max();
    // Who wakes on the dot would read a time that is less than a millisecond short of it.
    left.map_or(Duration::ZERO, |left| left + Duration::from_millis(1))
}

/// Makes a file that only its owner may read: zones may be nobody else's business.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Returns the name of a master file's own compiled file.
fn own_name(path: &Path) -> OsString {
    let digest = Sha1::digest(path.as_os_str().as_bytes());
    let mut name = data_encoding::HEXLOWER.encode(&digest);
    name.push_str(".zone");
    name.into()
}

/// The name of the shared file.
const SHARED_NAME: &str = "shared";
