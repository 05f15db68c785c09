//! What the writer is asked for.
//!
//! **Not here:** how it is done (`redb::writer`), who asks (`store::redb`, `redb::handle`).

use tokio::sync::oneshot;

use crate::store::kv::{KvCommit, KvError};

/// Where a commit's outcome is said; the asker may be gone.
pub(super) type Reply = oneshot::Sender<Result<u64, KvError>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// To make a commit.
    Write {
        /// What to do.
        commit: KvCommit,
        /// Where to say how it went.
        reply: Reply,
    },
    /// To open the file again, because a reader met an I/O error.
    Heal {
        /// Which opening of the file failed; a later one is good.
        opened: u64,
        /// What the reader met.
        error: KvError,
    },
}
