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

use super::config::{Config, Plan};
use super::early::Early;
use super::error::RunError;
use super::health::{Fault, Health};
use super::parts::Parts;
use super::prepare::{bind_api, bind_dns, prepare_data_dir};
use super::reload::{Reload, load_static, log_failed};
use super::service::Service;
use super::services;
use super::state::{BrokenFiles, NodeState};
use super::timing::CommitTimes;
use super::watchdog::{ReadyLimits, Watchdog};
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
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let Some(node) = Node::start(config, told).await? else { return Ok(()) };
    node.print_ready();
    let mut watching = tokio::spawn(node.watchdog(ReadyLimits::of(config)).run());
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
    /// What runs, in the order in which it was started: each uses only what is before it.
    services: Vec<Service>,
    /// The peer, on a node that replicates.
    mesh: Option<Arc<Mesh>>,
    /// Asks for another reading of the zone files.
    ask_files: mpsc::Sender<()>,
}

impl Node {
    /// Starts what the plan says; nothing if it is `told` to end meanwhile.
    async fn start(
        config: &Config,
        told: impl Future<Output = ()>,
    ) -> Result<Option<Self>, RunError> {
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
        let loading = tokio::task::spawn_blocking(move || load_static(&wanted, seed));
        let mut told = std::pin::pin!(told);
        let loading = tokio::select! {
            loading = loading => loading,
            () = &mut told => return Ok(None),
        };
        let (files, mut loaded) = loading.map_err(std::io::Error::other)??;
        let mut failed = std::mem::take(&mut loaded.errors);
        let static_zones = AtomicU64::new(loaded.zone_count);
        let mut parts = Parts::new(stage, Early::new(server, api));
        let started = tokio::select! {
            started = parts.start(config, loaded) => started.map(|()| true),
            () = told => Ok(false),
        };
        if !matches!(started, Ok(true)) {
            stop(parts.services).await;
            return started.map(|_| None);
        }
        log_failed(&parts.stage, &mut failed);
        let reader = parts.stage.reader();
        let mut services = parts.services;
        let (answering, server) = parts.early.finish(reader.clone())?;
        services.push(answering);
        let state = Arc::new(NodeState {
            role: plan.role_name(),
            started_at,
            data_dir: config.data_dir.clone(),
            reader,
            server,
            static_zones,
            broken_files: Mutex::new(BrokenFiles::of(&failed)),
            stage: Arc::clone(&parts.stage),
            store: parts.store,
            feeds: parts.feeds,
            client: parts.client,
            mesh: parts.mesh.clone(),
            commit_times: CommitTimes::since(parts.progress.now().heard),
            progress: parts.progress,
            health: Health::default(),
        });
        if state.client.is_some() {
            services.push(services::count_queries(Arc::clone(&state)));
        }
        if state.store.is_some() {
            services.push(services::time_commits(Arc::clone(&state)));
        }
        let mut api_address = None;
        if let (Some(api), Some(key)) = (parts.early.api, key) {
            api_address = Some(api.address()?);
            services.push(services::api(api, key, Arc::clone(&state)));
        }
        let reload = Arc::new(Reload::new(files, parts.stage));
        // The first that ends, while all is still answered: what it could not keep is read anew at the next start.
        let (reading, ask_files) = services::files(reload, Arc::clone(&state));
        services.push(reading);
        Ok(Some(Self { state, api_address, services, mesh: parts.mesh, ask_files }))
    }

    /// Prepares what watches over the parts.
    fn watchdog(&self, ready: ReadyLimits) -> Watchdog {
        let watched = |service: &Service| Some((service.what(), service.watched()?));
        let tasks = self.services.iter().filter_map(watched).collect();
        let mesh = self.mesh.as_deref().cloned();
        Watchdog::new(Arc::clone(&self.state), mesh, tasks, ready)
    }

    /// Prints the one line that says that the node answers.
    fn print_ready(&self) {
        let dns: Vec<String> = self.state.dns_addresses().iter().map(ToString::to_string).collect();
        let api = self.api_address.map_or("off".to_owned(), |address| address.to_string());
        let mut out = std::io::stdout().lock();
        // At enrolment it is put on the list of a feed by this key.
        let endpoint = self.state.endpoint().map(|key| format!(" endpoint={key}"));
        let (dns, role, endpoint) = (dns.join(","), self.state.role, endpoint.unwrap_or_default());
        let line = format!("ready dns={dns} api={api} role={role}{endpoint}\n");
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
        stop(self.services).await;
    }
}

/// Ends services, the last first.
async fn stop(services: Vec<Service>) {
    for service in services.into_iter().rev() {
        service.stop().await;
    }
}
