//! What a mesh is started with.
//!
//! **Not here:** binding and opening by it (`mesh`, `mesh::endpoint`).

use std::net::SocketAddr;
use std::path::PathBuf;

use iroh::RelayUrl;

/// Which relay servers help two peers behind address translation to meet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RelayChoice {
    /// None: peers must reach each other's addresses directly.
    #[default]
    Off,
    /// The public relays of the iroh project.
    Default,
    /// The operator's own relay.
    Url(RelayUrl),
}

/// Where replicas are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Documents {
    /// In memory: of a feed of the present format a replica holds one entry, which every peer has.
    #[default]
    InMemory,
    /// In the file that an older version has left, if there is one: an edge that has not adopted a
    /// version of the present format answers from it.
    OnDisk,
}

/// What a [`Mesh`](super::Mesh) is started with.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Where identity, blobs and replicas are kept. None keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// Where replicas are kept, if there is a directory.
    pub documents: Documents,
    /// The UDP address to listen on. A fixed port lets peers find a restarted node again.
    pub listen: SocketAddr,
    /// Relay servers.
    pub relay: RelayChoice,
}

impl Default for MeshConfig {
    /// Returns a mesh in memory on a free port of the loopback address, without relays.
    fn default() -> Self {
        Self {
            dir: None,
            documents: Documents::InMemory,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            relay: RelayChoice::Off,
        }
    }
}

impl MeshConfig {
    /// Keeps replicas on the disk only where some lie there already, and forgets those of an older
    /// version where they are of no use any more.
    pub(super) fn settle_documents(&mut self) {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join("docs")) else {
            self.documents = Documents::InMemory;
            return;
        };
        if !dir.join("docs.redb").exists() {
            self.documents = Documents::InMemory;
        } else if self.documents == Documents::InMemory
            && let Err(error) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "replicas of an older version cannot be removed");
        }
    }
}
