//! A whole feed in one process, where everything goes wrong: the real exporter over a store in memory,
//! and edges around real mirrors.
//!
//! A seed decides what happens next: commits, versions, segments that get lost or come twice or by
//! another edge, contents that are late or gone, crashes, a store that is put back. Everything that an
//! edge shows is compared with what was ever true; at last all is let come to rest, and every edge must
//! show what the store holds.

mod author;
mod edge;
mod store;
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use author::Exporter;
use edge::{Edge, Fault, Stream, World};
use store::{State, Store, apexes};

use crate::limits::LOG_COMMIT_ZONES_MAX;
use crate::mesh::log::Standing;
use crate::name::Name;
use crate::seeded::Seeded;
use crate::sync::status::SyncStatus;

/// The feed.
const NAMESPACE: [u8; 32] = [7; 32];

/// What a run is like.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Decides everything.
    seed: u64,
    /// How many things happen before all comes to rest.
    steps: usize,
    /// What the edges do wrong.
    fault: Fault,
    /// Whether stores are put back and exporters lose versions.
    has_disasters: bool,
    /// Whether some versions are read before the commits that come while they are made.
    reads_early: bool,
}

/// The network.
struct Net {
    random: Seeded,
    store: Arc<Store>,
    exporter: Exporter,
    edges: Vec<Edge>,
    now_ms: u64,
    /// A copy of the store that may be put back.
    copy: Option<State>,
    /// Whether all comes to rest.
    is_calm: bool,
    /// Whether edges follow the one before them, in the end.
    is_chain: bool,
    /// The edges that were refused when they tried last.
    refused: HashSet<usize>,
    plan: Plan,
}

/// Runs a plan; returns how many differences each edge saw, and how many healed. What must not be is an
/// error.
fn run(plan: Plan) -> Result<Vec<(u64, u64)>, String> {
    run_with(plan, LOG_COMMIT_ZONES_MAX)
}

/// The same with a log whose commits have so many zones at most.
fn run_with(plan: Plan, commit_zones_max: u64) -> Result<Vec<(u64, u64)>, String> {
    let mut random = Seeded(plan.seed);
    let store = Store::new(&mut random);
    let mut exporter = Exporter::new(Arc::clone(&store));
    exporter.commit_zones_max = commit_zones_max;
    let edges = (0..1 + random.below(3)).map(|_| Edge::new(plan.fault)).collect();
    let is_chain = random.percent(40);
    let mut net = Net {
        random,
        store,
        exporter,
        edges,
        now_ms: 1_000,
        copy: None,
        is_calm: false,
        is_chain,
        refused: HashSet::new(),
        plan,
    };
    for _ in 0..plan.steps {
        net.step();
        net.check()?;
    }
    net.rest()?;
    Ok(net.edges.iter().map(Edge::differences).collect())
}

impl Net {
    /// One thing happens.
    fn step(&mut self) {
        self.now_ms += self.random.below(30) as u64;
        let edge = self.random.below(self.edges.len());
        let reads_early = self.plan.reads_early && self.random.0.is_multiple_of(2);
        match self.random.below(1_000) {
            0..200 => self.store.commit(&mut self.random),
            200..330 => {
                let count = 1 + self.random.below(6);
                self.exporter.take_commits(count);
            }
            330..430 => self.exporter.make(reads_early),
            430..470 => self.exporter.beat(),
            470..740 => self.deliver(edge),
            740..880 => self.fetch(edge),
            880..920 => self.with_edge(edge, Edge::finish_building),
            920..945 => self.connect(edge),
            945..955 => self.edges[edge].stream = None,
            955..960 => self.edges[edge].collect(),
            960..964 => self.edges[edge].mirror.refresh(),
            964..970 => self.restart(edge),
            970..973 => self.exporter.crash(0, &mut self.random),
            973..975 => self.exporter.retire(),
            975..977 => self.store.compact(&mut self.random),
            977..980 => {
                let is_failing = self.random.percent(50);
                self.store.is_failing.store(is_failing, Ordering::Relaxed);
            }
            980..983 => self.exporter.set_failing(self.random.0.is_multiple_of(3)),
            983..985 if self.plan.has_disasters => self.disaster(),
            _ => {
                let now_ms = self.now_ms;
                self.edges[edge].mirror.handle_time(now_ms);
            }
        }
        if !self.exporter.is_working() && self.random.percent(30) {
            self.exporter.begin(reads_early);
        }
        self.work(edge);
    }

    /// The store is put back, or versions are lost.
    fn disaster(&mut self) {
        match self.random.below(4) {
            0 => {
                let lost = self.random.below(4);
                self.exporter.crash(lost, &mut self.random);
            }
            1 => {
                if let Some(copy) = self.copy.take() {
                    self.store.put_back(copy);
                    let lost = self.random.below(2) * self.random.below(6);
                    self.exporter.crash(lost, &mut self.random);
                }
            }
            _ => self.copy = Some(self.store.state().clone()),
        }
    }

    /// An edge crashes.
    fn restart(&mut self, edge: usize) {
        let is_lost = self.random.percent(10);
        for other in &mut self.edges {
            if other.stream.as_ref().is_some_and(|stream| stream.peer == Some(edge)) {
                other.stream = None;
            }
        }
        let world = World {
            depot: &self.exporter.depot,
            store: &self.store,
            now_ms: self.now_ms,
            is_judged: !self.is_calm,
        };
        self.edges[edge].restart(is_lost, &world, &mut self.random);
    }

    /// Does something with an edge.
    fn with_edge(&mut self, edge: usize, act: impl FnOnce(&mut Edge, &World<'_>)) {
        let world = World {
            depot: &self.exporter.depot,
            store: &self.store,
            now_ms: self.now_ms,
            is_judged: !self.is_calm,
        };
        act(&mut self.edges[edge], &world);
    }

    /// An edge does what follows.
    fn work(&mut self, edge: usize) {
        let is_slow = !self.is_calm && self.random.percent(40);
        self.with_edge(edge, |edge, world| edge.work(is_slow, world));
    }

    /// An edge dials somebody and says hello.
    fn connect(&mut self, edge: usize) {
        let peer = match self.is_calm {
            // Who is refused tries others, as any edge.
            true if self.is_chain && !self.refused.contains(&edge) => edge.checked_sub(1),
            true => None,
            false => Some(self.random.below(self.edges.len() * 2)),
        };
        let peer = peer.filter(|peer| *peer < self.edges.len());
        if peer == Some(edge) {
            return;
        }
        let now_ms = self.now_ms;
        let hello = self.edges[edge].hello();
        let log = match peer {
            Some(peer) => self.edges[peer].relay.log(),
            None => &self.exporter.log,
        };
        let (standing, place) = log.standing(hello.history, hello.position);
        let is_refused = matches!(standing, Standing::NotReady | Standing::Ahead);
        if peer.is_none() && standing != Standing::NotReady {
            self.exporter.judge(&hello.proofs);
        }
        match is_refused {
            true => self.refused.insert(edge),
            false => self.refused.remove(&edge),
        };
        let stream = Stream { peer, place, frames: Default::default() };
        let edge = &mut self.edges[edge];
        edge.stream = (!is_refused).then_some(stream);
        edge.mirror.handle_streams(usize::from(!is_refused), now_ms);
    }

    /// Segments arrive at an edge; the stream may break.
    fn deliver(&mut self, edge: usize) {
        let octets_max = 1 << self.random.below(16);
        let Some(peer) = self.edges[edge].stream.as_ref().map(|stream| stream.peer) else { return };
        let log = Arc::clone(match peer {
            Some(peer) => self.edges[peer].relay.log(),
            None => &self.exporter.log,
        });
        let Some(stream) = &mut self.edges[edge].stream else { return };
        let supply = log.supply(stream.place, octets_max);
        let is_over = supply.is_none();
        if let Some(supply) = supply {
            stream.place = supply.place;
            stream.frames.extend(supply.frames);
        }
        let count = self.random.below(4);
        let mut arrived = Vec::new();
        for _ in 0..if self.is_calm { usize::MAX } else { count } {
            let Some(frame) = stream.frames.pop_front() else { break };
            arrived.push(frame.slice(5..));
        }
        let twice = !self.is_calm && self.random.percent(5);
        self.with_edge(edge, |edge, world| {
            for octets in arrived {
                if twice {
                    edge.take_new(&octets, world);
                }
                edge.take_new(&octets, world);
            }
            if is_over {
                edge.stream = None;
                edge.mirror.handle_streams(0, world.now_ms);
            }
        });
    }

    /// A content arrives at an edge, or fails.
    fn fetch(&mut self, edge: usize) {
        let count = self.edges[edge].fetching.len();
        if count == 0 {
            return;
        }
        let at = self.random.below(count);
        let wish = self.edges[edge].fetching.swap_remove(at);
        let others = (0..self.edges.len()).any(|other| {
            let is_near = !self.is_calm || !self.is_chain || other + 1 == edge || other == edge;
            is_near && self.edges[other].has(&wish.hash)
        });
        let is_author_near = !self.is_calm || !self.is_chain || edge == 0;
        let is_here = others || (is_author_near && self.exporter.depot.is_here(&wish.hash));
        let is_here = is_here && (self.is_calm || !self.random.percent(15));
        self.with_edge(edge, |edge, world| edge.take_content(wish, is_here, world));
    }

    /// Checks what must hold at any time.
    fn check(&self) -> Result<(), String> {
        if let Some(wrong) = &self.exporter.wrong {
            return Err(wrong.clone());
        }
        for (index, edge) in self.edges.iter().enumerate() {
            if let Some(wrong) = &edge.wrong {
                return Err(format!("edge {index}: {wrong}"));
            }
            if let Some(apex) = self.lacking(edge) {
                let (status, known) =
                    (edge.mirror.status(self.now_ms), edge.mirror.zone_digest(apex));
                return Err(format!("edge {index}: {apex} is not served, {known:?}: {status:?}"));
            }
        }
        Ok(())
    }

    /// A zone that is older than the revision that an edge says it serves.
    fn lacking(&self, edge: &Edge) -> Option<&'static Name> {
        let status = edge.mirror.status(self.now_ms);
        let (history, served) = (status.history, status.served.revision);
        if self.store.is_parted(history) {
            return None;
        }
        apexes().iter().find(|apex| {
            let shown = edge.mirror.zone_digest(apex).map(|known| known.0);
            !self.store.has_all(history, apex, shown, served)
        })
    }

    /// Lets everything come to rest.
    fn rest(&mut self) -> Result<(), String> {
        self.is_calm = true;
        self.store.is_failing.store(false, Ordering::Relaxed);
        self.exporter.set_failing(false);
        self.edges.iter_mut().for_each(|edge| edge.stream = None);
        let mut why = String::new();
        for _ in 0..ROUNDS_MAX {
            self.now_ms += 500;
            if !self.exporter.is_working() {
                self.exporter.begin(false);
            }
            self.exporter.take_commits(usize::MAX);
            if self.exporter.is_behind() {
                self.exporter.make(false);
            }
            self.exporter.beat();
            for edge in 0..self.edges.len() {
                if self.edges[edge].stream.is_none() {
                    self.connect(edge);
                }
                self.deliver(edge);
                self.with_edge(edge, Edge::finish_building);
                for _ in 0..50 {
                    self.work(edge);
                    self.fetch(edge);
                }
                let now_ms = self.now_ms;
                self.edges[edge].mirror.handle_time(now_ms);
                self.work(edge);
            }
            self.check()?;
            match self.disagreement() {
                None => return Ok(()),
                Some(found) => why = found,
            }
            // As a task refreshes from time to time.
            if self.now_ms % 30_000 < 500 {
                self.edges.iter_mut().for_each(|edge| edge.mirror.refresh());
            }
        }
        Err(format!("does not come to rest: {why}"))
    }

    /// What is not yet as it must be in the end.
    fn disagreement(&self) -> Option<String> {
        if self.exporter.is_behind() || self.exporter.at() != Some(self.store.state().revision) {
            return Some(format!("the exporter is at {:?}", self.exporter.at()));
        }
        let answered = self.store.answered();
        for (index, edge) in self.edges.iter().enumerate() {
            let status = edge.mirror.status(self.now_ms);
            if status.status != SyncStatus::Synced {
                let mut zones: Vec<_> = edge
                    .mirror
                    .zone_digests()
                    .map(|(apex, at, _)| (apex.to_string(), at))
                    .collect();
                zones.sort_unstable();
                let heads = self.exporter.heads();
                return Some(format!("edge {index}: {status:?}, {zones:?}; exporter {heads:?}"));
            }
            for (apex, (revision, contents)) in &answered {
                let Some(shown) = edge.shown.get(apex) else {
                    return Some(format!("edge {index}: {apex} is not shown, {status:?}"));
                };
                let known = edge.mirror.zone_digest(apex).map(|known| known.0);
                if shown.contents != **contents || known != Some(*revision) {
                    return Some(format!(
                        "edge {index}: {apex} is shown at {known:?} and must be at {revision}"
                    ));
                }
            }
            let more = edge.shown.keys().find(|apex| !answered.contains_key(*apex));
            if let Some(apex) = more {
                return Some(format!("edge {index}: {apex} is still shown"));
            }
        }
        None
    }
}

/// Rounds in which everything comes to rest.
const ROUNDS_MAX: usize = 400;
