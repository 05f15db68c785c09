//! The authority's half of a node: its store, and the zone that a new one begins with.
//!
//! **Not here:** the rules of the store (`store`).

use std::path::Path;
use std::sync::Arc;

use super::config::StoreChoice;
use crate::name::Name;
use crate::record::master::{self, MasterError, MasterOptions};
use crate::store::kv::{KeyValueStore, KvError};
use crate::store::redb::RedbStore;
use crate::store::{DnsStore, StoreError};

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

/// Opens the store.
///
/// # Errors
/// [`OriginError::Open`], [`OriginError::Store`], or that the engine is not built in.
pub async fn open_store(
    choice: &StoreChoice,
    data_dir: &Path,
) -> Result<Arc<DnsStore>, OriginError> {
    let kv: Arc<dyn KeyValueStore> = match choice {
        StoreChoice::Redb => {
            let path = data_dir.join("store.redb");
            let open = RedbStore::open(&path);
            Arc::new(open.map_err(|source| OriginError::Open {
                choice: format!("redb ({})", path.display()),
                source,
            })?)
        }
        StoreChoice::Etcd(urls) => open_etcd(urls).await?,
    };
    Ok(DnsStore::open(kv).await?)
}

/// Connects to an etcd cluster.
#[cfg(feature = "etcd")]
async fn open_etcd(urls: &[String]) -> Result<Arc<dyn KeyValueStore>, OriginError> {
    use crate::store::etcd::{EtcdConfig, EtcdStore};
    let config = EtcdConfig::new(urls.to_vec());
    let store = EtcdStore::connect(config).await.map_err(|source| OriginError::Open {
        choice: format!("etcd={}", urls.join(",")),
        source,
    })?;
    Ok(Arc::new(store))
}

/// Refuses: this program cannot speak to etcd.
#[cfg(not(feature = "etcd"))]
#[allow(clippy::unused_async)] // with the feature there is something to await
async fn open_etcd(_urls: &[String]) -> Result<Arc<dyn KeyValueStore>, OriginError> {
    Err(OriginError::NoEtcd)
}

/// Puts an example zone into a store that never held anything; says whether it did.
///
/// # Errors
/// [`OriginError::Store`].
pub async fn offer_example(store: &Arc<DnsStore>) -> Result<bool, OriginError> {
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
        let store = open_store(&StoreChoice::Redb, dir.path()).await.unwrap();
        assert!(offer_example(&store).await.unwrap());
        assert!(!offer_example(&store).await.unwrap());
        let apex = "example.test".parse().unwrap();
        store.delete_zone(&apex).await.unwrap();
        assert!(!offer_example(&store).await.unwrap(), "a deleted example stays away");
    }
}
