//! From a query's octets to a reply's: the function that front ends, benches and fuzzers call.
//!
//! **Invariant:** no I/O, lock, clock, log or panic; always an answer or a drop; no allocation
//! once the reply's buffer has a message's capacity.
//! **Not here:** the answer algorithm (`answer`), sockets (`serve`).

use std::sync::Arc;

use crate::answer;
use crate::answer::Wants;
use crate::answer::transfer::Transfer;
use crate::answer::warm::Names;
use crate::catalog::{AtApex, Catalog, HoldReason};
use crate::limits::{
    IDENTITY_OCTETS_MAX, MESSAGE_OCTETS_MAX, UDP_OCTETS_MAX, UDP_PLAIN_OCTETS_MAX,
};
use crate::message::edns::{OptReply, explain};
use crate::message::header::{FLAG_AA, FLAG_TC, Header};
use crate::message::query::{Malformed, Rest, read_ixfr_serial};
use crate::message::question::{CLASS_ANY, CLASS_CHAOS, CLASS_IN, Question};
use crate::message::rcode::ede;
use crate::message::{HEADER_LEN, Section, rcode};
use crate::record::RecordType;
use crate::record::serial::is_newer;
use crate::wire::reply::{Owner, Reply, write_whole};
use crate::zone::Zone;
use crate::zone::path::NamePath;

/// How a query came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// As a datagram: the reply is truncated to what the sender accepts.
    Udp,
    /// On a stream: the reply may fill a message.
    Tcp,
}

/// Who asked, as far as the answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// How the query came.
    pub transport: Transport,
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
}

/// Answers queries.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    /// What the operator set.
    config: ResponderConfig,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The reply's buffer holds the reply.
    Reply(ReplyFacts),
    /// There is no reply.
    Drop(DropReason),
}

/// What a reply says, for counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyFacts {
    /// The rcode, with its upper bits.
    pub rcode: u16,
    /// The question's type; 0 if there was none.
    pub qtype: RecordType,
    /// Whether the TC bit is set.
    pub is_truncated: bool,
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
    /// `reply` is cleared first; with a capacity of [`REPLY_OCTETS_CAPACITY`](crate::limits::REPLY_OCTETS_CAPACITY) it never grows.
    pub fn respond(
        &self,
        catalog: &Catalog,
        query: &[u8],
        peer: Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let mut path = NamePath::new();
        let octets = query.get(HEADER_LEN..).unwrap_or_default();
        let name_len = path.read(octets, catalog.seed()).unwrap_or(0);
        self.respond_to(catalog, query, (&path, name_len), peer, reply)
    }

    /// Answers one packet of a batch of which `names` were read, as [`Responder::respond`] does.
    ///
    /// The catalog must be the one with which [`Names::read`] read them.
    pub fn respond_in_batch(
        &self,
        catalog: &Catalog,
        query: &[u8],
        (names, index): (&Names, usize),
        peer: Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        match names.name(index) {
            Some(name) => self.respond_to(catalog, query, name, peer, reply),
            None => self.respond(catalog, query, peer, reply),
        }
    }

    /// Answers one packet whose question's name was read, its octets 0 if that failed.
    #[inline]
    fn respond_to(
        &self,
        catalog: &Catalog,
        query: &[u8],
        (path, name_len): (&NamePath, usize),
        peer: Peer,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let Some(header) = Header::read(query) else { return Verdict::Drop(DropReason::TooShort) };
        if header.is_response() {
            return Verdict::Drop(DropReason::Response);
        }
        let mut asked = Asked::new(query, header, peer.transport);
        let question = match Question::read(query, name_len) {
            Ok(question) if header.is_of_one_question() => question,
            other => return asked.refuse_to_read(reply, other),
        };
        asked.front_len = question.end();
        asked.qtype = question.qtype;
        let Ok(rest) = Rest::read(query, &header, question.end()) else {
            return asked.reply(reply, rcode::FORMERR);
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
        if rest.tsig_at.is_some() {
            // No key is known here (RFC 8945 section 5.2): the query is not authorized.
            return asked.reply(reply, rcode::NOTAUTH);
        }
        asked.answer(self, catalog, &question, path, reply)
    }

    /// Begins the zone transfer that a query on a stream asks for, if its sender may have it.
    ///
    /// [`respond`](Self::respond) refuses every transfer; `None` means that its reply stands, because
    /// the query asks for none, or for one of a zone that is not ours.
    pub fn transfer(&self, catalog: &Arc<Catalog>, query: &[u8]) -> Option<Transfer> {
        let header = Header::read(query)?;
        if header.is_response() || !header.is_of_one_question() {
            return None;
        }
        let mut path = NamePath::new();
        let name_len = path.read(query.get(HEADER_LEN..)?, catalog.seed())?;
        let question = Question::read(query, name_len).ok()?;
        let rest = Rest::read(query, &header, question.end()).ok()?;
        let is_plain = rest.edns.is_none_or(|edns| edns.version == 0) && rest.tsig_at.is_none();
        if !is_plain || question.qclass != CLASS_IN {
            return None;
        }
        let zone = catalog.find(&path).and_then(AtApex::zone)?;
        if zone.apex_depth() != path.depth() {
            return None;
        }
        let is_up_to_date = match question.qtype {
            RecordType::AXFR => false,
            RecordType::IXFR => {
                let serial = read_ixfr_serial(query, &header, question.end()).ok()?;
                !is_newer(zone.serial(), serial)
            }
            _ => return None,
        };
        let opt = rest.edns.map(|edns| OptReply { is_dnssec_ok: edns.is_dnssec_ok, nsid: None });
        let front = &query[..question.end()];
        Transfer::begin(catalog, zone.apex(), header, front, opt, is_up_to_date)
    }

    /// Returns what identifies this server, as far as the smallest reply has room for it.
    fn nsid(&self) -> Option<&[u8]> {
        let identity = self.config.identity.as_deref()?.as_bytes();
        Some(&identity[..identity.len().min(IDENTITY_OCTETS_MAX)])
    }

    /// Returns the text for a question of class CH.
    fn chaos_text(&self, qname: &[u8]) -> Option<&str> {
        let is = |name: &[u8]| qname.eq_ignore_ascii_case(name);
        if is(b"\x07version\x04bind\0") || is(b"\x07version\x06server\0") {
            return self.config.version.as_deref();
        }
        if is(b"\x02id\x06server\0") || is(b"\x08hostname\x04bind\0") {
            return self.config.identity.as_deref();
        }
        None
    }
}

/// Whether a question asks for a zone transfer.
pub fn is_transfer(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::AXFR | RecordType::IXFR)
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
    /// How the query came.
    transport: Transport,
    /// Octets that the reply may have.
    limit: usize,
}

impl<'q> Asked<'q> {
    /// Begins with what the header says.
    #[inline]
    fn new(query: &'q [u8], header: Header, transport: Transport) -> Self {
        let limit = match transport {
            Transport::Tcp => MESSAGE_OCTETS_MAX,
            Transport::Udp => UDP_PLAIN_OCTETS_MAX,
        };
        let (front_len, qtype) = (HEADER_LEN, RecordType(0));
        Self { query, front_len, header, qtype, opt: None, transport, limit }
    }

    /// Writes a reply without records.
    #[cold]
    fn reply(&self, reply: &mut Vec<u8>, rcode: u16) -> Verdict {
        let message = Reply::new(reply, self.front(), MESSAGE_OCTETS_MAX);
        message.finish(&self.header, 0, rcode, self.opt.as_ref());
        self.verdict(rcode, 0)
    }

    /// Writes a reply without records that says why, to who has EDNS (RFC 8914), perhaps in words.
    #[cold]
    fn refuse(&self, reply: &mut Vec<u8>, rcode: u16, info_code: u16, text: &str) -> Verdict {
        let verdict = self.reply(reply, rcode);
        if let Some(opt) = &self.opt {
            explain(reply, opt, info_code, text);
        }
        verdict
    }

    /// Replies to what is no query with one question.
    #[cold]
    fn refuse_to_read(
        mut self,
        reply: &mut Vec<u8>,
        question: Result<Question<'_>, Malformed>,
    ) -> Verdict {
        if self.header.opcode() == 0 {
            // RFC 9619: a query has one question, and one that can be read.
            return self.reply(reply, rcode::FORMERR);
        }
        // Only QUERY is implemented. A question that cannot be read makes no message at all.
        match (self.header.counts()[0], question) {
            (0, _) => self.reply(reply, rcode::NOTIMP),
            (1, Ok(question)) => {
                self.front_len = question.end();
                self.qtype = question.qtype;
                self.reply(reply, rcode::NOTIMP)
            }
            _ => self.reply(reply, rcode::FORMERR),
        }
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
            CLASS_ANY => {
                let question = Question { qclass: CLASS_IN, ..*question };
                return self.answer_any_class(responder, catalog, &question, path, reply);
            }
            CLASS_CHAOS => return self.answer_chaos(responder, question, reply),
            _ => return self.refuse(reply, rcode::REFUSED, ede::NOT_SUPPORTED, ""),
        }
        let place = answer::locate(catalog, path, question.qtype);
        if is_transfer(question.qtype) {
            let zone = place.filter(|place| place.is_apex(path)).map(|place| place.zone());
            return match zone {
                Some(zone) => self.answer_transfer(zone, question, reply),
                None => self.answer_without_zone(catalog, question, path, reply),
            };
        }
        let Some(place) = place else {
            return self.answer_without_zone(catalog, question, path, reply);
        };
        let opt = self.opt.as_ref();
        let room = self.limit - opt.map_or(0, OptReply::octets_len);
        let is_dnssec_ok = opt.is_some_and(|opt| opt.is_dnssec_ok);
        let config = &responder.config;
        let is_plain = !config.has_rotation && !config.has_full_replies;
        // Most answers are one RRset as it was prepared.
        if is_plain
            && let Some(entry) = place.whole_answer(question.qtype, is_dnssec_ok)
            && write_whole(reply, (self.front(), &self.header), entry, FLAG_AA, room, opt)
        {
            return self.verdict(rcode::NOERROR, FLAG_AA);
        }
        let mut message = Reply::new(reply, self.front(), room);
        if config.has_rotation {
            message.turn_rrsets(self.header.id);
        }
        let wants = Wants { is_dnssec_ok, is_full: config.has_full_replies };
        let outcome = answer::answer(catalog, place, question, path, wants, &mut message);
        message.finish(&self.header, outcome.flags, outcome.rcode, opt);
        self.verdict(outcome.rcode, outcome.flags)
    }

    /// Answers a question that no zone of ours has data for.
    ///
    /// Of a zone that is ours and has none now this is SERVFAIL (RFC 1035 section 4.1.1): the asker
    /// tries another server, and never learns that a name of the zone does not exist.
    #[cold]
    fn answer_without_zone(
        &self,
        catalog: &Catalog,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let (info_code, text) = match answer::hold_of(catalog, path, question.qtype) {
            None if is_transfer(question.qtype) => {
                // RFC 5936 section 2.2.1: the name must be the apex of a zone of ours. Section 4.2: by
                // UDP there is no AXFR, whatever the name.
                let has_sense =
                    question.qtype == RecordType::IXFR || self.transport == Transport::Tcp;
                let rcode = if has_sense { rcode::NOTAUTH } else { rcode::REFUSED };
                return self.refuse(reply, rcode, ede::NOT_AUTHORITATIVE, "");
            }
            None => return self.refuse(reply, rcode::REFUSED, ede::NOT_AUTHORITATIVE, ""),
            Some(HoldReason::Loading) => (ede::NOT_READY, "the zone is being loaded"),
            Some(HoldReason::Broken) => (ede::INVALID_DATA, "the zone's data cannot be read"),
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

    /// Answers a question for a zone transfer as far as that is one message.
    #[cold]
    fn answer_transfer(
        &self,
        zone: &Zone,
        question: &Question<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let is_ixfr = question.qtype == RecordType::IXFR;
        if is_ixfr && read_ixfr_serial(self.query, &self.header, question.end()).is_err() {
            return self.reply(reply, rcode::FORMERR);
        }
        if is_ixfr && self.transport == Transport::Udp {
            // RFC 1995 section 2: what does not fit is asked for by TCP, and the SOA alone says so.
            // It is what anybody may ask for.
            let mut message = Reply::new(reply, self.front(), UDP_PLAIN_OCTETS_MAX);
            let soa = zone.apex_node().rrset(RecordType::SOA);
            let owner = Owner::Suffix { at: HEADER_LEN as u16, shift: 0 };
            if soa.is_some_and(|soa| message.push(Section::Answer, &soa, owner, false).is_ok()) {
                message.finish(&self.header, FLAG_AA, rcode::NOERROR, self.opt.as_ref());
                return self.verdict(rcode::NOERROR, FLAG_AA);
            }
        }
        self.refuse(reply, rcode::REFUSED, ede::PROHIBITED, "")
    }

    /// Answers a question of class CH (RFC 4892).
    #[cold]
    fn answer_chaos(
        &self,
        responder: &Responder,
        question: &Question<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let text = responder
            .chaos_text(question.qname)
            .filter(|_| matches!(question.qtype, RecordType::TXT | RecordType::ANY))
            .map(|text| &text.as_bytes()[..text.len().min(IDENTITY_OCTETS_MAX)]);
        let Some(text) = text else {
            return self.refuse(reply, rcode::REFUSED, ede::NOT_SUPPORTED, "");
        };
        let mut message = Reply::new(reply, self.front(), MESSAGE_OCTETS_MAX);
        message.push_text(CLASS_CHAOS, text);
        message.finish(&self.header, FLAG_AA, rcode::NOERROR, self.opt.as_ref());
        self.verdict(rcode::NOERROR, FLAG_AA)
    }

    /// Returns the header and, if it could be read, the question.
    #[inline]
    fn front(&self) -> &'q [u8] {
        &self.query[..self.front_len]
    }

    /// States what was replied.
    #[inline]
    fn verdict(&self, rcode: u16, flags: u16) -> Verdict {
        let is_truncated = flags & FLAG_TC != 0;
        Verdict::Reply(ReplyFacts { rcode, qtype: self.qtype, is_truncated })
    }
}
