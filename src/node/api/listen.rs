//! Accepts the API's connections: so many at once, none idle for ever.
//!
//! **Invariant:** at most [`API_CONNECTIONS_MAX`] connections are open; one that neither reads nor
//! writes for [`API_IDLE_MS`] ends.
//! **Not here:** limits of bodies (`api`), of long requests (`api::stream`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::limits::{API_CONNECTIONS_MAX, API_IDLE_MS};

/// A listener that waits with the next connection until there is room for it.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    /// The socket.
    listener: TcpListener,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
}

impl BoundedListener {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, room: Arc::new(Semaphore::new(API_CONNECTIONS_MAX as usize)) })
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                // The semaphore is never closed; if it were, no connection may be taken.
                std::future::pending::<()>().await;
                continue;
            };
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection of the API keeps its delay");
            }
            let idle = Box::pin(tokio::time::sleep(IDLE));
            return (BoundedStream { stream, idle, _permit: permit }, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its place among those allowed.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    /// The connection.
    stream: TcpStream,
    /// Ends when nothing moved for too long.
    idle: Pin<Box<Sleep>>,
    /// The place; given back when the connection is dropped.
    _permit: OwnedSemaphorePermit,
}

impl BoundedStream {
    /// Counts an operation that is ready as a sign of life; one that pends for too long fails.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return result;
        }
        ready!(self.idle.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, result)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, octets);
        self.watch(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How long a connection may rest.
const IDLE: Duration = Duration::from_millis(API_IDLE_MS);
