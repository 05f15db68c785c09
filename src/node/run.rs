//! Puts a node together from its parts, runs it, and takes it apart again.
//!
//! **Invariant:** no query is answered before the zones that the node has itself are published, and the
//! line `ready …` is printed when they are answered; nothing is left running after [`run`] returns.
//! **Not here:** which parts a plan has (`parts`), what comes before them (`prepare`), what runs (`services`).

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Plan};
use super::error::RunError;
use super::health::{Fault, Health};
use super::parts::Parts;
use super::prepare::{bind_api, bind_dns, prepare_data_dir};
use super::reload::{Reload, load_static, log_failed};
use super::service::Service;
use super::services;
use super::state::{BrokenFiles, NodeState};
use super::timing::CommitTimes;
use super::watchdog::Watchdog;
use crate::limits::STOP_MS;
use crate::mesh::Mesh;
use crate::publish::stage::{Rank, Stage};
use crate::zone::HashSeed;

/// Runs a node until SIGTERM or SIGINT, or until a part is broken for good; SIGHUP has it read zone
/// files that have changed.
///
/// # Errors
/// Every [`RunError`]; each is one line.
pub fn run(config: &Config) -> Result<(), RunError> {
    // Here and not in the binary: what a function awaits is compiled where it is waited for.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run_until_told(config));
    // A thread that still works on a dropped request must not keep the process.
    runtime.shutdown_background();
    result
}

/// Runs a node as [`run`] says.
async fn run_until_told(config: &Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let starting = Node::start(config);
    let node = tokio::select! {
        node = starting => node?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    node.print_ready();
    let mut watching = tokio::spawn(node.watchdog(config.ready_lag_ms).run());
    let fault = loop {
        tokio::select! {
            _ = hangup.recv() => node.read_files(),
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            fault = &mut watching => break Some(fault.unwrap_or(Fault::Watchdog)),
        }
    };
    let Some(fault) = fault else {
        // A part that ends because it is told to is not broken.
        watching.abort();
        let _ = watching.await;
        tracing::info!("stopping");
        node.stop().await;
        return Ok(());
    };
    // What still works ends in order, if it does so soon.
    let _ = tokio::time::timeout(Duration::from_millis(STOP_MS), node.stop()).await;
    Err(RunError::Broken(fault))
}

/// A running node.
struct Node {
    /// What the API shows.
    state: Arc<NodeState>,
    /// The API's address, if it listens.
    api_address: Option<SocketAddr>,
    /// Ends the exporters.
    stop_feeds: CancellationToken,
    /// What runs, in the order in which it ends.
    services: Vec<Service>,
    /// The peer, on a node that replicates.
    mesh: Option<Arc<Mesh>>,
    /// What reads zone files again.
    reload: Arc<Reload>,
    /// Asks it to.
    ask_files: mpsc::Sender<()>,
}

impl Node {
    /// Starts what the plan says.
    async fn start(config: &Config) -> Result<Self, RunError> {
        let started_at = Instant::now();
        let seed = HashSeed::random();
        let plan = &config.plan;
        // Addresses first: one that is in use should be said before a minute of work. Queries that come
        // until the front ends run wait in the kernel.
        let api = bind_api(config).await?;
        let key = prepare_data_dir(config, api.is_some())?;
        let usual = if matches!(plan, Plan::Static) { Rank::File } else { Rank::Store };
        let stage = Arc::new(Stage::new(seed, usual));
        let server = bind_dns(&config.dns, stage.reader())?;
        let wanted = config.clone();
        // Off the threads that hear of signals: large files take long.
        let loading = tokio::task::spawn_blocking(move || load_static(&wanted, seed)).await;
        let (files, mut loaded) = loading.map_err(std::io::Error::other)??;
        let mut failed = std::mem::take(&mut loaded.errors);
        let static_zones = AtomicU64::new(loaded.zone_count);
        let mut parts = Parts::new(stage);
        parts.start(config, loaded).await?;
        log_failed(&parts.stage, &mut failed);
        let reader = parts.stage.reader();
        let state = Arc::new(NodeState {
            role: plan.role_name(),
            started_at,
            reader: reader.clone(),
            server: server.with_reader(reader).start()?,
            static_zones,
            broken_files: Mutex::new(BrokenFiles::of(&failed)),
            stage: Arc::clone(&parts.stage),
            store: parts.store,
            feeds: parts.feeds,
            client: parts.client,
            commit_times: CommitTimes::since(parts.progress.now().heard),
            progress: parts.progress,
            health: Health::default(),
        });
        let (services, mesh, stop_feeds) = (parts.services, parts.mesh, parts.stop_feeds);
        let reload = Arc::new(Reload::new(files, parts.stage));
        let (reading, ask_files) = services::files(Arc::clone(&reload), Arc::clone(&state));
        let (api_address, mut first) = (None, Vec::new());
        let mut node = Self { state, api_address, stop_feeds, services, mesh, reload, ask_files };
        if let (Some(api), Some(key)) = (api, key) {
            node.api_address = Some(api.address()?);
            first.push(services::api(api, key, Arc::clone(&node.state)));
        }
        first.push(reading);
        if node.state.store.is_some() {
            first.push(services::time_commits(Arc::clone(&node.state)));
        }
        // Requests end before what they ask.
        node.services.splice(0..0, first);
        Ok(node)
    }

    /// Prepares what watches over the parts.
    fn watchdog(&self, ready_lag_ms: u64) -> Watchdog {
        let watched = |service: &Service| Some((service.what(), service.watched()?));
        let tasks = self.services.iter().filter_map(watched).collect();
        let mesh = self.mesh.as_deref().cloned();
        Watchdog::new(Arc::clone(&self.state), mesh, tasks, ready_lag_ms)
    }

    /// Prints the one line that says that the node answers.
    fn print_ready(&self) {
        let dns: Vec<String> = self.state.dns_addresses().iter().map(ToString::to_string).collect();
        let api = self.api_address.map_or("off".to_owned(), |address| address.to_string());
        let mut out = std::io::stdout().lock();
        let line = format!("ready dns={} api={api} role={}\n", dns.join(","), self.state.role);
        // Nobody may be reading; that is no reason to stop.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            tracing::warn!("standard output is closed");
        }
    }

    /// Asks for a reading of the zone files that have changed.
    fn read_files(&self) {
        // Where it was asked for already, one reading does for both.
        let _ = self.ask_files.try_send(());
    }

    /// Ends everything: no new requests, what was received is answered, then the parts.
    async fn stop(self) {
        let limit = Duration::from_millis(STOP_MS);
        // While it still answers: what would be lost is read anew at the next start.
        let reload = self.reload;
        let _ =
            tokio::time::timeout(limit, tokio::task::spawn_blocking(move || reload.stop())).await;
        self.stop_feeds.cancel();
        for service in self.services {
            service.stop().await;
        }
        let Ok(state) = Arc::try_unwrap(self.state) else {
            // The store has it and does not answer; the front ends stop when it lets go.
            tracing::warn!("a request outlived the node");
            return;
        };
        let server = state.server;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || server.shutdown()).await {
            tracing::error!(%error, "a front end ended badly");
        }
        if let Some(feeds) = state.feeds.and_then(Arc::into_inner) {
            let _ = tokio::time::timeout(limit, feeds.stopped()).await;
        }
        if let Some(mesh) = self.mesh.and_then(Arc::into_inner) {
            mesh.shutdown().await;
        }
    }
}
