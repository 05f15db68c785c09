//! Answers what one read of a connection brought.
//!
//! **Invariant:** replies stand in the order of their queries, each with its length in front; a transfer is gone on
//! with before any other message is answered.
//! **Not here:** reading and writing (`serve::tcp::connection`), what is answered (`responder`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::limits::{REPLY_OCTETS_CAPACITY, TCP_OUTPUT_OCTETS_MAX, TCP_READ_OCTETS};
use crate::publish::Reader;
use crate::responder::batch::QueryBatch;
use crate::responder::transfer::{Transfer, TransferProgress};
use crate::responder::{Peer, Responder, Transport, Verdict};
use crate::serve::event::ConnectionEvent;
use crate::serve::stats::Recorder;
use crate::serve::transfer::{RunningTransfer, TransferSlots};

/// What a worker answers with; its buffers serve all connections in turn.
pub(super) struct Answerer {
    /// The published catalog.
    reader: Reader,
    /// Makes the answers.
    responder: Arc<Responder>,
    /// The transfers of all workers.
    transfers: TransferSlots,
    /// Counts.
    pub(super) recorder: Recorder,
    /// Its buffers for the queries of a batch.
    queries: QueryBatch,
    /// What was read just now.
    pub(super) input: Box<[u8]>,
    /// One reply.
    reply: Vec<u8>,
    /// All replies to what was read.
    pub(super) output: Vec<u8>,
}

/// Who is at the other end, and what it is being sent.
#[derive(Debug)]
pub(super) struct Session {
    /// The peer's address.
    pub(super) source: SocketAddr,
    /// The zone transfer whose messages are being sent; until its end no other query is answered.
    pub(super) running: Option<Box<RunningTransfer>>,
}

/// What was made of the octets of one read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    /// Octets of the messages that have been dealt with.
    pub(super) input_len: usize,
    /// How many these are.
    pub(super) queries: usize,
    /// When they were begun with, if they are to be timed.
    pub(super) started_at: Option<Instant>,
    /// Why the connection is to be closed behind them, if it is.
    pub(super) end: Option<ConnectionEvent>,
}

impl Answerer {
    /// Makes the buffers.
    pub(super) fn new(
        reader: Reader,
        responder: Arc<Responder>,
        transfers: TransferSlots,
        recorder: Recorder,
    ) -> Self {
        Self {
            reader,
            responder,
            transfers,
            recorder,
            queries: QueryBatch::default(),
            input: vec![0; TCP_READ_OCTETS].into(),
            reply: Vec::with_capacity(REPLY_OCTETS_CAPACITY),
            output: Vec::with_capacity(2 * TCP_OUTPUT_OCTETS_MAX + usize::from(u16::MAX)),
        }
    }
}

impl Answerer {
    /// Goes on with a zone transfer, then answers the whole messages at the start of `input`, all
    /// into `output`, until nothing is left or the replies are as long as may wait.
    pub(super) fn answer(&mut self, input: &[u8], session: &mut Session) -> Answered {
        self.output.clear();
        let end = go_on(&mut session.running, &mut self.reply, &mut self.output);
        let mut batch = Answered { end, ..Answered::default() };
        let has_room = self.output.len() < TCP_OUTPUT_OCTETS_MAX;
        if has_room && end.is_none() && has_message(input) {
            self.answer_messages(input, session, &mut batch);
        }
        batch
    }

    /// Answers messages, of which there is one at least, from one snapshot.
    fn answer_messages(&mut self, input: &[u8], session: &mut Session, batch: &mut Answered) {
        debug_assert!(session.running.is_none(), "a transfer is gone on with first");
        batch.started_at = self.recorder.start_batch();
        let catalog = self.reader.load();
        let peer =
            Peer { source: session.source, transport: Transport::Tcp, now_s: clock::now_s() };
        let queries = self.queries.open(&self.responder, &catalog, messages(input));
        while self.output.len() < TCP_OUTPUT_OCTETS_MAX && batch.end.is_none() {
            let Some(query) = first_message(&input[batch.input_len..]) else { break };
            batch.input_len += 2 + query.len();
            batch.queries += 1;
            let mut verdict = queries.respond(batch.queries - 1, query, &peer, &mut self.reply);
            match verdict {
                // Whoever sent it speaks no DNS to us.
                Verdict::Drop(_) => batch.end = Some(ConnectionEvent::ClosedGarbage),
                Verdict::Transfer(asked) => {
                    let transfer = Transfer::begin(catalog.keep(), query, &asked);
                    session.running = transfer.and_then(|it| self.transfers.start(it));
                    if session.running.is_some() {
                        verdict = Verdict::Reply(asked.begun());
                    }
                }
                Verdict::Reply(_) | Verdict::Hand(_) => {}
            }
            self.recorder.count_verdict(&verdict);
            if session.running.is_some() {
                batch.end = go_on(&mut session.running, &mut self.reply, &mut self.output);
            } else if batch.end.is_none() {
                push_framed(&mut self.output, &self.reply);
            }
        }
    }
}

/// Goes on with a zone transfer, if one runs, until it ends or the replies are as long as may wait;
/// returns why the connection is to be closed behind them, if it is.
fn go_on(
    running: &mut Option<Box<RunningTransfer>>,
    reply: &mut Vec<u8>,
    output: &mut Vec<u8>,
) -> Option<ConnectionEvent> {
    while output.len() < TCP_OUTPUT_OCTETS_MAX
        && let Some(transfer) = running
    {
        match transfer.next_message(reply) {
            TransferProgress::More => {}
            TransferProgress::Last => *running = None,
            TransferProgress::Impossible => {
                *running = None;
                return Some(ConnectionEvent::ClosedByHugeRecord);
            }
        }
        push_framed(output, reply);
    }
    None
}

/// Appends a reply with its length in front.
fn push_framed(output: &mut Vec<u8>, reply: &[u8]) {
    // A reply never exceeds 65,535 octets; one that did could not be framed.
    debug_assert!(u16::try_from(reply.len()).is_ok());
    if let Ok(len) = u16::try_from(reply.len()) {
        output.extend_from_slice(&len.to_be_bytes());
        output.extend_from_slice(reply);
    }
}

/// Returns the first message of a stream without its length, if all of it is there.
fn first_message(input: &[u8]) -> Option<&[u8]> {
    let (len, rest) = input.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// Iterates over the whole messages at the start of a stream.
fn messages(mut input: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        let message = first_message(input)?;
        input = &input[2 + message.len()..];
        Some(message)
    })
}

/// Whether a whole message is there.
pub(super) fn has_message(input: &[u8]) -> bool {
    first_message(input).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_with_its_last_octet() {
        assert_eq!(first_message(b""), None);
        assert_eq!(first_message(b"\0"), None);
        assert_eq!(first_message(b"\0\x02a"), None);
        assert_eq!(first_message(b"\0\x02ab"), Some(&b"ab"[..]));
        assert_eq!(first_message(b"\0\x02abc"), Some(&b"ab"[..]));
        assert_eq!(first_message(b"\0\0\0"), Some(&b""[..]));
        let all: Vec<_> = messages(b"\0\x02ab\0\0\0\x01c\0\x05d").collect();
        assert_eq!(all, [&b"ab"[..], b"", b"c"]);
    }
}
