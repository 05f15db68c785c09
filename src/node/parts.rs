//! The parts of a node that depend on its plan.
//!
//! | plan | store and feeds | what is answered |
//! |---|---|---|
//! | static | none | zones from files |
//! | authority, all | yes | zones from files, and every commit at once (`follow`); `all` has an example in an empty store |
//! | edge | none | zones from files, and what it receives of the ticket's feed |
//!
//! **Invariant:** once [`Parts::start`] returns, everything that the node has itself is published.
//! **Not here:** what every node has (`run`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, EdgeConfig, Plan, StoreConfig, StoreEngine};
use super::early::Early;
use super::error::RunError;
use super::feed_error::FeedsError;
use super::feeds::Feeds;
use super::kept;
use super::origin::{self, OriginError};
use super::progress::Progress;
use super::service::Service;
use super::services;
use super::sharing::Sharing;
use crate::export::seal::SealKey;
use crate::export::shared::ShareError;
use crate::limits::STORE_WAIT_MS;
use crate::masterfiles::Refreshed;
use crate::mesh::{Documents, Mesh, MeshConfig};
use crate::name::Name;
use crate::publish::stage::{Rank, Stage};
use crate::replica::{AspenDnsClient, documents_for};
use crate::store::DnsStore;
use crate::ticket::DnsClientTicket;

/// What the plans differ in.
pub(super) struct Parts {
    /// What is served.
    pub(super) stage: Arc<Stage>,
    /// The store.
    pub(super) store: Option<Arc<DnsStore>>,
    /// The feeds made from it.
    pub(super) feeds: Option<Arc<Feeds>>,
    /// The edge.
    pub(super) client: Option<Arc<AspenDnsClient>>,
    /// The peer.
    pub(super) mesh: Option<Arc<Mesh>>,
    /// How far the answers are.
    pub(super) progress: Progress,
    /// What runs, in the order in which it was started: each uses only what is before it.
    pub(super) services: Vec<Service>,
    /// What answers while the store cannot be reached.
    pub(super) early: Early,
}

impl Parts {
    /// Nothing is started yet; what is served is staged in `stage`.
    pub(super) fn new(stage: Arc<Stage>, early: Early) -> Self {
        Self {
            early,
            stage,
            store: None,
            feeds: None,
            client: None,
            mesh: None,
            progress: Progress::default(),
            services: Vec::new(),
        }
    }

    /// Starts what the plan says; `loaded` are the zones of files.
    pub(super) async fn start(
        &mut self,
        config: &Config,
        loaded: Refreshed,
    ) -> Result<(), RunError> {
        if let Plan::Edge(ticket) = &config.plan {
            let seed = self.stage.catalog().seed();
            let builder = AspenDnsClient::builder().seed(seed).ticket(ticket.as_ref().clone());
            let EdgeConfig { name, tells_stale, expiry, follow_behind, .. } = config.edge.clone();
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let builder = builder.follow_behind_ms(follow_behind.map(millis));
            let client = builder.name(name).stale_ede(tells_stale).expiry(expiry).build()?;
            self.stage = Arc::clone(client.stage());
            self.stage.publish(Rank::File, loaded.changes());
            return self.start_edge(config, client, ticket).await;
        }
        self.stage.publish(Rank::File, loaded.changes());
        if let Plan::Authority(store) | Plan::All(store) = &config.plan {
            self.start_origin(config, store).await?;
        }
        self.services.push(services::sweep(Arc::clone(&self.stage)));
        Ok(())
    }

    /// Starts the peer.
    async fn start_mesh(
        &mut self,
        config: &Config,
        documents: Documents,
    ) -> Result<Arc<Mesh>, RunError> {
        let dir = Some(config.data_dir.join("mesh"));
        let (listen, relay) = (config.mesh_listen, config.relay.clone());
        let (service, mesh) = services::mesh(MeshConfig { dir, documents, listen, relay }).await?;
        self.services.push(service);
        self.mesh = Some(Arc::clone(&mesh));
        Ok(mesh)
    }

    /// Opens the store. While one elsewhere cannot be reached, what was kept of it is answered; also returns the
    /// zones of that.
    async fn open_store(
        &mut self,
        dir: &Path,
        choice: &StoreConfig,
    ) -> Result<(Arc<DnsStore>, Vec<Name>), RunError> {
        kept::tidy(dir);
        let StoreEngine::Etcd(cluster) = &choice.engine else {
            return Ok((origin::open_store(choice, dir).await?, Vec::new()));
        };
        let open_after = async |pause: Duration| {
            tokio::time::sleep(pause).await;
            origin::open_store_patiently(choice, dir).await
        };
        let mut opening = Box::pin(open_after(Duration::ZERO));
        let wait = Duration::from_millis(STORE_WAIT_MS);
        if let Ok(opened) = tokio::time::timeout(wait, &mut opening).await {
            return Ok((opened?, Vec::new()));
        }
        // Who asks for a new store does not want the old one's answers.
        let published = match choice.is_new_allowed {
            true => Vec::new(),
            false => kept::publish(&kept::file_of(dir, cluster), dir, &self.stage).await,
        };
        let is_answering = !published.is_empty();
        if is_answering {
            self.early.answer()?;
        }
        let opened = loop {
            let opened = tokio::select! {
                opened = &mut opening => opened,
                never = self.early.refuse_requests(is_answering) => match never {},
            };
            match opened {
                // To end would take away what is answered: the store may be put back yet.
                Err(error @ OriginError::StoreEmpty { .. }) if is_answering => {
                    tracing::error!(%error, "what was kept is answered on");
                }
                opened => break opened,
            }
            opening = Box::pin(open_after(EMPTY_LOOK));
        };
        Ok((opened?, published))
    }

    /// Opens the store, starts its feeds, and answers from it.
    async fn start_origin(
        &mut self,
        config: &Config,
        choice: &StoreConfig,
    ) -> Result<(), RunError> {
        let dir = &config.data_dir;
        let (store, published) = self.open_store(dir, choice).await?;
        origin::check_feed(dir)?;
        let mesh = self.start_mesh(config, Documents::InMemory).await?;
        let sharing = sharing_of(choice, &store, &mesh, dir)?;
        // Before anything is written: a freeze holds over restarts.
        store.look_at_freeze().await.map_err(ShareError::from).map_err(FeedsError::from)?;
        self.services.push(services::look_at_freeze(&store));
        let (service, feeds) = services::feeds(&mesh, &store, dir, sharing).await?;
        self.services.push(service);
        if let Err(error) = origin::note_feed(dir, &feeds.main().namespace()) {
            // A disk that is full keeps nobody from answering.
            tracing::warn!(%error, "it cannot be noted which feed this node has");
        }
        self.feeds = Some(feeds);
        if matches!(config.plan, Plan::All(_)) && origin::offer_example(&store).await? {
            tracing::info!("the store was empty: the zone example.test is there to try");
        }
        let stage = Arc::clone(&self.stage);
        self.services.push(services::follow(&store, stage, &self.progress, published).await?);
        if let StoreEngine::Etcd(cluster) = &choice.engine {
            self.services.push(services::keep(&store, kept::file_of(dir, cluster)));
        }
        self.services.push(services::recount(&store));
        self.store = Some(store);
        Ok(())
    }

    /// Starts the peer, and follows a feed.
    async fn start_edge(
        &mut self,
        config: &Config,
        client: Arc<AspenDnsClient>,
        ticket: &DnsClientTicket,
    ) -> Result<(), RunError> {
        let documents = documents_for(&config.data_dir.join("mesh"), ticket);
        let mesh = self.start_mesh(config, documents).await?;
        self.services.push(services::edge(&client, &mesh).await?);
        self.progress = Progress::Edge(Arc::clone(&client));
        self.client = Some(client);
        Ok(())
    }
}

/// Returns what a node is that writes its feeds in turn with others; none if it is not to.
fn sharing_of(
    choice: &StoreConfig,
    store: &Arc<DnsStore>,
    mesh: &Arc<Mesh>,
    data_dir: &Path,
) -> Result<Option<Sharing>, RunError> {
    let StoreEngine::Etcd(cluster) = &choice.engine else { return Ok(None) };
    let Some(sharing) = &cluster.sharing else { return Ok(None) };
    let key = SealKey::read(&sharing.seal_key_file)?;
    let (store, mesh, dir) = (Arc::clone(store), Arc::clone(mesh), data_dir.join("mesh"));
    Ok(Some(Sharing::new(store, mesh, key, sharing.lease, dir)))
}

/// How often a start looks whether an etcd that was emptied was put back.
const EMPTY_LOOK: Duration = Duration::from_secs(5);
