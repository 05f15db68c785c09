//! The open file, behind something that the writer can replace.
//!
//! After an I/O error redb refuses everything until the file is opened anew, and a file is open
//! once. So nobody keeps the database: readers begin their transaction behind a lock, which takes
//! microseconds, and the writer takes the database away when it has to. redb ends transactions of
//! a closed file with an error, so that no reader keeps the file.
//!
//! **Invariant:** two databases over one file never exist together; only the writer replaces.
//! **Not here:** when the file is opened again (`redb::writer`).

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::Database;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::watch;

use super::job::Job;
use crate::store::kv::KvError;

/// The open file, or why there is none.
#[derive(Debug)]
pub(super) struct Handle {
    /// What may be done with the store now.
    state: RwLock<HandleState>,
    /// How often the file was opened, and how often it was given up.
    opened: watch::Sender<u64>,
    /// The way to the writer, which is told of errors.
    queue: WeakSender<Job>,
}

/// What may be done with the store now.
#[derive(Debug)]
struct HandleState {
    /// The file, if reads are served.
    database: Result<Database, KvError>,
    /// Why no commit is taken, if none is.
    refusal: Option<KvError>,
}

/// Tells the writer of errors of one opening of the file.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    /// The way to the writer.
    queue: WeakSender<Job>,
    /// Which opening.
    opened: u64,
}

impl Handle {
    /// Makes a handle of the file that was opened first.
    pub(super) fn new(database: Database, queue: WeakSender<Job>) -> Self {
        let state = RwLock::new(HandleState { database: Ok(database), refusal: None });
        Self { state, opened: watch::Sender::new(0), queue }
    }

    /// Does something short with the database; an I/O error is the writer's to mend.
    ///
    /// # Errors
    /// What `work` returns; [`KvError::Unavailable`] while the file is not open.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        let state = self.read();
        let database = state.database.as_ref().map_err(Clone::clone)?;
        work(database).inspect_err(|error| self.reporter().tell(error))
    }

    /// Returns what tells the writer of errors that a transaction begun now meets.
    pub(super) fn reporter(&self) -> Reporter {
        Reporter { queue: self.queue.clone(), opened: self.opened() }
    }

    /// Returns how often the file was opened.
    pub(super) fn opened(&self) -> u64 {
        *self.opened.borrow()
    }

    /// Returns what wakes when reads may work again.
    pub(super) fn watch_opened(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// Says whether commits are taken.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn health(&self) -> Result<(), KvError> {
        self.read().refusal.clone().map_or(Ok(()), Err)
    }

    /// Closes the file. Transactions end with an error.
    pub(super) fn close(&self, reason: &KvError) {
        let mut state = self.write();
        state.refusal = Some(reason.clone());
        let database = std::mem::replace(&mut state.database, Err(reason.clone()));
        // Closing may wait for the disk; readers get their error meanwhile.
        drop(state);
        drop(database);
    }

    /// Says why there is still no file.
    pub(super) fn say(&self, reason: &KvError) {
        let mut state = self.write();
        debug_assert!(state.database.is_err());
        state.database = Err(reason.clone());
        state.refusal = Some(reason.clone());
    }

    /// Says that the file will not be opened again.
    pub(super) fn give_up(&self, reason: &KvError) {
        self.say(reason);
        self.opened.send_modify(|opened| *opened += 1);
    }

    /// Serves reads from a file that was opened again.
    pub(super) fn serve(&self, database: Database) {
        let mut state = self.write();
        debug_assert!(state.database.is_err());
        state.database = Ok(database);
        self.opened.send_modify(|opened| *opened += 1);
    }

    /// Takes commits again.
    pub(super) fn take_commits(&self) {
        let mut state = self.write();
        debug_assert!(state.database.is_ok());
        state.refusal = None;
    }

    /// Locks the state; a panic within left it as whole as it was.
    fn read(&self) -> RwLockReadGuard<'_, HandleState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state to change it.
    fn write(&self) -> RwLockWriteGuard<'_, HandleState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Tells the writer if the error is one that only a new opening mends.
    pub(super) fn tell(&self, error: &KvError) {
        if !matches!(error, KvError::Unavailable { .. }) {
            return;
        }
        // A full queue holds a commit, which meets the same error.
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.try_send(Job::Heal { opened: self.opened, error: error.clone() });
        }
    }
}
