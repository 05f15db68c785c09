//! Replies without records that say what is wrong with a message, or why its sender gets nothing; and what
//! an answer is worth.
//!
//! RFC 8914 (extended errors), RFC 6891 section 7, RFC 8945 section 5.3.2.
//!
//! **Not here:** what is refused (`responder`, `opcode`, `transfer`).

use super::{Asked, Verdict};
use crate::catalog::Catalog;
use crate::limits::UDP_PLAIN_OCTETS_MAX;
use crate::message::edns::{OptReply, explain};
use crate::message::query::find_opt;
use crate::message::rcode::{self, ede};
use crate::message::record::Record;
use crate::message::tsig::{self, Tsig};

impl Asked<'_> {
    /// Writes a reply without records that says why, to who has EDNS (RFC 8914), perhaps in words.
    #[cold]
    pub(super) fn refuse(
        &self,
        reply: &mut Vec<u8>,
        rcode: u16,
        info_code: u16,
        text: &str,
    ) -> Verdict {
        let verdict = self.reply(reply, rcode);
        if let Some(opt) = &self.opt {
            explain(reply, opt, (info_code, text), UDP_PLAIN_OCTETS_MAX);
        }
        verdict
    }

    /// Says to who has EDNS that the answer is stale, where the zone that gave it is (RFC 8914 sections 4.4 and
    /// 4.20): a help to find out why it is old, as far as there is room for it.
    #[cold]
    pub(super) fn tell_stale(&self, catalog: &Catalog, verdict: &Verdict, reply: &mut Vec<u8>) {
        let (Verdict::Reply(facts), Some(opt)) = (verdict, &self.opt) else { return };
        if !facts.zone.is_some_and(|hash| catalog.is_stale(hash.get())) {
            return;
        }
        let info_code = match facts.rcode {
            rcode::NXDOMAIN => ede::STALE_NXDOMAIN,
            _ => ede::STALE_ANSWER,
        };
        explain(reply, opt, (info_code, ""), self.limit);
    }

    /// Replies to a message of which not all is read, with an OPT record if it has one; with BADVERS if that is of
    /// a version that is not known here, which may be why (RFC 6891 section 6.1.3).
    #[cold]
    pub(super) fn refuse_unread(&mut self, reply: &mut Vec<u8>, rcode: u16) -> Verdict {
        let edns = find_opt(self.query, &self.header);
        self.opt = edns.map(|edns| OptReply { is_dnssec_ok: edns.is_dnssec_ok, nsid: None });
        let is_of_a_later_version = edns.is_some_and(|edns| edns.version > 0);
        self.reply(reply, if is_of_a_later_version { rcode::BADVERS } else { rcode })
    }

    /// Replies to a query whose TSIG record begins at `at`: no key is known here, so it is not authorized, and
    /// is told so without a signature (RFC 8945 sections 5.2.1 and 5.3.2).
    #[cold]
    pub(super) fn refuse_signed(&self, reply: &mut Vec<u8>, at: usize) -> Verdict {
        let Ok(tsig) = Record::read(self.query, at).and_then(Tsig::read) else {
            return self.reply(reply, rcode::FORMERR);
        };
        let verdict = self.reply(reply, rcode::NOTAUTH);
        let unsigned_len = reply.len();
        if tsig.push_refusal(reply, tsig::BADKEY).is_err() || reply.len() > self.limit {
            reply.truncate(unsigned_len);
        } else if let Some(count) = reply.get_mut(11) {
            *count += 1; // the low octet of ARCOUNT, which is 1 at most
        }
        verdict
    }
}
