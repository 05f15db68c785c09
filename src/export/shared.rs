//! The keys of a feed that several authorities write in turn: sealed in the store, and in a file at each.
//!
//! Who finds none in the store puts its own there, or new ones. Beside them stands a number that no term of the
//! feed was above then: terms of a lease are counted from there.
//!
//! **Invariant:** all authorities on one store have the same keys of a feed, or do not write it.
//! **Not here:** whose turn it is (`store::lease`).

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use iroh_docs::{Author, NamespaceSecret};
use serde::{Deserialize, Serialize};

use super::ExportError;
use super::identity::{Identity, path_in};
use super::seal::SealKey;
use crate::store::DnsStore;
use crate::store::kv::KvError;

/// The public keys of a feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FeedKeys {
    /// The namespace's public key.
    pub(crate) namespace: [u8; 32],
    /// The author's public key.
    pub(crate) author: [u8; 32],
    /// No term was above it when the feed came to be shared; 0 if it is not.
    pub(crate) term_base: u64,
}

/// Why the keys of a feed cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The keys that this node has are others.
    #[error(
        "{} holds the keys of another feed than the store: tickets of that feed lead nowhere once this node \
         writes the shared one; to go on with the shared one, remove {} and the files beside it that \
         begin like it",
        path.display(), path.display()
    )]
    OtherKeys {
        /// The file.
        path: PathBuf,
    },
    /// What stands in the store does not open with this key.
    #[error(
        "the keys of the feed {feed} in the store were sealed with another key than --seal-key-file names"
    )]
    Sealed {
        /// The feed.
        feed: String,
    },
    /// The feed has ended, and its keys were taken from the store.
    #[error("the feed {feed} has ended at another authority: its keys are in the store no more")]
    Forgotten {
        /// The feed.
        feed: String,
    },
    /// The store has keys, and nobody has said with which key they are sealed.
    #[error(
        "the feed {feed} is shared by several authorities: start with --seal-key-file, as they do, so that \
         only one of them writes it"
    )]
    SealKeyMissing {
        /// The feed.
        feed: String,
    },
    /// The store does not say.
    #[error("the store: {0}")]
    Store(#[from] KvError),
    /// The file of this node does not read, or cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// What is sealed, JSON.
#[derive(Serialize, Deserialize)]
struct StoredFeed {
    /// The namespace's secret in hexadecimal digits.
    namespace_secret: String,
    /// The author's secret in hexadecimal digits.
    author_secret: String,
    /// No term was above it when the feed came to be shared.
    term_base: u64,
}

/// Sees to it that this node has the keys that the store has of the feed called `name`.
///
/// # Errors
/// Every [`ShareError`] but [`ShareError::SealKeyMissing`].
pub(crate) async fn settle(
    store: &DnsStore,
    key: &SealKey,
    dir: &Path,
    name: &str,
) -> Result<FeedKeys, ShareError> {
    let local = Identity::load(dir, name)?;
    let note = note_of(name);
    let sealed = match store.note(&note).await? {
        Some(sealed) if sealed.is_empty() => {
            return Err(ShareError::Forgotten { feed: name.to_owned() });
        }
        Some(sealed) => sealed,
        None => {
            let identity = match &local {
                Some(local) => local.clone(),
                None => Identity::begin(dir, name)?,
            };
            let sealed = key.seal(&note, &write(&identity, Identity::terms_below(dir, name)));
            match store.put_note(&note, None, sealed.clone()).await? {
                true => sealed,
                // Another authority was faster; keys are never taken back.
                false => store.note(&note).await?.unwrap_or(sealed),
            }
        }
    };
    let opened = key.open(&note, &sealed).as_deref().and_then(read);
    let (identity, term_base) =
        opened.ok_or_else(|| ShareError::Sealed { feed: name.to_owned() })?;
    match local {
        Some(local)
            if local.namespace.id() != identity.namespace.id()
                || local.author.id() != identity.author.id() =>
        {
            return Err(ShareError::OtherKeys { path: path_in(dir, name) });
        }
        Some(_) => {}
        None => identity.keep(dir, name)?,
    }
    Ok(public_keys(&identity, term_base))
}

/// Returns the keys of a feed that this node alone writes; makes them when it is new.
///
/// # Errors
/// Every [`ShareError`] but [`ShareError::OtherKeys`] and [`ShareError::Sealed`].
pub(crate) async fn settle_alone(
    store: &DnsStore,
    dir: &Path,
    name: &str,
) -> Result<FeedKeys, ShareError> {
    if store.is_shared() && store.note(&note_of(name)).await?.is_some() {
        return Err(ShareError::SealKeyMissing { feed: name.to_owned() });
    }
    Ok(public_keys(&Identity::load_or_create(Some(dir), name)?, 0))
}

/// Returns a number that no term of the feed was above at this node, as far as its files tell.
pub(crate) fn terms_below(dir: &Path, name: &str) -> u64 {
    Identity::terms_below(dir, name)
}

/// Removes the keys of a feed that has ended, and what lies beside them, from this node. What cannot be removed is
/// of no use to anybody any more, and told.
pub(crate) fn forget(dir: &Path, name: &str) {
    let path = path_in(dir, name);
    let files = ["root", "term", "peers", "json"].map(|suffix| path.with_extension(suffix));
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %file.display(), %error, "a file of a feed that has ended stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Whether the keys of a feed were taken from the store when it ended.
///
/// # Errors
/// [`ShareError::Store`].
pub(crate) async fn is_forgotten(store: &DnsStore, name: &str) -> Result<bool, ShareError> {
    Ok(store.note(&note_of(name)).await?.is_some_and(|sealed| sealed.is_empty()))
}

/// Has the keys of a feed that has ended stand in the store no more.
///
/// # Errors
/// [`ShareError::Store`].
pub(crate) async fn forget_shared(store: &DnsStore, name: &str) -> Result<(), ShareError> {
    let note = note_of(name);
    match store.note(&note).await? {
        Some(was) if !was.is_empty() => {
            store.put_note(&note, Some(was), Vec::new()).await?;
        }
        Some(_) | None => {}
    }
    Ok(())
}

/// Returns the public keys of a feed.
fn public_keys(identity: &Identity, term_base: u64) -> FeedKeys {
    FeedKeys {
        namespace: *identity.namespace.id().as_bytes(),
        author: *identity.author.id().as_bytes(),
        term_base,
    }
}

/// The name of the note, and of the secret.
fn note_of(name: &str) -> String {
    format!("feed/{name}")
}

/// Writes what is sealed.
fn write(identity: &Identity, term_base: u64) -> Vec<u8> {
    let stored = StoredFeed {
        namespace_secret: HEXLOWER.encode(&identity.namespace.to_bytes()),
        author_secret: HEXLOWER.encode(&identity.author.to_bytes()),
        term_base,
    };
    serde_json::to_vec(&stored).expect("the keys of a feed have string keys and no failing field")
}

/// Reads what was sealed.
fn read(octets: &[u8]) -> Option<(Identity, u64)> {
    let stored: StoredFeed = serde_json::from_slice(octets).ok()?;
    let secret =
        |text: &str| -> Option<[u8; 32]> { HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok() };
    let namespace = NamespaceSecret::from_bytes(&secret(&stored.namespace_secret)?);
    let author = Author::from_bytes(&secret(&stored.author_secret)?);
    Some((Identity { namespace, author }, stored.term_base))
}
