//! Zone transfers: all records of a zone as a run of messages, made one at a time.
//!
//! RFC 5936 for AXFR. An IXFR is answered with the whole zone, or with the SOA alone if the asker has
//! this version already (RFC 1995 sections 2 and 4).
//!
//! **Invariant:** all messages are of the one version that was served when the transfer began; the
//! SOA is the first record and the last, and every other record is sent once; a transfer keeps no more
//! than its place, however large the zone.
//! **Not here:** who may transfer a zone, and when the next message is wanted (`serve::tcp`).

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::limits::{MESSAGE_OCTETS_MAX, TRANSFER_MESSAGE_OCTETS};
use crate::message::edns::OptReply;
use crate::message::header::{FLAG_AA, Header};
use crate::message::{ExpandedName, HEADER_LEN, Section, rcode};
use crate::name::Name;
use crate::record::RecordType;
use crate::wire::reply::{Full, Owner, Reply};
use crate::zone::node::{EntryView, NodeView};
use crate::zone::prepare::{expand_rdata, records};
use crate::zone::{Cursor, Zone};

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
    stage: Stage,
    /// The node whose RRsets are being sent.
    cursor: Cursor,
    /// How many of its entries have been sent.
    entries: usize,
    /// How many records, signatures included, have been sent of one that fits no message.
    records: usize,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
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
pub enum Progress {
    /// It is there, and not the last.
    More,
    /// It is there, and the last.
    Last,
    /// There is a record that no message has room for: the transfer cannot be ended.
    Impossible,
}

impl Transfer {
    /// Begins the transfer of the zone of `apex` to whoever sent the query that begins with `front`.
    ///
    /// With `is_up_to_date` the asker only learns that it has this version. `None` if there is no
    /// such zone.
    pub(crate) fn begin(
        catalog: &Arc<Catalog>,
        apex: &Name,
        header: Header,
        front: &[u8],
        opt: Option<OptReply<'static>>,
        is_up_to_date: bool,
    ) -> Option<Self> {
        catalog.zone(apex)?;
        Some(Self {
            catalog: Arc::clone(catalog),
            apex: apex.clone(),
            header,
            front: front.into(),
            opt,
            stage: if is_up_to_date { Stage::UpToDate } else { Stage::FirstSoa },
            cursor: Cursor::default(),
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
    pub fn next_message(&mut self, out: &mut Vec<u8>) -> Progress {
        let catalog = Arc::clone(&self.catalog);
        let Some(zone) = catalog.zone(&self.apex) else { return Progress::Impossible };
        let room = MESSAGE_OCTETS_MAX - self.opt.as_ref().map_or(0, OptReply::octets_len);
        let mut message = Reply::new(out, &self.front, room);
        if self.fill(zone, &mut message).is_err() && message.is_empty() {
            return Progress::Impossible;
        }
        message.finish(&self.header, FLAG_AA, rcode::NOERROR, self.opt.as_ref());
        if self.stage == Stage::Done { Progress::Last } else { Progress::More }
    }

    /// Appends records to a message until it is long enough, or full, or all are sent.
    fn fill(&mut self, zone: &Zone, message: &mut Reply<'_>) -> Result<(), Full> {
        while message.octets_len() < TRANSFER_MESSAGE_OCTETS {
            self.stage = match self.stage {
                Stage::UpToDate => {
                    push_soa(zone, message)?;
                    Stage::Done
                }
                Stage::FirstSoa => {
                    push_soa(zone, message)?;
                    Stage::Records
                }
                Stage::Records => {
                    let mut behind = self.cursor;
                    match zone.next_node(&mut behind) {
                        Some(node) if !self.push_node(zone, &node, message)? => return Ok(()),
                        Some(_) => {
                            (self.cursor, self.entries) = (behind, 0);
                            Stage::Records
                        }
                        None => Stage::LastSoa,
                    }
                }
                Stage::LastSoa => {
                    push_soa(zone, message)?;
                    Stage::Done
                }
                Stage::Done => return Ok(()),
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
