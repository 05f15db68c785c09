//! What becomes of the answers of an edge that does not hear its author: nothing, unless the operator asks for it.
//!
//! When the author was heard last is kept in a file beside the archive, written seldom, so that a restart makes
//! nobody younger. It holds the time of the clock and the silence that was measured by then without one: a
//! clock that stands before that time has gone back, and says nothing of how long the edge was down.
//!
//! **Invariant:** zones that have expired are held from the first answer after a restart on, and served again from
//! the first word of the author on; a clock that went back makes no edge count as fresh.
//! **Not here:** what is stale (`sync::mirror`), what is answered then (`publish::stage`, `responder`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::AspenDnsClient;
use crate::clock;
use crate::durable;
use crate::limits::{CONTACT_MARK_MS, EXPIRE_LOOK_MS, EXPIRE_MS_MIN};
use crate::name::Name;
use crate::octets::{Format, OctetReader};
use crate::publish::stage::Rank;
use crate::sync::mirror::BeatMark;
use crate::sync::status::SyncStatus;
use crate::zone::Zone;

/// For how long zones are answered while their author is not heard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Expiry {
    /// For ever.
    #[default]
    Never,
    /// Each for as long as its SOA says (RFC 1034 section 4.3.5).
    Soa,
    /// All for so long.
    After(Duration),
}

/// What an operator wants of an edge that does not hear its author, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// For how long zones are answered then.
    pub(super) expiry: Expiry,
    /// Whether answers say that they are stale.
    pub(super) tells_stale: bool,
    /// For how many milliseconds the author was not heard over the feed whose place this one takes.
    pub(super) before_ms: u64,
    /// What has expired.
    expired: Mutex<Expired>,
}

/// What has expired, and when to look again.
#[derive(Clone, Copy, Debug, Default)]
struct Expired {
    /// Whether zones are held for it.
    has_any: bool,
    /// The silence at the last look, in milliseconds.
    silence_ms: u64,
    /// The silence at which to look again.
    look_ms: u64,
}

impl Expiry {
    /// Returns after how many milliseconds of silence a zone expires, if ever.
    fn limit_ms(self, zone: &Zone) -> Option<u64> {
        let limit_ms = match self {
            Self::Never => return None,
            Self::Soa => u64::from(zone.expire_s()) * 1_000,
            Self::After(limit) => u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        Some(limit_ms.max(EXPIRE_MS_MIN))
    }
}

impl AspenDnsClient {
    /// Takes for how many milliseconds the author was not heard: zones that may not be answered for so long are
    /// held, and all of them served when it was heard since.
    pub(super) fn note_silence(&self, silence_ms: u64) {
        let expiry = self.silence.expiry;
        if expiry == Expiry::Never {
            return;
        }
        let mut expired = self.silence.expired.lock().unwrap_or_else(PoisonError::into_inner);
        if silence_ms < expired.silence_ms {
            if expired.has_any {
                let zones = self.stage.revive();
                tracing::info!(
                    zones,
                    "the author is heard again: zones that had expired are answered"
                );
            }
            *expired = Expired::default();
        }
        expired.silence_ms = silence_ms;
        if silence_ms < expired.look_ms.max(EXPIRE_MS_MIN) {
            return;
        }
        let (over, next_ms) = self.overdue(expiry, silence_ms);
        expired.look_ms = next_ms;
        if !over.is_empty() {
            tracing::warn!(
                zones = over.len(),
                silence_s = silence_ms / 1_000,
                "zones have expired: nothing was heard of their author for too long"
            );
            expired.has_any = true;
            self.stage.expire(over);
        }
    }

    /// The zones of the feed that are answered and may not be after such a silence; and at which to look again.
    fn overdue(&self, expiry: Expiry, silence_ms: u64) -> (Vec<Name>, u64) {
        let mut next_ms = silence_ms.saturating_add(EXPIRE_LOOK_MS);
        let mut over = Vec::new();
        for zone in self.stage.catalog().zones() {
            let apex = zone.apex();
            match expiry.limit_ms(zone) {
                Some(limit_ms) if limit_ms > silence_ms => next_ms = next_ms.min(limit_ms),
                // Files have no author who could fall silent.
                Some(_) if self.stage.zone(Rank::File, apex).is_none() => over.push(apex.clone()),
                Some(_) | None => {}
            }
        }
        (over, next_ms)
    }

    /// Has answers say that they are stale, if they are and it is wanted.
    pub(super) fn tell_stale(&self, status: SyncStatus) {
        if self.silence.tells_stale {
            self.stage.set_stale(status == SyncStatus::Stale);
        }
    }
}

/// When the author was heard last, kept for a restart.
#[derive(Debug)]
pub(super) struct ContactFile {
    /// The file; none on an edge that keeps nothing.
    path: Option<PathBuf>,
    /// What writes it.
    writing: Option<JoinHandle<()>>,
    /// When that began last, by the client's clock.
    written_ms: Option<u64>,
}

/// What the file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct ContactMark {
    /// When it was written, in milliseconds since 1970.
    time_ms: u64,
    /// For how many milliseconds the author was not heard then.
    silence_ms: u64,
    /// The newest heartbeat.
    beat: Option<BeatMark>,
}

impl ContactFile {
    /// The file in the directory of a feed's archive.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        let path = dir.map(|dir| dir.join("contact"));
        Self { path, writing: None, written_ms: None }
    }

    /// Has the client know for how long the author was not heard before the start, or over the feed before: whoever
    /// rotates a feed makes no edge younger.
    pub(super) fn load(&self, client: &AspenDnsClient) {
        let mark = self.path.as_ref().and_then(|path| read(path, client.stale_after_ms));
        let (silence_ms, beat) = match mark {
            Some(mark) => (mark.silence_now_ms(clock::now_ms(), client.stale_after_ms), mark.beat),
            None => (client.silence.before_ms, None),
        };
        client.with_mirror(|mirror| mirror.remember_contact(silence_ms, beat));
    }

    /// Writes it if it is time: when the author is heard for the first time, and now and then.
    pub(super) fn tick(&mut self, client: &AspenDnsClient) {
        let now_ms = client.now_ms();
        let is_early =
            self.written_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < CONTACT_MARK_MS);
        let is_writing = self.writing.as_ref().is_some_and(|task| !task.is_finished());
        let (Some(path), false) = (&self.path, is_early || is_writing) else { return };
        let Some(mark) = ContactMark::of(client) else { return };
        self.written_ms = Some(now_ms);
        let path = path.clone();
        // Disks take their time.
        self.writing = Some(tokio::task::spawn_blocking(move || mark.write(&path)));
    }

    /// Writes it at the end.
    pub(super) async fn end(&mut self, client: &AspenDnsClient) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        self.written_ms = None;
        self.tick(client);
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
    }
}

impl ContactMark {
    /// What there is to say; nothing of an author who was never heard.
    fn of(client: &AspenDnsClient) -> Option<Self> {
        let now_ms = client.now_ms();
        let (silence_ms, beat) = client.with_mirror(|mirror| mirror.contact(now_ms))?;
        beat.is_some().then(|| Self { time_ms: clock::now_ms(), silence_ms, beat })
    }

    /// For how many milliseconds the author was not heard, by a clock that stands at `now_ms`. Of one that
    /// stands before the mark nothing is believed: the edge is stale.
    fn silence_now_ms(&self, now_ms: u64, stale_after_ms: u64) -> u64 {
        match now_ms.checked_sub(self.time_ms) {
            Some(down_ms) => self.silence_ms.saturating_add(down_ms),
            None => self.silence_ms.max(stale_after_ms),
        }
    }

    /// Returns the octets of the file.
    fn to_octets(self) -> Vec<u8> {
        let mut octets = Vec::new();
        FORMAT.put(&mut octets);
        let (epoch, term, count) = self.beat.unwrap_or_default();
        let numbers = [self.time_ms, self.silence_ms, epoch, term, count];
        numbers.iter().for_each(|number| octets.extend_from_slice(&number.to_be_bytes()));
        octets
    }

    /// Reads the octets of the file.
    fn from_octets(octets: &[u8]) -> Option<Self> {
        let mut reader = OctetReader::new(octets);
        reader.format("contact", FORMAT).ok()?;
        let mut number = || reader.u64("number").ok();
        let (time_ms, silence_ms) = (number()?, number()?);
        let beat = (number()?, number()?, number()?);
        reader.end().ok()?;
        Some(Self { time_ms, silence_ms, beat: (beat != BeatMark::default()).then_some(beat) })
    }

    /// Writes the file. One that cannot be written makes the edge count as older after a restart.
    fn write(self, path: &Path) {
        if let Err(error) = durable::write(path, &self.to_octets()) {
            tracing::debug!(path = %path.display(), %error, "it cannot be noted when the author was heard");
        }
    }
}

/// Reads the file; one that does not read is that of an edge which is stale.
fn read(path: &Path, stale_after_ms: u64) -> Option<ContactMark> {
    match std::fs::read(path) {
        Ok(octets) => Some(ContactMark::from_octets(&octets).unwrap_or(ContactMark {
            time_ms: u64::MAX,
            silence_ms: stale_after_ms,
            beat: None,
        })),
        Err(_) => None,
    }
}

/// The first octets of the file.
const FORMAT: Format = Format { letters: *b"AC", version: 1 };

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{CatalogChange, HoldReason};
    use crate::feed::HistoryId;
    use crate::feed::segment::{LogBeat, Position, Segment, SegmentBody, SegmentHead};
    use crate::record::{RecordType, Rrset, Soa};
    use crate::sync::mirror::{Mirror, MirrorConfig};

    /// A client with two zones of its feed and one of a file, which expire after 10, 20 and 5 s.
    fn client(expiry: Expiry) -> Arc<AspenDnsClient> {
        let client = AspenDnsClient::builder().expiry(expiry).build().unwrap();
        let zone = |apex: &str, expire_s| {
            let apex: Name = apex.parse().unwrap();
            let rdata = Soa { expire_s, ..Soa::default() }.to_rdata();
            let soa = Rrset::new(apex.clone(), RecordType::SOA, 1, [rdata]).unwrap();
            let zone = crate::zone::build(apex, client.seed, vec![soa]).unwrap();
            CatalogChange::Put(Arc::new(zone))
        };
        let fed = vec![zone("ten.example", 10), zone("twenty.example", 20)];
        client.stage.publish(Rank::Feed, fed);
        client.stage.publish(Rank::File, vec![zone("file.example", 5)]);
        client
    }

    /// The zones that are held as expired after a silence.
    fn expired(client: &AspenDnsClient, silence_ms: u64) -> String {
        client.note_silence(silence_ms);
        let catalog = client.stage.catalog();
        let held = catalog.held().filter(|hold| hold.reason == HoldReason::Expired);
        let mut held: Vec<String> = held.map(|hold| hold.apex.to_string()).collect();
        held.sort();
        held.join(" ")
    }

    #[test]
    fn each_zone_expires_by_its_own_soa_and_comes_back_at_contact() {
        // RFC 1034 section 4.3.5
        let client = client(Expiry::Soa);
        assert_eq!(expired(&client, 9_999), "");
        assert_eq!(expired(&client, 10_000), "ten.example");
        assert_eq!(expired(&client, 19_999), "ten.example");
        assert_eq!(expired(&client, 20_000), "ten.example twenty.example");
        assert_eq!(expired(&client, 300), "");
        assert_eq!(client.stage.catalog().zone_count(), 3);
        // After a restart, at once.
        assert_eq!(expired(&client, 15_000), "ten.example");
    }

    #[test]
    fn all_zones_expire_together_where_the_operator_says_when_and_never_else() {
        let by_age = client(Expiry::After(Duration::from_secs(7)));
        assert_eq!(expired(&by_age, 6_999), "");
        assert_eq!(expired(&by_age, 7_000), "ten.example twenty.example");
        let never = client(Expiry::Never);
        assert_eq!(expired(&never, u64::MAX), "");
        let soon = client(Expiry::After(Duration::ZERO));
        assert_eq!(expired(&soon, EXPIRE_MS_MIN - 1), "", "a heartbeat may be late");
    }

    /// A mirror of a feed.
    fn mirror(client: &AspenDnsClient) -> Mirror {
        let config = MirrorConfig {
            namespace: [1; 32],
            zone_filter: None,
            stale_after_ms: client.stale_after_ms,
            is_behind: client.behind.delay_ms.is_some(),
        };
        Mirror::new(config, client.now_ms())
    }

    #[test]
    fn a_rotation_makes_no_edge_younger_and_leaves_no_zone_behind_that_has_expired() {
        let old = client(Expiry::Soa);
        let mut known = mirror(&old);
        known.remember_contact(15_000, Some((1, 9, 9)));
        *old.mirror() = Some(known);
        assert_eq!(expired(&old, 15_000), "ten.example");
        let new = AspenDnsClient::builder().like(&old).build().unwrap();
        *new.mirror() = Some(mirror(&new));
        ContactFile::new(None).load(&new);
        let silence_ms = |client: &AspenDnsClient| {
            let now_ms = client.now_ms();
            client.with_mirror(|mirror| mirror.contact(now_ms).0).unwrap()
        };
        assert!(silence_ms(&new) >= 15_000);
        // Another feed counts its heartbeats anew, and the first may be as old as the other's last.
        let hear = |count| {
            let now_ms = new.now_ms();
            let history = HistoryId { epoch: 1, id: 1 };
            let (before, last) = (Position::default(), Position { revision: 1, tag: 1 });
            let head = SegmentHead { namespace: [1; 32], history, term: 1, before, last };
            let body = SegmentBody::Beat(LogBeat { count, ..LogBeat::default() });
            new.with_mirror(|mirror| mirror.handle_segment(Segment { head, body }, now_ms));
        };
        hear(7);
        hear(7);
        assert!(silence_ms(&new) >= 15_000, "it may go round among edges");
        hear(8);
        assert!(silence_ms(&new) < 15_000, "its author lives");
        // The new feed has none of the zones.
        old.take_from(&new);
        old.note_silence(silence_ms(&old));
        assert_eq!(old.stage.catalog().zone_count(), 1, "that of the file");
        assert_eq!(old.stage.catalog().held_count(), 0);
    }

    #[test]
    fn a_restart_makes_no_edge_younger_whatever_the_clock_says() {
        let beat = Some((1, 2, 3));
        let mark = ContactMark { time_ms: 1_000_000, silence_ms: 40, beat };
        assert_eq!(ContactMark::from_octets(&mark.to_octets()), Some(mark));
        assert_eq!(mark.silence_now_ms(1_000_000, 300), 40);
        assert_eq!(mark.silence_now_ms(1_005_000, 300), 5_040);
        assert_eq!(mark.silence_now_ms(999_999, 300), 300, "the clock went back: it is stale");
        let long = ContactMark { silence_ms: 9_000, ..mark };
        assert_eq!(long.silence_now_ms(0, 300), 9_000);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contact");
        assert_eq!(read(&path, 300), None, "it never heard the author");
        std::fs::write(&path, b"AC").unwrap();
        let damaged = read(&path, 300).unwrap();
        assert_eq!(damaged.silence_now_ms(clock::now_ms(), 300), 300);
    }
}
