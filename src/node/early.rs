//! What a node does before it has its parts: it answers with what it kept, and tells who asks the API to wait.
//!
//! **Invariant:** what answers early goes on answering when the parts are there.
//! **Not here:** what is answered (`kept`), the API itself (`api`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::api::BoundApi;
use super::service::Service;
use super::services;
use crate::publish::Reader;
use crate::serve::{DnsProtocolServer, RunningServer};

/// The front ends and the API of a node that starts.
pub(super) struct Early {
    /// The front ends, until they answer.
    server: Option<DnsProtocolServer>,
    /// The front ends that answer.
    answering: Option<(Service, Arc<RunningServer>)>,
    /// The API.
    pub(super) api: Option<BoundApi>,
}

impl Early {
    /// Front ends and an API that are bound.
    pub(super) fn new(server: DnsProtocolServer, api: Option<BoundApi>) -> Self {
        Self { server: Some(server), answering: None, api }
    }

    /// Answers with what is published.
    pub(super) fn answer(&mut self) -> io::Result<()> {
        if let Some(server) = self.server.take() {
            self.answering = Some(services::front_ends(server)?);
        }
        Ok(())
    }

    /// Returns the front ends, which answer with what `reader` reads; those that answer already do so.
    pub(super) fn finish(&mut self, reader: Reader) -> io::Result<(Service, Arc<RunningServer>)> {
        if let Some(server) = self.server.take() {
            self.answering = Some(services::front_ends(server.with_reader(reader))?);
        }
        self.answering.take().ok_or_else(|| io::Error::other("the front ends were taken before"))
    }

    /// Tells who asks the API that the store cannot be reached, as long as this is waited for.
    pub(super) async fn refuse_requests(&mut self, is_answering: bool) -> Infallible {
        if let Some(api) = &mut self.api {
            api.refuse_requests(is_answering).await;
        }
        std::future::pending().await
    }
}
