//! Puts a node together from its parts, runs it, and takes it apart again.
//!
//! | plan | store and feeds | what is answered |
//! |---|---|---|
//! | static | none | zones from files |
//! | authority, all | yes | zones from files, and every commit at once (`node::follow`); `all` has an example in an empty store |
//! | edge | none | zones from files, and what it receives of the ticket's feed |
//!
//! **Invariant:** no query is answered before the zones that the node has itself are published, and the
//! line `ready …` is printed when they are answered; nothing is left running after [`run`] returns.
//! **Not here:** what the parts do, what comes before them (`node::prepare`).

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::BoundApi;
use super::api::auth::ApiKey;
use super::config::{Flags, Plan, PlanError, StoreChoice};
use super::feeds::{Feeds, FeedsError};
use super::follow::{FollowError, Follower};
use super::health::{Fault, Health};
use super::metrics::Metrics;
use super::origin::{self, OriginError};
use super::prepare::{bind_api, bind_dns, prepare_data_dir};
use super::reload::{Reload, load_static, stage_files};
use super::state::{NodeState, Progress};
use super::watchdog::Watchdog;
use crate::files::{Refreshed, ZoneFileError};
use crate::limits::{FREE_RETIRED_MS, STOP_MS};
use crate::mesh::{Documents, Mesh, MeshConfig, MeshError};
use crate::publish::Reader;
use crate::publish::stage::{Rank, Stage};
use crate::replica::{
    AspenDnsClient, ClientError, ListenerError, documents_for, spawn_dns_sync_listener,
};
use crate::serve::BindError;
use crate::store::DnsStore;
use crate::ticket::DnsClientTicket;
use crate::zone::HashSeed;

/// Why a node does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flags cannot be meant together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A zone file is not served.
    #[error(transparent)]
    ZoneFile(#[from] ZoneFileError),
    /// A DNS address is not to be had.
    #[error("--dns-listen: {0}")]
    Dns(#[from] BindError),
    /// The API's address is not to be had.
    #[error("--api-listen: cannot listen on {address}: {source}")]
    Api {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store does not open.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The peer-to-peer side does not start.
    #[error("{}", text_of(.0))]
    Mesh(#[from] MeshError),
    /// A feed cannot be written.
    #[error(transparent)]
    Feeds(#[from] FeedsError),
    /// The store cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A zone file is none that an edge can serve.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The ticket's feed cannot be followed.
    #[error("--ticket: {0}")]
    Listener(#[from] ListenerError),
    /// A file or directory below the data directory.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part is broken for good.
    #[error("{0}; ends, to be started again")]
    Broken(Fault),
    /// The system gives no threads or signals.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a node until SIGTERM or SIGINT, or until a part is broken for good; SIGHUP has it read zone files that have changed.
///
/// # Errors
/// Every [`RunError`]; each is one line.
pub async fn run(flags: &Flags) -> Result<(), RunError> {
    let plan = Plan::from_flags(flags)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let starting = Node::start(flags, &plan);
    let node = tokio::select! {
        node = starting => node?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    node.print_ready();
    let mut watching = tokio::spawn(node.watchdog(flags.ready_lag_ms).run());
    let fault = loop {
        tokio::select! {
            _ = hangup.recv() => node.spawn_reload(),
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
    /// Ends the tasks.
    stop: CancellationToken,
    /// The tasks, by what they do.
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    /// The peer, on a node that replicates.
    mesh: Option<Arc<Mesh>>,
    /// What reads zone files again.
    reload: Arc<Reload>,
}

/// What the roles differ in.
#[derive(Default)]
struct Parts {
    /// The store.
    store: Option<Arc<DnsStore>>,
    /// The feeds made from it.
    feeds: Option<Arc<Feeds>>,
    /// The edge.
    client: Option<Arc<AspenDnsClient>>,
    /// The peer.
    mesh: Option<Arc<Mesh>>,
    /// How far the answers are.
    progress: Progress,
    /// The tasks, by what they do.
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Node {
    /// Starts what the plan says.
    async fn start(flags: &Flags, plan: &Plan) -> Result<Self, RunError> {
        let started_at = Instant::now();
        let seed = HashSeed(rand::random());
        // Addresses first: one that is in use should be said before a minute of work. Queries that come
        // until the front ends run wait in the kernel.
        let api = bind_api(flags, plan).await?;
        let key = prepare_data_dir(flags, plan, api.is_some())?;
        let usual = if matches!(plan, Plan::Static) { Rank::File } else { Rank::Store };
        let stage = Arc::new(Stage::new(seed, usual));
        let server = bind_dns(flags, stage.reader())?;
        let (files, loaded) = load_static(flags, seed)?;
        let static_zones = AtomicU64::new(loaded.zone_count);
        let stop = CancellationToken::new();
        let mut parts = Parts::default();
        let reader = parts.first_load(flags, plan, &stage, loaded, &stop).await?;
        let stage = parts.client.as_ref().map_or(stage, |client| Arc::clone(client.stage()));
        let state = Arc::new(NodeState {
            role: role_name(plan),
            started_at,
            reader: reader.clone(),
            server: server.with_reader(reader).start()?,
            static_zones,
            store: parts.store,
            feeds: parts.feeds,
            client: parts.client,
            progress: parts.progress,
            metrics: Metrics::default(),
            health: Health::default(),
        });
        let (tasks, mesh) = (parts.tasks, parts.mesh);
        let reload = Arc::new(Reload::new(files, stage));
        let mut node = Self { state, api_address: None, stop, tasks, mesh, reload };
        if let (Some(api), Some(key)) = (api, key) {
            node.spawn_api(api, key)?;
        }
        Ok(node)
    }

    /// Starts the task that answers the API.
    fn spawn_api(&mut self, api: BoundApi, key: ApiKey) -> Result<(), RunError> {
        self.api_address = Some(api.address()?);
        let serving = api.serve(key, Arc::clone(&self.state), self.stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API has ended");
            }
        });
        self.tasks.push(("answers the API", task));
        Ok(())
    }

    /// Prepares what watches over the parts.
    fn watchdog(&self, ready_lag_ms: u64) -> Watchdog {
        let tasks = self.tasks.iter().map(|(what, task)| (*what, task.abort_handle())).collect();
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

    /// Begins to read the zone files that have changed.
    fn spawn_reload(&self) {
        let (reload, state) = (Arc::clone(&self.reload), Arc::clone(&self.state));
        tokio::task::spawn_blocking(move || {
            if let Some(zones) = reload.run() {
                state.static_zones.store(zones, Ordering::Relaxed);
            }
        });
    }

    /// Ends everything: no new requests, what was received is answered, then the parts.
    async fn stop(self) {
        let limit = Duration::from_millis(STOP_MS);
        // While it still answers: what would be lost is read anew at the next start.
        let reload = self.reload;
        let _ =
            tokio::time::timeout(limit, tokio::task::spawn_blocking(move || reload.stop())).await;
        self.stop.cancel();
        for (_, task) in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(limit, task).await.is_err() {
                abort.abort();
            }
        }
        let Ok(state) = Arc::try_unwrap(self.state) else {
            // A request still runs; the front ends stop when it lets go.
            tracing::debug!("a request outlived the node");
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

impl Parts {
    /// Starts what the plan says and returns what is to be answered, once everything that the node has
    /// itself is published there.
    async fn first_load(
        &mut self,
        flags: &Flags,
        plan: &Plan,
        stage: &Arc<Stage>,
        loaded: Refreshed,
        stop: &CancellationToken,
    ) -> Result<Reader, RunError> {
        match plan {
            Plan::Static | Plan::Authority(_) | Plan::All(_) => {
                stage_files(stage, loaded);
                if let Plan::Authority(choice) | Plan::All(choice) = plan {
                    self.start_origin(flags, choice, stop).await?;
                    if matches!(plan, Plan::All(_)) {
                        self.offer_example().await?;
                    }
                    self.start_follower(stage, stop).await?;
                }
                self.spawn_free_retired(Arc::clone(stage), stop.clone());
                Ok(stage.reader())
            }
            Plan::Edge(ticket) => {
                let seed = stage.catalog().seed();
                let client =
                    AspenDnsClient::builder().seed(seed).ticket(ticket.as_ref().clone()).build()?;
                stage_files(client.stage(), loaded);
                let reader = client.reader();
                let mesh_dir = flags.data_dir.join("mesh");
                self.start_mesh(flags, documents_for(&mesh_dir, ticket)).await?;
                self.start_edge(client, ticket, stop).await?;
                Ok(reader)
            }
        }
    }

    /// Starts the peer.
    async fn start_mesh(
        &mut self,
        flags: &Flags,
        documents: Documents,
    ) -> Result<Arc<Mesh>, RunError> {
        let dir = Some(flags.data_dir.join("mesh"));
        let (listen, relay) = (flags.iroh_listen, flags.relay.0.clone());
        let config = MeshConfig { dir, documents, listen, relay };
        let mesh = Arc::new(Mesh::start(config).await?);
        self.mesh = Some(Arc::clone(&mesh));
        Ok(mesh)
    }

    /// Opens the store and starts its feeds.
    async fn start_origin(
        &mut self,
        flags: &Flags,
        choice: &StoreChoice,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let store = origin::open_store(choice, &flags.data_dir, flags.new_store).await?;
        origin::check_feed(&flags.data_dir)?;
        let mesh = self.start_mesh(flags, Documents::InMemory).await?;
        let (source, dir) = (Arc::clone(&store), &flags.data_dir);
        match Feeds::start(Arc::clone(&mesh), source, dir, stop.clone()).await {
            Ok(feeds) => {
                if let Err(error) =
                    origin::note_feed(&flags.data_dir, &feeds.main().ticket().namespace)
                {
                    // A disk that is full keeps nobody from answering.
                    tracing::warn!(%error, "it cannot be noted which feed this node has");
                }
                self.feeds = Some(Arc::new(feeds));
            }
            Err(error) => {
                mesh.shutdown().await;
                return Err(error.into());
            }
        }
        self.store = Some(store);
        Ok(())
    }

    /// Answers from the store itself.
    async fn start_follower(
        &mut self,
        stage: &Arc<Stage>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let Some(store) = &self.store else { return Ok(()) };
        let source = Arc::clone(store);
        let mut follower = Follower::new(source, Arc::clone(stage), self.progress.clone());
        let revision = follower.load().await?;
        let task = tokio::spawn(follower.run(revision, stop.clone()));
        self.tasks.push(("follows the store", task));
        let task = tokio::spawn(super::recount::run(Arc::clone(store), stop.clone()));
        self.tasks.push(("counts zones anew", task));
        Ok(())
    }

    /// Fills an empty store with something to try.
    async fn offer_example(&self) -> Result<(), RunError> {
        let store = self.store.as_ref().expect("started before");
        if origin::offer_example(store).await? {
            tracing::info!("the store was empty: the zone example.test is there to try");
        }
        Ok(())
    }

    /// Follows a feed.
    async fn start_edge(
        &mut self,
        client: Arc<AspenDnsClient>,
        ticket: &DnsClientTicket,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let Some(mesh) = &self.mesh else { return Ok(()) };
        let (token, mut listener) =
            spawn_dns_sync_listener(Arc::clone(&client), mesh, ticket).await?;
        let stop = stop.clone();
        let task = tokio::spawn(async move {
            let ended = tokio::select! {
                () = stop.cancelled() => {
                    token.cancel();
                    listener.await
                }
                ended = &mut listener => ended,
            };
            if let Err(error) = ended {
                tracing::error!(%error, "the listener ended badly");
            }
        });
        self.tasks.push(("follows the feed", task));
        self.progress = Progress::Edge(Arc::clone(&client));
        self.client = Some(client);
        Ok(())
    }

    /// Starts the task that frees snapshots that are no longer read.
    fn spawn_free_retired(&mut self, stage: Arc<Stage>, stop: CancellationToken) {
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        stage.free_retired();
                    }
                    () = stop.cancelled() => return,
                }
            }
        });
        self.tasks.push(("frees what is no longer read", task));
    }
}

/// Says why a mesh does not start, and which flag that is about.
fn text_of(error: &MeshError) -> String {
    match error {
        MeshError::Bind { .. } => format!("--iroh-listen: {error}"),
        _ => error.to_string(),
    }
}

/// Names what a plan makes of a node.
fn role_name(plan: &Plan) -> &'static str {
    match plan {
        Plan::Static => "static",
        Plan::All(_) => "all",
        Plan::Authority(_) => "authority",
        Plan::Edge(_) => "edge",
    }
}
