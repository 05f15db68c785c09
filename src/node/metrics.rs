//! Numbers for a monitoring system, as Prometheus text and as PowerDNS's statistics.
//!
//! **Invariant:** a scrape locks nothing that an answer needs.
//! **Not here:** the counters of the parts (`serve::stats`, `sync`).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::fleet::{EdgeStatus, FleetStatus};
use super::state::NodeState;
use super::status::sync::{EntriesReport, FeedReport, LogReport, SyncReport, status_word};
use super::status::{FeedStatus, Status, StoreStatus};
use crate::serve::stats::FrontEndStats;
use crate::sync::status::SyncStatus;

/// Returns the metrics as text.
pub(crate) async fn text(node: &NodeState) -> String {
    let mut registry = Registry::with_prefix("aspen");
    registry.register(
        "commit_to_answer_seconds",
        "Time from the end of a commit until this node answers with it",
        node.commit_times.histogram(),
    );
    let fleet = FleetStatus::of(node).await;
    registry.register_collector(Box::new(Scrape(Status::of(node).await, fleet)));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut out, &registry);
    out
}

/// Returns some of the numbers by the names that PowerDNS's clients know.
pub(crate) fn statistics(status: &Status) -> Vec<(String, u64)> {
    let mut rows = vec![
        ("uptime".to_owned(), status.uptime_s),
        ("zones".to_owned(), status.zones),
        ("zones-held".to_owned(), status.held_count),
        ("served-revision".to_owned(), status.served_revision),
        ("heard-revision".to_owned(), status.heard_revision),
    ];
    for front_end in &status.front_ends.front_ends {
        rows.push((format!("{}-queries", front_end.name), front_end.queries));
        rows.push((format!("{}-truncated", front_end.name), front_end.truncated));
    }
    rows
}

/// The numbers of one scrape.
#[derive(Debug)]
struct Scrape(Status, Option<FleetStatus>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Self(status, fleet) = self;
        let gauges = [
            ("zones", "Zones that are answered", status.zones),
            ("zones_held", "Zones that are ours and answered with SERVFAIL", status.held_count),
            (
                "zones_expired",
                "Zones of those whose author was silent too long",
                status.expired_zones,
            ),
            (
                "lag_milliseconds",
                "Since when something is known to exist that is not answered",
                status.lag_ms,
            ),
            ("static_zones", "Zones from files", status.static_zones),
            ("broken_files", "Zone files that do not read", status.broken_file_count),
            (
                "served_revision",
                "Newest revision that is answered as a whole",
                status.served_revision,
            ),
            ("heard_revision", "Newest revision known to exist", status.heard_revision),
            ("uptime_seconds", "Seconds since the start", status.uptime_s),
        ];
        for (name, help, value) in gauges {
            gauge(&mut encoder, name, help, value)?;
        }
        let help = "Times that an endpoint was refused something of a feed that is not for it";
        counter(&mut encoder, "refusals", help, status.refusals)?;
        let published = &status.published;
        let help = "Times that changes became visible, all that were ready at once";
        counter(&mut encoder, "publishes", help, published.publishes)?;
        let help = "Changes of RRsets and of whole zones that became visible";
        counter(&mut encoder, "published_changes", help, published.changes)?;
        if let Some(store) = &status.store {
            encode_store(&mut encoder, store)?;
        }
        if let Some(feed) = &status.feed {
            encode_feed(&mut encoder, feed)?;
        }
        if let Some(sync) = &status.sync {
            encode_sync(&mut encoder, sync)?;
        }
        if let Some(fleet) = fleet {
            encode_fleet(&mut encoder, fleet)?;
        }
        encode_front_ends(&mut encoder, &status.front_ends.front_ends)
    }
}

/// Writes how the store is.
fn encode_store(
    encoder: &mut DescriptorEncoder<'_>,
    store: &StoreStatus,
) -> Result<(), fmt::Error> {
    if let Some(revision) = store.revision {
        gauge(encoder, "store_revision", "Newest revision of the store", revision)?;
    }
    if let Some(age_ms) = store.engine.answered_ms_ago {
        let help = "Seconds for which no member of the distributed store has answered";
        gauge(encoder, "store_silent_seconds", help, age_ms / 1_000)?;
        let help = "Whether the distributed store refuses every write until somebody helps it";
        gauge(encoder, "store_alarm", help, u64::from(store.engine.alarm.is_some()))?;
    }
    if let Some(octets) = store.engine.database_octets {
        let help = "Octets of the database of the distributed store";
        gauge(encoder, "store_database_octets", help, octets)?;
    }
    let help = "Times the store was found to be put back to an older state";
    counter(encoder, "store_histories_begun", help, store.histories_begun)?;
    let help = "Zones of the store that were counted anew, again and again";
    counter(encoder, "store_recounts", help, store.recounted)?;
    let help = "Zones of which the store did not say what their records come to, and does now";
    counter(encoder, "store_recounts_mended", help, store.mended)
}

/// Writes how the feed with all zones is.
fn encode_feed(encoder: &mut DescriptorEncoder<'_>, feed: &FeedStatus) -> Result<(), fmt::Error> {
    let help = "Newest revision of which the feed has everything";
    gauge(encoder, "exported_revision", help, feed.exported_revision)?;
    counter(encoder, "export_restarts", "Times the exporter began anew", feed.restarts)?;
    let help = "Where the newest version of the document holds";
    gauge(encoder, "document_revision", help, feed.document_revision)?;
    let help = "Number of the newest version of the document";
    gauge(encoder, "document_version", help, feed.document_version)?;
    let help = "Times a version of the document could not be written";
    counter(encoder, "document_faults", help, feed.document_faults)?;
    let help = "Seconds for which no version of the document could be written";
    gauge(encoder, "document_failing_seconds", help, feed.document_failing_ms / 1_000)?;
    let help = "Zones whose records or packs did not come to what they must";
    counter(encoder, "digest_faults", help, feed.digest_faults)?;
    let help = "Zones of the document that were not what they must be when read last";
    gauge(encoder, "wrong_zones", help, feed.wrong_zones)?;
    let is_frozen = u64::from(feed.frozen.is_some());
    gauge(encoder, "feeds_frozen", "1 if nothing goes out to edges for now", is_frozen)?;
    gauge(encoder, "followers", "Who follows the feed at this node", feed.followers)
}

/// Writes how an edge follows its feed.
fn encode_sync(encoder: &mut DescriptorEncoder<'_>, report: &SyncReport) -> Result<(), fmt::Error> {
    let help = "1 if everything that the feed is known to hold is answered";
    gauge(encoder, "sync_is_synced", help, u64::from(report.is_synced()))?;
    let is_stale = u64::from(report.status == status_word(SyncStatus::Stale));
    gauge(encoder, "sync_is_stale", "1 if nobody is heard who knows what is new", is_stale)?;
    let help = "Records that break a rule";
    counter(encoder, "sync_records_refused", help, report.records_refused)?;
    let (zones, refused, fetch_failures, bound_hits) = match &report.feed {
        FeedReport::Log(log) => {
            let counts = &log.counts;
            (log.zones, counts.refused, counts.fetch_failures, counts.bound_hits)
        }
        FeedReport::Entries(entries) => {
            (entries.zones, entries.refused, entries.fetch_failures, entries.bound_hits)
        }
    };
    gauge(encoder, "sync_zones", "Zones of the feed that are answered", zones)?;
    let counters = [
        ("sync_refused", "What came of the feed and breaks a rule", refused),
        ("sync_fetch_failures", "Contents that could not be fetched", fetch_failures),
        ("sync_bound_hits", "Times a limit was reached", bound_hits),
    ];
    for (name, help, value) in counters {
        counter(encoder, name, help, value)?;
    }
    match &report.feed {
        FeedReport::Log(log) => encode_log(encoder, log),
        FeedReport::Entries(entries) => encode_entries(encoder, entries),
    }
}

/// Writes how the edges are that follow this node: all of them in sum, and the first [`EDGES_MAX`] one by one.
fn encode_fleet(
    encoder: &mut DescriptorEncoder<'_>,
    fleet: &FleetStatus,
) -> Result<(), fmt::Error> {
    gauge(encoder, "edges_heard", "Edges behind this node that are heard", fleet.heard)?;
    gauge(encoder, "edges_silent", "Edges behind this node that are not heard", fleet.silent)?;
    let help = "Edges behind this node that are there and not listed, since there is a limit";
    gauge(encoder, "edges_left_out", help, fleet.left_out)?;
    let help = "Silent edges that made room for others";
    counter(encoder, "edges_evicted", help, fleet.evicted)?;
    type Row = (&'static str, &'static str, fn(&EdgeStatus) -> Option<u64>);
    let rows: [Row; 3] = [
        ("edge_up", "1 if the edge is heard, 0 if it is silent", |edge| {
            Some(u64::from(edge.is_heard))
        }),
        ("edge_served_revision", "Newest revision that the edge answers as a whole", |edge| {
            Some(edge.served_revision)
        }),
        (
            "edge_lag_milliseconds",
            "Since when the edge has lacked something, by what is written here",
            |edge| edge.lag_ms,
        ),
    ];
    for (name, help, value) in rows {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for edge in fleet.edges.iter().take(EDGES_MAX) {
            // What is not known of an edge is no zero.
            let Some(value) = value(edge) else { continue };
            let name = edge.name.clone().unwrap_or_default();
            let labels = [("edge", edge.id.clone()), ("name", name), ("feed", edge.feed.clone())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Writes what only a feed with a log has.
fn encode_log(encoder: &mut DescriptorEncoder<'_>, log: &LogReport) -> Result<(), fmt::Error> {
    let gauges = [
        ("sync_beat_age_milliseconds", "Age of the author's newest heartbeat", log.beat_age_ms),
        ("sync_contact_age_milliseconds", "Since anybody was heard", Some(log.contact_age_ms)),
        (
            "sync_silence_seconds",
            "Since the author was heard, over restarts too",
            Some(log.silence_ms / 1_000),
        ),
        (
            "sync_behind_commits",
            "Commits that are held back on purpose",
            log.behind.map(|behind| behind.commits),
        ),
        (
            "sync_behind_milliseconds",
            "Since the first of them came",
            log.behind.map(|behind| behind.age_ms.unwrap_or_default()),
        ),
        ("sync_document_revision", "Where the adopted document holds", log.document_revision),
        ("sync_document_version", "Number of the adopted document", log.document_version),
        ("sync_lacking", "Zones of which something is not answered yet", Some(log.lacking)),
        (
            "sync_differing",
            "Zones whose records do not come to what the author says, 100 at most",
            Some(log.differing.len() as u64),
        ),
        (
            "sync_differs_as_a_whole",
            "1 if all zones together do not come to what the author says",
            Some(u64::from(log.differs_as_a_whole)),
        ),
    ];
    for (name, help, value) in gauges {
        // What was never heard has no age.
        if let Some(value) = value {
            gauge(encoder, name, help, value)?;
        }
    }
    let counts = &log.counts;
    let counters = [
        ("sync_segments", "Segments that were taken", counts.segments),
        ("sync_commits", "Commits that were taken", counts.commits),
        ("sync_steps", "Steps of zones that were made visible", counts.steps),
        ("sync_contents", "Contents that came", counts.contents),
        ("sync_versions", "Versions of the document that were taken", counts.versions),
        ("sync_differed", "Times zones did not come to what the author says", counts.differed),
        ("sync_healed", "Zones that differed and agree again", counts.healed),
        ("sync_proofs", "Times all zones were found to agree with the author", counts.proofs),
        ("sync_histories", "Other histories that were gone to", counts.histories),
    ];
    for (name, help, value) in counters {
        counter(encoder, name, help, value)?;
    }
    Ok(())
}

/// Writes what only a feed of the first format has.
fn encode_entries(
    encoder: &mut DescriptorEncoder<'_>,
    entries: &EntriesReport,
) -> Result<(), fmt::Error> {
    gauge(encoder, "sync_waiting", "Entries that wait for their content", entries.waiting)?;
    let help = "Changes that wait for what stands between";
    gauge(encoder, "sync_held", help, entries.held)?;
    let counters = [
        ("sync_entries", "Entries of the feed", entries.entries),
        ("sync_live", "Live changes taken in", entries.live),
        ("sync_rescans", "Times the replica was read anew", entries.rescans),
    ];
    for (name, help, value) in counters {
        counter(encoder, name, help, value)?;
    }
    Ok(())
}

/// Writes what the front ends count.
fn encode_front_ends(
    encoder: &mut DescriptorEncoder<'_>,
    front_ends: &[FrontEndStats],
) -> Result<(), fmt::Error> {
    let help = "Queries by front end and type";
    let mut family = encoder.encode_descriptor("queries", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        for &(rtype, count) in front_end.by_type.iter().filter(|row| row.1 > 0) {
            let rtype = rtype.map_or("other".to_owned(), |rtype| rtype.to_string());
            let labels = [("front_end", front_end.name.to_owned()), ("qtype", rtype)];
            labeled(&mut family, &labels, count)?;
        }
    }
    let help = "Replies by front end and RCODE";
    let mut family = encoder.encode_descriptor("replies", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        for &(rcode, count) in front_end.by_rcode.iter().filter(|row| row.1 > 0) {
            let rcode = rcode.map_or("other".to_owned(), |rcode| rcode.to_string());
            let labels = [("front_end", front_end.name.to_owned()), ("rcode", rcode)];
            labeled(&mut family, &labels, count)?;
        }
    }
    let help = "Replies by front end and kind: answer, nodata, nxdomain, referral or error";
    let mut family = encoder.encode_descriptor("reply_kinds", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        for &(kind, count) in front_end.by_kind.iter().filter(|row| row.1 > 0) {
            let kind = kind.name().to_owned();
            let labels = [("front_end", front_end.name.to_owned()), ("kind", kind)];
            labeled(&mut family, &labels, count)?;
        }
    }
    let help = "Queries without an answer by front end and reason";
    let mut family = encoder.encode_descriptor("dropped", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        for &(reason, count) in &front_end.drops {
            let reason = reason.label().to_owned();
            labeled(
                &mut family,
                &[("front_end", front_end.name.to_owned()), ("reason", reason)],
                count,
            )?;
        }
    }
    let help = "What happened to connections";
    let mut family = encoder.encode_descriptor("connections", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        for &(event, count) in front_end.connections.iter().filter(|row| row.1 > 0) {
            let event = event.label().to_owned();
            labeled(
                &mut family,
                &[("front_end", front_end.name.to_owned()), ("event", event)],
                count,
            )?;
        }
    }
    let help = "Replies with TC set by front end";
    let mut family = encoder.encode_descriptor("truncated", help, None, MetricType::Counter)?;
    for front_end in front_ends {
        labeled(&mut family, &[("front_end", front_end.name.to_owned())], front_end.truncated)?;
    }
    encode_latency(encoder, front_ends)
}

/// Writes the sampled latency of each front end as a histogram.
fn encode_latency(
    encoder: &mut DescriptorEncoder<'_>,
    front_ends: &[FrontEndStats],
) -> Result<(), fmt::Error> {
    let help = "Sampled time from the receipt of a batch of queries to the sending of its replies";
    let kind = MetricType::Histogram;
    let mut family = encoder.encode_descriptor("latency_seconds", help, None, kind)?;
    for front_end in front_ends {
        let last = front_end.latency.len().saturating_sub(1);
        let buckets: Vec<(f64, u64)> = front_end
            .latency
            .iter()
            .enumerate()
            .map(|(index, (bound, count))| match index == last {
                true => (f64::MAX, *count),
                false => (bound.as_secs_f64(), *count),
            })
            .collect();
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        let labels = [("front_end", front_end.name.to_owned())];
        family.encode_family(&labels)?.encode_histogram::<NoLabels>(
            front_end.latency_sum.as_secs_f64(),
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

/// The label set of an exemplar that is never given.
type NoLabels = [(&'static str, &'static str); 0];

/// Writes a gauge.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// Writes a counter.
fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Writes a counter of a family.
fn labeled<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&'static str, String); N],
    count: u64,
) -> Result<(), fmt::Error> {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

/// Edges that have metrics of their own; a fleet that is larger is watched by its sums and `aspen-dns fleet`.
const EDGES_MAX: usize = 256;
