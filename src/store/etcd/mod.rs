//! The distributed engine: etcd, which several authorities may share.
//!
//! Revisions are etcd's own, so they rise by more than one where others write to the same cluster.
//! Every key of ours begins with the configured prefix; behind it stands `k` and the key, or `m`
//! and a slot (`etcd::commit`).
//!
//! etcd must keep its history for as long as a follower may be away: auto-compaction is the
//! operator's choice (`--auto-compaction-retention`), and a follower that comes too late is told
//! to rescan.
//!
//! **Invariant:** what was acknowledged is in the majority's logs; a commit whose reply was lost is
//! resolved, never repeated; reads are linearizable, and all reads of a snapshot are of one
//! revision.
//! **Not here:** the contract (`store::kv`).

mod commit;
mod connection;
mod feed;
mod pulse;
mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{GetOptions, GetResponse, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::kv::{
    ChangeStream, Cursor, KeyRange, KeyValueStore, KvCommit, KvError, KvLimits, KvSnapshot, Page,
    PendingCommit, Versioned,
};
use super::report::EngineReport;
use super::unchanged::Unchanged;
use crate::limits::{
    ETCD_COMMIT_OCTETS_MAX, ETCD_PAGE_ENTRIES_MAX, ETCD_PREFIX_OCTETS_MAX, ETCD_QUOTA_OCTETS,
    ETCD_QUOTA_PERCENT_MAX, ETCD_TXN_OPERATIONS_MAX,
};
use commit::Slots;
use connection::{Connection, Login};

/// Stands behind the prefix, in front of a key.
const KEYS: u8 = b'k';
/// Stands behind the prefix, in front of a slot.
const SLOTS: u8 = b'm';

/// Where the cluster is and which part of it is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    /// The members' client URLs.
    pub endpoints: Vec<String>,
    /// What all our keys begin with: up to 128 octets, `aspen-dns/` by default.
    pub prefix: Vec<u8>,
    /// The user, if the cluster asks for one.
    pub user: Option<(String, Password)>,
    /// What is needed for members with https URLs.
    pub tls: EtcdTls,
    /// Octets that a member's database may have (etcd's `--quota-backend-bytes`), 2 GiB by default.
    pub quota_octets: u64,
}

/// A user's password, which is never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(String);

/// What TLS needs to know, all in PEM.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct EtcdTls {
    /// Authorities that vouch for the members; none are the system's.
    pub ca: Option<Vec<u8>>,
    /// The certificate that is shown to members, if one is.
    pub certificate: Option<Vec<u8>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
}

/// The distributed engine.
#[derive(Debug)]
pub struct EtcdStore {
    /// Shared with commits that outlive their callers, and with followers.
    shared: Arc<Shared>,
    /// Goes on beside all requests.
    _upkeep: AbortOnDropHandle<()>,
}

/// What an engine is made of.
#[derive(Debug)]
struct Shared {
    /// The way to the cluster.
    connection: Connection,
    /// What all our keys begin with.
    prefix: Vec<u8>,
    /// The places where commits leave their marks.
    slots: Slots,
    /// Octets that a member's database may have.
    quota_octets: u64,
}

impl EtcdConfig {
    /// Returns the configuration of a cluster that is ours alone.
    pub fn new(endpoints: Vec<String>) -> Self {
        let (prefix, tls) = (b"aspen-dns/".to_vec(), EtcdTls::default());
        Self { endpoints, prefix, user: None, tls, quota_octets: ETCD_QUOTA_OCTETS }
    }
}

impl Password {
    /// Takes a password.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl std::fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret, and certificates are long.
        let has = |part: &Option<Vec<u8>>| part.is_some();
        f.debug_struct("EtcdTls")
            .field("ca", &has(&self.ca))
            .field("certificate", &has(&self.certificate))
            .finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Finds a member that answers.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] if none does in time, [`KvError::Engine`] if they refuse us, or the
    /// configuration is not acceptable.
    pub async fn connect(config: EtcdConfig) -> Result<Self, KvError> {
        if config.prefix.len() > ETCD_PREFIX_OCTETS_MAX || config.prefix.is_empty() {
            let octets = config.prefix.len() as u64;
            let octets_max = ETCD_PREFIX_OCTETS_MAX as u64;
            return Err(KvError::TooManyOctets { octets, octets_max });
        }
        let login = Login::new(config.user.as_ref(), config.tls);
        let connection = Connection::open(config.endpoints, login).await?;
        let slots = Slots::new();
        let shared = Arc::new(Shared {
            connection,
            prefix: config.prefix,
            slots,
            quota_octets: config.quota_octets,
        });
        let mut unchanged = Unchanged::default();
        commit::sweep_slots(&shared, &mut unchanged).await?;
        let upkeep = tokio::spawn(upkeep::run(Arc::downgrade(&shared), unchanged));
        Ok(Self { shared, _upkeep: AbortOnDropHandle::new(upkeep) })
    }
}

impl Shared {
    /// Returns the key as it stands in etcd.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix[..], &[KEYS], key].concat()
    }

    /// Returns the range of all slots, as it stands in etcd.
    fn slot_range(&self) -> (Vec<u8>, Vec<u8>) {
        let start = [&self.prefix[..], &[SLOTS]].concat();
        let end = [&self.prefix[..], &[SLOTS + 1]].concat();
        (start, end)
    }

    /// Makes a page of the reply to a read of a range.
    fn page(&self, mut found: GetResponse, revision: i64) -> Result<Page, KvError> {
        let mut entries = Vec::with_capacity(found.kvs().len());
        let has_more = found.more();
        for kv in found.take_kvs() {
            let revision = unsigned(kv.mod_revision());
            let key = self.own_key(kv.key())?;
            entries.push((key, Versioned { value: kv.into_key_value().1, revision }));
        }
        let next = entries.last().filter(|_| has_more).map(|(key, _)| Cursor::behind(key));
        Ok(Page { entries, next, revision: unsigned(revision) })
    }

    /// Returns our key of one that stands in etcd.
    fn own_key(&self, key: &[u8]) -> Result<Vec<u8>, KvError> {
        let own = key.get(self.prefix.len() + 1..);
        own.map(<[u8]>::to_vec).ok_or(KvError::Unreadable { what: "a key outside the prefix" })
    }
}

#[async_trait]
impl KeyValueStore for EtcdStore {
    fn limits(&self) -> KvLimits {
        KvLimits {
            // One operation of each transaction is the commit's mark.
            operations_max: ETCD_TXN_OPERATIONS_MAX - 1,
            octets_max: ETCD_COMMIT_OCTETS_MAX,
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn snapshot(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        let (shared, pinned) = (self.shared.clone(), OnceCell::new());
        Ok(Box::new(EtcdSnapshot { shared, pinned, is_fresh: true }))
    }

    async fn glimpse(&self) -> Result<Box<dyn KvSnapshot>, KvError> {
        let (shared, pinned) = (self.shared.clone(), OnceCell::new());
        Ok(Box::new(EtcdSnapshot { shared, pinned, is_fresh: false }))
    }

    async fn submit(&self, commit: KvCommit) -> Result<PendingCommit, KvError> {
        commit.check(self.limits())?;
        let (reply, pending) = PendingCommit::channel();
        let shared = self.shared.clone();
        // A task of its own: a caller that goes away must not leave a slot in doubt.
        let task = tokio::spawn(async move {
            let _ = reply.send(commit::make(&shared, &commit).await);
        });
        task.await.map_err(KvError::engine)?;
        Ok(pending)
    }

    async fn changes(&self, after: u64) -> Result<ChangeStream, KvError> {
        Ok(Box::new(feed::WatchFeed::open(self.shared.clone(), after).await?))
    }

    fn check_room(&self, octets: u64) -> Result<(), KvError> {
        let quota_octets = self.shared.quota_octets;
        let octets = self.report().database_octets.unwrap_or(0).saturating_add(octets);
        match octets > quota_octets / 100 * ETCD_QUOTA_PERCENT_MAX {
            true => Err(KvError::NearlyFull { octets, quota_octets }),
            false => Ok(()),
        }
    }

    fn report(&self) -> EngineReport {
        self.shared.connection.report()
    }

    async fn revision(&self) -> Result<u64, KvError> {
        self.snapshot().await?.revision().await
    }
}

/// Reads that are all of the revision of the first of them.
struct EtcdSnapshot {
    /// The engine.
    shared: Arc<Shared>,
    /// The revision that the first read found.
    pinned: OnceCell<i64>,
    /// Whether the member that is asked first hears from the others whether it knows the newest (a linearizable
    /// read), and does not just say what it knows (a serializable one).
    is_fresh: bool,
}

impl EtcdSnapshot {
    /// Returns the options that pin a read to the revision of the first one, if there was one.
    fn options(&self) -> GetOptions {
        let options = match self.pinned.get() {
            Some(revision) => GetOptions::new().with_revision(*revision),
            None => GetOptions::new(),
        };
        if self.is_fresh { options } else { options.with_serializable() }
    }

    /// Pins the view to the revision of a reply, and says whether the reply is of the view: it is
    /// not if another first read was faster and found another revision.
    async fn agrees(&self, revision: i64, was_pinned: bool) -> bool {
        was_pinned || *self.pinned.get_or_init(|| async { revision }).await == revision
    }

    /// Makes reads, as many as a transaction takes in each trip.
    async fn read_all(&self, gets: &[(Vec<u8>, GetOptions)]) -> Result<Vec<GetResponse>, KvError> {
        let mut found = Vec::with_capacity(gets.len());
        for chunk in gets.chunks(ETCD_TXN_OPERATIONS_MAX as usize) {
            loop {
                let pinned = self.pinned.get().copied();
                let get = |(key, options): &(Vec<u8>, GetOptions)| {
                    let options = options.clone().with_revision(pinned.unwrap_or(0));
                    let is_fresh = self.is_fresh;
                    let options = if is_fresh { options } else { options.with_serializable() };
                    TxnOp::get(key.clone(), Some(options))
                };
                let operations: Vec<TxnOp> = chunk.iter().map(get).collect();
                let read = self.shared.connection.read_txn(Txn::new().and_then(operations)).await?;
                if !self.agrees(header_revision(read.header())?, pinned.is_some()).await {
                    continue;
                }
                for response in read.op_responses() {
                    let TxnOpResponse::Get(response) = response else { continue };
                    found.push(response);
                }
                break;
            }
        }
        Ok(found)
    }

    /// Makes a first read that pins the revision, so that concurrent reads agree.
    async fn pin(&self) -> Result<i64, KvError> {
        let read = || async {
            let options = self.options().with_count_only();
            let key = self.shared.key(b"");
            let response = self.shared.connection.get(key, options).await?;
            header_revision(response.header())
        };
        self.pinned.get_or_try_init(read).await.copied()
    }
}

#[async_trait]
impl KvSnapshot for EtcdSnapshot {
    async fn revision(&self) -> Result<u64, KvError> {
        self.pin().await?;
        // Every commit of ours leaves a mark: the newest mark is of the newest commit.
        let (start, end) = self.shared.slot_range();
        let options = self
            .options()
            .with_range(end)
            .with_sort(SortTarget::Mod, SortOrder::Descend)
            .with_limit(1);
        let found = self.shared.connection.get(start, options).await?;
        Ok(found.kvs().first().map_or(0, |kv| unsigned(kv.mod_revision())))
    }

    async fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned>>, KvError> {
        Ok(self.look(keys, &[], 1).await?.0)
    }

    async fn range(
        &self,
        range: &KeyRange,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, KvError> {
        let range = range.beyond(cursor);
        if range.start >= range.end {
            let revision = unsigned(self.pin().await?);
            return Ok(Page { entries: Vec::new(), next: None, revision });
        }
        let was_pinned = self.pinned.initialized();
        let limit = i64::from(limit.clamp(1, ETCD_PAGE_ENTRIES_MAX));
        let options = self.options().with_range(self.shared.key(&range.end)).with_limit(limit);
        let found = self.shared.connection.get(self.shared.key(&range.start), options).await?;
        if !self.agrees(header_revision(found.header())?, was_pinned).await {
            return self.range(&range, None, u32::try_from(limit).unwrap_or(1)).await;
        }
        let revision = self.pin().await?;
        self.shared.page(found, revision)
    }

    async fn look(
        &self,
        keys: &[Vec<u8>],
        ranges: &[KeyRange],
        limit: u32,
    ) -> Result<(Vec<Option<Versioned>>, Vec<Page>), KvError> {
        let limit = i64::from(limit.clamp(1, ETCD_PAGE_ENTRIES_MAX));
        let key = |key: &Vec<u8>| (self.shared.key(key), GetOptions::new());
        let range = |range: &KeyRange| {
            let options = GetOptions::new().with_range(self.shared.key(&range.end));
            (self.shared.key(&range.start), options.with_limit(limit))
        };
        let gets: Vec<_> = keys.iter().map(key).chain(ranges.iter().map(range)).collect();
        let mut found = self.read_all(&gets).await?.into_iter();
        let mut values = Vec::with_capacity(keys.len());
        for found in found.by_ref().take(keys.len()) {
            values.push(found.kvs().first().map(|kv| Versioned {
                value: kv.value().to_vec(),
                revision: unsigned(kv.mod_revision()),
            }));
        }
        let revision = self.pinned.get().copied().unwrap_or(0);
        let pages = found.map(|found| self.shared.page(found, revision)).collect::<Result<_, _>>();
        Ok((values, pages?))
    }
}

/// Returns the revision of a reply.
fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<i64, KvError> {
    let revision = header.map(etcd_client::ResponseHeader::revision);
    revision.ok_or(KvError::Unreadable { what: "a reply of etcd without a header" })
}

/// Returns a revision as the contract counts it; etcd's are never negative.
fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
