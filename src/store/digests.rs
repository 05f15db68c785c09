//! Digests that are counted from all rows of a zone: for zones that a version made that knew none, and
//! to see that those which are kept up to date commit by commit are right.
//!
//! A commit keeps the digest of its zones up to date from what it changes; this is the one place
//! where all rows of a zone are read for it. An older version that shares the store drops the
//! digest of each zone that it writes, so none is ever out of date.
//!
//! **Invariant:** a zone that gets its digest keeps records, serial and settings; followers are
//! told of a commit without changes, so that revisions of the zone still follow on each other.
//! **Not here:** the digest of a commit (`store::draft`), of an import (`store::import`).

use std::sync::atomic::Ordering;

use super::dns_store::DnsStore;
use super::history::ZoneChange;
use super::journal::{Entry, JournalZone};
use super::keys;
use super::kv::{Cursor, KeyRange, KvCommit, KvError, KvSnapshot, Precondition, Versioned};
use super::operation::StoreError;
use super::read::{PageCursor, read_rows};
use super::recounts::Recounts;
use super::undo;
use super::zone_object::ZoneObject;
use crate::feed::digest::{Digest, DigestKey};
use crate::limits::{BATCH_ATTEMPTS_MAX, LISTING_ITEMS_MAX, ZONE_PAGE_RRSETS};
use crate::name::Name;

impl DnsStore {
    /// What counting zones anew has found.
    pub fn recounts(&self) -> &Recounts {
        &self.recounts
    }

    /// Counts the zones of one page anew, up to `limit` (at least 1) from `cursor` on, mends what was wrong
    /// and tells of it; returns where the next page begins, none at the end. A zone that cannot be counted
    /// keeps no other from that.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn recount_page(
        &self,
        cursor: Option<&PageCursor>,
        limit: u32,
    ) -> Result<Option<PageCursor>, StoreError> {
        let limit = limit.clamp(1, LISTING_ITEMS_MAX);
        let cursor = cursor.map(PageCursor::as_cursor);
        let range = keys::zone_range();
        let page = match self.kv.range(&range, cursor.as_ref(), limit).await {
            // A page goes as far as the first zone that is damaged itself.
            Err(KvError::Damaged { key, .. }) if range.contains(&key) => {
                let before = KeyRange { start: range.start, end: key.clone() };
                let mut page = self.kv.range(&before, cursor.as_ref(), limit).await?;
                if page.next.is_none() {
                    self.recount_and_tell(&keys::parse_zone_key(&key)?).await;
                    page.next = Some(Cursor([&key[..], &[0]].concat()));
                }
                page
            }
            page => page?,
        };
        for (key, _) in &page.entries {
            self.recount_and_tell(&keys::parse_zone_key(key)?).await;
        }
        if page.next.is_none() {
            self.forget_unreadable().await;
        }
        Ok(page.next.map(PageCursor::from))
    }

    /// Counts a zone anew and tells what is wrong with it.
    async fn recount_and_tell(&self, apex: &Name) {
        let recounted = self.recount(apex).await;
        let is_damaged = matches!(
            recounted,
            Err(StoreError::Kv(KvError::Damaged { .. } | KvError::Unreadable { .. }))
        );
        let is_news = self.recounts.note(apex, !is_damaged);
        match recounted {
            Ok(true) => tracing::error!(
                %apex,
                "the store did not say what the records of a zone come to: mended"
            ),
            Ok(false) if is_news => tracing::info!(%apex, "a zone of the store can be read again"),
            Err(error) if is_news => {
                tracing::error!(%apex, %error, "a zone of the store cannot be read");
            }
            Err(error) if !is_damaged => {
                tracing::warn!(%apex, %error, "a zone cannot be counted anew now");
            }
            Ok(false) | Err(_) => {}
        }
    }

    /// Forgets zones that could not be counted and that are gone.
    async fn forget_unreadable(&self) {
        for apex in self.recounts.unreadable_zones() {
            if matches!(self.kv.get(&keys::zone_key(&apex)).await, Ok(None)) {
                self.recounts.note(&apex, true);
            }
        }
    }

    /// Gives every zone without a digest its own.
    pub(super) async fn add_digests(&self) -> Result<(), StoreError> {
        // Each zone takes a precondition and a put, all of them what the commit says of itself.
        let zones_max = (self.kv.limits().operations_max / 2).saturating_sub(1).max(1) as usize;
        let (mut cursor, mut count) = (None, 0);
        loop {
            let page =
                self.kv.range(&keys::zone_range(), cursor.as_ref(), LISTING_ITEMS_MAX).await?;
            let entries = page.entries;
            let undigested = tokio::task::spawn_blocking(move || undigested(&entries));
            let undigested = undigested.await.map_err(KvError::engine)?;
            for apexes in undigested.chunks(zones_max.min(COMMIT_ZONES_MAX)) {
                count += self.add_digests_of(apexes).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if count > 0 {
            tracing::info!(zones = count, "zones of an older version have got their digests");
        }
        Ok(())
    }

    /// Gives those of the zones that have none a digest, in one commit; returns how many.
    pub(super) async fn add_digests_of(&self, apexes: &[Name]) -> Result<u64, StoreError> {
        let zone_keys: Vec<Vec<u8>> = apexes.iter().map(keys::zone_key).collect();
        for _ in 0..BATCH_ATTEMPTS_MAX {
            let view = self.kv.snapshot().await?;
            let found = view.get_many(&zone_keys).await?;
            let (mut commit, mut zones) = (KvCommit::default(), Vec::new());
            for (key, found) in zone_keys.iter().zip(found) {
                let Some(found) = found else { continue };
                let mut object = ZoneObject::decode(&found.value)?;
                if object.digest.is_some() {
                    continue;
                }
                object.digest = Some(count_rows(&*view, &object, &self.digest_key).await?.digest);
                object.version += 1;
                let expected = Precondition::HasValue { key: key.clone(), value: found.value };
                commit.preconditions.push(expected);
                commit.puts.push((key.clone(), object.encode()));
                zones.extend(journal_zone(object, &self.digest_key));
            }
            let count = commit.puts.len() as u64;
            if count == 0 {
                return Ok(0);
            }
            commit.puts.push((keys::JOURNAL.to_vec(), Entry::new(zones).encode()));
            commit.puts.push((keys::UNDO.to_vec(), undo::nothing()));
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(count),
                // Somebody changed one of the zones: what became of the rows must be read anew.
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }

    /// Counts the rows of a zone anew; says whether what its object said of them was wrong, and is right
    /// now.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if the zone changes all the while, and those of the engine.
    pub async fn recount(&self, apex: &Name) -> Result<bool, StoreError> {
        self.lineage.check()?;
        let key = keys::zone_key(apex);
        for attempt in 0..BATCH_ATTEMPTS_MAX {
            // Where its writers get ahead, they wait for once.
            let _locks = match attempt {
                0 => Vec::new(),
                _ => self.lock(std::slice::from_ref(apex)).await,
            };
            let view = self.kv.snapshot().await?;
            self.recounts.counted.fetch_add(1, Ordering::Relaxed);
            let found = view.get_many(std::slice::from_ref(&key)).await?.pop().flatten();
            let Some(found) = found else { return Ok(false) };
            let mut object = ZoneObject::decode(&found.value)?;
            let counted = count_rows(&*view, &object, &self.digest_key).await?;
            let is_right = object.digest.is_none_or(|digest| digest == counted.digest)
                && (object.rrset_count, object.record_count)
                    == (counted.rrsets, counted.digest.records);
            if is_right {
                return Ok(false);
            }
            object.digest = Some(counted.digest);
            (object.rrset_count, object.record_count) = (counted.rrsets, counted.digest.records);
            object.version += 1;
            let mut commit = KvCommit::default();
            let expected = Precondition::HasValue { key: key.clone(), value: found.value };
            commit.preconditions.push(expected);
            commit.puts.push((key.clone(), object.encode()));
            let zones = journal_zone(object, &self.digest_key).into_iter().collect();
            commit.puts.push((keys::JOURNAL.to_vec(), Entry::new(zones).encode()));
            commit.puts.push((keys::UNDO.to_vec(), undo::nothing()));
            match self.kv.commit(commit).await {
                Ok(_) => {
                    self.recounts.mended.fetch_add(1, Ordering::Relaxed);
                    return Ok(true);
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended { attempts: BATCH_ATTEMPTS_MAX })
    }
}

/// What the rows of a zone come to.
struct Counted {
    /// Their digest.
    digest: Digest,
    /// How many RRsets they are.
    rrsets: u64,
}

/// Returns the zones whose objects have no digest. An object that does not read is left to those
/// who ask for it: one bad zone must not keep the store closed.
fn undigested(entries: &[(Vec<u8>, Versioned)]) -> Vec<Name> {
    let objects = entries.iter().filter_map(|(_, found)| ZoneObject::decode(&found.value).ok());
    objects.filter(|object| object.digest.is_none()).map(|object| object.settings.apex).collect()
}

/// Says in the journal that a zone has got its digest; nothing of one that is not served.
fn journal_zone(object: ZoneObject, key: &DigestKey) -> Option<JournalZone> {
    let digest = object.served_digest(key).filter(|_| object.settings.is_enabled)?;
    let change = ZoneChange::Changes(Vec::new());
    Some(JournalZone { apex: object.settings.apex, serial: object.serial, digest, change })
}

/// Reads all rows of a zone and returns what they come to.
async fn count_rows(
    view: &dyn KvSnapshot,
    object: &ZoneObject,
    key: &DigestKey,
) -> Result<Counted, KvError> {
    let range = keys::rows_of_generation(object.generation);
    let mut counted = Counted { digest: Digest::default(), rrsets: 0 };
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = view.range(&range, cursor.as_ref(), ZONE_PAGE_RRSETS).await?;
        let mut rrsets = Vec::new();
        read_rows(&page.entries, &object.settings.apex, &mut rrsets)?;
        counted.rrsets += rrsets.len() as u64;
        let key = *key;
        let counting = tokio::task::spawn_blocking(move || key.rrsets(rrsets));
        let digest = counting.await.map_err(KvError::engine)?;
        counted.digest = counted.digest.plus(digest);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(counted);
        }
    }
}

/// Zones that get their digests in one commit. Their objects fill 1 MB or so.
const COMMIT_ZONES_MAX: usize = 1_000;
