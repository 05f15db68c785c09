//! The one door: from a message's octets to a reply's, or to what else becomes of it.
//!
//! ```text
//! batch     queries that came together, read ahead of      transfer  a zone as a run of messages
//! opcode    messages that are no queries                   chaos     questions about the server itself
//! refusal   replies without records that say why
//! ```
//!
//! All that an answer may depend on of its asker stands in [`Peer`], and all that may become of a message in
//! [`Verdict`]: front ends of every transport hand messages over here, and keep the rules that are kept here.
//!
//! **Invariant:** no I/O, lock, clock, log or panic; always an answer or a drop; no allocation
//! once the reply's buffer has a message's capacity.
//! **Not here:** the answer algorithm (`answer`), sockets (`serve`).

pub mod batch;
mod chaos;
pub mod opcode;
mod refusal;
pub mod transfer;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;

use crate::answer;
use crate::answer::{Located, Wants};
use crate::catalog::{Catalog, HoldReason};
use crate::limits::{
    IDENTITY_OCTETS_MAX, MESSAGE_OCTETS_MAX, UDP_OCTETS_MAX, UDP_PLAIN_OCTETS_MAX,
};
use crate::message::edns::OptReply;
use crate::message::header::{FLAG_AA, FLAG_TC, Header};
use crate::message::query::{Rest, find_opt};
use crate::message::question::{CLASS_ANY, CLASS_CHAOS, CLASS_IN, Question};
use crate::message::rcode::ede;
use crate::message::reader::Message;
use crate::message::{HEADER_LEN, rcode};
use crate::record::RecordType;
use crate::wire::kind::ReplyKind;
use crate::wire::reply::{Reply, write_whole};
use crate::zone::path::NamePath;
use opcode::{Handed, Opcodes};
use transfer::{AskedTransfer, TransferPolicy, is_transfer};

/// How a message came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// As a datagram: the reply is truncated to what the sender accepts.
    Udp,
    /// On a TCP connection.
    Tcp,
    /// On a TLS connection (RFC 7858).
    Tls,
    /// On a QUIC stream (RFC 9250).
    Quic,
    /// In an HTTP request (RFC 8484).
    Https,
}

impl Transport {
    /// Whether a reply may fill a message, and its asker is who it says: all but datagrams.
    #[inline]
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    /// Whether a run of messages may be the reply, as a zone transfer needs: on streams of one's own (RFC 5936
    /// section 4.1, RFC 7858, RFC 9250 section 4.2). An HTTP response is one message.
    pub fn can_transfer(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Quic)
    }
}

/// Who sent a message, as far as what becomes of it depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The address that it came from.
    pub source: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// When it came: seconds since 1970, modulo 2^32.
    pub now_s: u32,
}

impl Peer {
    /// A part of this program that asks itself, at no time in particular.
    pub const fn in_process(transport: Transport) -> Self {
        let source = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
        Self { source, transport, now_s: 0 }
    }
}

/// What an operator may set.
#[derive(Clone, Debug, Default)]
pub struct ResponderConfig {
    /// The answer to `version.bind CH TXT`; refused if not set.
    pub version: Option<String>,
    /// The answer to `id.server` and `hostname.bind CH TXT`, and the NSID (RFC 4892, RFC 5001).
    pub identity: Option<String>,
    /// Whether the records of an RRset of several take turns in being the first, by the query's ID.
    ///
    /// The order means nothing (RFC 2181 section 5), but many clients take the first address.
    pub has_rotation: bool,
    /// Whether an answer also tells the zone's NS records and the addresses of the hosts that it
    /// names, as RFC 1034 section 4.3.2 has it, where they fit.
    pub has_full_replies: bool,
    /// Who may transfer zones. Default: nobody.
    pub transfers: TransferPolicy,
    /// Opcodes of messages that a front end of an operator's own takes, see [`Verdict::Hand`]. The front ends of
    /// `serve` take none, and send what the buffer holds. Default: none, they are not implemented.
    pub handed: Opcodes,
}

/// Answers queries.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    /// What the operator set.
    config: ResponderConfig,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The reply's buffer holds the reply.
    Reply(ReplyFacts),
    /// There is no reply.
    Drop(DropReason),
    /// Its sender may have the zone transfer that it asks for: [`Transfer::begin`](transfer::Transfer::begin).
    /// The buffer holds a refusal, for where that cannot be.
    Transfer(AskedTransfer),
    /// It is for somebody else, whom [`ResponderConfig::handed`] speaks for. The buffer holds what it gets
    /// where that one cannot take it.
    Hand(Handed),
}

impl Verdict {
    /// Returns what the reply in the buffer says, if one is there.
    #[inline]
    pub fn facts(&self) -> Option<&ReplyFacts> {
        match self {
            Self::Reply(facts) => Some(facts),
            Self::Drop(_) => None,
            Self::Transfer(asked) => Some(&asked.refusal),
            Self::Hand(handed) => Some(&handed.refusal),
        }
    }
}

/// What a reply says, for counters and limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyFacts {
    /// The rcode, with its upper bits.
    pub rcode: u16,
    /// The question's type; 0 if there was none.
    pub qtype: RecordType,
    /// Whether the TC bit is set.
    pub is_truncated: bool,
    /// What kind of reply it is.
    pub kind: ReplyKind,
    /// The keyed hash of the apex of the zone that has answered, if one has.
    pub zone: Option<NonZeroU64>,
}

/// Why a packet gets no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// The QR bit is set: answering would make two servers talk for ever.
    Response,
    /// Fewer octets than a header.
    TooShort,
}

impl Responder {
    /// Makes a responder.
    pub fn new(config: ResponderConfig) -> Self {
        Self { config }
    }

    /// Answers one packet.
    ///
    /// `reply` is cleared first, and stays empty if the packet is dropped; with a capacity of [`REPLY_OCTETS_CAPACITY`](crate::limits::REPLY_OCTETS_CAPACITY) it never grows.
    pub fn respond(
        &self,
        catalog: &Catalog,
        query: &[u8],
        peer: &Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let mut path = NamePath::new();
        let octets = query.get(HEADER_LEN..).unwrap_or_default();
        let len = path.read(octets, catalog.seed()).unwrap_or(0);
        self.respond_to(catalog, query, AskedName { path: &path, len }, peer, reply)
    }

    /// Answers one packet whose question's name was read, its octets 0 if that failed.
    #[inline(always)]
    fn respond_to(
        &self,
        catalog: &Catalog,
        query: &[u8],
        name: AskedName<'_>,
        peer: &Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let verdict = self.decide(catalog, query, name, peer, reply);
        debug_assert!(reply.len() <= reply_octets_max(query, peer));
        debug_assert_eq!(verdict.facts().map(|facts| facts.rcode), rcode_of(reply));
        verdict
    }

    /// Does what [`Responder::respond_to`] checks.
    #[inline(always)]
    fn decide(
        &self,
        catalog: &Catalog,
        query: &[u8],
        name: AskedName<'_>,
        peer: &Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let Some(header) = Header::read(query) else {
            return drop_query(reply, DropReason::TooShort);
        };
        if header.is_response() {
            return drop_query(reply, DropReason::Response);
        }
        let mut asked = Asked::new(query, header, peer);
        let question = match Question::read(query, name.len) {
            Ok(question) if header.is_of_one_question() => question,
            other => return asked.take_other(self, reply, other),
        };
        asked.front_len = question.end();
        asked.qtype = question.qtype;
        let Ok(rest) = Rest::read(query, &header, question.end()) else {
            return asked.refuse_unread(reply, rcode::FORMERR);
        };
        if let Some(edns) = rest.edns {
            asked.opt = Some(OptReply {
                is_dnssec_ok: edns.is_dnssec_ok,
                nsid: if edns.wants_nsid { self.nsid() } else { None },
            });
            if edns.version > 0 {
                return asked.reply(reply, rcode::BADVERS);
            }
            asked.limit = asked.limit.max(usize::from(edns.udp_octets).min(UDP_OCTETS_MAX));
        }
        if let Some(at) = rest.tsig_at {
            return asked.refuse_signed(reply, at);
        }
        let verdict = asked.answer(self, catalog, &question, name.path, reply);
        if catalog.has_stale() {
            asked.tell_stale(catalog, &verdict, reply);
        }
        verdict
    }

    /// Returns what identifies this server, as far as the smallest reply has room for it.
    fn nsid(&self) -> Option<&[u8]> {
        let identity = self.config.identity.as_deref()?.as_bytes();
        Some(&identity[..identity.len().min(IDENTITY_OCTETS_MAX)])
    }
}

/// Leaves a packet without a reply: a buffer that still held the one before might be sent.
#[cold]
fn drop_query(reply: &mut Vec<u8>, reason: DropReason) -> Verdict {
    reply.clear();
    Verdict::Drop(reason)
}

/// Returns the octets that the reply to a packet may have, found apart from how it was made.
fn reply_octets_max(query: &[u8], peer: &Peer) -> usize {
    let Some(header) = Header::read(query) else { return 0 };
    if peer.transport.is_stream() {
        return MESSAGE_OCTETS_MAX;
    }
    let offered = find_opt(query, &header).map_or(0, |edns| edns.udp_octets);
    usize::from(offered).clamp(UDP_PLAIN_OCTETS_MAX, UDP_OCTETS_MAX)
}

/// Returns what a reply says as its rcode, if there is one.
fn rcode_of(reply: &[u8]) -> Option<u16> {
    Message::read(reply).ok().map(|message| message.rcode())
}

/// The name of a query's question, taken apart.
#[derive(Clone, Copy, Debug)]
struct AskedName<'p> {
    /// The name; it means nothing if none could be read.
    path: &'p NamePath,
    /// Octets of it in the packet; 0 if none could be read.
    len: usize,
}

/// What is known of a query when its reply begins.
#[derive(Clone, Copy, Debug)]
struct Asked<'q> {
    /// The packet.
    query: &'q [u8],
    /// Octets of it that come back: the header and, if it could be read, the question.
    front_len: usize,
    /// The header.
    header: Header,
    /// The question's type, 0 if it could not be read.
    qtype: RecordType,
    /// The OPT record of the reply.
    opt: Option<OptReply<'q>>,
    /// Who sent it.
    peer: &'q Peer,
    /// Octets that the reply may have.
    limit: usize,
}

impl<'q> Asked<'q> {
    /// Begins with what the header says.
    #[inline]
    fn new(query: &'q [u8], header: Header, peer: &'q Peer) -> Self {
        let limit = match peer.transport.is_stream() {
            true => MESSAGE_OCTETS_MAX,
            false => UDP_PLAIN_OCTETS_MAX,
        };
        let (front_len, qtype) = (HEADER_LEN, RecordType(0));
        Self { query, front_len, header, qtype, opt: None, peer, limit }
    }

    /// Writes a reply without records.
    #[cold]
    fn reply(&self, reply: &mut Vec<u8>, rcode: u16) -> Verdict {
        let message = Reply::new(reply, self.front(), MESSAGE_OCTETS_MAX);
        message.finish(&self.header, 0, rcode, self.opt.as_ref());
        Verdict::Reply(self.error_facts(rcode))
    }

    /// Answers a well-formed query.
    #[inline]
    fn answer(
        &self,
        responder: &Responder,
        catalog: &Catalog,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        match question.qclass {
            CLASS_IN => {}
            // A transfer is of one class: RFC 5936 section 2.1 has the zone's.
            CLASS_ANY if !is_transfer(question.qtype) => {
                let question = Question { qclass: CLASS_IN, ..*question };
                return self.answer_any_class(responder, catalog, &question, path, reply);
            }
            CLASS_CHAOS => return self.answer_chaos(responder, question, reply),
            _ => return self.refuse(reply, rcode::REFUSED, ede::NOT_SUPPORTED, ""),
        }
        let place = answer::locate(catalog, path, question.qtype);
        if is_transfer(question.qtype) {
            return match place.filter(|place| place.is_apex(path)) {
                Some(place) => self.answer_transfer(responder, place, question, path, reply),
                None => self.answer_without_zone(responder, catalog, question, path, reply),
            };
        }
        let Some(place) = place else {
            return self.answer_without_zone(responder, catalog, question, path, reply);
        };
        let (config, opt) = (&responder.config, self.opt.as_ref());
        let is_plain = !config.has_rotation && !config.has_full_replies;
        // Most answers are one RRset as it was prepared.
        if is_plain
            && let Some(entry) = place.whole_answer(question.qtype, self.is_dnssec_ok())
            && write_whole(reply, (self.front(), &self.header), entry, FLAG_AA, self.room(), opt)
        {
            let zone = place.zone_hash(path);
            return self.verdict(rcode::NOERROR, FLAG_AA, ReplyKind::Answer, zone);
        }
        self.answer_in_parts(responder, catalog, place, question, path, reply)
    }

    /// Answers from a place with whatever belongs into the reply, RRset by RRset.
    #[inline(always)] // on the answer path
    fn answer_in_parts(
        &self,
        responder: &Responder,
        catalog: &Catalog,
        place: Located<'_>,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let (config, opt) = (&responder.config, self.opt.as_ref());
        let mut message = Reply::new(reply, self.front(), self.room());
        if config.has_rotation {
            message.turn_rrsets(self.header.id);
        }
        let zone = place.zone_hash(path);
        let is_dnssec_ok = self.is_dnssec_ok();
        let wants = Wants { is_dnssec_ok, is_full: config.has_full_replies };
        let outcome = answer::answer(catalog, place, question, path, wants, &mut message);
        message.finish(&self.header, outcome.flags, outcome.rcode, opt);
        self.verdict(outcome.rcode, outcome.flags, outcome.kind, zone)
    }

    /// Answers a question that no zone of ours has data for.
    ///
    /// Of a zone that is ours and has none now this is SERVFAIL (RFC 1035 section 4.1.1): the asker
    /// tries another server, and never learns that a name of the zone does not exist.
    #[cold]
    fn answer_without_zone(
        &self,
        responder: &Responder,
        catalog: &Catalog,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        if let Some(place) = answer::locate_ds_of_hold(catalog, path, question.qtype) {
            return self.answer_in_parts(responder, catalog, place, question, path, reply);
        }
        let (info_code, text) = match answer::hold_of(catalog, path, question.qtype) {
            None if is_transfer(question.qtype) => {
                // RFC 5936 section 2.2.1: the name must be the apex of a zone of ours. Section 4.2: by
                // UDP there is no AXFR, whatever the name.
                let has_sense =
                    question.qtype == RecordType::IXFR || self.peer.transport.can_transfer();
                let rcode = if has_sense { rcode::NOTAUTH } else { rcode::REFUSED };
                return self.refuse(reply, rcode, ede::NOT_AUTHORITATIVE, "");
            }
            None => return self.refuse(reply, rcode::REFUSED, ede::NOT_AUTHORITATIVE, ""),
            Some(HoldReason::Loading) => (ede::NOT_READY, "the zone is being loaded"),
            Some(HoldReason::Broken) => (ede::INVALID_DATA, "the zone's data cannot be read"),
            Some(HoldReason::Expired) => (ede::INVALID_DATA, "the zone has expired"),
        };
        self.refuse(reply, rcode::SERVFAIL, info_code, text)
    }

    /// Answers a question of class ANY from class IN, the only one of which we have zones.
    ///
    /// There may be other classes elsewhere, so the answer is not authoritative (RFC 1035 section 6.2).
    #[cold]
    fn answer_any_class(
        &self,
        responder: &Responder,
        catalog: &Catalog,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let verdict = self.answer(responder, catalog, question, path, reply);
        let [flags, _] = FLAG_AA.to_be_bytes();
        reply.iter_mut().skip(2).take(1).for_each(|octet| *octet &= !flags);
        verdict
    }

    /// Returns the octets that the reply has room for before its OPT record.
    #[inline]
    fn room(&self) -> usize {
        self.limit - self.opt.as_ref().map_or(0, OptReply::octets_len)
    }

    /// Whether DNSSEC records are wanted (RFC 3225).
    #[inline]
    fn is_dnssec_ok(&self) -> bool {
        self.opt.is_some_and(|opt| opt.is_dnssec_ok)
    }

    /// Returns the header and, if it could be read, the question.
    #[inline]
    fn front(&self) -> &'q [u8] {
        &self.query[..self.front_len]
    }

    /// States what was replied.
    #[inline]
    fn verdict(
        &self,
        rcode: u16,
        flags: u16,
        kind: ReplyKind,
        zone: Option<NonZeroU64>,
    ) -> Verdict {
        let is_truncated = flags & FLAG_TC != 0;
        Verdict::Reply(ReplyFacts { rcode, qtype: self.qtype, is_truncated, kind, zone })
    }

    /// States that the query was refused.
    fn error_facts(&self, rcode: u16) -> ReplyFacts {
        let (is_truncated, kind, zone) = (false, ReplyKind::Error, None);
        ReplyFacts { rcode, qtype: self.qtype, is_truncated, kind, zone }
    }
}

#[cfg(test)]
mod tests;
