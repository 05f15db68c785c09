//! Long answers, sent while they are made: a zone of a million records never stands in memory.
//!
//! **Invariant:** at most [`API_CHUNKS_WAITING_MAX`] parts wait for the reader; a reader that
//! takes longer than [`API_CHUNK_WAIT_MS`] for one is cut off; an answer that fails in the middle
//! breaks off, so that nobody takes a part for the whole.
//! **Not here:** what is written (`api::powerdns`, `api::records`).

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::LongPermit;
use super::error::ApiError;
use crate::limits::{API_CHUNK_OCTETS, API_CHUNK_WAIT_MS, API_CHUNKS_WAITING_MAX};

/// Takes the octets of a long answer.
#[derive(Debug)]
pub(crate) struct Sink {
    /// What is not yet sent.
    buffer: Vec<u8>,
    /// The way to the connection.
    parts: mpsc::Sender<io::Result<Bytes>>,
    /// A place among the long requests.
    _permit: LongPermit,
}

/// Why a long answer ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The reader went away, or was too slow.
    #[error("the reader of a long answer went away or was too slow")]
    ReaderGone,
    /// What is to be sent cannot be read.
    #[error(transparent)]
    Source(#[from] ApiError),
}

impl Sink {
    /// Adds octets.
    pub(crate) fn write(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Gives the buffer to a writer that appends to it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends what has gathered if it fills a part.
    ///
    /// # Errors
    /// [`StreamError::ReaderGone`].
    pub(crate) async fn send_full(&mut self) -> Result<(), StreamError> {
        if self.buffer.len() < API_CHUNK_OCTETS { Ok(()) } else { self.send().await }
    }

    /// Sends what has gathered.
    ///
    /// # Errors
    /// [`StreamError::ReaderGone`].
    pub(crate) async fn send(&mut self) -> Result<(), StreamError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        let wait = Duration::from_millis(API_CHUNK_WAIT_MS);
        self.parts.send_timeout(Ok(part), wait).await.map_err(|_| StreamError::ReaderGone)
    }
}

/// Answers with what `write` puts into the sink it is given, in a task of its own that the API waits for.
pub(crate) fn respond<F, W>(permit: LongPermit, content_type: &'static str, write: W) -> Response
where
    F: Future<Output = (Sink, Result<(), StreamError>)> + Send + 'static,
    W: FnOnce(Sink) -> F,
{
    let (parts, receiver) = mpsc::channel(API_CHUNKS_WAITING_MAX);
    let tasks = permit.tasks.clone();
    let sink = Sink { buffer: Vec::new(), parts, _permit: permit };
    let writer = write(sink);
    tasks.spawn(async move {
        let (mut sink, result) = writer.await;
        let result = match result {
            Ok(()) => sink.send().await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a long answer broke off");
            let _ = sink.parts.send(Err(io::Error::other("broke off"))).await;
        }
    });
    let stream = n0_future::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part| (part, receiver))
    });
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
