//! The authority's half of a node: its store, and the zone that a new one begins with.
//!
//! Edges do what their feed says, so an authority that begins with an empty store takes every zone
//! from them. A file that is lost, or a volume that is not mounted, must not do that: beside the
//! store stands its identity (`store-identity`), and the feed has an identity of its own.
//!
//! **Invariant:** a node that has fed edges never starts with another, empty store unasked.
//! **Not here:** the rules of the store (`store`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{EtcdCluster, StoreConfig, StoreEngine};
use super::feed_book::MAIN;
use super::feed_list::{BOOK_FILE, read_book};
use crate::durable;
use crate::limits::{LEFT_KEPT_MS_MAX, STORE_RETRY_MS};
use crate::name::Name;
use crate::record::master::{self, MasterError, MasterOptions};
use crate::store::kv::{KeyValueStore, KvError};
use crate::store::redb::RedbStore;
use crate::store::{DnsStore, StoreError, has_commits};

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The engine does not open.
    #[error("--store {choice}: {source}")]
    Open {
        /// What was asked for.
        choice: String,
        /// What the engine said.
        source: KvError,
    },
    /// The store's file is not where the node left it.
    #[error(
        "{} is missing or empty, and this node has fed edges from it ({} is there), which would \
         lose every zone: put the file back, or begin anew with --new-store",
        path.display(), feed.display()
    )]
    StoreGone {
        /// The file.
        path: PathBuf,
        /// What says that there was one.
        feed: PathBuf,
    },
    /// The keys of the feed are not where the node left them.
    #[error(
        "{} is missing, and this node has fed edges ({} names the feed): put it back with all of its \
         directory, or remove {1} to begin a feed with new keys, after which every ticket is void",
        path.display(), marker.display()
    )]
    FeedGone {
        /// The keys of the feed.
        path: PathBuf,
        /// What says that there was one.
        marker: PathBuf,
    },
    /// A store without any commit stands where another one stood.
    #[error(
        "{} holds no commit and is not the store that this node has fed edges from ({} is there), \
         which would lose every zone: put that file back, or begin anew with --new-store",
        path.display(), feed.display()
    )]
    StoreReplaced {
        /// The file.
        path: PathBuf,
        /// What says that there was one.
        feed: PathBuf,
    },
    /// A cluster without any commit stands where another store stood.
    #[error(
        "--store {choice} holds no commit and is not the store that this node has fed edges from \
         ({} is there), which would lose every zone: name that one or put it back, or begin anew \
         with --new-store",
        feed.display()
    )]
    StoreEmpty {
        /// What was asked for.
        choice: String,
        /// What says that there was one.
        feed: PathBuf,
    },
    /// The file beside the store cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// This program was built without the engine.
    #[cfg(not(feature = "etcd"))]
    #[error("--store etcd: this program was built without the feature etcd")]
    NoEtcd,
    /// The store does not answer.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The example zone does not read: a bug.
    #[error("the example zone: {0}")]
    Example(#[from] MasterError),
}

/// Opens the store, which may be another one than edges were fed from if that is allowed.
///
/// # Errors
/// [`OriginError::Open`], [`OriginError::Store`], [`OriginError::StoreGone`],
/// [`OriginError::StoreReplaced`], [`OriginError::StoreEmpty`], [`OriginError::File`], or that the
/// engine is not built in.
pub async fn open_store(
    config: &StoreConfig,
    data_dir: &Path,
) -> Result<Arc<DnsStore>, OriginError> {
    match &config.engine {
        StoreEngine::Redb => {
            let engine = open_redb(data_dir, config.is_new_allowed).await?;
            Ok(DnsStore::open_keeping(Arc::new(engine), LEFT_KEPT_MS_MAX).await?)
        }
        StoreEngine::Etcd(cluster) => {
            let engine = open_etcd(cluster).await?;
            let store = DnsStore::open_keeping(engine, LEFT_KEPT_MS_MAX).await?;
            check_cluster(&store, cluster, data_dir, config.is_new_allowed).await?;
            Ok(store)
        }
    }
}

/// Opens the store as [`open_store`] does, and tries again for as long as one elsewhere cannot be reached.
///
/// # Errors
/// As [`open_store`].
pub(crate) async fn open_store_patiently(
    config: &StoreConfig,
    data_dir: &Path,
) -> Result<Arc<DnsStore>, OriginError> {
    let mut said_at: Option<Instant> = None;
    loop {
        let error = match open_store(config, data_dir).await {
            Err(error) if error.is_passing() => error,
            opened => return opened,
        };
        if said_at.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            tracing::warn!(%error, "the store cannot be opened yet; it is tried again");
            said_at = Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(STORE_RETRY_MS)).await;
    }
}

impl OriginError {
    /// Whether the store is only not there at present.
    fn is_passing(&self) -> bool {
        let (Self::Open { source, .. } | Self::Store(StoreError::Kv(source))) = self else {
            return false;
        };
        matches!(source, KvError::Unavailable { .. } | KvError::OutcomeUnknown)
    }
}

/// How often it is said that the store cannot be opened.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Opens an engine for a copy of all that it keeps: no node may have its file open. `dir` is the directory of a
/// node's file.
///
/// # Errors
/// [`OriginError::Open`], [`OriginError::File`], or that the engine is not built in.
pub async fn open_engine(
    engine: &StoreEngine,
    dir: &Path,
) -> Result<Arc<dyn KeyValueStore>, OriginError> {
    match engine {
        StoreEngine::Redb => {
            let path = dir.join("store.redb");
            let choice = format!("redb={}", dir.display());
            let opened = RedbStore::open(&path);
            Ok(Arc::new(opened.map_err(|source| OriginError::Open { choice, source })?))
        }
        StoreEngine::Etcd(cluster) => open_etcd(cluster).await,
    }
}

/// Looks whether a cluster holds the store that edges were fed from, or one that was put there on purpose,
/// and notes which it is. A store is known by the key of its digests, which is drawn once.
async fn check_cluster(
    store: &DnsStore,
    cluster: &EtcdCluster,
    data_dir: &Path,
    is_new_allowed: bool,
) -> Result<(), OriginError> {
    let marker = data_dir.join("store-identity");
    let key = store.history().await?.digest_key;
    let identity = format!("{}\n", data_encoding::HEXLOWER.encode(&key.0));
    if known_identity(&marker)?.as_ref() == Some(&identity) {
        return Ok(());
    }
    let (feed, _) = feed_files(data_dir);
    // Without a note it is not the one of before either: the first start with a cluster makes it.
    if !is_new_allowed && feed.exists() && store.revision().await? == 0 {
        return Err(OriginError::StoreEmpty { choice: etcd_choice(cluster), feed });
    }
    durable::write(&marker, identity.as_bytes())
        .map_err(|source| OriginError::File { path: marker, source })
}

/// Reads which store the node had; `None` in a new directory, or one of a version that noted none.
fn known_identity(marker: &Path) -> Result<Option<String>, OriginError> {
    match std::fs::read_to_string(marker) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        known => {
            let failed = |source| OriginError::File { path: marker.to_owned(), source };
            known.map(Some).map_err(failed)
        }
    }
}

/// Opens the file below the data directory, if it is the one that edges were fed from.
async fn open_redb(data_dir: &Path, is_new_allowed: bool) -> Result<RedbStore, OriginError> {
    let path = data_dir.join("store.redb");
    let (feed, _) = feed_files(data_dir);
    // The store is opened before the first feed is made: a feed means that there was a store.
    let is_guarded = !is_new_allowed && feed.exists();
    if is_guarded && std::fs::metadata(&path).map_or(0, |found| found.len()) == 0 {
        return Err(OriginError::StoreGone { path, feed });
    }
    let choice = format!("redb ({})", path.display());
    let failed = |source| OriginError::Open { choice: choice.clone(), source };
    let store = RedbStore::open(&path).map_err(failed)?;
    let marker = data_dir.join("store-identity");
    let identity = format!("{:016x}\n", store.identity());
    let known = known_identity(&marker)?;
    let is_known = known.as_ref() == Some(&identity);
    let is_other = known.is_some() && !is_known;
    // One that was never written to is no danger as long as it is the same one; another one with
    // commits was put there on purpose.
    if is_guarded && is_other && !has_commits(&store).await.map_err(failed)? {
        return Err(OriginError::StoreReplaced { path, feed });
    }
    if !is_known {
        durable::write(&marker, identity.as_bytes())
            .map_err(|source| OriginError::File { path: marker, source })?;
    }
    Ok(store)
}

/// Looks whether the keys of the feed are there that this node has fed edges from.
///
/// # Errors
/// [`OriginError::FeedGone`].
pub(crate) fn check_feed(data_dir: &Path) -> Result<(), OriginError> {
    let (path, marker) = feed_files(data_dir);
    if marker.exists() && !path.exists() {
        return Err(OriginError::FeedGone { path, marker });
    }
    Ok(())
}

/// Notes beside the store which feed it has, so that its keys are missed when they are gone.
///
/// # Errors
/// [`OriginError::File`].
pub(crate) fn note_feed(data_dir: &Path, namespace: &[u8; 32]) -> Result<(), OriginError> {
    let (_, marker) = feed_files(data_dir);
    let text = format!("{}\n", data_encoding::HEXLOWER.encode(namespace));
    if std::fs::read_to_string(&marker).is_ok_and(|known| known == text) {
        return Ok(());
    }
    durable::write(&marker, text.as_bytes())
        .map_err(|source| OriginError::File { path: marker, source })
}

/// The keys of the feed, and the file that says that there are such.
fn feed_files(data_dir: &Path) -> (PathBuf, PathBuf) {
    let feeds = data_dir.join("mesh").join("feeds");
    // A feed that was rotated has other keys. A book that does not read is told when the feeds start.
    let book = read_book(&data_dir.join(BOOK_FILE)).unwrap_or_default();
    let key = book.find(MAIN).map_or(MAIN, |main| &main.key);
    (feeds.join(format!("{key}.json")), data_dir.join("feed-identity"))
}

/// How a cluster is asked for.
fn etcd_choice(cluster: &EtcdCluster) -> String {
    format!("etcd={}", cluster.endpoints.join(","))
}

/// Connects to an etcd cluster.
#[cfg(feature = "etcd")]
async fn open_etcd(cluster: &EtcdCluster) -> Result<Arc<dyn KeyValueStore>, OriginError> {
    use crate::store::etcd::{EtcdConfig, EtcdStore, EtcdTls, Password};
    let read = |path: &Path| {
        let text = std::fs::read(path);
        text.map_err(|source| OriginError::File { path: path.to_owned(), source })
    };
    let mut config = EtcdConfig::new(cluster.endpoints.clone());
    if let Some(prefix) = &cluster.prefix {
        config.prefix = prefix.clone().into_bytes();
    }
    if let Some(quota_octets) = cluster.quota_octets {
        config.quota_octets = quota_octets;
    }
    if let Some((user, file)) = &cluster.user {
        let text = String::from_utf8(read(file)?).unwrap_or_default();
        let password = text.lines().next().filter(|line| !line.is_empty());
        let password = password.ok_or_else(|| OriginError::File {
            path: file.clone(),
            source: std::io::Error::other("its first line is no password"),
        })?;
        config.user = Some((user.clone(), Password::new(password)));
    }
    let identity = cluster.identity.as_ref();
    config.tls = EtcdTls {
        ca: cluster.ca.as_deref().map(read).transpose()?,
        certificate: identity.map(|(certificate, _)| read(certificate)).transpose()?,
        key: identity.map(|(_, key)| read(key)).transpose()?,
    };
    let store = EtcdStore::connect(config)
        .await
        .map_err(|source| OriginError::Open { choice: etcd_choice(cluster), source })?;
    Ok(Arc::new(store))
}

/// Refuses: this program cannot speak to etcd.
#[cfg(not(feature = "etcd"))]
#[allow(clippy::unused_async)] // with the feature there is something to await
async fn open_etcd(_cluster: &EtcdCluster) -> Result<Arc<dyn KeyValueStore>, OriginError> {
    Err(OriginError::NoEtcd)
}

/// Puts an example zone into a store that never held anything; says whether it did.
///
/// # Errors
/// [`OriginError::Store`].
pub(crate) async fn offer_example(store: &Arc<DnsStore>) -> Result<bool, OriginError> {
    if store.revision().await? > 0 || !store.list_zones(None, 1).await?.items.is_empty() {
        return Ok(false);
    }
    let options = MasterOptions { file: "the example zone".to_owned(), ..MasterOptions::default() };
    let zone = master::read_zone(EXAMPLE_ZONE.as_bytes(), &Name::root(), options, &mut |_| {})?;
    store.import_zone(&zone.apex, zone.rrsets, None, &|_| {}).await?;
    Ok(true)
}

/// A zone with one of each of the common things.
const EXAMPLE_ZONE: &str = r#"$ORIGIN example.test.
$TTL 300
@       SOA   ns1 hostmaster 1 3600 600 604800 60
        NS    ns1
        NS    ns2
        MX    10 mail
        TXT   "v=spf1 mx -all"
ns1     A     192.0.2.53
ns2     AAAA  2001:db8::53
mail    A     192.0.2.25
www     A     192.0.2.1
        AAAA  2001:db8::1
alias   CNAME www
*.wild  TXT   "any name below wild.example.test"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_store_gets_the_example_zone_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { engine: StoreEngine::Redb, is_new_allowed: false };
        let store = open_store(&config, dir.path()).await.unwrap();
        assert!(offer_example(&store).await.unwrap());
        assert!(!offer_example(&store).await.unwrap());
        let apex = "example.test".parse().unwrap();
        store.delete_zone(&apex).await.unwrap();
        assert!(!offer_example(&store).await.unwrap(), "a deleted example stays away");
    }
}
