//! Zone transfers: all records of a zone as a run of messages, made one at a time.
//!
//! RFC 5936 for AXFR. An IXFR is answered with the whole zone, or with the SOA alone if the asker has
//! this version already (RFC 1995 sections 2 and 4).
//!
//! **Invariant:** all messages are of the one version that was served when the transfer began; the
//! SOA is the first record and the last, and every other record is sent once; a transfer keeps no more
//! than its place, however large the zone.
//! **Not here:** how many transfers there may be at once, and when the next message is wanted (`serve`).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Asked, ReplyFacts, Responder, Verdict};
use crate::answer::Located;
use crate::catalog::Catalog;
use crate::limits::{MESSAGE_OCTETS_MAX, TRANSFER_MESSAGE_OCTETS};
use crate::message::Full;
use crate::message::edns::OptReply;
use crate::message::header::{FLAG_AA, FLAG_TC, Header};
use crate::message::query::read_ixfr_serial;
use crate::message::question::{QUESTION_TAIL_LEN, Question};
use crate::message::rcode::ede;
use crate::message::{ExpandedName, HEADER_LEN, Section, rcode};
use crate::name::Name;
use crate::record::RecordType;
use crate::record::serial::is_newer;
use crate::wire::kind::ReplyKind;
use crate::wire::reply::{Owner, Reply};
use crate::zone::node::{EntryView, NodeView};
use crate::zone::path::NamePath;
use crate::zone::prepare::{expand_rdata, records};
use crate::zone::{NodeCursor, Zone};

/// Decides who may transfer zones. The default allows nobody.
#[derive(Clone, Debug, Default)]
pub struct TransferPolicy {
    /// Networks whose addresses may transfer every zone.
    allowed: Arc<[IpNet]>,
}

impl TransferPolicy {
    /// Allows every address of these networks to transfer every zone.
    pub fn new(allowed: impl Into<Arc<[IpNet]>>) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether an address may transfer zones.
    pub(crate) fn allows(&self, source: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&source))
    }
}

/// A transfer that its asker may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AskedTransfer {
    /// Octets of the query that are its header and question: a name and 16 more at most.
    front_len: u16,
    /// The DO bit, if the query has an OPT record.
    is_dnssec_ok: Option<bool>,
    /// Whether the asker has this version already.
    is_up_to_date: bool,
    /// What the reply's buffer says meanwhile: that the transfer is refused. The zone is the one that would answer.
    pub refusal: ReplyFacts,
}

impl AskedTransfer {
    /// States that the transfer has begun, in place of the refusal.
    pub fn begun(&self) -> ReplyFacts {
        ReplyFacts { rcode: rcode::NOERROR, kind: ReplyKind::Answer, ..self.refusal }
    }
}

/// Whether a question asks for a zone transfer.
pub(super) fn is_transfer(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::AXFR | RecordType::IXFR)
}

impl Asked<'_> {
    /// Answers a question for the transfer of a zone: with one message, or with what begins the transfer.
    #[cold]
    pub(super) fn answer_transfer(
        &self,
        responder: &Responder,
        place: Located<'_>,
        question: &Question<'_>,
        path: &NamePath,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let (zone, zone_hash) = (place.zone(), place.zone_hash(path));
        let is_ixfr = question.qtype == RecordType::IXFR;
        let serial = match is_ixfr {
            true => read_ixfr_serial(self.query, &self.header, question.end()).map(Some),
            false => Ok(None),
        };
        let Ok(serial) = serial else { return self.reply(reply, rcode::FORMERR) };
        let can_transfer = self.peer.transport.can_transfer();
        if is_ixfr && !can_transfer {
            // RFC 1995 section 2: what does not fit is asked for by TCP, and the SOA alone says so.
            // It is what anybody may ask for. Where not even that fits, TC says so.
            let mut message = Reply::new(reply, self.front(), self.room());
            let soa = zone.apex_node().rrset(RecordType::SOA);
            let owner = Owner::Suffix { at: HEADER_LEN as u16, shift: 0 };
            let pushed = soa.map(|soa| message.push(Section::Answer, &soa, owner, false));
            let flags = if matches!(pushed, Some(Ok(_))) { FLAG_AA } else { FLAG_AA | FLAG_TC };
            message.finish(&self.header, flags, rcode::NOERROR, self.opt.as_ref());
            return self.verdict(rcode::NOERROR, flags, ReplyKind::Answer, zone_hash);
        }
        if !can_transfer || !responder.config.transfers.allows(self.peer.source.ip()) {
            return self.refuse(reply, rcode::REFUSED, ede::PROHIBITED, "");
        }
        // Its asker may have it, so it must not read that it may not.
        self.refuse(reply, rcode::REFUSED, ede::OTHER, "no transfer can begin now");
        Verdict::Transfer(AskedTransfer {
            front_len: self.front_len as u16,
            is_dnssec_ok: self.opt.map(|opt| opt.is_dnssec_ok),
            is_up_to_date: serial.is_some_and(|serial| !is_newer(zone.serial(), serial)),
            refusal: ReplyFacts { zone: zone_hash, ..self.error_facts(rcode::REFUSED) },
        })
    }
}

/// A transfer that has begun.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Keeps the version that is sent; the publisher frees it when nobody does any more.
    catalog: Arc<Catalog>,
    /// The zone's apex.
    apex: Name,
    /// The query's header.
    header: Header,
    /// The query's header and question, with which every message begins.
    front: Box<[u8]>,
    /// The OPT record of every message, if the query had one.
    opt: Option<OptReply<'static>>,
    /// What comes next.
    stage: TransferStage,
    /// The node whose RRsets are being sent.
    cursor: NodeCursor,
    /// How many of its entries have been sent.
    entries: usize,
    /// How many records, signatures included, have been sent of one that fits no message.
    records: usize,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TransferStage {
    /// The asker has this version: its SOA is all of the answer.
    UpToDate,
    /// Nothing is sent.
    FirstSoa,
    /// The SOA is sent, and some of the rest.
    Records,
    /// All is sent but the SOA that ends it.
    LastSoa,
    /// All is sent.
    Done,
}

/// What became of the next message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransferProgress {
    /// It is there, and not the last.
    More,
    /// It is there, and the last.
    Last,
    /// There is a record that no message has room for: the transfer cannot be ended.
    Impossible,
}

impl Transfer {
    /// Begins the transfer that `query` asks for, out of the catalog that the responder had for it.
    ///
    /// `None` if the catalog has no such zone.
    pub fn begin(catalog: Arc<Catalog>, query: &[u8], asked: &AskedTransfer) -> Option<Self> {
        let front = query.get(..usize::from(asked.front_len))?;
        let header = Header::read(front)?;
        let qname = front.get(HEADER_LEN..front.len().checked_sub(QUESTION_TAIL_LEN)?)?;
        let apex = Name::from_wire(&qname.to_ascii_lowercase()).ok()?;
        catalog.zone(&apex)?;
        Some(Self {
            catalog,
            apex,
            header,
            front: front.into(),
            opt: asked.is_dnssec_ok.map(|is_dnssec_ok| OptReply { is_dnssec_ok, nsid: None }),
            stage: if asked.is_up_to_date {
                TransferStage::UpToDate
            } else {
                TransferStage::FirstSoa
            },
            cursor: NodeCursor::default(),
            entries: 0,
            records: 0,
        })
    }

    /// Returns the apex of the zone that is sent.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Writes the next message; `out` is cleared first.
    ///
    /// Messages end with the first RRset behind [`TRANSFER_MESSAGE_OCTETS`], or in front of one that
    /// does not fit any more. An RRset is cut only if it fits no message.
    pub fn next_message(&mut self, out: &mut Vec<u8>) -> TransferProgress {
        let catalog = Arc::clone(&self.catalog);
        let Some(zone) = catalog.zone(&self.apex) else { return TransferProgress::Impossible };
        let room = MESSAGE_OCTETS_MAX - self.opt.as_ref().map_or(0, OptReply::octets_len);
        let mut message = Reply::new(out, &self.front, room);
        if self.fill(zone, &mut message).is_err() && message.is_empty() {
            return TransferProgress::Impossible;
        }
        message.finish(&self.header, FLAG_AA, rcode::NOERROR, self.opt.as_ref());
        debug_assert!(out.len() <= MESSAGE_OCTETS_MAX);
        if self.stage == TransferStage::Done {
            TransferProgress::Last
        } else {
            TransferProgress::More
        }
    }

    /// Appends records to a message until it is long enough, or full, or all are sent.
    fn fill(&mut self, zone: &Zone, message: &mut Reply<'_>) -> Result<(), Full> {
        while message.octets_len() < TRANSFER_MESSAGE_OCTETS {
            self.stage = match self.stage {
                TransferStage::UpToDate => {
                    push_soa(zone, message)?;
                    TransferStage::Done
                }
                TransferStage::FirstSoa => {
                    push_soa(zone, message)?;
                    TransferStage::Records
                }
                TransferStage::Records => {
                    let mut behind = self.cursor;
                    match zone.next_node(&mut behind) {
                        Some(node) if !self.push_node(zone, &node, message)? => return Ok(()),
                        Some(_) => {
                            (self.cursor, self.entries) = (behind, 0);
                            TransferStage::Records
                        }
                        None => TransferStage::LastSoa,
                    }
                }
                TransferStage::LastSoa => {
                    push_soa(zone, message)?;
                    TransferStage::Done
                }
                TransferStage::Done => return Ok(()),
            };
        }
        Ok(())
    }

    /// Appends the RRsets of a node that are not sent yet; says whether all of them are.
    fn push_node(
        &mut self,
        zone: &Zone,
        node: &NodeView<'_>,
        message: &mut Reply<'_>,
    ) -> Result<bool, Full> {
        let apex = zone.apex().as_wire();
        let owner =
            Owner::Written { prefix: node.prefix(), apex, apex_at: Some(HEADER_LEN as u16) };
        for mut entry in node.entries().skip(self.entries) {
            if message.octets_len() >= TRANSFER_MESSAGE_OCTETS {
                return Ok(false);
            }
            if entry.rtype == RecordType::SOA {
                // The record itself begins and ends the transfer.
                entry = EntryView { records: 0, body: &[], pointers: &[], ..entry };
            }
            let is_empty = message.is_empty();
            let is_cut = self.records > 0;
            if is_cut || message.push(Section::Answer, &entry, owner, true).is_err() {
                if !is_empty {
                    return Ok(false);
                }
                if !self.push_part(zone, node, &entry, message)? {
                    return Ok(false);
                }
                self.records = 0;
            }
            self.entries += 1;
        }
        Ok(true)
    }

    /// Appends as many records of an RRset as fit; says whether the last of them is sent.
    ///
    /// # Errors
    /// [`Full`] if not even one does.
    fn push_part(
        &mut self,
        zone: &Zone,
        node: &NodeView<'_>,
        entry: &EntryView<'_>,
        message: &mut Reply<'_>,
    ) -> Result<bool, Full> {
        let mut owner = ExpandedName::new();
        let _ = owner.try_extend_from_slice(node.prefix());
        let _ = owner.try_extend_from_slice(zone.apex().as_wire());
        let body = records(entry.body).map(|record| (entry.rtype, record));
        let sigs = records(entry.sigs).map(|record| (RecordType::RRSIG, record));
        let (mut rdata, sent_before) = (Vec::new(), self.records);
        for (rtype, record) in body.chain(sigs).skip(sent_before) {
            rdata.clear();
            if rtype == entry.rtype {
                expand_rdata(entry, &record, &owner, &mut rdata);
            } else {
                rdata.extend_from_slice(record.rdata);
            }
            let prefix = node.prefix();
            if message.push_record(prefix, rtype, record.ttl_s, &rdata).is_err() {
                return if self.records > sent_before { Ok(false) } else { Err(Full) };
            }
            self.records += 1;
        }
        Ok(true)
    }
}

/// Appends the SOA record without its signatures, which are sent once, among the others.
fn push_soa(zone: &Zone, message: &mut Reply<'_>) -> Result<(), Full> {
    let Some(soa) = zone.apex_node().rrset(RecordType::SOA) else { return Err(Full) };
    // Not as a copy of what was prepared: the names keep their case, whatever case was asked in.
    let owner = Owner::Elsewhere { at: HEADER_LEN as u16, name: zone.apex().as_wire() };
    message.push(Section::Answer, &soa, owner, false).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_allowed_but_who_was_named() {
        let networks = ["127.0.0.0/8", "2001:db8:1::/48", "192.0.2.7/32"];
        let networks: Vec<IpNet> = networks.map(|text| text.parse().expect(text)).into();
        let policy = TransferPolicy::new(networks);
        for (source, is_allowed) in [
            ("127.1.2.3", true),
            ("128.0.0.1", false),
            ("2001:db8:1:2::3", true),
            ("2001:db8:2::", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::1", false),
        ] {
            let source = source.parse().expect(source);
            assert_eq!(policy.allows(source), is_allowed, "{source}");
            assert!(!TransferPolicy::default().allows(source));
        }
    }
}
