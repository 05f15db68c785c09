//! Opens the store of contents. Everything in it can be had again: at an authority from its store,
//! at an edge from a peer. So a damaged one is put aside, and a new one begun.
//!
//! **Invariant:** opening ends within [`BLOBS_OPEN_MS_MAX`], whatever stands in the files.
//! **Not here:** what is kept in it (`mesh::keep`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use iroh_blobs::Hash as BlobHash;
use iroh_blobs::api::Store as BlobStore;
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options as BlobOptions;
use iroh_blobs::store::mem::{MemStore, Options as MemOptions};

use super::MeshError;
use tokio::sync::{Notify, watch};

use crate::durable;
use crate::feed::Hash;
use crate::limits::{BLOBS_CALL_MS_MAX, BLOBS_HEAL_MS_MAX, BLOBS_HEAL_MS_MIN, BLOBS_OPEN_MS_MAX};

/// The store of contents; clones are the same one. Its engine can be replaced while others use it.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

/// The engine, and what it takes to open it anew.
#[derive(Debug)]
struct Inner {
    /// The engine now.
    store: RwLock<BlobStore>,
    /// Where its files are.
    dir: Option<PathBuf>,
    /// What its collector spares.
    gc: GcConfig,
    /// Held by who replaces it.
    replacing: tokio::sync::Mutex<()>,
    /// Somebody saw it fail.
    suspected: Notify,
    /// Counts the engines before this one.
    generation: watch::Sender<u64>,
}

impl Blobs {
    /// Opens the store below `dir`, or one in memory.
    ///
    /// # Errors
    /// [`MeshError::File`] and [`MeshError::Blobs`].
    pub(super) async fn open(dir: Option<&Path>, gc: GcConfig) -> Result<Self, MeshError> {
        let store = RwLock::new(open(dir, gc.clone()).await?);
        Ok(Self(Arc::new(Inner {
            store,
            dir: dir.map(Into::into),
            gc,
            replacing: tokio::sync::Mutex::default(),
            suspected: Notify::new(),
            generation: watch::Sender::new(0),
        })))
    }

    /// The engine as it is now.
    pub fn store(&self) -> BlobStore {
        self.0.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts the engines that there were: what was put into an earlier one may be gone.
    pub(crate) fn generation(&self) -> u64 {
        *self.0.generation.borrow()
    }

    /// Hears of every engine that takes the place of another.
    pub(super) fn watch_generation(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Says that the engine failed at something: it is looked at.
    pub(crate) fn suspect(&self) {
        self.0.suspected.notify_one();
    }

    /// Whether the engine's files are where they should be: one that has them open does not notice.
    pub(crate) fn has_files(&self) -> bool {
        self.0.dir.as_ref().is_none_or(|dir| {
            let root = dir.join("blobs");
            root.join("blobs.db").exists() && root.join("data").exists()
        })
    }

    /// Whether the engine answers that it has a content.
    pub(crate) async fn has(&self, hash: Hash) -> bool {
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        let asked = tokio::time::timeout(limit, self.store().has(hash)).await;
        match asked {
            Ok(Ok(is_here)) => is_here,
            Ok(Err(_)) | Err(_) => {
                self.suspect();
                false
            }
        }
    }

    /// Reads a content from the disk, as nobody does who is only told that it is there. What the engine has
    /// and cannot be read twice is damaged: it would never take it anew.
    pub(crate) async fn look_at(&self, hash: Hash) -> Looked {
        let (store, hash) = (self.store(), BlobHash::from_bytes(hash));
        let looking = async {
            // It may have been collected meanwhile.
            for _ in 0..2 {
                if !store.has(hash).await.map_err(drop)? {
                    return Ok(Looked::Gone);
                }
                if let Ok(octets) = store.get_bytes(hash).await
                    && BlobHash::new(&octets) == hash
                {
                    return Ok(Looked::Here(octets));
                }
            }
            Ok::<_, ()>(Looked::Damaged)
        };
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        let looked = tokio::time::timeout(limit, looking).await.unwrap_or(Err(()));
        looked.inspect_err(|()| self.suspect()).unwrap_or(Looked::Silent)
    }

    /// Looks at many contents, with rests in between; ends with the first that is damaged, or when the
    /// engine does not answer. Returns which are gone.
    pub(crate) async fn look_at_all(
        &self,
        hashes: impl IntoIterator<Item = Hash>,
    ) -> Result<HashSet<Hash>, Looked> {
        let mut gone = HashSet::new();
        for hash in hashes {
            let began = Instant::now();
            match self.look_at(hash).await {
                Looked::Here(_) => {}
                Looked::Gone => drop(gone.insert(hash)),
                looked @ (Looked::Damaged | Looked::Silent) => return Err(looked),
            }
            tokio::time::sleep(began.elapsed() * BLOBS_LOOK_REST_FACTOR).await;
        }
        Ok(gone)
    }

    /// Puts the store aside in which a content is damaged, and begins a new one: it would never take
    /// anew what it believes to have. Nothing is done if the engine is another than that of `generation`.
    ///
    /// # Errors
    /// [`MeshError::File`] and [`MeshError::Blobs`].
    pub(crate) async fn renew(&self, generation: u64) -> Result<(), MeshError> {
        let _turn = self.0.replacing.lock().await;
        if self.generation() != generation {
            return Ok(());
        }
        if let Some(dir) = &self.0.dir {
            let root = dir.join("blobs");
            let marked = durable::create_dir(&root).and_then(|()| mark_damaged(dir));
            marked.map_err(|source| MeshError::File { path: root, source })?;
        }
        self.replace().await
    }

    /// Whether the engine answers, and writes, and has its files.
    pub async fn answers(&self) -> bool {
        if !self.has_files() {
            return false;
        }
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        let store = self.store();
        let asking = async {
            let has = store.blobs().has(iroh_blobs::Hash::EMPTY).await.is_ok();
            has && store.sync_db().await.is_ok()
        };
        tokio::time::timeout(limit, asking).await.unwrap_or(false)
    }

    /// Looks at the engine whenever it is suspected, and replaces one that is dead.
    pub(super) async fn heal(self) {
        loop {
            self.0.suspected.notified().await;
            let mut wait_ms = BLOBS_HEAL_MS_MIN;
            while !self.answers().await {
                let turn = self.0.replacing.lock().await;
                // Another may have replaced it.
                let replaced = if self.answers().await { None } else { Some(self.replace().await) };
                drop(turn);
                match replaced {
                    None => break,
                    Some(Ok(())) => {
                        tracing::warn!("the store of contents had failed and was opened again");
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the store of contents has failed, and is not to be opened yet");
                    }
                }
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(BLOBS_HEAL_MS_MAX);
            }
            tokio::time::sleep(Duration::from_millis(BLOBS_HEAL_MS_MIN)).await;
        }
    }

    /// Replaces the engine.
    ///
    /// # Errors
    /// [`MeshError::File`] and [`MeshError::Blobs`]; the engine is then as it was.
    async fn replace(&self) -> Result<(), MeshError> {
        let limit = Duration::from_millis(BLOBS_CALL_MS_MAX);
        // It lets go of its files, if it can still hear.
        let _ = tokio::time::timeout(limit, self.store().shutdown()).await;
        let store = open(self.0.dir.as_deref(), self.0.gc.clone()).await?;
        *self.0.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.0.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }
}

/// What was found of a content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Looked {
    /// It is here and is what its hash says.
    Here(Bytes),
    /// It is not here.
    Gone,
    /// It counts as here, and cannot be read or is something else.
    Damaged,
    /// The engine does not answer.
    Silent,
}

/// Opens the store below `dir`, or one in memory.
///
/// # Errors
/// [`MeshError::File`] and [`MeshError::Blobs`].
async fn open(dir: Option<&Path>, gc: GcConfig) -> Result<BlobStore, MeshError> {
    let Some(dir) = dir else {
        let options = MemOptions { gc_config: Some(gc) };
        return Ok((*MemStore::new_with_opts(options)).clone());
    };
    let root = dir.join("blobs");
    let file = |source| MeshError::File { path: root.clone(), source };
    if is_in_use(&root).await {
        let reason = format!("{} is open already: by another process?", root.display());
        return Err(MeshError::Blobs { reason });
    }
    if let Some(damage) = find_damage(&root).await {
        let aside = durable::set_aside(&root).map_err(file)?;
        tracing::warn!(
            store = %root.display(), %damage, aside = %aside.display(),
            "the store of contents is damaged and was put aside: all of it is written or fetched anew"
        );
    }
    durable::create_dir(&root).map_err(file)?;
    let mut options = BlobOptions::new(&root);
    options.gc = Some(gc);
    let opening = FsStore::load_with_opts(root.join("blobs.db"), options);
    let limit = Duration::from_millis(BLOBS_OPEN_MS_MAX);
    match tokio::time::timeout(limit, opening).await {
        Ok(Ok(store)) => Ok((*store).clone()),
        Ok(Err(error)) => Err(MeshError::Blobs { reason: format!("{error:#}") }),
        Err(_) => Err(MeshError::Blobs { reason: "it does not answer".to_owned() }),
    }
}

/// Notes that the store holds what is not what its hash says, so that the next start begins anew.
fn mark_damaged(dir: &Path) -> std::io::Result<()> {
    durable::write(&mark_in(&dir.join("blobs")), b"a content is not what its hash says\n")
}

/// Whether another process has a store open: its own opening would wait for ever. One that ends is given
/// the time for it.
async fn is_in_use(root: &Path) -> bool {
    let database = root.join("blobs.db");
    if !database.exists() {
        return false;
    }
    let limit = Instant::now() + Duration::from_millis(BLOBS_OPEN_MS_MAX / 2);
    loop {
        let path = database.clone();
        let locking = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            Ok::<_, std::io::Error>(())
        });
        let is_free = match locking.await {
            Ok(Err(error)) => error.kind() != std::io::ErrorKind::WouldBlock,
            Ok(Ok(())) | Err(_) => true,
        };
        if is_free || Instant::now() >= limit {
            return !is_free;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns what is wrong with the files of a store, if anything is.
async fn find_damage(root: &Path) -> Option<String> {
    if mark_in(root).exists() {
        return Some("a content was not what its hash says".to_owned());
    }
    let database = root.join("blobs.db");
    if !database.exists() {
        return None;
    }
    // A damaged file makes the store's own opening wait for ever for an actor that has panicked.
    let checking = tokio::task::spawn_blocking(move || check(database));
    let limit = Duration::from_millis(BLOBS_OPEN_MS_MAX);
    match tokio::time::timeout(limit, checking).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error),
        Ok(Err(_)) => Some("its database makes the engine fail".to_owned()),
        Err(_) => Some("its database cannot be read in time".to_owned()),
    }
}

/// Reads all of a database.
fn check(path: PathBuf) -> Result<(), String> {
    let database = redb::Database::builder().set_cache_size(CHECK_CACHE_OCTETS).open(path);
    let mut database = match database {
        // Another process has it: that is no damage, and is said when it is opened.
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Ok(()),
        database => database.map_err(|error| error.to_string())?,
    };
    match database.check_integrity() {
        Ok(true) => Ok(()),
        // It was repaired, as after a crash; what is gone is fetched again.
        Ok(false) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where it is noted that a store is damaged.
fn mark_in(root: &Path) -> PathBuf {
    root.join("damaged")
}

/// How long to rest after a content was looked at, in times of what that took.
const BLOBS_LOOK_REST_FACTOR: u32 = 99;
/// Octets of cache for a check.
const CHECK_CACHE_OCTETS: usize = 8 << 20;

/// The set of contents that every collection spares, as the collector asks for it.
pub(super) fn protect(
    keeps: super::keep::Keeps,
    documents: iroh_blobs::store::ProtectCb,
) -> iroh_blobs::store::ProtectCb {
    Arc::new(move |live| {
        keeps.add_to(live);
        documents(live)
    })
}
