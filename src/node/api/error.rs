//! What the API refuses, as status and JSON body.
//!
//! PowerDNS's shape: `{"error": "…", "errors": ["…"]}`; its clients decide by the status.
//!
//! **Invariant:** every refusal names the rule; none repeats more of the request than a name.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::export::shared::ShareError;
use crate::name::{Name, NameError};
use crate::node::everywhere::{EdgesAnswer, EdgesUnknown};
use crate::node::feed_book::FeedBookError;
use crate::node::feed_error::FeedsError;
use crate::node::feed_text::{NoKey, NoTime};
use crate::record::rdata::RdataError;
use crate::record::rtype::ParseRecordTypeError;
use crate::record::{RecordType, RrsetError};
use crate::replica::FollowModeError;
use crate::store::backup::BackupError;
use crate::store::history::SourceError;
use crate::store::kv::KvError;
use crate::store::{RollbackError, StoreError, rules::RuleError};

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No key, or a wrong one.
    #[error("the X-API-Key header holds no valid key")]
    Unauthorized,
    /// An unknown path below `/api`.
    #[error("there is no such path")]
    NoSuchPath,
    /// A path whose percent-encoded octets are no UTF-8.
    #[error("the path is not UTF-8; write other octets of a name as \\DDD (RFC 1035 section 5.1)")]
    BadPath,
    /// A path that exists has no such method.
    #[error("this path has no such method")]
    NoSuchMethod,
    /// An unknown zone.
    #[error("could not find zone {apex}")]
    NoSuchZone {
        /// The zone asked for.
        apex: Name,
    },
    /// An unknown RRset.
    #[error("there is no RRset {owner} {rtype}")]
    NoSuchRrset {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: RecordType,
    },
    /// PowerDNS knows one server only.
    #[error("could not find server {id:?}; it is always localhost")]
    NoSuchServer {
        /// What was asked for.
        id: String,
    },
    /// A zone that is to be created exists.
    #[error("zone {apex} already exists")]
    ZoneExists {
        /// Its apex.
        apex: Name,
    },
    /// A write at a node that has no store.
    #[error("this node is read-only: write at the authority that it follows")]
    ReadOnly,
    /// The body is no JSON of the shape needed.
    #[error("the body is not what this path takes: {0}")]
    Json(#[from] serde_json::Error),
    /// A value of the query string or of a header does not read.
    #[error("{field} {value:?} is not {wanted}")]
    BadValue {
        /// Which value.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
    /// A condition on one thing for a request about many.
    #[error(
        "If-Match names one revision and a batch is about many things (RFC 9110 section 13.1.1): say \
         in its \"preconditions\" what must hold"
    )]
    BatchIfMatch,
    /// The store was asked what is newest, and has not answered in time.
    #[error("the store does not answer: what is newest is not known")]
    StoreSilent,
    /// The node has started and not reached its store yet.
    #[error("the store was not reached yet: requests are taken once it answers")]
    StoreUnreached,
    /// A condition on what is not there yet.
    #[error(
        "If-Match is about a zone that exists (RFC 9110 section 13.1.1), and this makes one: leave it out, a \
         zone that exists is never made anew"
    )]
    CreateIfMatch,
    /// A field that must be there is missing.
    #[error("RRset {owner} {rtype}: {field} is missing")]
    MissingField {
        /// Owner name of the RRset.
        owner: Name,
        /// Its type.
        rtype: RecordType,
        /// The field.
        field: &'static str,
    },
    /// A name does not read.
    #[error("name {text:?}: {source}")]
    Name {
        /// What was given.
        text: String,
        /// The rule.
        source: NameError,
    },
    /// A type does not read.
    #[error(transparent)]
    Type(#[from] ParseRecordTypeError),
    /// RDATA does not read.
    #[error("{owner} {rtype}: {source}")]
    Rdata {
        /// Owner name of the RRset.
        owner: Name,
        /// Its type.
        rtype: RecordType,
        /// The rule.
        source: RdataError,
    },
    /// Records do not make an RRset.
    #[error("{owner} {rtype}: {source}")]
    Rrset {
        /// Owner name of the RRset.
        owner: Name,
        /// Its type.
        rtype: RecordType,
        /// The rule.
        source: RrsetError,
    },
    /// PowerDNS keeps records that it does not serve; we do not.
    #[error("{owner} {rtype}: a disabled record cannot be kept; leave it out")]
    DisabledRecord {
        /// Owner name of the RRset.
        owner: Name,
        /// Its type.
        rtype: RecordType,
    },
    /// A PATCH that says twice what an RRset is.
    #[error("Duplicate RRset {owner} {rtype} with changetype: {changetype}")]
    DuplicateRrset {
        /// Owner name of the RRset.
        owner: Name,
        /// Its type.
        rtype: RecordType,
        /// What is to be done twice.
        changetype: &'static str,
    },
    /// An owner name is outside the zone that the request is about.
    #[error("{owner} is not at or below the apex {apex}")]
    OutOfZone {
        /// The owner name.
        owner: Name,
        /// The apex.
        apex: Name,
    },
    /// A kind of zone that a replicated store has no use for.
    #[error("a zone of kind {kind:?} cannot be made; use Native or Master")]
    ZoneKind {
        /// What was asked for.
        kind: String,
    },
    /// A master file does not read; the text has file, line, column and rule.
    #[error("{0}")]
    MasterFile(String),
    /// The master file is about another zone.
    #[error("the SOA of the master file belongs to {found}, not to {wanted}")]
    OtherZone {
        /// Owner of the SOA.
        found: Name,
        /// The zone asked for.
        wanted: Name,
    },
    /// The body is longer than this path takes.
    #[error("the body has more than {octets_max} octets")]
    BodyTooLong {
        /// The limit.
        octets_max: usize,
    },
    /// A backup is not made, or of no use.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The client stopped in the middle of its body.
    #[error("the body broke off")]
    BodyCutShort,
    /// Too many long requests at once.
    #[error("too many imports and exports at once; try again")]
    Busy,
    /// A revision was not served in time.
    #[error("revision {wanted} is not served yet: {served} is")]
    NotServedYet {
        /// The revision waited for.
        wanted: u64,
        /// The revision served.
        served: u64,
    },
    /// A revision is not answered by edges in time.
    #[error("{0}")]
    EdgesLag(Box<EdgesAnswer>),
    /// It is not known here what edges answer.
    #[error(transparent)]
    Edges(#[from] EdgesUnknown),
    /// The edge follows as before.
    #[error(transparent)]
    Follow(#[from] FollowModeError),
    /// This node writes no feed.
    #[error(
        "this node writes no feed: ask an authority for tickets, and for what goes out to edges"
    )]
    NoFeed,
    /// A ticket of no zone.
    #[error("zones: an empty list is a ticket of nothing; name zones, or leave it out for all")]
    NoZonesNamed,
    /// A ticket that is asked for in two ways.
    #[error("a ticket is of the feed of a name or of a set of zones: give \"feed\" or \"zones\"")]
    FeedAndZones,
    /// The feeds are such that it cannot be done.
    #[error(transparent)]
    FeedBook(#[from] FeedBookError),
    /// What is to be a key of an endpoint is none.
    #[error(transparent)]
    EndpointKey(#[from] NoKey),
    /// What is to be a time is none.
    #[error(transparent)]
    When(#[from] NoTime),
    /// The exporter cannot make a feed, or end it.
    #[error("the feeds cannot be made so: {0}")]
    Feed(FeedsError),
    /// This node has nothing to compare with others.
    #[error("this node neither writes a feed nor follows one with a log")]
    NoDigests,
    /// This node has no edges.
    #[error("no edge can follow this node: it neither writes a feed nor follows one")]
    NoFleet,
    /// An unknown edge.
    #[error("no edge is called {edge:?}, nor has a key that begins so")]
    NoSuchEdge {
        /// What was asked for.
        edge: String,
    },
    /// An edge that is heard cannot be forgotten.
    #[error("the edge {edge:?} is heard and would be there again at once; end it first")]
    EdgeIsHeard {
        /// What was asked for.
        edge: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Zones cannot be made what they were.
    #[error(transparent)]
    Rollback(RollbackError),
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a commit was refused because something was not as the request took it to be.
pub(crate) fn is_conflict(error: &StoreError) -> bool {
    matches!(error, StoreError::PreconditionFailed { .. })
}

impl ApiError {
    /// Returns the status that says what kind of refusal it is.
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath
            | Self::NoSuchZone { .. }
            | Self::NoSuchRrset { .. }
            | Self::NoSuchServer { .. }
            | Self::NoFeed
            | Self::NoFleet
            | Self::Edges(EdgesUnknown::NoFleet)
            | Self::NoSuchEdge { .. }
            | Self::FeedBook(FeedBookError::NoSuchFeed { .. } | FeedBookError::NotListed { .. })
            | Self::NoDigests => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::ZoneExists { .. }
            | Self::EdgeIsHeard { .. }
            | Self::Edges(EdgesUnknown::Frozen { .. })
            | Self::FeedBook(
                FeedBookError::NameTaken { .. }
                | FeedBookError::MainStays
                | FeedBookError::Moved { .. }
                | FeedBookError::NoList { .. },
            ) => StatusCode::CONFLICT,
            Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::Json(error) if error.is_data() => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Json(_)
            | Self::BadPath
            | Self::BadValue { .. }
            | Self::BatchIfMatch
            | Self::CreateIfMatch
            | Self::BodyCutShort => StatusCode::BAD_REQUEST,
            Self::MissingField { .. }
            | Self::Name { .. }
            | Self::Type(_)
            | Self::Rdata { .. }
            | Self::Rrset { .. }
            | Self::DisabledRecord { .. }
            | Self::DuplicateRrset { .. }
            | Self::OutOfZone { .. }
            | Self::ZoneKind { .. }
            | Self::MasterFile(_)
            | Self::NoZonesNamed
            | Self::FeedAndZones
            | Self::FeedBook(_)
            | Self::EndpointKey(_)
            | Self::When(_)
            | Self::OtherZone { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::StoreSilent | Self::StoreUnreached | Self::Edges(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotServedYet { .. } | Self::EdgesLag(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Follow(FollowModeError::NotBehind) => StatusCode::CONFLICT,
            Self::Feed(_) | Self::Source(_) | Self::Follow(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Rollback(error) => rollback_status(error),
            Self::Store(error) => store_status(error),
            Self::Backup(BackupError::Kv(error)) => store_status(&StoreError::Kv(error.clone())),
            Self::Backup(BackupError::File(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Backup(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

impl From<RollbackError> for ApiError {
    fn from(error: RollbackError) -> Self {
        match error {
            RollbackError::Store(error) => Self::Store(error),
            error => Self::Rollback(error),
        }
    }
}

impl From<FeedsError> for ApiError {
    fn from(error: FeedsError) -> Self {
        match error {
            FeedsError::Book(error) => Self::FeedBook(error),
            FeedsError::Share(ShareError::Store(error)) => Self::Store(StoreError::Kv(error)),
            error => Self::Feed(error),
        }
    }
}

/// Returns the status for why zones cannot be made what they were.
fn rollback_status(error: &RollbackError) -> StatusCode {
    match error {
        RollbackError::Zero | RollbackError::Future { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        RollbackError::NotKept { .. } | RollbackError::ZoneNotKept { .. } => StatusCode::GONE,
        RollbackError::TooMany { .. } | RollbackError::TooLarge { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        RollbackError::Store(error) => store_status(error),
    }
}

/// Returns the status for what the store refuses.
fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Rule(RuleError::NoZone { .. }) | StoreError::ZoneUnknown { .. } => {
            StatusCode::NOT_FOUND
        }
        StoreError::Rule(_) | StoreError::Settings(_) => StatusCode::UNPROCESSABLE_ENTITY,
        StoreError::BatchTooLarge { .. }
        | StoreError::Kv(KvError::TooManyOperations { .. } | KvError::TooManyOctets { .. }) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        StoreError::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
        // The request was fine and may be sent again as it is.
        StoreError::Contended { .. }
        | StoreError::Kv(
            KvError::Unavailable { .. } | KvError::OtherStore | KvError::Compacted { .. },
        ) => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Kv(KvError::NearlyFull { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Kv(KvError::OutcomeUnknown) => StatusCode::GATEWAY_TIMEOUT,
        StoreError::ImportLost | StoreError::Kv(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = self.to_string();
        // What stands in the log already, or is no fault, is not said for every request.
        let is_said = matches!(
            self,
            Self::Busy
                | Self::StoreSilent
                | Self::StoreUnreached
                | Self::NotServedYet { .. }
                | Self::EdgesLag(_)
                | Self::Edges(_)
                | Self::Store(
                    StoreError::Contended { .. }
                        | StoreError::Kv(KvError::Unavailable { .. } | KvError::OtherStore)
                )
        );
        if status.is_server_error() && !is_said {
            tracing::error!(error = %text, "a request failed");
        }
        let mut body = json!({ "error": text, "errors": [] });
        if let Self::EdgesLag(answer) = &self {
            body["edges"] = json!(answer);
        }
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}

/// Seconds after which a request that found no place, or too many others, may be sent again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Answers any request to a node whose store was not reached yet.
pub(crate) async fn early() -> Response {
    let mut response = ApiError::StoreUnreached.into_response();
    // The next request is for the whole API, which has a listener of its own.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
