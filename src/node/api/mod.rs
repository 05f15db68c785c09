//! The HTTP API: zones in PowerDNS's shape, and our own paths for what PowerDNS lacks.
//!
//! | path below `/api/v1` | what |
//! |---|---|
//! | `servers/localhost/zones[/{zone}]` and around | PowerDNS's zones, so that its clients work |
//! | `aspen/zones[/{zone}]`, `aspen/records[/{name}/{type}]` | zones with settings; single RRsets |
//! | `aspen/batch`, `aspen/import` | many changes as one commit; a master file |
//! | `aspen/tickets`, `aspen/status`, `aspen/wait`, `aspen/digests` | replication |
//! | `aspen/freeze` | whether anything goes out to edges; PUT freezes, DELETE thaws |
//! | `aspen/rollback` | zones as they were at a revision, as a new one |
//! | `aspen/follow[/hold\|release\|resume]` | what an edge holds back that follows behind on purpose; how it goes on |
//! | `aspen/feeds[/{feed}[/endpoints[/{key}]]]`, `aspen/feeds/{feed}/{expiry,rotate}` | what each audience is given, and until when |
//! | `aspen/edges[/{edge}]` | the edges that follow this node, or others that do; forgetting one |
//!
//! Writes say which revision they made, in the header `Aspen-Revision` and in our own bodies; the
//! reply comes when the node answers with it (`served`). What a file of the node covers is not
//! answered: the header `Aspen-Answered-From-File` names its zone.
//! `If-Match: "R"` makes a write depend on the RRset (or zone) being as revision R left it. Where it
//! has no meaning (a batch, which has preconditions of its own) it is refused.
//!
//! **Invariant:** nothing but the version list, `/metrics`, `/healthz` and `/readyz` is answered
//! without the key; no body is read beyond its path's limit; a node without a store refuses every write.
//! **Not here:** the rules of the data (`store`), how nodes are put together (`node::run`).

pub(crate) mod auth;
mod backup;
mod digests;
mod error;
mod feeds;
mod fleet;
mod follow;
mod freeze;
mod health;
mod import;
mod listen;
mod powerdns;
mod records;
mod rollback;
mod served;
mod servers;
mod signed;
mod source;
mod status;
mod stream;
mod zones;
mod zones_write;

use std::convert::Infallible;
use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::serve::Listener as _;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::auth::ApiKey;
use self::error::ApiError;
use self::listen::{BoundedListener, End, Requests};
use self::source::Zones;
use crate::limits::{API_BODY_OCTETS_MAX, API_LONG_REQUESTS_MAX, API_STOP_MS};
use crate::name::Name;
use crate::node::state::NodeState;
use crate::publish::stage::Rank;
use crate::store::Expectation;

/// What the handlers work on.
#[derive(Debug)]
pub(crate) struct Api {
    /// The key that requests carry.
    key: ApiKey,
    /// Where zones are read and written.
    zones: Zones,
    /// The node that the API is about.
    node: Arc<NodeState>,
    /// A place for each long request.
    long: Arc<Semaphore>,
    /// Ends what waits.
    stop: CancellationToken,
    /// What goes on without its request.
    tasks: TaskTracker,
}

impl Api {
    /// Returns where zones are read and written.
    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Returns the node.
    pub(crate) fn node(&self) -> &Arc<NodeState> {
        &self.node
    }

    /// Returns what goes on without its request; the API waits for it before it ends.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Takes a place among the long requests.
    ///
    /// # Errors
    /// [`ApiError::Busy`].
    pub(crate) fn long_permit(&self) -> Result<LongPermit, ApiError> {
        let place = Arc::clone(&self.long).try_acquire_owned().map_err(|_| ApiError::Busy)?;
        Ok(LongPermit { _place: place, tasks: self.tasks.clone() })
    }
}

/// A place among the long requests, and among what the API waits for.
#[derive(Debug)]
pub(crate) struct LongPermit {
    /// The place; given back when this is dropped.
    _place: OwnedSemaphorePermit,
    /// What goes on without its request.
    tasks: TaskTracker,
}

/// A bound API that does not answer yet.
#[derive(Debug)]
pub(crate) struct BoundApi {
    /// The socket.
    listener: BoundedListener,
}

/// Binds the API's address.
///
/// # Errors
/// What the system says.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<BoundApi> {
    Ok(BoundApi { listener: BoundedListener::bind(address).await? })
}

impl BoundApi {
    /// Returns the address with the port that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Says to everybody that the store cannot be reached, as long as this is waited for; `/readyz` whether DNS is
    /// answered all the same.
    pub(crate) async fn refuse_requests(&self, is_answering: bool) {
        let listener = match self.listener.twin() {
            Ok(listener) => listener,
            // Who asks waits then.
            Err(error) => {
                return tracing::warn!(%error, "the API does not answer until the store does");
            }
        };
        let ready = move || async move { health::early(is_answering) };
        let router = Router::new().route("/readyz", get(ready)).fallback(error::early);
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "the API does not answer until the store does");
        }
    }

    /// Answers until `stop`; then ends the connections after their current requests, those of slow clients after
    /// [`API_STOP_MS`], and waits for what goes on without them.
    ///
    /// # Errors
    /// What the system says when connections cannot be accepted at all.
    pub(crate) async fn serve(
        self,
        key: ApiKey,
        node: Arc<NodeState>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let (end, tasks) = (End { stop, ..End::default() }, TaskTracker::new());
        let router = router(key, node, end.stop.clone(), tasks.clone());
        let service = router.into_make_service_with_connect_info::<Requests>();
        let serving = axum::serve(self.listener.with_end(end.clone()), service)
            .with_graceful_shutdown(end.stop.clone().cancelled_owned());
        let cutting = async {
            end.stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(API_STOP_MS)).await;
            end.cut.cancel();
            std::future::pending::<Infallible>().await
        };
        let ended = tokio::select! {
            ended = serving.into_future() => ended,
            never = cutting => match never {},
        };
        tasks.close();
        tasks.wait().await;
        ended
    }
}

/// Puts the paths together.
fn router(
    key: ApiKey,
    node: Arc<NodeState>,
    stop: CancellationToken,
    tasks: TaskTracker,
) -> Router {
    let zones = match &node.store {
        Some(store) => Zones::Store(Arc::clone(store)),
        None => Zones::Catalog(node.reader.clone()),
    };
    let long = Arc::new(Semaphore::new(API_LONG_REQUESTS_MAX as usize));
    let api = Arc::new(Api { key, zones, node, long, stop: stop.clone(), tasks });
    let locked = Router::new()
        .route("/", get(servers::version))
        .nest("/servers", servers_router())
        .nest("/aspen", aspen_router())
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), served::hold_back))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), check_key));
    Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(status::metrics))
        .route("/api", get(servers::versions))
        .nest("/api/v1", locked)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(stop, listen::note_request))
        .with_state(api)
}

/// The paths in PowerDNS's shape.
fn servers_router() -> Router<Arc<Api>> {
    Router::new()
        .route("/", get(servers::servers))
        .route("/{server}", get(servers::server))
        .route("/{server}/config", get(servers::config))
        .route("/{server}/statistics", get(servers::statistics))
        .route("/{server}/search-data", get(servers::search))
        .route("/{server}/tsigkeys", get(servers::empty_list))
        .route("/{server}/autoprimaries", get(servers::empty_list))
        .route("/{server}/zones", get(zones::list).post(zones_write::create))
        .route(
            "/{server}/zones/{zone}",
            get(zones::show)
                .patch(zones_write::patch)
                .put(zones_write::replace)
                .delete(zones_write::remove),
        )
        .route("/{server}/zones/{zone}/export", get(zones::export))
        .route("/{server}/zones/{zone}/notify", put(servers::notify))
        .route("/{server}/zones/{zone}/metadata", get(servers::empty_list))
}

/// Our own paths.
fn aspen_router() -> Router<Arc<Api>> {
    let set_get_delete = get(records::get).put(records::set).delete(records::remove);
    let zone = get(records::zone)
        .post(records::create_zone)
        .put(records::set_zone)
        .delete(records::remove_zone);
    Router::new()
        .route("/zones", get(records::zones))
        .route("/zones/{zone}", zone)
        .route("/zones/{zone}/export", get(zones::export_own))
        .route("/records", get(records::list))
        .route("/records/{name}/{rtype}", set_get_delete)
        .route("/batch", post(records::batch))
        .route("/import", post(import::import))
        .route("/backup", get(backup::backup))
        .route("/restore", post(backup::restore))
        .route("/tickets", post(status::create_ticket))
        .route("/feeds", get(feeds::list).post(feeds::create))
        .route("/feeds/{feed}", get(feeds::show).delete(feeds::remove))
        .route("/feeds/{feed}/endpoints", delete(feeds::open))
        .route("/feeds/{feed}/endpoints/{key}", put(feeds::allow).delete(feeds::deny))
        .route("/feeds/{feed}/expiry", put(feeds::expire))
        .route("/feeds/{feed}/rotate", post(feeds::rotate))
        .route("/status", get(status::status))
        .route("/digests", get(digests::digests))
        .route("/wait", get(status::wait))
        .route("/freeze", get(freeze::show).put(freeze::freeze).delete(freeze::thaw))
        .route("/rollback", post(rollback::rollback))
        .route("/follow", get(follow::show))
        .route("/follow/{mode}", put(follow::set))
        .route("/edges", get(fleet::edges))
        .route("/edges/{edge}", delete(fleet::forget))
}

/// Lets a request pass that carries the key.
async fn check_key(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let given = request.headers().get("X-API-Key").map(HeaderValue::as_bytes);
    match given {
        Some(given) if api.key.is_equal(given) => next.run(request).await,
        _ => ApiError::Unauthorized.into_response(),
    }
}

/// Answers for paths that there are not.
async fn no_such_path() -> ApiError {
    ApiError::NoSuchPath
}

/// Answers for methods that a path does not have.
async fn no_such_method() -> ApiError {
    ApiError::NoSuchMethod
}

/// The parts of a path, refused as all else is when they do not read.
#[derive(Debug)]
struct Path<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        found.map(|path| Self(path.0)).map_err(|_| ApiError::BadPath)
    }
}

/// Checks the name of the server in a path.
///
/// # Errors
/// [`ApiError::NoSuchServer`].
fn check_server(server: &str) -> Result<(), ApiError> {
    if server == "localhost" {
        return Ok(());
    }
    Err(ApiError::NoSuchServer { id: server.chars().take(40).collect() })
}

/// Reads a body of JSON.
///
/// # Errors
/// [`ApiError::BodyTooLong`], [`ApiError::BodyCutShort`] or [`ApiError::Json`].
async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let octets = read_body(body, API_BODY_OCTETS_MAX).await?;
    // An empty body stands for an object without fields.
    let octets = if octets.is_empty() { b"{}" } else { octets.as_slice() };
    Ok(serde_json::from_slice(octets)?)
}

/// Reads a body of at most `octets_max` octets.
///
/// # Errors
/// [`ApiError::BodyTooLong`] or [`ApiError::BodyCutShort`].
async fn read_body(body: Body, octets_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut octets = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = n0_future::StreamExt::next(&mut stream).await {
        let chunk = chunk.map_err(|_| ApiError::BodyCutShort)?;
        if octets.len() + chunk.len() > octets_max {
            return Err(ApiError::BodyTooLong { octets_max });
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}

/// Returns the revision that `If-Match` names, if it names one.
///
/// # Errors
/// [`ApiError::BadValue`] for anything but `*` and one revision, with or without quotes.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let bare = text.trim().trim_matches('"');
    if bare == "*" {
        return Ok(None);
    }
    bare.parse().map(Some).map_err(|_| ApiError::BadValue {
        field: "If-Match",
        value: text.chars().take(40).collect(),
        wanted: "a revision",
    })
}

/// Returns what `If-Match` asks of the zone that a request is about: that nothing changed it since
/// the revision named.
///
/// # Errors
/// As [`if_match`].
fn if_zone(headers: &HeaderMap, apex: &Name) -> Result<Vec<Expectation>, ApiError> {
    let apex = apex.clone();
    let expected =
        if_match(headers)?.map(|revision| Expectation::ZoneAtRevision { apex, revision });
    Ok(expected.into_iter().collect())
}

/// Refuses a condition on what is only to be made.
///
/// # Errors
/// [`ApiError::CreateIfMatch`].
fn refuse_if_match(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.contains_key(header::IF_MATCH) {
        true => Err(ApiError::CreateIfMatch),
        false => Ok(()),
    }
}

/// Adds the header that says which revision a write made.
fn with_revision(mut response: Response, revision: u64) -> Response {
    response.headers_mut().insert(REVISION_HEADER, HeaderValue::from(revision));
    response
}

/// Returns those of some zones that are answered from a file, whatever the store has, and logs that a
/// write to them is not seen.
fn covered<'a>(api: &Api, apexes: impl IntoIterator<Item = &'a Name>) -> Vec<&'a Name> {
    let mut apexes: Vec<&Name> = apexes.into_iter().collect();
    apexes.retain(|apex| api.node.stage.zone(Rank::File, apex).is_some());
    for apex in &apexes {
        tracing::warn!("zone {apex} was written and is answered from a file");
    }
    apexes
}

/// Adds the header that names the zones of a write that are answered from a file, if there are any:
/// the first, which is the only one but for a batch.
fn with_covered(mut response: Response, covered: &[&Name]) -> Response {
    let first = covered.first().and_then(|apex| HeaderValue::from_str(&apex.to_fqdn()).ok());
    if let Some(first) = first {
        response.headers_mut().insert(COVERED_HEADER, first);
    }
    response
}

/// Answers a write on our own paths.
fn written(revision: u64, mut body: Value) -> Response {
    body["revision"] = json!(revision);
    with_revision(Json(body).into_response(), revision)
}

/// Answers a write on PowerDNS's paths that has no body.
fn written_empty(revision: u64) -> Response {
    with_revision(StatusCode::NO_CONTENT.into_response(), revision)
}

/// The header that names a zone that was written and is answered from a file.
const COVERED_HEADER: HeaderName = HeaderName::from_static("aspen-answered-from-file");
/// The header that says which revision a write made.
const REVISION_HEADER: HeaderName = HeaderName::from_static("aspen-revision");
