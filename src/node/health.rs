//! What of a node does not work, and whether it answers what it should.
//!
//! | question | asked by | yes when |
//! |---|---|---|
//! | `/healthz` | who restarts the process | every part works |
//! | `/readyz` | who sends queries | an authority answers what its store has, an edge what its feed had `--ready-lag-ms` ago; one that may not be without its author for long (`--ready-silence`) hears it |
//!
//! An edge that has reached nobody since its start cannot know what it lacks: it is ready with what it
//! has on its disk, if it has anything. A node whose zones are all held is not ready; one with some
//! that are held is.
//!
//! **Invariant:** asking waits for nothing: the watchdog has asked the parts before, and if it has
//! fallen silent that is a fault of its own.
//! **Not here:** asking the parts (`node::watchdog`).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::WATCHDOG_SILENT_MS;
use crate::store::kv::KvError;

/// A part that does not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// A thread that answers queries is gone.
    #[error("a front end has ended")]
    FrontEnd,
    /// The engine of the documents is gone or stuck.
    #[error("the document engine does not answer")]
    Documents,
    /// The store of contents is gone or stuck.
    #[error("the store of contents does not answer")]
    Contents,
    /// Peers are not accepted any more.
    #[error("the mesh has closed")]
    Mesh,
    /// An exporter has not gone around its loop for a while.
    #[error("the exporter of the feed {feed} gives no sign of life")]
    ExporterSilent {
        /// The feed.
        feed: String,
    },
    /// An exporter has stopped without having been told to, or does not go on.
    #[error("the exporter of the feed {feed} does not go on")]
    ExporterStuck {
        /// The feed.
        feed: String,
    },
    /// An exporter fails again and again.
    #[error("the feed {feed} cannot be written")]
    ExporterFails {
        /// The feed.
        feed: String,
    },
    /// The document of a feed cannot be written, though the log can.
    #[error(
        "the document of the feed {feed} could not be written for {seconds} s: changes arrive, and \
         edges that start get an older state; the log says what fails"
    )]
    DocumentFails {
        /// The feed.
        feed: String,
        /// For how many seconds.
        seconds: u64,
    },
    /// Zones of a feed's document are not what they must be.
    #[error(
        "{zones} zones of the document of the feed {feed} are not what they must be: edges that start \
         cannot build them; the log says which"
    )]
    DocumentWrong {
        /// The feed.
        feed: String,
        /// How many.
        zones: u64,
    },
    /// Another authority writes the same feed.
    #[error(
        "the feed {feed} is written elsewhere too: peers keep showing what this authority has not \
         written; end the other one, which runs on a copy of this data directory"
    )]
    WrittenTwice {
        /// The feed.
        feed: String,
    },
    /// A task has stopped without having been told to.
    #[error("the task that {0} has ended")]
    Task(&'static str),
    /// An edge cannot keep what arrives.
    #[error(
        "what arrives could not be kept on the disk for {seconds} s: a restart would answer an older \
         state; the log says what fails"
    )]
    Unkept {
        /// For how many seconds.
        seconds: u64,
    },
    /// An edge gets nothing of the document, or has no room for it.
    #[error(
        "nothing of the feed's document could be fetched, or put on the disk, for {seconds} s: zones that \
         are not here yet are answered with SERVFAIL; see whether the disk is full"
    )]
    Unfetched {
        /// For how many seconds.
        seconds: u64,
    },
    /// Zones of the store cannot be read.
    #[error(
        "{zones} zones of the store cannot be read, {first} among them: the log says why; end the node, \
         see `aspen-dns store check`, and import them again or put a copy of the store back"
    )]
    Unreadable {
        /// How many.
        zones: usize,
        /// The first of them.
        first: String,
    },
    /// The store takes no commits.
    #[error("the store takes no commits: {0}")]
    Store(KvError),
    /// The store does not answer.
    #[error("the store does not answer")]
    StoreSilent,
    /// The cluster of the store refuses every write.
    #[error(
        "the cluster of the store has raised the alarm {alarm}: it takes no writes until its database is \
         compacted and defragmented, and the alarm disarmed"
    )]
    StoreAlarm {
        /// Which one.
        alarm: &'static str,
    },
    /// The store was put back to an older state.
    #[error(
        "the store was put back to an older state {seconds} s ago: what was written since is lost, here and \
         at every edge; the log says more"
    )]
    StorePutBack {
        /// How long ago it was found out.
        seconds: u64,
    },
    /// Nobody watches the others.
    #[error("the watchdog has fallen silent")]
    Watchdog,
}

impl Fault {
    /// Whether only a new start helps; what fails for want of room heals when there is room.
    pub fn is_final(&self) -> bool {
        match self {
            Self::FrontEnd
            | Self::Documents
            | Self::Contents
            | Self::Mesh
            | Self::ExporterStuck { .. }
            | Self::Task(_) => true,
            Self::ExporterSilent { .. }
            | Self::ExporterFails { .. }
            | Self::DocumentFails { .. }
            | Self::DocumentWrong { .. }
            | Self::WrittenTwice { .. }
            | Self::Unkept { .. }
            | Self::Unfetched { .. }
            | Self::Unreadable { .. }
            | Self::Store(_)
            | Self::StoreSilent
            | Self::StoreAlarm { .. }
            | Self::StorePutBack { .. }
            | Self::Watchdog => false,
        }
    }
}

/// Why a node does not answer what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unready {
    /// The watchdog has not looked yet.
    #[error("the node has just started")]
    Starting,
    /// Answers are older than they may be.
    #[error("answers have been behind for {lag_ms} ms")]
    Behind {
        /// For how many milliseconds.
        lag_ms: u64,
    },
    /// An edge does not hear its author, and may not be without it for so long.
    #[error("the author of the feed has not been heard for {seconds} s")]
    Silent {
        /// For how many seconds.
        seconds: u64,
    },
    /// An edge has nothing of its feed.
    #[error("nothing of the feed is here yet")]
    Nothing,
    /// What an edge had on its disk is damaged, and nobody has told it more yet.
    #[error("what was kept is damaged: answers may be older than before, until a peer is heard")]
    Damaged,
    /// Every zone is answered with SERVFAIL.
    #[error("all zones are held")]
    AllHeld,
    /// A thread that answers queries is gone.
    #[error("a front end has ended")]
    FrontEnd,
    /// Nobody has looked for a while, so what was found then is not known to hold.
    #[error("the watchdog has fallen silent")]
    Unwatched,
}

/// What the watchdog found last, and for how many milliseconds answers were behind then.
pub struct Health(Mutex<LastLook>, AtomicU64);

/// See [`Health`].
struct LastLook {
    /// When it looked.
    at: Instant,
    /// What did not work.
    faults: Vec<Fault>,
    /// Why the node was not ready.
    unready: Option<Unready>,
}

impl LastLook {
    /// Whether the next one should have come long ago.
    fn is_old(&self) -> bool {
        self.at.elapsed() >= Duration::from_millis(WATCHDOG_SILENT_MS)
    }
}

impl Default for Health {
    /// Nobody has looked yet.
    fn default() -> Self {
        let unready = Some(Unready::Starting);
        let look = LastLook { at: Instant::now(), faults: Vec::new(), unready };
        Self(Mutex::new(look), AtomicU64::new(0))
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.found().faults).finish()
    }
}

impl Health {
    /// Takes what the watchdog has found.
    pub fn note(&self, faults: Vec<Fault>, unready: Option<Unready>) {
        *self.found() = LastLook { at: Instant::now(), faults, unready };
    }

    /// Returns what did not work when the watchdog looked last; that it has fallen silent is a fault.
    pub fn faults(&self) -> Vec<Fault> {
        let found = self.found();
        let mut faults = found.faults.clone();
        if found.is_old() {
            faults.push(Fault::Watchdog);
        }
        faults
    }

    /// Returns why the node was not ready then, or that nobody has looked for too long.
    pub fn unready(&self) -> Option<Unready> {
        let found = self.found();
        if found.is_old() { Some(Unready::Unwatched) } else { found.unready }
    }

    /// Takes for how many milliseconds answers have been behind what is known.
    pub fn note_lag(&self, lag_ms: u64) {
        self.1.store(lag_ms, Ordering::Relaxed);
    }

    /// Returns for how many milliseconds answers were behind when the watchdog looked last.
    pub fn lag_ms(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// What was found.
    fn found(&self) -> MutexGuard<'_, LastLook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
