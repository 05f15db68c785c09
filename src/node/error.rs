//! Why a node does not start, or ends: one line each.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::feed_error::FeedsError;
use super::follow::FollowError;
use super::health::Fault;
use super::origin::OriginError;
use crate::export::seal::SealKeyError;
use crate::masterfiles::ZoneFileError;
use crate::mesh::MeshError;
use crate::replica::{ClientError, ListenerError};
use crate::serve::BindError;

/// Why a node does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
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
    /// There is no key that feeds are sealed with.
    #[error("--seal-key-file {0}")]
    SealKey(#[from] SealKeyError),
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

/// Says why a mesh does not start, and which flag that is about.
fn text_of(error: &MeshError) -> String {
    match error {
        MeshError::Bind { .. } => format!("--iroh-listen: {error}"),
        _ => error.to_string(),
    }
}
