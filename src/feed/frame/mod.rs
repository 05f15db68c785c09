//! Frames: what two nodes say to each other over the stream that carries a feed's log.
//!
//! The one that follows opens the stream and says hello; the other welcomes it and sends segments
//! as they come, or refuses. A frame is a length (u32, of what follows), a kind (u8) and a body.
//!
//! | from | kind | body |
//! |---|---|---|
//! | follower | 1 hello | version u8, namespace \[32\], history (epoch u64, id u128), position, peer, proofs |
//! | follower | 2 report | position served, state u8, zones that differ u32, clock u64 (ms since 1970) |
//! | follower | 3 here | peer: a node that has moved says where it is now, and no more |
//! | follower | 16 fleet | what it and those behind it say of themselves, see [`fleet`]; to who takes it |
//! | server | 1 welcome | role u8 (0 author, 1 edge), history, position where the log begins that follows, clock u64, peers |
//! | server | 2 refused | reason u8, peers |
//! | server | 3 segment | see `feed::segment` |
//! | server | 4 ping | |
//! | server | 17 notice | see `feed::notice` |
//! | server | 16 takes | version u8 of the fleet reports that it takes, and what later versions may add |
//!
//! Kinds from 16 on are what came later, or may come; a follower passes over those that it does not know, a
//! server closes. So a server says first what it takes.
//!
//! **Invariant:** no frame is held that is longer than its limit.
//! **Not here:** sockets and time (`mesh`), whether segments are to be believed (`replica`).

pub mod fleet;

use bytes::{Buf as _, Bytes, BytesMut};

use super::HistoryId;
use super::segment::{Position, put_position, read_position};
use crate::limits::{
    CLIENT_FRAME_OCTETS_MAX, HELLO_PROOF_OCTETS_MAX, KNOWN_PEERS_MAX, SERVER_FRAME_OCTETS_MAX,
};
use crate::octets::{DecodeError, OctetReader, put_counted, put_varint};
use crate::ticket::{TicketPeer, put_peer, read_peer};
use fleet::FleetReport;

/// The version of this exchange.
pub(crate) const VERSION: u8 = 1;
/// The version of the reports on a fleet.
pub(crate) const FLEET_VERSION: u8 = 1;

/// What the one that follows says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientFrame {
    /// Where it stands and what it wants.
    Hello(Hello),
    /// How far it is.
    Report(EdgeReport),
    /// Where it is.
    Here(TicketPeer),
    /// What it and those behind it say of themselves.
    Fleet(FleetReport),
}

/// The first frame of the one that follows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// The feed.
    pub namespace: [u8; 32],
    /// The history that it has followed.
    pub history: HistoryId,
    /// How far.
    pub position: Position,
    /// Where it can be reached itself.
    pub peer: TicketPeer,
    /// Segments that prove that: the newest heartbeat and commits that it has.
    pub proofs: Vec<Bytes>,
}

/// How far a follower is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EdgeReport {
    /// What it answers with.
    pub served: Position,
    /// Its status, by number.
    pub state: u8,
    /// Zones whose digest differs.
    pub differing: u32,
    /// Its clock, in milliseconds since 1970; 0 where it has not said so.
    pub time_ms: u64,
}

/// What the one that is followed says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerFrame {
    /// The log follows.
    Welcome(Welcome),
    /// It does not.
    Refused(Refused),
    /// A segment.
    Segment(Bytes),
    /// It lives.
    Ping,
    /// It takes reports on a fleet, of this version and those before it.
    Takes(u8),
    /// What the author of the feed says of the feed itself.
    Notice(Bytes),
    /// Something that this version does not know.
    Unknown(u8),
}

/// The first frame of the one that is followed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Welcome {
    /// Whether it writes the feed itself.
    pub is_author: bool,
    /// The history that it follows or writes.
    pub history: HistoryId,
    /// The position after which the log follows: that of the hello, or, if that is too old or in no
    /// history, one that a version of the document has.
    pub from: Position,
    /// Its clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Others that can be followed.
    pub peers: Vec<TicketPeer>,
}

/// Why it is not followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The reason.
    pub reason: RefusedReason,
    /// Others that can be followed.
    pub peers: Vec<TicketPeer>,
}

/// Why somebody is not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusedReason {
    /// It does not have that feed.
    UnknownFeed,
    /// It has the feed and nothing of it yet.
    NotReady,
    /// As many follow it as may.
    Full,
    /// The hello is of a newer version than it knows.
    TooNew,
    /// The one who follows knows of a history that has gone another way; what is to be done about
    /// that is found out.
    Parted,
    /// The feed has a list of endpoints, and the one who follows is not on it.
    NotListed,
    /// The feed was revoked.
    Revoked,
    /// The time of the feed is over.
    Expired,
}

impl RefusedReason {
    /// Whether it says that the feed is not for the one who asks: asking again soon changes nothing.
    pub fn is_barred(self) -> bool {
        matches!(self, Self::NotListed | Self::Revoked | Self::Expired)
    }
}

impl std::fmt::Display for RefusedReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownFeed => "it does not have that feed",
            Self::NotReady => "it has nothing of the feed yet",
            Self::Full => "it has as many followers as it may",
            Self::TooNew => "it is of an older version",
            Self::Parted => "its history has parted from ours",
            Self::NotListed => "the key of this endpoint is not on the feed's list",
            Self::Revoked => "the feed was revoked",
            Self::Expired => "the time of the feed is over",
        })
    }
}

impl ClientFrame {
    /// Appends the frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => put_frame(out, HELLO, |out| hello.put(out)),
            Self::Report(report) => put_frame(out, REPORT, |out| {
                put_position(out, report.served);
                out.push(report.state);
                out.extend_from_slice(&report.differing.to_be_bytes());
                out.extend_from_slice(&report.time_ms.to_be_bytes());
            }),
            Self::Here(peer) => put_frame(out, HERE, |out| put_peer(out, peer)),
            Self::Fleet(report) => put_frame(out, FLEET, |out| report.put(out)),
        }
    }

    /// Reads the frame of a kind.
    ///
    /// # Errors
    /// [`DecodeError`]; a hello of a newer version is [`DecodeError::TooNew`].
    pub fn from_octets(kind: u8, octets: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        let frame = match kind {
            HELLO => return Hello::from_octets(octets).map(Self::Hello),
            REPORT => Self::Report(EdgeReport {
                served: read_position(&mut reader)?,
                state: reader.u8("state")?,
                differing: reader.u32("zones that differ")?,
                time_ms: reader.u64("time")?,
            }),
            HERE => Self::Here(read_peer(&mut reader)?),
            FLEET => Self::Fleet(FleetReport::read(&mut reader)?),
            _ => return Err(DecodeError::BadValue { what: "kind of a frame", at: 0 }),
        };
        reader.end()?;
        Ok(frame)
    }
}

impl Hello {
    /// Appends the body.
    fn put(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.namespace);
        put_history(out, self.history);
        put_position(out, self.position);
        put_peer(out, &self.peer);
        let mut room = HELLO_PROOF_OCTETS_MAX;
        let mut proofs = self.proofs.clone();
        proofs.retain(|proof| {
            let fits = proof.len() <= room;
            room -= if fits { proof.len() } else { 0 };
            fits
        });
        put_varint(out, proofs.len() as u64);
        proofs.iter().for_each(|proof| put_counted(out, proof));
    }

    /// Reads the body.
    fn from_octets(octets: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        let version = reader.u8("version of a hello")?;
        if version != VERSION {
            return Err(DecodeError::TooNew { what: "hello", version, known: VERSION });
        }
        let namespace = reader.array("namespace")?;
        let history = read_history(&mut reader)?;
        let position = read_position(&mut reader)?;
        let peer = read_peer(&mut reader)?;
        let count = reader.varint("count of proofs", PROOFS_MAX)?;
        let mut proofs = Vec::new();
        for _ in 0..count {
            proofs.push(octets.slice_ref(reader.counted("proof", HELLO_PROOF_OCTETS_MAX)?));
        }
        reader.end()?;
        Ok(Self { namespace, history, position, peer, proofs })
    }
}

impl ServerFrame {
    /// Appends the frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => put_frame(out, WELCOME, |out| {
                out.push(u8::from(!welcome.is_author));
                put_history(out, welcome.history);
                put_position(out, welcome.from);
                out.extend_from_slice(&welcome.time_ms.to_be_bytes());
                put_peers(out, &welcome.peers);
            }),
            Self::Refused(refused) => put_frame(out, REFUSED, |out| {
                out.push(match refused.reason {
                    RefusedReason::UnknownFeed => 0,
                    RefusedReason::NotReady => 1,
                    RefusedReason::Full => 2,
                    RefusedReason::TooNew => 3,
                    RefusedReason::Parted => 4,
                    RefusedReason::NotListed => 5,
                    RefusedReason::Revoked => 6,
                    RefusedReason::Expired => 7,
                });
                put_peers(out, &refused.peers);
            }),
            Self::Segment(segment) => out.extend_from_slice(&segment_frame(segment)),
            Self::Ping => put_frame(out, PING, |_| ()),
            Self::Notice(notice) => out.extend_from_slice(&notice_frame(notice)),
            Self::Takes(version) => put_frame(out, TAKES, |out| out.push(*version)),
            Self::Unknown(kind) => put_frame(out, *kind, |_| ()),
        }
    }

    /// Reads the frame of a kind.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(kind: u8, octets: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        let frame = match kind {
            WELCOME => Self::Welcome(Welcome {
                is_author: reader.u8("role")? == 0,
                history: read_history(&mut reader)?,
                from: read_position(&mut reader)?,
                time_ms: reader.u64("time")?,
                peers: read_peers(&mut reader)?,
            }),
            REFUSED => {
                let reason = match reader.u8("reason")? {
                    0 => RefusedReason::UnknownFeed,
                    2 => RefusedReason::Full,
                    3 => RefusedReason::TooNew,
                    4 => RefusedReason::Parted,
                    5 => RefusedReason::NotListed,
                    6 => RefusedReason::Revoked,
                    7 => RefusedReason::Expired,
                    // What a later version refuses for may be over soon.
                    _ => RefusedReason::NotReady,
                };
                Self::Refused(Refused { reason, peers: read_peers(&mut reader)? })
            }
            SEGMENT => return Ok(Self::Segment(octets.clone())),
            NOTICE => return Ok(Self::Notice(octets.clone())),
            PING => Self::Ping,
            // Behind the version stands what this one does not know.
            TAKES => return Ok(Self::Takes(reader.u8("version of fleet reports")?)),
            other => return Ok(Self::Unknown(other)),
        };
        reader.end()?;
        Ok(frame)
    }
}

/// Returns the frame of a segment: made once, sent to everybody.
pub(crate) fn segment_frame(segment: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + segment.len());
    put_frame(&mut out, SEGMENT, |out| out.extend_from_slice(segment));
    out.into()
}

/// Returns the frame of a notice: made once, sent to everybody.
pub(crate) fn notice_frame(notice: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + notice.len());
    put_frame(&mut out, NOTICE, |out| out.extend_from_slice(notice));
    out.into()
}

/// Cuts a stream of octets into frames.
#[derive(Debug)]
pub struct FrameReader {
    /// What has arrived and was not given out.
    buffer: BytesMut,
    /// Octets of a frame at most, its length left out.
    octets_max: usize,
}

impl FrameReader {
    /// Reads what followers say.
    pub fn of_client() -> Self {
        Self { buffer: BytesMut::new(), octets_max: CLIENT_FRAME_OCTETS_MAX }
    }

    /// Reads what servers say.
    pub fn of_server() -> Self {
        Self { buffer: BytesMut::new(), octets_max: SERVER_FRAME_OCTETS_MAX }
    }

    /// Takes octets that have arrived.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Returns kind and body of the next frame; none until it is whole.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] for a frame longer than its limit, before it is here, and
    /// [`DecodeError::BadValue`] for one without a kind. The stream cannot be read on.
    pub fn poll(&mut self) -> Result<Option<(u8, Bytes)>, DecodeError> {
        let Some(len) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if len > self.octets_max {
            let (found, max) = (len as u64, self.octets_max as u64);
            return Err(DecodeError::TooMany { what: "length of a frame", at: 0, found, max });
        }
        if len == 0 {
            return Err(DecodeError::BadValue { what: "length of a frame", at: 0 });
        }
        if self.buffer.len() < 4 + len {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + len).freeze();
        frame.advance(4);
        let kind = frame.get_u8();
        Ok(Some((kind, frame)))
    }
}

/// Appends a frame whose body `put` writes.
fn put_frame(out: &mut Vec<u8>, kind: u8, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    put(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a history.
fn put_history(out: &mut Vec<u8>, history: HistoryId) {
    out.extend_from_slice(&history.epoch.to_be_bytes());
    out.extend_from_slice(&history.id.to_be_bytes());
}

/// Reads a history.
fn read_history(reader: &mut OctetReader<'_>) -> Result<HistoryId, DecodeError> {
    let epoch = reader.u64("epoch")?;
    Ok(HistoryId { epoch, id: u128::from_be_bytes(reader.array("history")?) })
}

/// Appends peers, as many as there may be.
fn put_peers(out: &mut Vec<u8>, peers: &[TicketPeer]) {
    let peers = &peers[..peers.len().min(KNOWN_PEERS_MAX)];
    put_varint(out, peers.len() as u64);
    peers.iter().for_each(|peer| put_peer(out, peer));
}

/// Reads peers.
fn read_peers(reader: &mut OctetReader<'_>) -> Result<Vec<TicketPeer>, DecodeError> {
    let count = reader.varint("count of peers", KNOWN_PEERS_MAX as u64)?;
    (0..count).map(|_| read_peer(reader)).collect()
}

/// Octets in front of a frame's body.
const HEAD_LEN: usize = 5;
/// Proofs of a hello.
const PROOFS_MAX: u64 = 4;
/// A follower's hello.
const HELLO: u8 = 1;
/// A follower's report.
const REPORT: u8 = 2;
/// Where a node is.
const HERE: u8 = 3;
/// What edges say of themselves.
pub(crate) const FLEET: u8 = 16;
/// A server's welcome.
const WELCOME: u8 = 1;
/// A server's refusal.
const REFUSED: u8 = 2;
/// A segment.
const SEGMENT: u8 = 3;
/// Nothing to say.
const PING: u8 = 4;
/// What a server takes.
const TAKES: u8 = 16;
/// What the author says of the feed itself.
const NOTICE: u8 = 17;

#[cfg(test)]
mod tests;
