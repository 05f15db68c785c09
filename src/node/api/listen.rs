//! Accepts the API's connections: so many at once, none idle for ever, and none that keeps a node from ending.
//!
//! **Invariant:** at most [`API_CONNECTIONS_MAX`] connections are open; when all are, the one that has been without
//! a whole request for longest gives way to the newest, so that who only holds connections keeps nobody out. One
//! without a request ends after [`API_WAITING_MS`], however often an octet comes; one that neither reads nor writes
//! while it has one ends after [`API_IDLE_MS`]. Once the API stops, a request that is worked on may be worked on for
//! [`API_STOP_MS`]; a connection that only waits for what its client has yet to send or to take ends
//! after [`API_STOP_IDLE_MS`].
//! **Not here:** limits of bodies (`api`), of long requests (`api::stream`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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

use crate::limits::{API_CONNECTIONS_MAX, API_IDLE_MS, API_STOP_IDLE_MS, API_WAITING_MS};

/// A listener that waits with the next connection until there is room for it.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    /// The socket.
    listener: TcpListener,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    /// The connections that are open, and some that were.
    seats: Vec<Weak<Seat>>,
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
        Ok(Self { listener, room, seats: Vec::new(), end: End::default() })
    }

    /// Returns the socket once more: each connection is accepted by one of the two.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn twin(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener.as_fd().try_clone_to_owned()?.into())
    }

    /// Returns it with what ends its connections.
    pub(crate) fn with_end(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Ends the connection that has been without a request for longest.
    fn give_way(&self) {
        let open = self.seats.iter().filter_map(Weak::upgrade);
        let waiting = open.filter_map(|seat| Some((seat.waits_since()?, seat)));
        if let Some((_, seat)) = waiting.min_by_key(|(since, _)| *since) {
            seat.cut.cancel();
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            let permit = match Arc::clone(&self.room).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    self.give_way();
                    let room = Arc::clone(&self.room).acquire_owned();
                    // Where all are worked on, the newest waits for a while and is closed then; others wait
                    // behind it.
                    let Ok(Ok(permit)) = tokio::time::timeout(IDLE_AT_STOP, room).await else {
                        continue;
                    };
                    permit
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection of the API keeps its delay");
            }
            let seat = Arc::new(Seat::new(self.end.cut.child_token()));
            if self.seats.len() >= 2 * API_CONNECTIONS_MAX as usize {
                self.seats.retain(|seat| seat.strong_count() > 0);
            }
            self.seats.push(Arc::downgrade(&seat));
            let stream = BoundedStream {
                stream,
                idle: Box::pin(tokio::time::sleep(WAITING)),
                moved_at: Instant::now(),
                stop: Some(Box::pin(self.end.stop.clone().cancelled_owned())),
                cut: Box::pin(seat.cut.clone().cancelled_owned()),
                seat,
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
    /// When an octet moved last.
    moved_at: Instant,
    /// What is worked on for it.
    seat: Arc<Seat>,
    /// Says that the API stops; none once that was heard.
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Says that it gives way, or that the time to stop is over.
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
        if result.is_ready() || is_news {
            self.moved_at = Instant::now();
        }
        if result.is_ready() {
            return result;
        }
        loop {
            let Some(deadline) = self.deadline() else { return Poll::Pending };
            if deadline <= Instant::now() {
                return too_long;
            }
            self.idle.as_mut().reset(deadline);
            if self.idle.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Returns when it ends if nothing moves until then; never while the API stops and works on a request of it.
    fn deadline(&self) -> Option<Instant> {
        let is_stopping = self.stop.is_none();
        match self.seat.waits_since() {
            None if is_stopping => None,
            None => Some(self.moved_at + IDLE),
            Some(_) if is_stopping => Some(self.moved_at + IDLE_AT_STOP),
            Some(since) => Some(since + WAITING),
        }
    }
}

/// A connection's place, as its requests know it.
#[derive(Debug)]
pub(crate) struct Seat {
    /// How many requests are worked on, and since when it has been so.
    work: Mutex<(u32, Instant)>,
    /// Ends the connection.
    cut: CancellationToken,
}

impl Seat {
    /// A connection without a request.
    fn new(cut: CancellationToken) -> Self {
        Self { work: Mutex::new((0, Instant::now())), cut }
    }

    /// Since when it has been without a request; none if one is worked on.
    fn waits_since(&self) -> Option<Instant> {
        let (count, since) = *self.work.lock().unwrap_or_else(PoisonError::into_inner);
        (count == 0).then_some(since)
    }

    /// Notes one request more or less.
    fn note(&self, change: i32) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        *work = (work.0.saturating_add_signed(change), Instant::now());
    }
}

/// The place that a request has come by.
#[derive(Clone, Debug)]
pub(crate) struct Requests(Arc<Seat>);

impl Connected<IncomingStream<'_, BoundedListener>> for Requests {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(Arc::clone(&stream.io().seat))
    }
}

/// A request that is worked on until this is dropped.
struct Work(Arc<Seat>);

impl Work {
    /// Notes the request.
    fn begin(Requests(seat): Requests) -> Self {
        seat.note(1);
        Self(seat)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.note(-1);
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
/// How long one may be without a whole request.
const WAITING: Duration = Duration::from_millis(API_WAITING_MS);
/// How long one may rest while the API stops and nothing is worked on for it.
const IDLE_AT_STOP: Duration = Duration::from_millis(API_STOP_IDLE_MS);
