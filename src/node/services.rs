//! The services of a node, each started by itself from what it needs, and stopped by itself.
//!
//! | service | on | does |
//! |---|---|---|
//! | [`files`] | all | reads zone files again when it is asked to |
//! | [`sweep`] | all but edges | frees snapshots that are no longer read |
//! | [`follow`] | authorities | answers with what the store commits |
//! | [`keep`] | authorities on etcd | keeps what the store has, for a start without it |
//! | [`recount`] | authorities | compares the store's rows with what it says of them |
//! | [`feeds`] | authorities | writes what the store commits for edges |
//! | [`look_at_freeze`] | authorities | looks whether the feeds are frozen |
//! | [`time_commits`] | authorities | measures how soon a commit is answered |
//! | [`edge`] | edges | follows a feed |
//! | [`count_queries`] | edges | counts the queries of each second |
//! | [`mesh`] | authorities, edges | is there for other nodes |
//! | [`front_ends`] | all | answers DNS, on threads of its own |
//! | [`api`] | nodes with an API | answers it |
//!
//! **Invariant:** what a service publishes when it starts is published when its function returns.
//! **Not here:** which of them a node has (`parts`, `run`), the work itself (`serve`, `export`, `replica`, `follow`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::api::BoundApi;
use super::api::auth::ApiKey;
use super::feed_error::FeedsError;
use super::feeds::Feeds;
use super::follow::{FollowError, Follower};
use super::progress::Progress;
use super::reload::Reload;
use super::service::Service;
use super::sharing::Sharing;
use super::state::NodeState;
use crate::limits::{
    FEED_EXPIRY_LOOK_MS, FREE_RETIRED_MS, FREEZE_LOOK_MS, REPORT_MS, SHARING_REFRESH_MS,
    SHARING_RETRY_MS,
};
use crate::mesh::{Mesh, MeshConfig, MeshError};
use crate::name::Name;
use crate::publish::stage::Stage;
use crate::replica::{AspenDnsClient, ListenerError};
use crate::serve::{DnsProtocolServer, RunningServer};
use crate::store::DnsStore;
use crate::store::lease::LeaseTask;

/// Reads zone files again each time that the sender is used; what is asked for during a reading is read after
/// it, once. At its end it waits until what can be kept of them is written.
pub(super) fn files(reload: Arc<Reload>, state: Arc<NodeState>) -> (Service, mpsc::Sender<()>) {
    let (ask, mut asked) = mpsc::channel(1);
    let service = Service::spawn("reads zone files", |stop| async move {
        while let Some(Some(())) = stop.run_until_cancelled(asked.recv()).await {
            let reload = Arc::clone(&reload);
            let reading = tokio::task::spawn_blocking(move || reload.run());
            match reading.await {
                Ok(Some((zones, broken))) => {
                    state.static_zones.store(zones, Ordering::Relaxed);
                    state.set_broken_files(broken);
                }
                Ok(None) => {}
                Err(error) => {
                    // The next one would find the files as this one has left them, half read: with the end
                    // of this task the node begins anew (`watchdog`).
                    tracing::error!(%error, "reading zone files ended badly");
                    return;
                }
            }
        }
        let _ = tokio::task::spawn_blocking(move || reload.stop()).await;
    });
    (service, ask)
}

/// Frees snapshots that are no longer read.
pub(super) fn sweep(stage: Arc<Stage>) -> Service {
    Service::spawn("frees what is no longer read", |stop| async move {
        let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            stage.free_retired();
        }
    })
}

/// Publishes what the store has, in the place of what was `published` before it was reached, and then each of its
/// commits.
///
/// # Errors
/// Every [`FollowError`].
pub(super) async fn follow(
    store: &Arc<DnsStore>,
    stage: Arc<Stage>,
    progress: &Progress,
    published: Vec<Name>,
) -> Result<Service, FollowError> {
    let mut follower = Follower::new(Arc::clone(store), stage, progress.clone());
    follower.take_over(published);
    let loaded = follower.load().await?;
    Ok(Service::spawn("follows the store", |stop| follower.run(loaded, stop)))
}

/// Writes the feeds of the store, in turn with others where they are shared; the peer serves them.
///
/// # Errors
/// Every [`FeedsError`].
pub(super) async fn feeds(
    mesh: &Arc<Mesh>,
    store: &Arc<DnsStore>,
    data_dir: &Path,
    sharing: Option<Sharing>,
) -> Result<(Service, Arc<Feeds>), FeedsError> {
    let feeds = Feeds::start(Arc::clone(mesh), Arc::clone(store), data_dir, sharing).await?;
    let feeds = Arc::new(feeds);
    let ending = Arc::clone(&feeds);
    let service = Service::spawn("writes feeds", |stop| async move {
        match ending.sharing.as_ref().and_then(Sharing::take_lease) {
            Some(lease) => take_turns(&ending, lease, &stop).await,
            None => {
                end_in_time(&ending, &stop).await;
                ending.stop().await;
            }
        }
    });
    Ok((service, feeds))
}

/// Ends feeds when their time is over, and tells those who follow what is to be told of them, until `stop`.
async fn end_in_time(feeds: &Feeds, stop: &CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(FEED_EXPIRY_LOOK_MS));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        if let Err(error) = feeds.end_expired().await {
            tracing::warn!(%error, "a feed whose time is over could not be ended as a whole");
        }
        if let Err(error) = feeds.tell().await {
            tracing::warn!(%error, "those who follow a feed could not be told of it");
        }
    }
}

/// Writes the feeds whenever it is our turn, until `stop`.
async fn take_turns(feeds: &Feeds, lease: LeaseTask, stop: &CancellationToken) {
    let Some(mut turn) = feeds.sharing.as_ref().map(Sharing::turn) else { return };
    let resign = CancellationToken::new();
    let _resigning = resign.clone().drop_guard();
    let trying = AbortOnDropHandle::new(tokio::spawn(lease.run(resign.clone())));
    while !stop.is_cancelled() {
        let held = turn.borrow_and_update().held;
        feeds.keep_turn(held).await;
        let refreshing = async {
            loop {
                if let Err(error) = feeds.refresh().await {
                    tracing::warn!(%error, "the feeds that authorities share are not all as they must be");
                }
                feeds.give_way_if_failing().await;
                // Nobody else writes what could not be begun here.
                let rest_ms =
                    if feeds.awaits_writer() { SHARING_RETRY_MS } else { SHARING_REFRESH_MS };
                tokio::time::sleep(Duration::from_millis(rest_ms)).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            changed = turn.changed() => if changed.is_err() {
                // With the end of this task the node begins anew (`watchdog`).
                tracing::error!("the task that tries for the lease of the feeds has ended");
                break;
            },
            () = refreshing => {}
        }
    }
    // Before the lease is given back: nobody else may write meanwhile.
    feeds.stop().await;
    resign.cancel();
    if let Err(error) = trying.await {
        tracing::error!(%error, "the task that tries for the lease of the feeds ended badly");
    }
}

/// Starts the peer.
///
/// # Errors
/// Every [`MeshError`].
pub(super) async fn mesh(config: MeshConfig) -> Result<(Service, Arc<Mesh>), MeshError> {
    let mesh = Arc::new(Mesh::start(config).await?);
    let endpoint = data_encoding::HEXLOWER.encode(&mesh.own_peer().id);
    tracing::info!(endpoint, "this is the key of this node: lists of feeds name it");
    let ending = Arc::clone(&mesh);
    let service = Service::spawn("is there for other nodes", |stop| async move {
        stop.cancelled().await;
        ending.shutdown().await;
    });
    Ok((service, mesh))
}

/// Answers DNS at the addresses of `server`.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn front_ends(server: DnsProtocolServer) -> io::Result<(Service, Arc<RunningServer>)> {
    let server = Arc::new(server.start()?);
    let ending = Arc::clone(&server);
    let service = Service::spawn("answers DNS", |stop| async move {
        stop.cancelled().await;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || ending.shutdown()).await {
            tracing::error!(%error, "a front end ended badly");
        }
    });
    Ok((service, server))
}

/// Counts the zones of the store anew, one after the other.
pub(super) fn recount(store: &Arc<DnsStore>) -> Service {
    let store = Arc::clone(store);
    Service::spawn("counts zones anew", |stop| super::recount::run(store, stop))
}

/// Keeps what a store elsewhere has.
pub(super) fn keep(store: &Arc<DnsStore>, file: PathBuf) -> Service {
    let store = Arc::clone(store);
    Service::spawn("keeps the store on this disk", |stop| super::kept::run(store, file, stop))
}

/// Looks whether the feeds are frozen: another authority may have done so.
pub(super) fn look_at_freeze(store: &Arc<DnsStore>) -> Service {
    let store = Arc::clone(store);
    Service::spawn("looks whether the feeds are frozen", |stop| async move {
        let mut tick = tokio::time::interval(Duration::from_millis(FREEZE_LOOK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            // What was known holds until the store answers.
            let looked = stop.run_until_cancelled(store.look_at_freeze()).await;
            if let Some(Err(error)) = looked {
                tracing::debug!(%error, "it is not known whether the feeds are frozen still");
            }
        }
    })
}

/// Measures how soon a commit is answered.
pub(super) fn time_commits(state: Arc<NodeState>) -> Service {
    Service::spawn("times commits", |stop| async move {
        stop.run_until_cancelled(state.commit_times.run(&state.progress)).await;
    })
}

/// Follows the feed of the client's ticket; what the client has kept of it is answered when this returns.
///
/// # Errors
/// Every [`ListenerError`].
pub(super) async fn edge(
    client: &Arc<AspenDnsClient>,
    mesh: &Mesh,
) -> Result<Service, ListenerError> {
    let mut following = client.follow(mesh).await?;
    // A service that is dropped drops it too, and with it the feed is given up.
    Ok(Service::spawn("follows the feed", |stop| async move {
        if stop.run_until_cancelled(following.ended()).await.is_none() {
            following.stop().await;
        }
    }))
}

/// Counts the queries of each second, for who looks at the fleet.
pub(super) fn count_queries(state: Arc<NodeState>) -> Service {
    Service::spawn("counts queries", |stop| async move {
        let Some(client) = state.client.as_ref() else { return };
        let mut tick = tokio::time::interval(Duration::from_millis(REPORT_MS));
        let mut last = (Instant::now(), state.server.stats().queries());
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let (now, queries) = (Instant::now(), state.server.stats().queries());
            let ms = now.duration_since(last.0).as_millis() as u64;
            // A tick that was late is not followed by one that counts as a second.
            if ms < REPORT_MS / 2 {
                continue;
            }
            let per_s = queries.saturating_sub(last.1).saturating_mul(1_000) / ms;
            client.note_queries(u32::try_from(per_s).unwrap_or(u32::MAX - 1));
            last = (now, queries);
        }
    })
}

/// Answers the API.
pub(super) fn api(api: BoundApi, key: ApiKey, state: Arc<NodeState>) -> Service {
    Service::spawn("answers the API", |stop| async move {
        if let Err(error) = api.serve(key, state, stop).await {
            tracing::error!(%error, "the API has ended");
        }
    })
}
