//! Numbers for a monitoring system, as Prometheus text and as PowerDNS's statistics.
//!
//! A scrape reads what the parts count anyway; only the time from commit to answer is measured
//! here, by [`Metrics::observe_commit`].
//!
//! **Invariant:** a scrape locks nothing that an answer needs.
//! **Not here:** the counters of the parts (`serve::stats`, `sync`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use super::state::{NodeState, Progress};
use super::status::{EntriesReport, FeedReport, LogReport, SyncReport};
use crate::limits::{COMMIT_WAIT_S_MAX, COMMITS_TIMED_MAX};
use crate::replica::AspenDnsClient;
use crate::serve::stats::FrontEndStats;
use crate::store::StoreError;

/// What is measured while the node runs.
#[derive(Debug)]
pub struct Metrics {
    /// Seconds from the end of a commit until this node answers with it.
    commit_to_answer_s: Histogram,
    /// A place for each commit that is being timed.
    timed: Arc<Semaphore>,
}

impl Default for Metrics {
    /// Returns metrics that have measured nothing.
    fn default() -> Self {
        Self {
            commit_to_answer_s: Histogram::new(COMMIT_BUCKETS_S),
            timed: Arc::new(Semaphore::new(COMMITS_TIMED_MAX as usize)),
        }
    }
}

impl Metrics {
    /// Measures how long it takes until this node answers with a commit that was made just now.
    pub fn observe_commit(&self, progress: &Progress, revision: u64) {
        // Under a flood of commits some are not measured; the others tell enough.
        let Ok(permit) = Arc::clone(&self.timed).try_acquire_owned() else { return };
        let (progress, histogram) = (progress.clone(), self.commit_to_answer_s.clone());
        let committed_at = Instant::now();
        tokio::spawn(async move {
            if progress.wait(revision, Duration::from_secs(COMMIT_WAIT_S_MAX)).await {
                histogram.observe(committed_at.elapsed().as_secs_f64());
            }
            drop(permit);
        });
    }
}

/// Returns the metrics as text.
///
/// # Errors
/// Those of the store.
pub async fn text(node: &Arc<NodeState>) -> Result<String, StoreError> {
    let mut registry = Registry::with_prefix("aspen");
    registry.register(
        "commit_to_answer_seconds",
        "Time from the end of a commit until this node answers with it",
        node.metrics.commit_to_answer_s.clone(),
    );
    let store_revision = match &node.store {
        Some(store) => Some(store.revision().await?),
        None => None,
    };
    registry.register_collector(Box::new(Scrape { node: Arc::clone(node), store_revision }));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut out, &registry);
    Ok(out)
}

/// Returns some of the numbers by the names that PowerDNS's clients know.
pub fn statistics(node: &NodeState) -> Vec<(String, u64)> {
    let stats = node.server.stats();
    let mut rows = vec![
        ("uptime".to_owned(), node.started_at.elapsed().as_secs()),
        ("zones".to_owned(), node.reader.load().zone_count()),
        ("zones-held".to_owned(), node.held_count()),
        ("served-revision".to_owned(), node.progress.now().served),
        ("heard-revision".to_owned(), node.progress.now().heard),
    ];
    for front_end in &stats.front_ends {
        rows.push((format!("{}-queries", front_end.name), front_end.queries));
        rows.push((format!("{}-truncated", front_end.name), front_end.truncated));
    }
    rows
}

/// The numbers of one scrape.
#[derive(Debug)]
struct Scrape {
    /// Where they are read.
    node: Arc<NodeState>,
    /// The store's newest revision, on a node that has a store.
    store_revision: Option<u64>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let node = &self.node;
        let revisions = node.progress.now();
        let gauges = [
            ("zones", "Zones that are answered", node.reader.load().zone_count()),
            ("zones_held", "Zones that are ours and answered with SERVFAIL", node.held_count()),
            ("static_zones", "Zones from files", node.static_zones.load(Ordering::Relaxed)),
            ("served_revision", "Newest revision that is answered as a whole", revisions.served),
            ("heard_revision", "Newest revision known to exist", revisions.heard),
            ("uptime_seconds", "Seconds since the start", node.started_at.elapsed().as_secs()),
        ];
        for (name, help, value) in gauges {
            gauge(&mut encoder, name, help, value)?;
        }
        let published = node.reader.stats();
        let help = "Times that changes became visible, all that were ready at once";
        counter(&mut encoder, "publishes", help, published.publishes)?;
        let help = "Changes of RRsets and of whole zones that became visible";
        counter(&mut encoder, "published_changes", help, published.changes)?;
        if let Some(revision) = self.store_revision {
            gauge(&mut encoder, "store_revision", "Newest revision of the store", revision)?;
        }
        if let Some(store) = &node.store {
            let found = store.recounts();
            let help = "Zones of the store that were counted anew, again and again";
            counter(&mut encoder, "store_recounts", help, found.counted.load(Ordering::Relaxed))?;
            let help =
                "Zones of which the store did not say what their records come to, and does now";
            counter(
                &mut encoder,
                "store_recounts_mended",
                help,
                found.mended.load(Ordering::Relaxed),
            )?;
        }
        if let Some(feeds) = &node.feeds {
            let status = *feeds.main().status().borrow();
            let help = "Newest revision of which the feed has everything";
            gauge(&mut encoder, "exported_revision", help, status.revision.revision)?;
            let help = "Times the exporter began anew";
            counter(&mut encoder, "export_restarts", help, status.restarts)?;
            let help = "Where the newest version of the document holds";
            gauge(&mut encoder, "document_revision", help, status.document.revision)?;
            let help = "Number of the newest version of the document";
            gauge(&mut encoder, "document_version", help, status.version)?;
            let help = "Times a version of the document could not be written";
            counter(&mut encoder, "document_faults", help, status.document_faults)?;
            let help = "Seconds for which no version of the document could be written";
            gauge(
                &mut encoder,
                "document_failing_seconds",
                help,
                status.document_failing_ms / 1_000,
            )?;
            let help = "Zones whose records or packs did not come to what they must";
            counter(&mut encoder, "digest_faults", help, status.digest_faults)?;
            let help = "Zones of the document that were not what they must be when read last";
            gauge(&mut encoder, "wrong_zones", help, status.wrong_zones)?;
            let help = "Who follows the feed at this node";
            gauge(&mut encoder, "followers", help, feeds.main().followers().len() as u64)?;
        }
        if let Some(client) = &node.client {
            encode_sync(&mut encoder, client)?;
        }
        encode_front_ends(&mut encoder, &node.server.stats().front_ends)
    }
}

/// Writes how an edge follows its feed.
fn encode_sync(
    encoder: &mut DescriptorEncoder<'_>,
    client: &AspenDnsClient,
) -> Result<(), fmt::Error> {
    let report = SyncReport::of(client);
    let help = "1 if everything that the feed is known to hold is answered";
    gauge(encoder, "sync_is_synced", help, u64::from(report.is_synced()))?;
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

/// Writes what only a feed with a log has.
fn encode_log(encoder: &mut DescriptorEncoder<'_>, log: &LogReport) -> Result<(), fmt::Error> {
    let gauges = [
        ("sync_beat_age_milliseconds", "Age of the author's newest heartbeat", log.beat_age_ms),
        ("sync_contact_age_milliseconds", "Since anybody was heard", Some(log.contact_age_ms)),
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

/// Bounds of the histogram from commit to answer, in seconds.
const COMMIT_BUCKETS_S: [f64; 14] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
