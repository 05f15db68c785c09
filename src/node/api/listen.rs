//! Accepts the API's connections: so many at once, none idle for ever, and none that keeps a node from ending.
//!
//! **Invariant:** at most [`API_CONNECTIONS_MAX`] connections are open; one that neither reads nor
//! writes for [`API_IDLE_MS`] ends. Once the API stops, a request that is worked on may be worked on for
//! [`API_STOP_MS`]; a connection that only waits for what its client has yet to send or to take ends
//! after [`API_STOP_IDLE_MS`].
//! **Not here:** limits of bodies (`api`), of long requests (`api::stream`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use n0_future::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limits::{API_CONNECTIONS_MAX, API_IDLE_MS, API_STOP_IDLE_MS};

/// A listener that waits with the next connection until there is room for it.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    /// The socket.
    listener: TcpListener,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    /// What ends its connections.
    end: End,
}

/// What ends connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// The API stops: who has nothing more to say or to hear goes.
    pub(crate) stop: CancellationToken,
    /// The time to do so is over: everybody goes.
    pub(crate) cut: CancellationToken,
}

impl BoundedListener {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let room = Arc::new(Semaphore::new(API_CONNECTIONS_MAX as usize));
        Ok(Self { listener, room, end: End::default() })
    }

    /// Returns it with what ends its connections.
    pub(crate) fn with_end(self, end: End) -> Self {
        Self { end, ..self }
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
            let (stop, cut) = (self.end.stop.clone(), self.end.cut.clone());
            let stream = BoundedStream {
                stream,
                idle: Box::pin(tokio::time::sleep(IDLE)),
                requests: Requests::default(),
                stop: Some(Box::pin(stop.cancelled_owned())),
                cut: Box::pin(cut.cancelled_owned()),
                _permit: permit,
            };
            return (stream, peer);
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
    /// What is worked on for it.
    requests: Requests,
    /// Says that the API stops; none once that was heard.
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Says that the time to stop is over.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
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
        let too_long = Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        if self.cut.as_mut().poll(context).is_ready() {
            return too_long;
        }
        let is_news = self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(context).is_ready());
        if is_news {
            self.stop = None;
        }
        let is_stopping = self.stop.is_none();
        let limit = if is_stopping { IDLE_AT_STOP } else { IDLE };
        if result.is_ready() || is_news {
            self.idle.as_mut().reset(Instant::now() + limit);
        }
        if result.is_ready() {
            return result;
        }
        while self.idle.as_mut().poll(context).is_ready() {
            // The client waits for us, and not we for it.
            if !is_stopping || !self.requests.has_any() {
                return too_long;
            }
            self.idle.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

/// The requests of one connection that are worked on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<AtomicU32>);

impl Requests {
    /// Whether there is one.
    fn has_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Requests {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().requests.clone()
    }
}

/// A request that is worked on until this is dropped.
struct Work(Requests);

impl Work {
    /// Notes the request.
    fn begin(requests: Requests) -> Self {
        requests.0.fetch_add(1, Ordering::Relaxed);
        Self(requests)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Passes a request on and notes that it is worked on; once the API stops, a body of which nothing comes for
/// [`API_STOP_IDLE_MS`] breaks off.
pub(crate) async fn note_request(
    State(stop): State<CancellationToken>,
    ConnectInfo(requests): ConnectInfo<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let _work = Work::begin(requests);
    next.run(request.map(|body| break_off_at_stop(body, stop))).await
}

/// Returns a body that breaks off as [`note_request`] says.
fn break_off_at_stop(body: Body, stop: CancellationToken) -> Body {
    let parts = Some((body.into_data_stream(), stop));
    Body::from_stream(n0_future::stream::unfold(parts, |parts| async {
        let (mut body, stop) = parts?;
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(IDLE_AT_STOP).await;
        };
        tokio::select! {
            part = body.next() => {
                let part = part?.map_err(io::Error::other);
                Some((part, Some((body, stop))))
            }
            () = late => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    }))
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
/// How long one may rest while the API stops and nothing is worked on for it.
const IDLE_AT_STOP: Duration = Duration::from_millis(API_STOP_IDLE_MS);
