//! Follows the log of a feed at another node.
//!
//! **Invariant:** a stream that is silent for [`STREAM_SILENCE_MS_MAX`] and
//! [`STREAM_SILENCE_ROUND_TRIPS`] is given up; one that is
//! being opened, within [`LINK_DIAL_MS`] for each of connection and greeting, [`DIAL_TURN_MS_MAX`] for its turn and
//! [`HELLO_REPLY_MS_MAX`] for the reply.
//! **Not here:** whom to dial and when (`replica`), what segments are worth (`sync`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iroh::endpoint::{
    ConnectOptions, Connection, QuicTransportConfig, RecvStream, SendStream, VarInt,
};
use iroh::{Endpoint, EndpointAddr};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::endpoint;
use super::stream::LOG_ALPN;
use crate::feed::frame::fleet::FleetReport;
use crate::feed::frame::{
    ClientFrame, EdgeReport, FrameReader, Hello, Refused, ServerFrame, Welcome,
};
use crate::limits::{
    DIAL_TURN_MS_MAX, HELLO_REPLY_MS_MAX, LINK_DIAL_MS, QUIC_IDLE_MS, QUIC_KEEP_ALIVE_MS,
    REPORT_WRITE_MS_MAX, STREAM_SILENCE_MS_MAX, STREAM_SILENCE_ROUND_TRIPS, UPSTREAM_EAGER_MS,
};
use crate::octets::DecodeError;

/// A stream of a feed's log.
#[derive(Debug)]
pub(crate) struct LogStream {
    /// The connection; closed when this is dropped.
    connection: Connection,
    /// Our half.
    send: SendStream,
    /// The other half.
    recv: RecvStream,
    /// Cuts it into frames.
    reader: FrameReader,
    /// When anything came last.
    heard_at: Instant,
    /// When the first frame was sent, and how long the reply to it took.
    greeted: (Instant, Duration),
    /// Whether the peer has said that it takes fleet reports.
    takes_fleet: bool,
}

/// Why a log is not followed, or not any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody answers there.
    #[error("it does not answer: {0}")]
    Unreachable(String),
    /// It does not speak this exchange: it is of an older version.
    #[error("it knows no log: it is of an older version")]
    NoLog,
    /// It refuses; behind that it may hand on what the author says of the feed.
    #[error("{}", .0.reason)]
    Refused(Refused, Option<Bytes>),
    /// It has said nothing for too long.
    #[error("it is silent")]
    Silent,
    /// It said something that is none of this exchange.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It does not take what we send.
    #[error("it takes nothing")]
    Full,
    /// The stream ended.
    #[error("the stream ended: {0}")]
    Ended(String),
}

impl LogStream {
    /// Dials a peer and says hello when it is this dial's turn: the peer ends the stream to one who says
    /// hello again, so that of several dials of one peer only one may have said it. Whoever is welcomed gets
    /// the turn, and keeps it for as long as the stream: the others have not noticed yet.
    ///
    /// # Errors
    /// Every [`DialError`].
    pub(crate) async fn open(
        endpoint: &Endpoint,
        peer: EndpointAddr,
        hello: Hello,
        turn: Arc<Mutex<()>>,
    ) -> Result<(Self, Welcome, OwnedMutexGuard<()>), DialError> {
        let limit = Duration::from_millis(LINK_DIAL_MS);
        let late = || DialError::Unreachable("not in time".to_owned());
        let other = |_| DialError::Unreachable("another dial waits for its reply".to_owned());
        let connection = tokio::time::timeout(limit, connect(endpoint, peer));
        let connection = connection.await.unwrap_or_else(|_| Err(late()))?;
        let patience = Duration::from_millis(DIAL_TURN_MS_MAX);
        let turn = tokio::time::timeout(patience, turn.lock_owned()).await.map_err(other)?;
        let greeting = Self::greet(connection, ClientFrame::Hello(hello));
        let greeted = tokio::time::timeout(limit, greeting).await;
        let mut stream = greeted.unwrap_or_else(|_| Err(late()))?;
        match stream.next_within(Duration::from_millis(HELLO_REPLY_MS_MAX)).await? {
            ServerFrame::Welcome(welcome) => {
                stream.greeted.1 = stream.greeted.0.elapsed();
                Ok((stream, welcome, turn))
            }
            ServerFrame::Refused(refused) => {
                let behind = stream.next_within(Duration::from_millis(NOTICE_BEHIND_MS_MAX)).await;
                let notice = match behind {
                    Ok(ServerFrame::Notice(notice)) => Some(notice),
                    // It has said all.
                    Ok(_) | Err(_) => None,
                };
                Err(DialError::Refused(refused, notice))
            }
            _ => Err(DecodeError::BadValue { what: "first frame", at: 0 }.into()),
        }
    }

    /// Says to a peer where this node is, and no more.
    ///
    /// # Errors
    /// Every [`DialError`].
    #[cfg(feature = "node")] // who writes a feed
    pub(crate) async fn say_here(
        endpoint: &Endpoint,
        peer: EndpointAddr,
        here: crate::ticket::TicketPeer,
    ) -> Result<(), DialError> {
        let limit = Duration::from_millis(LINK_DIAL_MS);
        let saying = async {
            let connection = connect(endpoint, peer).await?;
            let stream = Self::greet(connection, ClientFrame::Here(here)).await?;
            // It closes when it has heard.
            stream.connection.closed().await;
            Ok(())
        };
        tokio::time::timeout(limit, saying)
            .await
            .unwrap_or_else(|_| Err(DialError::Unreachable("not in time".to_owned())))
    }

    /// Opens the stream and sends a first frame.
    async fn greet(connection: Connection, first: ClientFrame) -> Result<Self, DialError> {
        let (mut send, recv) =
            connection.open_bi().await.map_err(|error| DialError::Ended(error.to_string()))?;
        let mut octets = Vec::new();
        first.put(&mut octets);
        send.write_all(&octets).await.map_err(|error| DialError::Ended(error.to_string()))?;
        let (reader, heard_at) = (FrameReader::of_server(), Instant::now());
        let greeted = (heard_at, Duration::ZERO);
        Ok(Self { connection, send, recv, reader, heard_at, greeted, takes_fleet: false })
    }

    /// Returns the next frame that says something; pings are passed over.
    ///
    /// # Errors
    /// Every [`DialError`]; nothing can be read afterwards. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<ServerFrame, DialError> {
        self.next_within(Duration::from_millis(STREAM_SILENCE_MS_MAX)).await
    }

    /// Returns the next frame of those that have arrived already; none if there is none.
    ///
    /// # Errors
    /// [`DialError::Malformed`].
    pub(crate) fn poll(&mut self) -> Result<Option<ServerFrame>, DialError> {
        match self.reader.poll()? {
            Some((kind, body)) => {
                let frame = ServerFrame::from_octets(kind, &body)?;
                self.takes_fleet |= matches!(frame, ServerFrame::Takes(version) if version > 0);
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// Whether the peer has said that it takes fleet reports; one of an older version never does, and would
    /// close the stream at one.
    pub(crate) fn takes_fleet(&self) -> bool {
        self.takes_fleet
    }

    /// How long a round trip takes on the slowest path by which anything came: what is on its way may
    /// come by that, though another one is preferred by now. A path that was left is not known any more:
    /// what the first reply took counts for a while.
    fn round_trip(&self) -> Duration {
        let paths = self.connection.paths();
        let stats = paths.iter().map(|path| path.stats());
        let used = stats.filter(|stats| stats.udp_rx.datagrams > 0).map(|stats| stats.rtt);
        let (at, first) = self.greeted;
        let is_new = at.elapsed() < Duration::from_millis(UPSTREAM_EAGER_MS);
        used.chain(is_new.then_some(first)).max().unwrap_or_default()
    }

    /// Returns the next frame; each octet must come within a time, and some round trips.
    async fn next_within(&mut self, silence: Duration) -> Result<ServerFrame, DialError> {
        let mut limit = silence;
        loop {
            if let Some(frame) = self.poll()? {
                return Ok(frame);
            }
            // Whoever asks may be called away and come back: silence counts from the last octet.
            let until = (self.heard_at + limit).into();
            let read = tokio::time::timeout_at(until, self.recv.read_chunk(READ_OCTETS)).await;
            let Ok(read) = read else {
                let longer = silence + self.round_trip() * STREAM_SILENCE_ROUND_TRIPS;
                if self.heard_at.elapsed() >= longer {
                    return Err(DialError::Silent);
                }
                limit = longer;
                continue;
            };
            let chunk = read.map_err(|error| DialError::Ended(error.to_string()))?;
            let chunk = chunk.ok_or_else(|| DialError::Ended("it was closed".to_owned()))?;
            self.heard_at = Instant::now();
            self.reader.push(&chunk);
        }
    }

    /// Says how far this node is, within [`REPORT_WRITE_MS_MAX`].
    ///
    /// # Errors
    /// [`DialError::Full`] and [`DialError::Ended`]; nothing can be said afterwards.
    pub(crate) async fn report(&mut self, report: EdgeReport) -> Result<(), DialError> {
        self.say(&ClientFrame::Report(report)).await.map(drop)
    }

    /// Says how far this node is, and those behind it, to a peer that takes it; returns how many octets that took.
    ///
    /// # Errors
    /// As [`LogStream::report`].
    pub(crate) async fn report_fleet(&mut self, report: FleetReport) -> Result<usize, DialError> {
        debug_assert!(self.takes_fleet, "an older peer closes the stream at it");
        self.say(&ClientFrame::Fleet(report)).await
    }

    /// Says something, within [`REPORT_WRITE_MS_MAX`].
    async fn say(&mut self, frame: &ClientFrame) -> Result<usize, DialError> {
        let mut octets = Vec::new();
        frame.put(&mut octets);
        let limit = Duration::from_millis(REPORT_WRITE_MS_MAX);
        match tokio::time::timeout(limit, self.send.write_all(&octets)).await {
            Ok(written) => written.map_err(|error| DialError::Ended(error.to_string()))?,
            Err(_) => return Err(DialError::Full),
        }
        Ok(octets.len())
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

/// Connects to a peer that has a log.
async fn connect(endpoint: &Endpoint, peer: EndpointAddr) -> Result<Connection, DialError> {
    let unreachable = |error: String| DialError::Unreachable(error);
    let options = ConnectOptions::new().with_transport_config(transport());
    let connecting = endpoint
        .connect_with_opts(peer, LOG_ALPN, options)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    connecting.await.map_err(|error| {
        let text = super::error_chain(&error);
        // TLS alert 120, no_application_protocol (RFC 7301 section 3.2).
        if text.contains(NO_ALPN) { DialError::NoLog } else { unreachable(text) }
    })
}

/// The QUIC settings of a connection over which a log is followed.
fn transport() -> QuicTransportConfig {
    endpoint::transport(QUIC_IDLE_MS, QUIC_KEEP_ALIVE_MS, 0)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .build()
}

/// Milliseconds for which more may come behind a refusal.
const NOTICE_BEHIND_MS_MAX: u64 = 500;
/// Octets that are read at once.
const READ_OCTETS: usize = 64 << 10;
/// Octets that may be on their way to us.
const RECEIVE_WINDOW: u32 = 2 << 20;
/// How the transport names the alert that says that a protocol is not spoken.
const NO_ALPN: &str = "peer doesn't support any known protocol";

#[cfg(test)]
mod tests {
    use iroh::endpoint::presets;

    use super::*;

    /// How long a test waits for what should come soon.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// An endpoint on a free port that takes no more than some octets before they are read.
    async fn bind(window: u32) -> Endpoint {
        let transport =
            QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(window)).build();
        let builder = Endpoint::builder(presets::Minimal).clear_ip_transports();
        let builder = builder.bind_addr("127.0.0.1:0").unwrap().transport_config(transport);
        builder.alpns(vec![LOG_ALPN.to_vec()]).bind().await.unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_welcomes_us_and_reads_no_more_keeps_nobody_waiting() {
        let (peer, edge) = (bind(1 << 10).await, bind(1 << 10).await);
        let addr = peer.addr();
        let welcoming = tokio::spawn(async move {
            let connection = peer.accept().await.unwrap().await.unwrap();
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            let mut octets = Vec::new();
            ServerFrame::Welcome(Welcome::default()).put(&mut octets);
            send.write_all(&octets).await.unwrap();
            connection.closed().await;
            drop((send, recv));
        });
        let opening = LogStream::open(&edge, addr, Hello::default(), Arc::default());
        let (mut stream, ..) = opening.await.unwrap();
        assert!(!stream.takes_fleet(), "a peer of an older version has not said so");
        let reporting = async {
            loop {
                if let Err(error) = stream.report(EdgeReport::default()).await {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(PATIENCE, reporting).await.expect("it is given up");
        assert!(matches!(error, DialError::Full), "{error}");
        drop(stream);
        welcoming.await.unwrap();
    }
}
