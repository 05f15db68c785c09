//! How an edge follows its feed, as one value that the API, the metrics and the command line render.
//!
//! **Invariant:** a number that has no meaning for the kind of feed is left out, never zero.
//! **Not here:** how it is found (`sync`), where it is shown (`api::status`, `metrics`).

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::clock::now_ms;
use crate::replica::{AspenDnsClient, BehindReport, ClientStats};
use crate::sync::mirror::{MirrorStats, MirrorStatus};
use crate::sync::status::SyncStatus;

/// How an edge follows its feed.
#[derive(Clone, Debug, Serialize)]
pub struct SyncReport {
    /// In a word, which stays the same in every version.
    pub status: &'static str,
    /// The newest revision that is answered as a whole.
    pub served_revision: u64,
    /// The newest revision that is known to exist.
    pub heard_revision: u64,
    /// Records that broke a rule and were left out.
    pub records_refused: u64,
    /// What else there is to say of this kind of feed.
    #[serde(flatten)]
    pub feed: FeedReport,
}

/// What depends on the kind of feed.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum FeedReport {
    /// A feed with a log.
    Log(Box<LogReport>),
    /// A feed of the first format.
    Entries(EntriesReport),
}

/// How a feed with a log is followed.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// The history that is followed.
    pub history: String,
    /// The revision at which the document that was adopted last holds.
    pub document_revision: Option<u64>,
    /// The number of its version.
    pub document_version: Option<u64>,
    /// How old the newest heartbeat is, in milliseconds.
    pub beat_age_ms: Option<u64>,
    /// How long ago anybody was heard, in milliseconds.
    pub contact_age_ms: u64,
    /// For how long the author was not heard, before the start too, in milliseconds.
    pub silence_ms: u64,
    /// By how many milliseconds other clocks are ahead of ours.
    pub clock_skew_ms: ClockSkew,
    /// Whom the edge follows, or followed last.
    pub upstream: Option<UpstreamReport>,
    /// What is held back, where the edge follows behind on purpose.
    pub behind: Option<BehindReport>,
    /// The namespace of the feed: another after a rotation.
    pub namespace: Option<String>,
    /// Why the feed is not for this edge, where its authority has said so.
    pub barred: Option<String>,
    /// Zones of the feed that are answered.
    pub zones: u64,
    /// Zones of which something is known that is not answered.
    pub lacking: u64,
    /// Zones whose records do not come to what the author says, some of them.
    pub differing: Vec<String>,
    /// Whether all zones together do not.
    pub differs_as_a_whole: bool,
    /// What is counted.
    #[serde(flatten)]
    pub counts: MirrorStats,
}

/// Clocks against ours: positive is ahead.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClockSkew {
    /// That of the peer that is followed, when it welcomed us.
    pub upstream: Option<i64>,
    /// That of the author, by its newest heartbeat; less what that was under way.
    pub author: Option<i64>,
}

/// Whom the edge follows.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamReport {
    /// Its public key in hexadecimal digits.
    pub id: String,
    /// Whether it writes the feed itself.
    pub is_author: bool,
}

/// How a feed of the first format is followed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EntriesReport {
    /// Zones of the feed that are answered.
    pub zones: u64,
    /// Entries of the feed.
    pub entries: u64,
    /// Live changes taken in.
    pub live: u64,
    /// Entries and contents that break a rule.
    pub refused: u64,
    /// Entries that wait for their content.
    pub waiting: u64,
    /// Changes that wait for what stands between.
    pub held: u64,
    /// Times a limit was reached.
    pub bound_hits: u64,
    /// Contents that could not be fetched.
    pub fetch_failures: u64,
    /// Times the replica was read anew.
    pub rescans: u64,
}

impl SyncReport {
    /// Reads it off an edge.
    pub fn of(client: &AspenDnsClient) -> Self {
        let stats = client.stats();
        let Some(status) = client.mirror_status() else {
            let progress = client.progress();
            return Self {
                status: status_word(progress.status),
                served_revision: progress.served.number,
                heard_revision: progress.heard.number,
                records_refused: stats.records_refused,
                feed: FeedReport::Entries(entries_report(&stats)),
            };
        };
        Self {
            status: status_word(status.status),
            served_revision: status.served.revision,
            heard_revision: status.heard,
            records_refused: stats.records_refused,
            feed: FeedReport::Log(Box::new(log_report(client, &status, &stats.mirror))),
        }
    }

    /// Whether everything that the feed is known to hold is answered.
    pub fn is_synced(&self) -> bool {
        self.status == status_word(SyncStatus::Synced)
    }
}

/// Returns a status as programs read it: the same in every version, whatever the variant is called.
pub(crate) fn status_word(status: SyncStatus) -> &'static str {
    match status {
        SyncStatus::Disconnected => "Disconnected",
        SyncStatus::Connecting => "Connecting",
        SyncStatus::Syncing => "Syncing",
        SyncStatus::Synced => "Synced",
        SyncStatus::Stale => "Stale",
    }
}

/// Returns the status that a number stands for in the reports of edges.
pub(crate) fn status_of(number: u8) -> Option<SyncStatus> {
    let all = [
        SyncStatus::Disconnected,
        SyncStatus::Connecting,
        SyncStatus::Syncing,
        SyncStatus::Synced,
        SyncStatus::Stale,
    ];
    all.into_iter().find(|status| *status as u8 == number)
}

/// Makes the report on a feed with a log.
fn log_report(client: &AspenDnsClient, status: &MirrorStatus, stats: &MirrorStats) -> LogReport {
    let upstream = client.upstream();
    let author = status.beat_time_ms.zip(status.beat_age_ms).map(|(said_ms, age_ms)| {
        let came_ms = i128::from(now_ms()) - i128::from(age_ms);
        i64::try_from(i128::from(said_ms) - came_ms).unwrap_or(i64::MAX)
    });
    LogReport {
        history: status.history.to_string(),
        document_revision: status.document.map(|(at, _)| at.revision),
        document_version: status.document.map(|(_, number)| number),
        beat_age_ms: status.beat_age_ms,
        contact_age_ms: status.contact_age_ms,
        silence_ms: status.silence_ms,
        clock_skew_ms: ClockSkew { upstream: upstream.map(|info| info.clock_skew_ms), author },
        upstream: upstream.map(|info| UpstreamReport {
            id: HEXLOWER.encode(&info.id),
            is_author: info.is_author,
        }),
        behind: client.behind(),
        namespace: client.ticket().map(|ticket| HEXLOWER.encode(&ticket.namespace)),
        barred: client.barred().map(|reason| reason.to_string()),
        zones: status.zones,
        lacking: status.lacking,
        differing: status.differing.iter().map(crate::name::Name::to_fqdn).collect(),
        differs_as_a_whole: status.differs_as_a_whole,
        counts: *stats,
    }
}

/// Makes the report on a feed of the first format.
fn entries_report(stats: &ClientStats) -> EntriesReport {
    let sync = &stats.sync;
    EntriesReport {
        zones: sync.zones,
        entries: sync.entries,
        live: sync.live,
        refused: sync.refused,
        waiting: sync.waiting,
        held: sync.held,
        bound_hits: sync.bound_hits,
        fetch_failures: sync.fetch_failures,
        rescans: sync.rescans,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_follows_nothing_says_so_in_the_words_of_before() {
        let client = AspenDnsClient::builder().build().unwrap();
        let value = serde_json::to_value(SyncReport::of(&client)).unwrap();
        assert_eq!(value["status"], "Disconnected");
        for key in ["served_revision", "heard_revision", "zones", "entries", "refused", "waiting"] {
            assert_eq!(value[key], 0, "{key}: {value}");
        }
        for key in ["records_refused", "held", "bound_hits", "fetch_failures", "rescans"] {
            assert_eq!(value[key], 0, "{key}: {value}");
        }
        assert!(value.get("history").is_none(), "{value}");
    }

    #[test]
    fn a_feed_with_a_log_has_no_numbers_of_entries() {
        let client = AspenDnsClient::builder().build().unwrap();
        let differing = vec!["a.example".parse().unwrap()];
        let beat = (Some(20), Some(now_ms() + 980));
        let status = MirrorStatus {
            differing,
            beat_age_ms: beat.0,
            beat_time_ms: beat.1,
            ..MirrorStatus::default()
        };
        let stats = MirrorStats { proofs: 7, ..MirrorStats::default() };
        let feed = FeedReport::Log(Box::new(log_report(&client, &status, &stats)));
        let (status, counts) = (status_word(SyncStatus::Synced), (3, 4, 5));
        let (served_revision, heard_revision, records_refused) = counts;
        let report = SyncReport { status, served_revision, heard_revision, records_refused, feed };
        assert!(report.is_synced());
        let value = serde_json::to_value(report).unwrap();
        assert_eq!(value["status"], "Synced");
        assert_eq!(value["proofs"], 7);
        assert_eq!(value["differing"], serde_json::json!(["a.example."]));
        let skew = value["clock_skew_ms"]["author"].as_i64().unwrap();
        assert!((900..=1_100).contains(&skew), "{skew}");
        assert!(value.get("entries").is_none() && value.get("waiting").is_none(), "{value}");
    }
}
