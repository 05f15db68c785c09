//! Serves the logs of feeds to those who follow them.
//!
//! One bidirectional stream a follower: hello, welcome, then frames as they come, many at once when
//! they have gathered; a ping where there was nothing to send. Who does not take what waits for it is
//! dropped, since nothing is kept for it beyond the log that all share. Behind the welcome it is told which
//! reports are taken here.
//!
//! **Invariant:** a peer gets nothing before a hello that names a feed; no fault of one ends another.
//! **Not here:** the log (`mesh::log`), dialing (`mesh::dial`), limits before that (`mesh::gate`).

use std::time::{Duration, Instant};

use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh::protocol::{AcceptError, ProtocolHandler};
use iroh::{EndpointId, TransportAddr};

use super::hub::{Hub, Offer, Seat};
use super::log::{Place, Standing};
use crate::clock::now_ms;
use crate::feed::frame::{
    ClientFrame, FLEET, FLEET_VERSION, FrameReader, Hello, Refused, RefusedReason, ServerFrame,
    Welcome,
};
use crate::limits::{
    FLEET_PACE_MS_MAX, FOLLOWER_STALL_MS_MAX, HELLO_MS_MAX, PING_MS, REPORT_MS,
    REPORT_OCTETS_PER_MS, REPORT_QUICK_MS, STREAM_WRITE_OCTETS,
};
use crate::octets::DecodeError;
use crate::ticket::TicketPeer;

/// What the exchange is called in a handshake.
pub(crate) const LOG_ALPN: &[u8] = b"aspen-dns/log/1";

/// Serves all logs of a node.
#[derive(Debug)]
pub(super) struct LogServer {
    /// The logs.
    hub: Hub,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum StreamEnded {
    /// The peer said nothing in time, or took nothing.
    #[error("it kept us waiting")]
    Slow,
    /// The peer said something that is none of this exchange.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The connection broke.
    #[error("the connection ended: {0}")]
    Broken(String),
    /// A newer connection of the same peer took its place.
    #[error("it has come again")]
    Replaced,
    /// The log went on without it, or began anew.
    #[error("the log began anew")]
    Anew,
    /// It was refused.
    #[error("{0}")]
    Refused(RefusedReason),
    /// It has said all that it wanted.
    #[error("it said where it is")]
    Told,
}

impl LogServer {
    /// A server of the logs of a hub.
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub }
    }

    /// Serves one connection to its end.
    async fn serve(&self, connection: &Connection) -> StreamEnded {
        let limit = Duration::from_millis(HELLO_MS_MAX);
        let opening = async {
            let (send, mut recv) = connection.accept_bi().await.map_err(broken)?;
            let mut reader = FrameReader::of_client();
            let frame = next_frame(&mut recv, &mut reader).await?;
            Ok::<_, StreamEnded>((send, recv, reader, frame))
        };
        let opened = tokio::time::timeout(limit, opening).await.unwrap_or(Err(StreamEnded::Slow));
        let (mut send, recv, reader, frame) = match opened {
            Ok(opened) => opened,
            Err(ended) => return ended,
        };
        let id = connection.remote_id();
        let hello = match frame {
            ClientFrame::Hello(hello) => hello,
            ClientFrame::Here(peer) => {
                self.note_moved(id, &peer);
                return StreamEnded::Told;
            }
            ClientFrame::Report(_) | ClientFrame::Fleet(_) => {
                return DecodeError::BadValue { what: "first frame", at: 0 }.into();
            }
        };
        let namespace = hello.namespace;
        match self.admit(id, hello) {
            Ok((offer, seat, place, welcome)) => {
                let mut octets = Vec::new();
                ServerFrame::Welcome(welcome).put(&mut octets);
                ServerFrame::Takes(FLEET_VERSION).put(&mut octets);
                if let Err(ended) = write(&mut send, vec![octets.into()]).await {
                    return ended;
                }
                let reports = read_reports(recv, reader, (connection, &offer, &seat));
                tokio::select! {
                    ended = supply(&mut send, &offer, place) => ended,
                    ended = reports => ended,
                    () = seat.stop.cancelled() => StreamEnded::Replaced,
                    reason = self.barred(&namespace, id) => StreamEnded::Refused(reason),
                }
            }
            Err(refused) => {
                let reason = refused.reason;
                let mut octets = Vec::new();
                ServerFrame::Refused(refused).put(&mut octets);
                // Who asks for what has moved is told where to, unless it may not have it.
                let moved = self.hub.moved(&namespace).filter(|_| !reason.is_barred());
                if let Some(notice) = moved {
                    ServerFrame::Notice(notice).put(&mut octets);
                }
                let _ = write(&mut send, vec![octets.into()]).await;
                let _ = send.finish();
                // The refusal must arrive before the connection closes.
                let _ = tokio::time::timeout(limit, send.stopped()).await;
                StreamEnded::Refused(reason)
            }
        }
    }

    /// Finds out whether somebody may follow, and from where on.
    fn admit(
        &self,
        id: EndpointId,
        hello: Hello,
    ) -> Result<(Offer, Seat, Place, Welcome), Refused> {
        let refused = |reason, peers| Refused { reason, peers };
        // First of all: one that is not let in is told nothing, neither who else there is.
        let judged = self.hub.access().judge(&hello.namespace, id.as_bytes());
        judged.map_err(|reason| refused(reason, Vec::new()))?;
        let Some(offer) = self.hub.find(&hello.namespace) else {
            return Err(match self.hub.later(&hello.namespace) {
                Some(peers) => refused(RefusedReason::NotReady, peers),
                None => refused(RefusedReason::UnknownFeed, Vec::new()),
            });
        };
        let peers = offer.peers.others(id.as_bytes());
        if hello.peer.id == *id.as_bytes() {
            offer.peers.note(hello.peer);
        }
        let (standing, place) = offer.log.standing(hello.history, hello.position);
        let from = match standing {
            Standing::Follows => hello.position,
            Standing::Behind(from) => from,
            Standing::NotReady => return Err(refused(RefusedReason::NotReady, peers)),
            Standing::Ahead => {
                let Some(evidence) = &offer.evidence else {
                    // An edge that is behind the one who asks.
                    return Err(refused(RefusedReason::NotReady, peers));
                };
                // Another's is being looked at; who asks comes again.
                let _ = evidence.try_send(hello.proofs);
                return Err(refused(RefusedReason::Parted, peers));
            }
        };
        // What its author has forgotten, somebody who follows it may know.
        if let Some(evidence) = &offer.evidence
            && !hello.proofs.is_empty()
        {
            let _ = evidence.try_send(hello.proofs);
        }
        let Some(seat) = self.hub.seat(hello.namespace, id) else {
            return Err(refused(RefusedReason::Full, peers));
        };
        let welcome = Welcome {
            is_author: offer.evidence.is_some(),
            history: offer.log.history().unwrap_or_default(),
            from,
            time_ms: now_ms(),
            peers,
        };
        Ok((offer, seat, place, welcome))
    }

    /// Waits until one that follows may not any more; it comes again, and is told why.
    async fn barred(&self, namespace: &[u8; 32], id: EndpointId) -> RefusedReason {
        let access = self.hub.access();
        let mut changes = access.watch();
        loop {
            changes.borrow_and_update();
            if !access.admits(namespace, id.as_bytes())
                && let Err(reason) = access.judge(namespace, id.as_bytes())
            {
                return reason;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Takes where a node says that it is now.
    fn note_moved(&self, id: EndpointId, peer: &TicketPeer) {
        if peer.id != *id.as_bytes() {
            return;
        }
        for peers in self.hub.peers() {
            // Nobody gets in here by saying so: only those that are known may move.
            if peers.all().iter().any(|known| known.id == peer.id) {
                peers.note(peer.clone());
            }
        }
    }
}

impl ProtocolHandler for LogServer {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let ended = self.serve(&connection).await;
        tracing::debug!(peer = %connection.remote_id().fmt_short(), %ended, "a follower is gone");
        connection.close(VarInt::from_u32(0), b"");
        Ok(())
    }
}

/// Sends frames as they come, until something ends it.
async fn supply(send: &mut SendStream, offer: &Offer, mut place: Place) -> StreamEnded {
    let mut news = offer.log.watch();
    let ping = Duration::from_millis(PING_MS);
    loop {
        news.borrow_and_update();
        let Some(supply) = offer.log.supply(place, STREAM_WRITE_OCTETS) else {
            return StreamEnded::Anew;
        };
        place = supply.place;
        if !supply.frames.is_empty() {
            if let Err(ended) = write(send, supply.frames).await {
                return ended;
            }
            continue;
        }
        match tokio::time::timeout(ping, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return StreamEnded::Anew,
            Err(_) => {
                let mut octets = Vec::new();
                ServerFrame::Ping.put(&mut octets);
                if let Err(ended) = write(send, vec![octets.into()]).await {
                    return ended;
                }
            }
        }
    }
}

/// Writes frames; back-pressure is here and nowhere else.
async fn write(send: &mut SendStream, mut frames: Vec<Bytes>) -> Result<(), StreamEnded> {
    let limit = Duration::from_millis(FOLLOWER_STALL_MS_MAX);
    match tokio::time::timeout(limit, send.write_all_chunks(&mut frames)).await {
        Ok(written) => written.map_err(broken),
        Err(_) => Err(StreamEnded::Slow),
    }
}

/// Takes a follower's reports until it is gone.
async fn read_reports(
    mut recv: RecvStream,
    mut reader: FrameReader,
    (connection, offer, seat): (&Connection, &Offer, &Seat),
) -> StreamEnded {
    let (mut address, mut looked_at) = (address_of(connection), Instant::now());
    let mut pace = Pace::new(looked_at);
    loop {
        let (kind, body) = match next_octets(&mut recv, &mut reader).await {
            Ok(octets) => octets,
            Err(ended) => return ended,
        };
        if kind == FLEET && !pace.admit(body.len(), Instant::now()) {
            tracing::debug!(peer = %connection.remote_id().fmt_short(), "reports too fast");
            continue;
        }
        let frame = match ClientFrame::from_octets(kind, &body) {
            Ok(frame) => frame,
            Err(error) => return error.into(),
        };
        // A node that moves goes on with its connection.
        if looked_at.elapsed() >= Duration::from_millis(REPORT_MS) {
            (address, looked_at) = (address_of(connection), Instant::now());
        }
        match frame {
            ClientFrame::Report(report) => seat.report(report, &offer.log, address.clone()),
            ClientFrame::Fleet(report) => {
                seat.report_fleet(report, offer.peers.own(), address.clone());
            }
            ClientFrame::Hello(_) | ClientFrame::Here(_) => {
                return DecodeError::BadValue { what: "kind of a frame", at: 0 }.into();
            }
        }
    }
}

/// How fast a follower may report: it rests after each report as long as that is, and what waited on its way
/// may come at once.
#[derive(Debug)]
struct Pace {
    /// The rest that it has saved.
    saved: Duration,
    /// When that was counted.
    at: Instant,
}

impl Pace {
    /// The pace of one who has just come.
    fn new(now: Instant) -> Self {
        Self { saved: Duration::from_millis(FLEET_PACE_MS_MAX), at: now }
    }

    /// Whether a report of so many octets is slow enough to be looked at.
    fn admit(&mut self, octets: usize, now: Instant) -> bool {
        // Twice, since a report that is due comes between two others.
        let rested = 2 * now.saturating_duration_since(self.at);
        self.saved = (self.saved + rested).min(Duration::from_millis(FLEET_PACE_MS_MAX));
        self.at = now;
        let rest_ms = ((octets / REPORT_OCTETS_PER_MS) as u64).max(REPORT_QUICK_MS);
        let left = self.saved.checked_sub(Duration::from_millis(rest_ms));
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

/// Where a peer is seen: the path that is in use, or else any.
fn address_of(connection: &Connection) -> Option<String> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?;
    match path.remote_addr() {
        TransportAddr::Ip(address) => Some(address.to_string()),
        TransportAddr::Relay(url) => Some(url.to_string()),
        _ => None,
    }
}

/// Reads the next frame.
async fn next_frame(
    recv: &mut RecvStream,
    reader: &mut FrameReader,
) -> Result<ClientFrame, StreamEnded> {
    let (kind, body) = next_octets(recv, reader).await?;
    Ok(ClientFrame::from_octets(kind, &body)?)
}

/// Takes the octets of the next frame, with its kind.
async fn next_octets(
    recv: &mut RecvStream,
    reader: &mut FrameReader,
) -> Result<(u8, Bytes), StreamEnded> {
    loop {
        if let Some(octets) = reader.poll()? {
            return Ok(octets);
        }
        match recv.read_chunk(READ_OCTETS).await.map_err(broken)? {
            Some(chunk) => reader.push(&chunk),
            None => return Err(StreamEnded::Broken("the stream ended".to_owned())),
        }
    }
}

/// Says that the connection broke.
fn broken(error: impl std::fmt::Display) -> StreamEnded {
    StreamEnded::Broken(error.to_string())
}

/// Octets that are read at once.
const READ_OCTETS: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iroh::Endpoint;
    use iroh::endpoint::presets;
    use iroh::protocol::Router;

    use super::*;
    use crate::feed::HistoryId;
    use crate::feed::frame::EdgeReport;
    use crate::feed::frame::fleet::{EdgeFacts, FleetEdge, FleetReport};
    use crate::feed::segment::Position;
    use crate::mesh::dial::LogStream;
    use crate::mesh::hub::FleetState;
    use crate::mesh::log::Log;
    use crate::mesh::peers::Peers;

    /// How long a test waits for what should come soon.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// The feed.
    const FEED: [u8; 32] = [7; 32];
    /// The history.
    const HISTORY: HistoryId = HistoryId { epoch: 1, id: 2 };

    async fn bind() -> Endpoint {
        let builder = Endpoint::builder(presets::Minimal).clear_ip_transports();
        builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
    }

    /// Waits until the fleet is as it should be.
    async fn fleet(hub: &Hub, is_so: impl Fn(&FleetState) -> bool) -> FleetState {
        let looking = async {
            loop {
                let state = hub.fleet_state(&FEED).expect("it is offered");
                if is_so(&state) {
                    break state;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("in time")
    }

    #[test]
    fn reports_at_the_pace_of_an_edge_are_looked_at_and_faster_ones_are_not() {
        let began = Instant::now();
        let quick = Duration::from_millis(REPORT_QUICK_MS);
        let mut pace = Pace::new(began);
        let burst = (FLEET_PACE_MS_MAX / REPORT_QUICK_MS) as u32;
        assert!((0..burst).all(|_| pace.admit(100, began)), "those that waited on their way");
        assert!(!pace.admit(100, began));
        assert!((1..=1_000).all(|count| pace.admit(100, began + count * quick)));
        let mut pace = Pace::new(began);
        let octets = 100 * REPORT_OCTETS_PER_MS;
        let admitted =
            (0..20_000).filter(|ms| pace.admit(octets, began + Duration::from_millis(*ms)));
        let most = (FLEET_PACE_MS_MAX + 2 * 20_000) / 100;
        assert!(admitted.count() as u64 <= most);
    }

    #[tokio::test]
    async fn a_follower_says_less_until_it_is_told_what_is_taken_and_stays_known_when_it_goes() {
        let (server, edge) = (bind().await, bind().await);
        let (hub, addr, own) = (Hub::default(), server.addr(), *server.id().as_bytes());
        let log = Arc::new(Log::new(FEED));
        let at = Position { revision: 10, tag: 1_000 };
        log.begin(HISTORY, at);
        let peers = Arc::new(Peers::load(own, &[], None));
        hub.offer(Offer { log, peers, evidence: None });
        let router = Router::builder(server).accept(LOG_ALPN, LogServer::new(hub.clone())).spawn();
        let hello = Hello { namespace: FEED, history: HISTORY, position: at, ..Hello::default() };
        let opening = LogStream::open(&edge, addr, hello, Arc::default());
        let (mut stream, _, _turn) = opening.await.unwrap();

        // As one of an older version does all the time.
        let short = EdgeReport { served: at, state: 3, ..EdgeReport::default() };
        stream.report(short).await.unwrap();
        let state = fleet(&hub, |state| state.members.len() == 1).await;
        let (member, lag_ms) = &state.members[0];
        assert_eq!((member.edge.id, member.via), (*edge.id().as_bytes(), None));
        assert_eq!((member.edge.served, member.edge.history), (at, HISTORY), "by its tag");
        assert_eq!((&member.edge.facts, *lag_ms), (&EdgeFacts::default(), Some(0)));
        assert!(member.edge.address.as_ref().unwrap().starts_with("127.0.0.1:"), "as it is seen");

        let next = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        assert_eq!(next.unwrap(), ServerFrame::Takes(FLEET_VERSION));
        assert!(stream.takes_fleet());
        let facts = EdgeFacts { zones: 3, ..EdgeFacts::default() };
        let (id, address) = (member.edge.id, Some("203.0.113.1:53".to_owned()));
        let itself = FleetEdge { id, address, facts, served: at, ..FleetEdge::default() };
        let behind = FleetEdge { id: [9; 32], hops: 1, ..FleetEdge::default() };
        let edges = vec![itself, behind];
        stream.report_fleet(FleetReport { left_out: 0, edges }).await.unwrap();
        let state = fleet(&hub, |state| state.members.len() == 2).await;
        let known = |id| state.members.iter().find(|(known, _)| known.edge.id == id).unwrap();
        assert_eq!((known(id).0.edge.facts.zones, known([9; 32]).0.via), (3, Some(id)));
        assert!(
            known(id).0.edge.address.as_ref().unwrap().starts_with("127.0.0.1:"),
            "not as it says"
        );

        drop(stream);
        let looking = async {
            while !hub.followers(&FEED).is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("in time");
        assert_eq!(fleet(&hub, |_| true).await.members.len(), 2);
        router.shutdown().await.unwrap();
    }
}
