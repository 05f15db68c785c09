//! Puts a node together from its parts, runs it, and takes it apart again.
//!
//! | plan | store and feeds | what is answered |
//! |---|---|---|
//! | static | none | zones from files |
//! | authority, all | yes | zones from files, and every commit at once (`node::follow`); `all` has an example in an empty store |
//! | edge | none | zones from files, and what it receives of the ticket's feed |
//!
//! **Invariant:** when the line `ready …` is printed, every address is bound and the zones that
//! the node has itself are answered; nothing is left running after [`run`] returns.
//! **Not here:** what the parts do.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::auth::ApiKey;
use super::api::{self, BoundApi};
use super::config::{ApiListen, Flags, Plan, PlanError, Steering, StoreChoice};
use super::feeds::{Feeds, FeedsError};
use super::follow::{FollowError, Follower};
use super::metrics::Metrics;
use super::origin::{self, OriginError};
use super::reload::Reload;
use super::state::{NodeState, Progress};
use crate::catalog::CatalogChange;
use crate::client::{AspenDnsClient, ClientError, ListenerError, spawn_dns_sync_listener};
use crate::durable;
use crate::files::{Refreshed, ZoneFileError, ZoneFiles};
use crate::limits::{FREE_RETIRED_MS, READY_WAIT_S_MAX, STOP_MS};
use crate::mesh::{Documents, Mesh, MeshConfig, MeshError};
use crate::publish::{Publisher, Reader};
use crate::responder::{Responder, ResponderConfig};
use crate::serve::transfer::TransferPolicy;
use crate::serve::udp::UdpSteering;
use crate::serve::{BindError, DnsProtocolServer};
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
    #[error("--iroh-listen: {0}")]
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
    /// The system gives no threads or signals.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a node until SIGTERM or SIGINT; SIGHUP has it read zone files that have changed.
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
    loop {
        tokio::select! {
            _ = hangup.recv() => node.spawn_reload(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}

/// A running node.
struct Node {
    /// What the API shows.
    state: Arc<NodeState>,
    /// The API's address, if it listens.
    api_address: Option<SocketAddr>,
    /// Ends the tasks.
    stop: CancellationToken,
    /// The tasks.
    tasks: Vec<JoinHandle<()>>,
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
    /// The tasks.
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts what the plan says.
    async fn start(flags: &Flags, plan: &Plan) -> Result<Self, RunError> {
        let started_at = Instant::now();
        let seed = HashSeed(rand::random());
        // Addresses first: one that is in use should be said before a minute of work.
        let api = bind_api(flags, plan).await?;
        let key = prepare_data_dir(flags, plan, api.is_some())?;
        let (files, loaded) = load_static(flags, seed)?;
        let static_zones = AtomicU64::new(loaded.zone_count);
        let mut ours = None;
        let stop = CancellationToken::new();
        let publisher = Arc::new(Publisher::new(seed));
        let mut parts = Parts::default();
        let server = match plan {
            Plan::Static | Plan::Authority(_) | Plan::All(_) => {
                publisher.publish(loaded.changed.into_iter().map(CatalogChange::Put).collect());
                ours = Some(Arc::clone(&publisher));
                let server = bind_dns(flags, publisher.reader())?;
                if let Plan::Authority(choice) | Plan::All(choice) = plan {
                    parts.start_origin(flags, choice, &stop).await?;
                    if matches!(plan, Plan::All(_)) {
                        parts.offer_example().await?;
                    }
                    parts.start_follower(&publisher, &stop).await?;
                }
                parts.spawn_free_retired(publisher.clone(), stop.clone());
                server
            }
            Plan::Edge(ticket) => {
                let client = make_client(loaded, seed, ticket)?;
                let server = bind_dns(flags, client.reader())?;
                parts.start_mesh(flags).await?;
                parts.start_edge(client, ticket, &stop).await?;
                server
            }
        };
        let reader = match &parts.client {
            Some(client) => client.reader(),
            None => publisher.reader(),
        };
        let state = Arc::new(NodeState {
            role: role_name(plan),
            started_at,
            reader,
            server: server.start()?,
            static_zones,
            store: parts.store,
            feeds: parts.feeds,
            client: parts.client,
            progress: parts.progress,
            metrics: Metrics::default(),
        });
        let (tasks, mesh) = (parts.tasks, parts.mesh);
        let reload = Arc::new(Reload::new(files, ours));
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
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API has ended");
            }
        }));
        Ok(())
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
        for task in self.tasks {
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
    /// Starts the peer.
    async fn start_mesh(&mut self, flags: &Flags) -> Result<Arc<Mesh>, RunError> {
        let dir = flags.data_dir.join("mesh");
        let (listen, relay) = (flags.iroh_listen, flags.relay.0.clone());
        let mesh = Arc::new(
            Mesh::start(MeshConfig { dir: Some(dir), documents: Documents::OnDisk, listen, relay })
                .await?,
        );
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
        let mesh = self.start_mesh(flags).await?;
        let feeds = Feeds::start(mesh, Arc::clone(&store), &flags.data_dir, stop.clone()).await?;
        self.feeds = Some(Arc::new(feeds));
        self.store = Some(store);
        Ok(())
    }

    /// Answers from the store itself.
    async fn start_follower(
        &mut self,
        publisher: &Arc<Publisher>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let Some(store) = &self.store else { return Ok(()) };
        let source = Arc::clone(store);
        let mut follower = Follower::new(source, Arc::clone(publisher), self.progress.clone());
        let revision = follower.load().await?;
        self.tasks.push(tokio::spawn(follower.run(revision, stop.clone())));
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
        let (token, listener) = spawn_dns_sync_listener(Arc::clone(&client), mesh, ticket).await?;
        let stop = stop.clone();
        self.tasks.push(tokio::spawn(async move {
            stop.cancelled().await;
            token.cancel();
            if let Err(error) = listener.await {
                tracing::error!(%error, "the listener ended badly");
            }
        }));
        self.progress = Progress::Edge(Arc::clone(&client));
        self.client = Some(client);
        Ok(())
    }

    /// Starts the task that frees snapshots that are no longer read.
    fn spawn_free_retired(&mut self, publisher: Arc<Publisher>, stop: CancellationToken) {
        self.tasks.push(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        publisher.free_retired();
                    }
                    () = stop.cancelled() => return,
                }
            }
        }));
    }
}

/// Makes an edge that serves zones from files beside those of its feed.
fn make_client(
    loaded: Refreshed,
    seed: HashSeed,
    ticket: &DnsClientTicket,
) -> Result<Arc<AspenDnsClient>, ClientError> {
    let mut builder = AspenDnsClient::builder().seed(seed).ticket(ticket.clone());
    for zone in loaded.changed {
        builder = builder.static_snapshot(zone);
    }
    builder.build()
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

/// Reads the zones that files hold.
fn load_static(flags: &Flags, seed: HashSeed) -> Result<(ZoneFiles, Refreshed), RunError> {
    let (dir, named) = (flags.zone_dir.clone(), flags.zone_file.clone());
    let has_files = dir.is_some() || !named.is_empty();
    let compiled = has_files.then(|| flags.data_dir.join("compiled"));
    let mut files = ZoneFiles::new(dir, named, compiled, seed);
    let mut loaded = files.refresh()?;
    if flags.zone_dir.is_some() && loaded.zone_count == 0 && loaded.errors.is_empty() {
        tracing::warn!("the zone directory holds no NAME.zone file");
    }
    for failed in std::mem::take(&mut loaded.errors) {
        // A file that was named must be served; of a directory, what can be served is.
        if failed.is_named || loaded.zone_count == 0 {
            return Err(failed.error.into());
        }
        tracing::error!("{}", failed.error);
    }
    Ok((files, loaded))
}

/// Binds the DNS addresses.
fn bind_dns(flags: &Flags, reader: Reader) -> Result<DnsProtocolServer, RunError> {
    let config = ResponderConfig {
        version: flags.version_txt.clone(),
        identity: flags.nsid.clone(),
        has_rotation: flags.rotate,
        has_full_replies: flags.full_replies,
    };
    let mut builder = DnsProtocolServer::builder(reader)
        .responder(Arc::new(Responder::new(config)))
        .transfers(TransferPolicy::new(flags.allow_transfer.0.as_slice()));
    for address in flags.dns_addresses() {
        builder = builder.udp_tcp(address);
    }
    if let Some(workers) = flags.udp_workers {
        builder = builder.workers(usize::from(workers));
    }
    let steering = match flags.udp_steering {
        Steering::Hash => UdpSteering::Hash,
        Steering::Cpu => UdpSteering::Cpu,
    };
    Ok(builder.pin_to_cpus(flags.udp_cpus.clone()).udp_steering(steering).bind()?)
}

/// Binds the API's address, if it is to listen.
async fn bind_api(flags: &Flags, plan: &Plan) -> Result<Option<BoundApi>, RunError> {
    let ApiListen::On(address) = flags.api_address() else { return Ok(None) };
    match api::bind(address).await {
        Ok(api) => Ok(Some(api)),
        // Nobody asked for the API: a server of plain zone files can do without.
        Err(error) if flags.api_listen.is_none() && *plan == Plan::Static => {
            tracing::warn!(%address, %error, "there is no API");
            Ok(None)
        }
        Err(source) => Err(RunError::Api { address, source }),
    }
}

/// Makes the data directory and all below it its owner's alone; returns the API's key, made at the
/// first start, if there is an API.
///
/// A server of plain zone files keeps nothing that it could not do without.
fn prepare_data_dir(flags: &Flags, plan: &Plan, has_api: bool) -> Result<Option<ApiKey>, RunError> {
    let dir = &flags.data_dir;
    let is_static = *plan == Plan::Static;
    if !is_static || has_api {
        match durable::create_dir(dir) {
            Err(source) if !is_static => return Err(RunError::File { path: dir.clone(), source }),
            _ => {}
        }
    }
    let key = match has_api.then(|| ApiKey::load_or_create(dir)).transpose() {
        Err(error) if is_static && error.kind() != ErrorKind::InvalidData => {
            tracing::warn!(dir = %dir.display(), %error, "the API's key cannot be kept");
            Some(ApiKey::random())
        }
        key => key.map_err(|source| RunError::File { path: dir.join("api-key"), source })?,
    };
    match durable::make_private(dir) {
        Err(source) if !is_static => return Err(RunError::File { path: dir.clone(), source }),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "others may read what is kept there");
        }
        Ok(()) => {}
    }
    Ok(key)
}
