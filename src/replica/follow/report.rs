//! Says how far this edge is, and those behind it, to whom it follows.
//!
//! Each second in any case; at once where what is served goes on, what changes meanwhile told together. What
//! many edges behind this one say goes out in pieces, with a rest after each.
//!
//! **Invariant:** two reports are [`REPORT_QUICK_MS`] apart at least, and a millisecond more for each
//! [`REPORT_OCTETS_PER_MS`] octets; a peer of an older version gets the short form alone, each second.
//! **Not here:** what is known of those behind this edge (`mesh::fleet`), frames (`feed::frame`).

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Follow;
use crate::clock::now_ms;
use crate::feed::HistoryId;
use crate::feed::frame::EdgeReport;
use crate::feed::frame::fleet::{EdgeFacts, FleetEdge, FleetReport};
use crate::feed::segment::Position;
use crate::limits::{FLEET_HANDED_ON_MAX, REPORT_MS, REPORT_OCTETS_PER_MS, REPORT_QUICK_MS};
use crate::mesh::fleet::FleetNews;

/// What was told to whom is followed now.
#[derive(Debug)]
pub(super) struct Told {
    /// When this edge said last how it is, whether or not anything was new.
    at: Option<Instant>,
    /// Until when nothing is said.
    rest_until: Instant,
    /// What it said that it serves.
    served: Option<(HistoryId, Position)>,
    /// Up to which count of the fleet changes were told.
    changed: u64,
    /// Up to which count everything was told.
    heard: u64,
    /// Whether more of that is to be told.
    is_telling: bool,
    /// Hears of changes of what those behind this edge serve.
    news: watch::Receiver<u64>,
    /// Whether there were any that were not told.
    pub(super) has_fleet_news: bool,
    /// What the node around this edge said, of which only each second's is told: it takes a look at all zones.
    facts: Option<EdgeFacts>,
}

impl Told {
    /// Nothing was told.
    pub(super) fn nothing(news: watch::Receiver<u64>) -> Self {
        Self {
            at: None,
            rest_until: Instant::now(),
            served: None,
            changed: 0,
            heard: 0,
            is_telling: false,
            news,
            has_fleet_news: false,
            facts: None,
        }
    }

    /// Whether this edge is to say how it is, though nothing has changed.
    fn is_due(&self) -> bool {
        self.at.is_none_or(|at| at.elapsed() >= Duration::from_millis(REPORT_MS))
    }
}

impl Follow {
    /// Nobody was told anything yet: whoever is followed is new.
    pub(super) fn forget_told(&mut self) {
        self.told = Told::nothing(self.mesh.hub().watch_fleet());
    }

    /// For how long nothing is to be said although there is something; `None` where nothing waits.
    pub(super) fn report_rest(&self) -> Option<Duration> {
        let takes_fleet = self.upstream.as_ref().is_some_and(|up| up.stream.takes_fleet());
        let waits = takes_fleet && (self.told.is_telling || self.has_news());
        waits.then(|| self.told.rest_until.saturating_duration_since(Instant::now()))
    }

    /// Says what there is to say, if it is time.
    pub(super) async fn report(&mut self) {
        let Some(upstream) = &self.upstream else { return };
        let takes_fleet = upstream.stream.takes_fleet();
        // One who takes more than the short form is told all at once.
        let is_due = self.told.is_due() || (takes_fleet && self.told.facts.is_none());
        let is_quick = takes_fleet && (self.told.is_telling || self.has_news());
        let is_rested = Instant::now() >= self.told.rest_until;
        if !is_due && (!is_quick || !is_rested) {
            return;
        }
        let said =
            if takes_fleet { self.report_fleet(is_due).await } else { self.report_short().await };
        match said {
            Ok(octets) => {
                let rest_ms = (octets / REPORT_OCTETS_PER_MS) as u64;
                let rest = Duration::from_millis(rest_ms.max(REPORT_QUICK_MS));
                self.told.rest_until = Instant::now() + rest;
            }
            Err(error) => {
                tracing::info!(%error, "the one who was followed takes no report");
                self.lose_upstream();
            }
        }
    }

    /// Whether what is served, here or behind this edge, is not what was told.
    fn has_news(&self) -> bool {
        let place = self.client.with_mirror(|mirror| mirror.served_place());
        self.told.served != place || self.told.has_fleet_news
    }

    /// Says how this edge is to a peer of an older version.
    async fn report_short(&mut self) -> Result<usize, crate::mesh::dial::DialError> {
        let own = self.own_report();
        let report = EdgeReport {
            served: own.served,
            state: own.state,
            differing: own.differing,
            time_ms: now_ms(),
        };
        let Some(upstream) = &mut self.upstream else { return Ok(0) };
        upstream.stream.report(report).await?;
        self.told.at = Some(Instant::now());
        Ok(0)
    }

    /// Says how this edge is, and what is new of those behind it: all of it in its turn if that `is_due`.
    async fn report_fleet(&mut self, is_due: bool) -> Result<usize, crate::mesh::dial::DialError> {
        if is_due {
            self.told.is_telling = true;
            self.told.facts = Some(self.client.facts());
        }
        // What comes from here on wakes us again.
        self.told.has_fleet_news = false;
        let own = self.own_report();
        let Some(upstream) = &mut self.upstream else { return Ok(0) };
        let (hub, ends) = (self.mesh.hub(), (own.id, *upstream.id.as_bytes()));
        let namespace = self.ticket.namespace;
        let served = Some((own.history, own.served));
        let mut edges = vec![own];
        if self.told.is_telling {
            let (news, heard) =
                hub.fleet_news((namespace, self.told.heard), FleetNews::Heard, ends);
            self.told.heard = heard;
            self.told.is_telling = news.len() >= FLEET_HANDED_ON_MAX;
            edges.extend(news);
        } else {
            let since = (namespace, self.told.changed);
            let (news, changed) = hub.fleet_news(since, FleetNews::Changed, ends);
            self.told.changed = changed;
            self.told.has_fleet_news |= news.len() >= FLEET_HANDED_ON_MAX;
            edges.extend(news);
        }
        let left_out = hub.fleet_left_out(namespace).min(u64::from(u32::MAX)) as u32;
        let octets = upstream.stream.report_fleet(FleetReport { left_out, edges }).await?;
        self.told.served = served;
        if is_due {
            self.told.at = Some(Instant::now());
        }
        Ok(octets)
    }

    /// What this edge says of itself.
    fn own_report(&self) -> FleetEdge {
        let now = self.client.now_ms();
        let status = self.client.with_mirror(|mirror| mirror.status(now)).unwrap_or_default();
        let mut facts = self.told.facts.clone().unwrap_or_default();
        if facts.reason.is_none() {
            let differs = |apex| format!("{apex}: is not what its authority says");
            facts.reason = status.differing.first().map(crate::name::Name::to_fqdn).map(differs);
        }
        FleetEdge {
            id: *self.mesh.endpoint().id().as_bytes(),
            history: status.history,
            served: status.served,
            state: status.status as u8,
            differing: status.differing.len() as u32,
            beat_age_ms: status.beat_age_ms.map(|age| age.min(u64::from(u32::MAX - 1)) as u32),
            facts,
            ..FleetEdge::default()
        }
    }
}

/// Waits until something may be said; for ever where nothing waits.
pub(super) async fn rested(rest: Option<Duration>) {
    match rest {
        Some(rest) => tokio::time::sleep(rest).await,
        None => std::future::pending().await,
    }
}

/// Waits until what those behind this edge serve has changed, unless that waits to be told.
pub(super) async fn fleet_changed(told: &mut Told) {
    if told.has_fleet_news || told.news.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
