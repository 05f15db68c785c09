//! Messages that are no queries, by their opcode.
//!
//! None of them is implemented here, nor by the front ends of `serve`. A front end of an operator's own may
//! take some: to it they are handed on.
//!
//! **Invariant:** a message is handed on only if its one question can be read, and the reply's buffer then
//! holds what its sender gets where nobody takes it.

use super::{Asked, ReplyFacts, Responder, Verdict};
use crate::message::Malformed;
use crate::message::header::opcode;
use crate::message::question::Question;
use crate::message::rcode;

/// A set of opcodes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Opcodes(u16);

impl Opcodes {
    /// Returns the set with another opcode, of four bits, in it. [`opcode::QUERY`] never is: queries are answered.
    #[must_use]
    pub fn with(self, opcode: u8) -> Self {
        let bit = 1 << (opcode & 15);
        Self((self.0 | bit) & !(1 << opcode::QUERY))
    }

    /// Whether the opcode is in the set.
    pub fn has(self, opcode: u8) -> bool {
        self.0 >> (opcode & 15) & 1 == 1
    }
}

/// A message that somebody else takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handed {
    /// Its opcode.
    pub opcode: u8,
    /// What the reply's buffer says meanwhile: that it is not implemented.
    pub refusal: ReplyFacts,
}

impl Asked<'_> {
    /// Takes what is no query with one question that can be read. Nothing of an EDNS version that is not known here
    /// is taken.
    #[cold]
    pub(super) fn take_other(
        mut self,
        responder: &Responder,
        reply: &mut Vec<u8>,
        question: Result<Question<'_>, Malformed>,
    ) -> Verdict {
        let opcode = self.header.opcode();
        let questions = self.header.counts()[0];
        // A question that cannot be read makes no message at all, and a query has one (RFC 9619).
        let rcode = match (opcode, questions, &question) {
            (opcode::QUERY, ..) => rcode::FORMERR,
            (_, 0, _) => rcode::NOTIMP,
            (_, 1, Ok(question)) => {
                self.front_len = question.end();
                self.qtype = question.qtype;
                rcode::NOTIMP
            }
            _ => rcode::FORMERR,
        };
        let verdict = self.refuse_unread(reply, rcode);
        match verdict {
            Verdict::Reply(refusal)
                if questions == 1
                    && refusal.rcode == rcode::NOTIMP
                    && responder.config.handed.has(opcode) =>
            {
                Verdict::Hand(Handed { opcode, refusal })
            }
            _ => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::message::reader::Message;
    use crate::responder::{Peer, ResponderConfig, Transport};
    use crate::zone::HashSeed;

    #[test]
    fn what_somebody_takes_is_handed_on_and_all_else_is_not_implemented() {
        let handed = Opcodes::default().with(opcode::NOTIFY).with(opcode::QUERY);
        let config = ResponderConfig { handed, ..ResponderConfig::default() };
        let (taker, nobody) = (Responder::new(config), Responder::default());
        let catalog = Catalog::new(HashSeed(1));
        let message = |opcode: u8, questions: u8| {
            let head = [0, 1, opcode << 3, 0, 0, questions, 0, 0, 0, 0, 0, 0];
            [&head[..], b"\x01a\0\0\x06\0\x01"].concat()
        };
        let check = |responder: &Responder, message: &[u8], rcode: u16, is_handed: bool| {
            let mut reply = Vec::new();
            let peer = Peer::in_process(Transport::Tcp);
            let verdict = responder.respond(&catalog, message, &peer, &mut reply);
            assert_eq!(verdict.facts().map(|facts| facts.rcode), Some(rcode));
            let said = Message::read(&reply).map(|message| message.rcode());
            assert_eq!(said, Ok(rcode), "the buffer says so, too");
            assert_eq!(matches!(verdict, Verdict::Hand(_)), is_handed, "{message:?}");
        };
        check(&taker, &message(opcode::NOTIFY, 1), rcode::NOTIMP, true);
        check(&nobody, &message(opcode::NOTIFY, 1), rcode::NOTIMP, false);
        check(&taker, &message(opcode::UPDATE, 1), rcode::NOTIMP, false);
        check(&taker, &message(opcode::NOTIFY, 0), rcode::NOTIMP, false);
        check(&taker, &message(opcode::NOTIFY, 2), rcode::FORMERR, false);
        check(&taker, &message(opcode::QUERY, 1), rcode::REFUSED, false);
        let mut later = message(opcode::NOTIFY, 1);
        later[11] = 1;
        later.extend_from_slice(b"\0\0\x29\x04\xd0\0\x01\0\0\0\0");
        check(&taker, &later, rcode::BADVERS, false);
    }
}
