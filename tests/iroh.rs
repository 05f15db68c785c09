//! What we rely on of iroh-docs and iroh-blobs, and what we work around. An upgrade that changes one
//! of these fails here; each test names the piece of ours that must change then.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so

use std::path::Path;
use std::time::Duration;

use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode, SecretKey};
use iroh_blobs::api::Store as BlobStore;
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options;
use iroh_blobs::store::mem::MemStore;
use iroh_blobs::{ALPN as BLOBS_ALPN, BlobsProtocol, Hash};
use iroh_docs::actor::SyncHandle;
use iroh_docs::api::Doc;
use iroh_docs::engine::{DefaultAuthorStorage, Engine};
use iroh_docs::protocol::Docs;
use iroh_docs::store::{DownloadPolicy, Query, Store as DocsStore};
use iroh_docs::sync::{Entry, Record, RecordIdentifier, SignedEntry};
use iroh_docs::{ALPN as DOCS_ALPN, Author, Capability, ContentStatus, NamespaceSecret};
use iroh_gossip::ALPN as GOSSIP_ALPN;
use iroh_gossip::net::Gossip;
use n0_future::StreamExt as _;

/// How long something may take that does not happen at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something must not happen for.
const QUIET: Duration = Duration::from_secs(3);
/// Any port.
const ANYWHERE: &str = "127.0.0.1:0";
/// More octets than the store of contents keeps in its database.
const CONTENT_LEN: usize = 100_000;

// ---- iroh-docs -----------------------------------------------------------------------------------

/// `export::doc` numbers its entry by versions instead of by a clock.
#[tokio::test]
async fn of_two_entries_with_one_key_the_one_with_the_later_number_stays() {
    let feed = Feed::new();
    let peer = Peer::start(SecretKey::generate(), ANYWHERE).await;
    let doc = peer.open(Capability::Write(feed.namespace.clone())).await;
    for (number, newest) in [(5, 5), (4, 5), (6, 6), (1, 6)] {
        let inserted = feed.put(&peer, b"root\0", number).await;
        assert_eq!(inserted.is_ok(), number == newest, "{number}: {inserted:?}");
        assert_eq!(numbers(&doc).await, [newest]);
    }
}

/// `export::evidence` and `replica::document` hear of what a peer has, however old its number is as
/// a time, and whoever of the two began.
#[tokio::test]
async fn peers_end_with_the_later_number_and_no_clock_is_asked() {
    let feed = Feed::new();
    for (mine, theirs) in [(Some(1), None), (None, Some(1)), (Some(2), Some(3)), (Some(3), Some(2))]
    {
        let one = Peer::start(SecretKey::generate(), ANYWHERE).await;
        let other = Peer::start(SecretKey::generate(), ANYWHERE).await;
        let doc = one.open(Capability::Write(feed.namespace.clone())).await;
        let copy = other.open(Capability::Read(feed.namespace.id())).await;
        for (peer, number) in [(&one, mine), (&other, theirs)] {
            if let Some(number) = number {
                feed.put(peer, b"root\0", number).await.unwrap();
            }
        }
        copy.start_sync(vec![one.addr()]).await.unwrap();
        let newest = mine.max(theirs).unwrap();
        wait_numbers(&doc, newest).await;
        wait_numbers(&copy, newest).await;
    }
}

/// `feed::key` ends every key, so that none is a prefix of another.
#[tokio::test]
async fn an_entry_takes_older_ones_away_whose_keys_begin_with_its_own() {
    let feed = Feed::new();
    let peer = Peer::start(SecretKey::generate(), ANYWHERE).await;
    let doc = peer.open(Capability::Write(feed.namespace.clone())).await;
    for (key, number, left) in [
        (b"dns:AAAA\0".as_slice(), 1, vec![1]),
        (b"dns:A\0", 2, vec![1, 2]),
        (b"dns:A", 3, vec![3]),
    ] {
        feed.put(&peer, key, number).await.unwrap();
        assert_eq!(numbers(&doc).await, left);
    }
}

/// `replica::document` joins again and again, as one who was not there at the first time is dialed
/// by no one else.
#[tokio::test]
async fn joining_again_finds_a_peer_that_was_not_there() {
    let feed = Feed::new();
    let key = SecretKey::generate();
    // Nobody else listens on this address.
    let listen = "127.0.0.9:4433";
    let addr = EndpointAddr::new(key.public()).with_ip_addr(listen.parse().unwrap());
    let edge = Peer::start(SecretKey::generate(), ANYWHERE).await;
    let copy = edge.open(Capability::Read(feed.namespace.id())).await;
    copy.start_sync(vec![addr.clone()]).await.unwrap();
    tokio::time::sleep(QUIET).await;
    let author = Peer::start(key, listen).await;
    author.open(Capability::Write(feed.namespace.clone())).await;
    feed.put(&author, b"root\0", 7).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while numbers(&copy).await != [7] {
        assert!(tokio::time::Instant::now() < deadline, "the entry never came");
        copy.start_sync(vec![addr.clone()]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// `export::doc` and `replica::document` read what they have subscribed to, whatever happens.
#[test]
fn a_subscription_that_nobody_reads_stops_the_engine() {
    // An engine that has stopped ends no more; it goes with the process.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let runtime: &tokio::runtime::Runtime = Box::leak(Box::new(runtime));
    let put = runtime.block_on(async {
        let feed = Feed::new();
        let peer = Peer::start(SecretKey::generate(), ANYWHERE).await;
        let doc = peer.open(Capability::Write(feed.namespace.clone())).await;
        let unread = doc.subscribe().await.unwrap();
        let mut put = 0;
        while put < 10_000 {
            match tokio::time::timeout(QUIET, feed.put(&peer, b"root\0", put + 1)).await {
                Ok(done) => done.unwrap(),
                Err(_) => break,
            }
            put += 1;
        }
        std::mem::forget((peer, doc, unread));
        put
    });
    assert!(put < 10_000, "the engine goes on beside a subscription that nobody reads");
}

// ---- iroh-blobs ----------------------------------------------------------------------------------

/// `mesh::blobs` reads contents itself to find out whether they are there.
#[tokio::test]
async fn a_damaged_content_counts_as_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let octets = vec![7; CONTENT_LEN];
    let tag = store.add_slice(&octets).temp_tag().await.unwrap();
    store.sync_db().await.unwrap();
    let file = data_file(dir.path());
    std::fs::write(&file, vec![8; CONTENT_LEN]).unwrap();
    let is_whole = |read: Result<bytes::Bytes, _>| read.is_ok_and(|read| read == octets);
    assert!(store.has(tag.hash()).await.unwrap());
    assert!(!is_whole(store.get_bytes(tag.hash()).await));
}

/// `mesh::blobs` reads a database before the store may: the store would wait for ever.
#[tokio::test]
async fn a_damaged_database_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.add_slice(vec![7; CONTENT_LEN]).await.unwrap();
    store.shutdown().await.unwrap();
    drop(store);
    let database = dir.path().join("blobs.db");
    let mut octets = std::fs::read(&database).unwrap();
    octets.iter_mut().skip(100).for_each(|octet| *octet ^= 0x5a);
    std::fs::write(&database, octets).unwrap();
    let opening = FsStore::load_with_opts(database, Options::new(dir.path()));
    let opened = tokio::time::timeout(QUIET, opening).await;
    assert!(!matches!(opened, Ok(Ok(_))), "a damaged database opens");
}

/// `mesh::blobs` replaces an engine while the process runs.
#[tokio::test]
async fn a_store_that_was_shut_down_lets_go_of_its_files_and_has_lost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tag = store.add_slice(vec![7; CONTENT_LEN]).temp_tag().await.unwrap();
    store.shutdown().await.unwrap();
    let next = tokio::time::timeout(PATIENCE, open(dir.path())).await.unwrap();
    assert_eq!(next.get_bytes(tag.hash()).await.unwrap(), vec![7; CONTENT_LEN]);
}

/// `mesh::keep` says which contents are spared; all others go.
#[tokio::test]
async fn the_collector_spares_what_it_is_told_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, gone) = (vec![1; CONTENT_LEN], vec![2; CONTENT_LEN]);
    let spared = Hash::new(&kept);
    let mut options = Options::new(dir.path());
    options.gc = Some(GcConfig {
        interval: Duration::from_millis(100),
        add_protected: Some(std::sync::Arc::new(move |live| {
            live.insert(spared);
            Box::pin(async { iroh_blobs::store::ProtectOutcome::Continue })
        })),
    });
    let store = FsStore::load_with_opts(dir.path().join("blobs.db"), options).await.unwrap();
    for octets in [&kept, &gone] {
        drop(store.add_slice(octets).temp_tag().await.unwrap());
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while store.has(Hash::new(&gone)).await.unwrap() {
        assert!(tokio::time::Instant::now() < deadline, "what nobody spares is never collected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.get_bytes(spared).await.unwrap(), kept);
}

// ---- what they stand on ---------------------------------------------------------------------------

/// The keys of a feed.
struct Feed {
    namespace: NamespaceSecret,
    author: Author,
}

impl Feed {
    fn new() -> Self {
        Self {
            namespace: NamespaceSecret::new(&mut rand::rng()),
            author: Author::new(&mut rand::rng()),
        }
    }

    /// Writes an entry with a number of ours for its time, as the exporter does.
    async fn put(&self, peer: &Peer, key: &[u8], number: u64) -> anyhow::Result<()> {
        let id = RecordIdentifier::new(self.namespace.id(), self.author.id(), key);
        let record = Record::new(Hash::new(number.to_be_bytes()), 8, number);
        let entry = Entry::new(id, record);
        let signed = SignedEntry::from_entry(entry, &self.namespace, &self.author);
        let own = *peer.endpoint.id().as_bytes();
        let status = ContentStatus::Complete;
        peer.sync.insert_remote(self.namespace.id(), signed, own, status).await
    }
}

/// A peer with all three protocols.
struct Peer {
    endpoint: Endpoint,
    docs: Docs,
    sync: SyncHandle,
    /// Answers others for as long as this lives.
    _router: Router,
}

impl Peer {
    async fn start(key: SecretKey, listen: &str) -> Self {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr(listen)
            .unwrap()
            .secret_key(key)
            .bind()
            .await
            .unwrap();
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let blobs: BlobStore = (*MemStore::new()).clone();
        let engine = Engine::spawn(
            endpoint.clone(),
            gossip.clone(),
            DocsStore::memory(),
            blobs.clone(),
            blobs.downloader(&endpoint),
            DefaultAuthorStorage::Mem,
            None,
        );
        let engine = engine.await.unwrap();
        let (sync, docs) = (engine.sync.clone(), Docs::new(engine));
        let router = Router::builder(endpoint.clone())
            .accept(BLOBS_ALPN, BlobsProtocol::new(&blobs, None))
            .accept(GOSSIP_ALPN, gossip)
            .accept(DOCS_ALPN, docs.clone())
            .spawn();
        Self { endpoint, docs, sync, _router: router }
    }

    fn addr(&self) -> EndpointAddr {
        EndpointAddr::new(self.endpoint.id()).with_ip_addr(self.endpoint.bound_sockets()[0])
    }

    /// Opens a namespace, whose contents nobody fetches.
    async fn open(&self, capability: Capability) -> Doc {
        let doc = self.docs.import_namespace(capability).await.unwrap();
        doc.set_download_policy(DownloadPolicy::NothingExcept(Vec::new())).await.unwrap();
        doc.start_sync(Vec::new()).await.unwrap();
        doc
    }
}

/// Returns the numbers of all entries, in their order.
async fn numbers(doc: &Doc) -> Vec<u64> {
    let mut entries = std::pin::pin!(doc.get_many(Query::all().build()).await.unwrap());
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next().await {
        numbers.push(entry.unwrap().timestamp());
    }
    numbers.sort_unstable();
    numbers
}

/// Waits until the one entry has this number.
async fn wait_numbers(doc: &Doc, number: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while numbers(doc).await != [number] {
        assert!(tokio::time::Instant::now() < deadline, "number {number} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opens a store of contents without a collector.
async fn open(dir: &Path) -> FsStore {
    FsStore::load_with_opts(dir.join("blobs.db"), Options::new(dir)).await.unwrap()
}

/// Returns the one file of a content.
fn data_file(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("data")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let is_data = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "data");
    files.find(is_data).expect("the content has a file")
}
