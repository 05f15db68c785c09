//! Questions of class CH, about the server itself (RFC 4892).

use super::{Asked, Responder, Verdict};
use crate::limits::{IDENTITY_OCTETS_MAX, MESSAGE_OCTETS_MAX};
use crate::message::header::FLAG_AA;
use crate::message::question::{CLASS_CHAOS, Question};
use crate::message::rcode;
use crate::message::rcode::ede;
use crate::record::RecordType;
use crate::wire::kind::ReplyKind;
use crate::wire::reply::Reply;

impl Responder {
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

impl Asked<'_> {
    /// Answers a question of class CH (RFC 4892).
    #[cold]
    pub(super) fn answer_chaos(
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
        self.verdict(rcode::NOERROR, FLAG_AA, ReplyKind::Answer, None)
    }
}
