//! Imports of whole zones, of any size, as one commit.
//!
//! An import writes its rows under a new generation, which nobody reads, chunk by chunk under quiet
//! keys. One last commit switches the zone object to it: readers and followers see the old zone or
//! the new one. The rows of the old generation, in the end, and those of an import that broke off, are swept
//! (`store::sweep`).
//!
//! A generation has a key while it is being filled, is kept though its zone has left it, or is to be swept.
//!
//! **Invariant:** the marker of a generation that is being filled changes with every chunk.
//! **Not here:** the switch (`store::draft`), master files (`record::master`).

use std::collections::VecDeque;

use super::dns_store::DnsStore;
use super::draft::Staged;
use super::generation::Generation;
use super::keys;
use super::kv::{KvCommit, KvError, KvLimits, PendingCommit, Precondition};
use super::operation::{Expectation, StoreError};
use super::packs::pack_rows;
use super::row;
use super::rules::{RuleError, check_alias, check_owner_octets, check_rrset};
use super::zone_settings::ZoneSettings;
use crate::clock::now_ms;
use crate::feed::digest::{Digest, DigestKey};
use crate::limits::{
    IMPORT_CHUNK_OCTETS, IMPORT_CHUNK_RRSETS, IMPORT_CHUNKS_IN_FLIGHT, OWNER_OCTETS_MAX,
    PACKED_RRSETS_MIN, RRSET_RECORDS_MAX,
};
use crate::name::Name;
use crate::record::{RecordType, Rrset};

/// What an import is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImportForm {
    /// Records that an RRset may have.
    pub(super) records_max: u32,
    /// The serial that the zone is to have at least, where no SOA is imported that says so.
    pub(super) serial: Option<u32>,
}

/// The RRsets of an import, checked and ready to be written.
struct PreparedImport {
    /// Keys and values of rows, or of the packs that they stand in.
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the switch needs to know; its marker is filled in later.
    staged: Staged,
}

impl DnsStore {
    /// Replaces the records of a zone by `rrsets`, as one commit, and returns its revision.
    ///
    /// The zone is made if there is none. `settings` replaces its settings, and limits the records of
    /// an RRset; `None` leaves them as they are, and limits RRsets by [`RRSET_RECORDS_MAX`] alone,
    /// since what they say is meant for changes of single RRsets. The serial is that of the imported SOA if it is newer than the zone's. `progress`
    /// hears now and then how many RRsets are written.
    ///
    /// # Errors
    /// [`StoreError::Rule`] for the first RRset that breaks a rule, and for settings of another
    /// zone, with nothing changed; [`StoreError::Settings`];
    /// [`StoreError::ImportLost`]; those of the engine.
    pub async fn import_zone(
        &self,
        apex: &Name,
        rrsets: Vec<Rrset>,
        settings: Option<ZoneSettings>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        self.import_zone_if(apex, rrsets, settings, &[], progress).await
    }

    /// As [`DnsStore::import_zone`], if `preconditions` hold when the zone is switched.
    ///
    /// # Errors
    /// As [`DnsStore::import_zone`], and [`StoreError::PreconditionFailed`].
    pub async fn import_zone_if(
        &self,
        apex: &Name,
        rrsets: Vec<Rrset>,
        settings: Option<ZoneSettings>,
        preconditions: &[Expectation],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        // A file that is served as it is may have RRsets of any size; so may it when it is imported.
        let records_max =
            settings.as_ref().map_or(RRSET_RECORDS_MAX, |settings| settings.rrset_records_max);
        let form = ImportForm { records_max, serial: None };
        self.import_of(apex, rrsets, settings, preconditions, form, progress).await
    }

    /// As [`DnsStore::import_zone_if`], in another form.
    pub(super) async fn import_of(
        &self,
        apex: &Name,
        rrsets: Vec<Rrset>,
        settings: Option<ZoneSettings>,
        preconditions: &[Expectation],
        form: ImportForm,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        self.lineage.check().map_err(StoreError::Kv)?;
        if let Some(settings) = &settings {
            settings.check()?;
            if settings.apex != *apex {
                let (owner, apex) = (settings.apex.clone(), apex.clone());
                return Err(RuleError::OutOfZone { owner, apex }.into());
            }
        }
        let generation = Generation::new(rrsets.len() >= PACKED_RRSETS_MIN);
        let (zone, key) = (apex.clone(), self.digest_key);
        let prepare = move || prepare(&zone, rrsets, generation, form, now_ms(), key);
        let PreparedImport { rows, mut staged } =
            tokio::task::spawn_blocking(prepare).await.map_err(KvError::engine)??;
        let outcome = match self.stage(rows, &mut staged, progress).await {
            Ok(()) => self.replace(apex, settings.as_ref(), &staged, preconditions).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.give_up(&staged).await;
        }
        Ok(outcome?.revision)
    }

    /// Writes the rows under the new generation.
    pub(super) async fn stage(
        &self,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        staged: &mut Staged,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), StoreError> {
        let octets: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.kv.check_room(octets as u64)?;
        let key = keys::generation_key(staged.generation.number);
        staged.marker = keys::filling_marker(now_ms());
        let begin = KvCommit {
            preconditions: vec![Precondition::Absent { key: key.clone() }],
            puts: vec![(key.clone(), staged.marker.clone())],
            deletes: Vec::new(),
        };
        let begun = self.kv.commit(begin).await;
        // Nothing of the zone depends on it: it is as if it was not made, and what was is swept.
        begun.map_err(|error| match error {
            KvError::OutcomeUnknown => {
                KvError::Unavailable { reason: "an import cannot begin".into() }
            }
            error => error,
        })?;
        // Whoever waits for this may go away at any time: from now on the sweep has an eye on it.
        self.sweeps.wake();
        let (puts, rrsets) = (rows.len().max(1) as u64, staged.rrset_count);
        let mut rows = rows.into_iter().peekable();
        let mut in_flight: VecDeque<(PendingCommit, u64)> = VecDeque::new();
        let mut written = 0;
        while rows.peek().is_some() {
            let marker = keys::filling_marker(now_ms());
            let mut chunk = KvCommit {
                preconditions: vec![Precondition::HasValue {
                    key: key.clone(),
                    value: std::mem::replace(&mut staged.marker, marker.clone()),
                }],
                puts: vec![(key.clone(), marker)],
                deletes: Vec::new(),
            };
            fill_chunk(&mut chunk, &mut rows, self.kv.limits());
            written += chunk.puts.len() as u64 - 1;
            in_flight.push_back((self.kv.submit(chunk).await?, written));
            if in_flight.len() >= IMPORT_CHUNKS_IN_FLIGHT
                && let Some((oldest, count)) = in_flight.pop_front()
            {
                wait_chunk(oldest).await?;
                progress(count * rrsets / puts);
            }
        }
        for (chunk, count) in in_flight {
            wait_chunk(chunk).await?;
            progress(count * rrsets / puts);
        }
        Ok(())
    }

    /// Marks the rows of an import that failed for the sweep.
    pub(super) async fn give_up(&self, staged: &Staged) {
        let key = keys::generation_key(staged.generation.number);
        let value = staged.marker.clone();
        let commit = KvCommit {
            preconditions: vec![Precondition::HasValue { key: key.clone(), value }],
            puts: vec![(key, keys::swept_marker())],
            deletes: Vec::new(),
        };
        if let Err(error) = self.kv.commit(commit).await {
            tracing::warn!(%error, "an import's rows stay until they are swept as left over");
        }
        self.sweeps.wake();
    }
}

/// Moves as many rows into a chunk as one commit may have.
fn fill_chunk(
    chunk: &mut KvCommit,
    rows: &mut std::iter::Peekable<std::vec::IntoIter<(Vec<u8>, Vec<u8>)>>,
    limits: KvLimits,
) {
    let operations_max = (limits.operations_max as usize - 1).min(IMPORT_CHUNK_RRSETS);
    let octets_max = IMPORT_CHUNK_OCTETS.min(limits.octets_max);
    let mut octets = chunk.octets();
    while let Some((key, value)) = rows.peek() {
        octets += (key.len() + value.len()) as u64;
        let is_full = chunk.puts.len() + 1 > operations_max || octets > octets_max;
        if is_full && chunk.puts.len() > 1 {
            return;
        }
        chunk.puts.extend(rows.next());
    }
}

/// Waits for a chunk; that its generation was marked meanwhile means that it is lost.
async fn wait_chunk(chunk: PendingCommit) -> Result<(), StoreError> {
    match chunk.wait().await {
        Ok(_) => Ok(()),
        Err(KvError::Conflict { .. }) => Err(StoreError::ImportLost),
        Err(error) => Err(error.into()),
    }
}

/// Checks every RRset and makes the rows.
fn prepare(
    apex: &Name,
    mut rrsets: Vec<Rrset>,
    generation: Generation,
    form: ImportForm,
    now_ms: u64,
    digest_key: DigestKey,
) -> Result<PreparedImport, StoreError> {
    let mut staged = Staged {
        generation,
        marker: Vec::new(),
        soa: None,
        serial: form.serial,
        has_apex_ns: false,
        rrset_count: 0,
        record_count: 0,
        digest: Digest::default(),
    };
    for rrset in &rrsets {
        check_rrset(rrset, apex, form.records_max)?;
    }
    let soa_at = rrsets.iter().position(|rrset| rrset.rtype == RecordType::SOA);
    staged.soa = soa_at.map(|index| rrsets.swap_remove(index));
    let mut rows = Vec::with_capacity(rrsets.len());
    for rrset in rrsets {
        if rrset.rtype == RecordType::SOA {
            return Err(RuleError::Twice { owner: rrset.owner, rtype: rrset.rtype }.into());
        }
        staged.has_apex_ns |= rrset.rtype == RecordType::NS && rrset.owner == *apex;
        staged.rrset_count += 1;
        staged.record_count += rrset.rdata.count() as u64;
        staged.digest = staged.digest.plus(digest_key.rrset(&rrset.as_ref()));
        let key = keys::row_key(generation, apex, &rrset.owner, rrset.rtype);
        rows.push((key, row::encode(rrset.ttl_s, now_ms, &rrset.rdata)));
    }
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    check_rows(apex, &rows)?;
    Ok(PreparedImport { rows: pack_rows(generation, rows), staged })
}

/// Checks the types of each owner; the sorted rows of one stand together.
///
/// A file may hold what no change may make, data below a DNAME or one beside NS: it is hidden, and the
/// zone answers as one that was loaded from that file. Reading it warns of them.
fn check_rows(apex: &Name, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
    let name_of = |key: &'_ Vec<u8>| key.len().saturating_sub(2);
    let same_owner = |a: &(Vec<u8>, Vec<u8>), b: &(Vec<u8>, Vec<u8>)| {
        a.0[..name_of(&a.0)] == b.0[..name_of(&b.0)]
    };
    let mut types = Vec::new();
    for at in rows.chunk_by(same_owner) {
        let (first, _) = &at[0];
        let values: usize = at.iter().map(|(_, value)| value.len()).sum();
        if values > OWNER_OCTETS_MAX / 2 {
            // What a row has beside RDATA is more than it counts for here.
            let (owner, _) = keys::parse_row_key(first, apex)?;
            check_owner_octets(&owner, at.iter().map(|(_, value)| value.len()))?;
        }
        types.clear();
        for (key, _) in at {
            let rtype = key.last_chunk::<2>().map_or(0, |octets| u16::from_be_bytes(*octets));
            types.push(RecordType(rtype));
        }
        // Most owners have one type that stands beside anything: their names are never parsed.
        if !types.contains(&RecordType::CNAME) && types.is_sorted_by(|a, b| a < b) {
            continue;
        }
        let (owner, _) = keys::parse_row_key(first, apex)?;
        if let Some(pair) = types.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RuleError::Twice { owner, rtype: pair[0] }.into());
        }
        check_alias(&owner, apex, &types)?;
    }
    Ok(())
}
