//! What was acknowledged: every value that a name may have, by what the authority has said.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::node::Reach;

/// The values of names, as those who wrote them know; a value of none is a name that is gone.
#[derive(Debug, Default)]
pub struct Model(Mutex<HashMap<String, Known>>);

/// What a name may have.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<u32>,
    /// Values of requests whose replies never came, and that may have been committed.
    pending: Vec<Option<u32>>,
}

impl Model {
    /// Sends a request that gives all `names` a value; says whether it was acknowledged, or the
    /// connection broke. Any other reply is an error.
    pub fn commit(
        &self,
        names: &[String],
        value: Option<u32>,
        authority: &Reach,
        request: (&str, &str, &str),
    ) -> Result<bool, String> {
        let each = |act: fn(&mut Known, Option<u32>)| {
            let mut known = self.known();
            names.iter().for_each(|name| act(known.entry(name.clone()).or_default(), value));
        };
        each(|known, value| known.pending.push(value));
        let (method, path, body) = request;
        match authority.send(method, path, body) {
            Ok((200..=299, _)) => {
                each(|known, value| *known = Known { acknowledged: value, pending: Vec::new() });
                Ok(true)
            }
            Ok((status, text)) => Err(format!("{method} {path}: {status} {text}")),
            Err(_) => Ok(false),
        }
    }

    /// What was acknowledged last of a name.
    pub fn acknowledged(&self, name: &str) -> Option<u32> {
        self.known().get(name)?.acknowledged
    }

    /// Sees that both nodes have of every name a value that it may have, and the same one; that is
    /// what is known from now on. `question` says what to ask for. Returns how many were seen.
    pub fn check(
        &self,
        authority: &Reach,
        edge: &Reach,
        question: impl Fn(&str) -> String,
    ) -> Result<usize, String> {
        let mut all = self.known();
        for (name, known) in all.iter_mut() {
            let qname = question(name);
            let value = authority.value(&qname);
            if value != known.acknowledged && !known.pending.contains(&value) {
                return Err(format!("{qname} is lost: {value:?} instead of {known:?}"));
            }
            let its = edge.value(&qname);
            if its != value {
                return Err(format!("{qname} is {value:?} at the authority, {its:?} at the edge"));
            }
            *known = Known { acknowledged: value, pending: Vec::new() };
        }
        Ok(all.len())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
