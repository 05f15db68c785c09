//! What a mesh is started with.
//!
//! **Not here:** binding and opening by it (`mesh`, `mesh::endpoint`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// Where identity and blobs are kept, and replicas as `documents` says. None keeps everything in memory.
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

impl Documents {
    /// Keeps replicas on the disk only where some lie in the mesh's directory already, and forgets those of an
    /// older version where they are of no use any more.
    pub(super) fn settle(self, mesh_dir: Option<&Path>) -> Self {
        let Some(dir) = mesh_dir.map(|dir| dir.join("docs")) else { return Self::InMemory };
        if !dir.join("docs.redb").exists() {
            return Self::InMemory;
        }
        if self == Self::InMemory
            && let Err(error) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "replicas of an older version cannot be removed");
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_kept_where_some_lie_and_removed_where_nobody_wants_them() {
        let dir = tempfile::tempdir().unwrap();
        let docs = dir.path().join("docs");
        assert_eq!(Documents::OnDisk.settle(None), Documents::InMemory);
        assert_eq!(Documents::OnDisk.settle(Some(dir.path())), Documents::InMemory);
        std::fs::create_dir(&docs).unwrap();
        assert_eq!(Documents::InMemory.settle(Some(dir.path())), Documents::InMemory);
        assert!(docs.exists(), "nothing of a replica is in it");
        std::fs::write(docs.join("docs.redb"), "").unwrap();
        assert_eq!(Documents::OnDisk.settle(Some(dir.path())), Documents::OnDisk);
        assert!(docs.exists());
        assert_eq!(Documents::InMemory.settle(Some(dir.path())), Documents::InMemory);
        assert!(!docs.exists());
    }
}
