//! One connection: octets in, whole messages answered, octets out.
//!
//! A message is preceded by its length in two octets (RFC 1035 section 4.2.2). All queries that
//! came with one read are answered with one write (RFC 7766 section 6.2.1.1), in their order.
//!
//! **Invariant:** an idle connection owns no buffer. While more than [`TCP_OUTPUT_OCTETS_MAX`]
//! octets wait for the peer, nothing of it is answered or read.
//! **Not here:** answering (`serve::tcp::answerer`), deadlines and limits over all connections (`serve::tcp`).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;

use super::answerer::{Answerer, Session, has_message};
use super::table::Phase;
use crate::limits::{TCP_DISCARDED_OCTETS_MAX, TCP_READ_OCTETS, TCP_READS_PER_TURN_MAX};
use crate::serve::event::ConnectionEvent;

/// A connection that has been accepted.
#[derive(Debug)]
pub(super) struct Connection<S = TcpStream> {
    /// The socket.
    stream: S,
    /// What came in and is not yet answered.
    input: Vec<u8>,
    /// Replies that the socket did not take at once.
    output: Vec<u8>,
    /// How much of them it has taken since.
    output_sent: usize,
    /// Its peer, and the zone transfer that it is in the midst of.
    session: Session,
    /// Whether the system says that the peer has closed its side, perhaps behind octets that are
    /// still to be read. It says so once.
    is_end_announced: bool,
    /// Whether those octets have been read.
    has_ended: bool,
    /// Why it is to be closed as soon as its peer has taken all replies; nothing more is answered.
    end: Option<ConnectionEvent>,
    /// Octets that were thrown away since nothing more is sent; none before.
    discarded: Option<usize>,
}

/// A socket that can say that nothing more comes, and still be read.
pub(super) trait EndWriting {
    /// Tells the peer that nothing more comes.
    fn end_writing(&self) -> io::Result<()>;
}

impl EndWriting for TcpStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// It waits for its peer.
    Wait {
        /// What it waits for.
        phase: Phase,
        /// Whether it was good for something: a query was answered.
        has_answered: bool,
    },
    /// It had its share, and there may be more to read: it wants another turn.
    Again {
        /// As above.
        has_answered: bool,
    },
    /// It is to be closed.
    Close(ConnectionEvent),
}

impl<S: Read + Write + EndWriting> Connection<S> {
    /// Makes a connection from `source` of a socket that does not block.
    pub(super) fn new(stream: S, source: SocketAddr) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        let session = Session { source, running: None };
        Self {
            stream,
            input,
            output,
            output_sent: 0,
            session,
            is_end_announced: false,
            has_ended: false,
            end: None,
            discarded: None,
        }
    }

    /// Returns why it is to be closed, if it is.
    pub(super) fn end(&self) -> Option<ConnectionEvent> {
        self.end
    }

    /// Notes that the peer has closed its side.
    pub(super) fn note_end(&mut self) {
        self.is_end_announced = true;
    }

    /// Returns the socket.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the octets of the buffers that the connection owns.
    pub(super) fn buffered_len(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Does what can be done without waiting: sends what waits, answers what is there, reads on.
    pub(super) fn turn(&mut self, answerer: &mut Answerer) -> Turn {
        let mut has_answered = false;
        for _ in 0..TCP_READS_PER_TURN_MAX {
            match self.step(answerer, &mut has_answered) {
                Ok(None) => {}
                Ok(Some(turn)) => return turn,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Close(ConnectionEvent::ClosedByError),
            }
        }
        Turn::Again { has_answered }
    }

    /// Sends what waits; then answers what is there, or else reads once and answers that.
    /// Returns the end of the turn, or `None` if another step may find more.
    fn step(&mut self, answerer: &mut Answerer, answered: &mut bool) -> io::Result<Option<Turn>> {
        if !self.flush()? {
            return Ok(Some(Turn::Wait { phase: Phase::Sending, has_answered: *answered }));
        }
        if let Some(event) = self.end {
            return self.discard(event, &mut answerer.input, *answered);
        }
        if self.session.running.is_some() || has_message(&self.input) {
            let input = std::mem::take(&mut self.input);
            return self.answer(&input, answerer, answered);
        }
        if self.has_ended {
            return Ok(Some(Turn::Close(ConnectionEvent::ClosedByPeer)));
        }
        let len = match self.stream.read(&mut answerer.input) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Some(self.waiting(*answered)));
            }
            Err(error) => return Err(error),
        };
        if len == 0 {
            self.has_ended = true;
            return Ok(None);
        }
        let turn = self.take(len, answerer, answered)?;
        // A buffer that was not filled has emptied the socket: what comes later is told anew. But
        // an end that came with these octets is told no more.
        let is_drained = len < TCP_READ_OCTETS && !self.is_end_announced;
        let is_done =
            self.end.is_none() && self.session.running.is_none() && !has_message(&self.input);
        let is_waiting = turn.is_none() && is_drained && is_done;
        Ok(if is_waiting { Some(self.waiting(*answered)) } else { turn })
    }

    /// Says that nothing more comes, and throws away what the peer still sends: a socket that is closed with octets
    /// unread takes back what the peer has not received yet (RFC 9293 section 3.6.1).
    fn discard(
        &mut self,
        event: ConnectionEvent,
        buffer: &mut [u8],
        has_answered: bool,
    ) -> io::Result<Option<Turn>> {
        let discarded = match self.discarded {
            Some(discarded) => discarded,
            None => {
                self.stream.end_writing()?;
                *self.discarded.insert(0)
            }
        };
        match self.stream.read(buffer) {
            Ok(0) => Ok(Some(Turn::Close(event))),
            Ok(_) if discarded >= TCP_DISCARDED_OCTETS_MAX => Ok(Some(Turn::Close(event))),
            Ok(len) => {
                self.discarded = Some(discarded + len);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Some(Turn::Wait { phase: Phase::Receiving, has_answered }))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the end of a turn after which the peer has to act.
    fn waiting(&self, has_answered: bool) -> Turn {
        let phase = match (self.output.is_empty(), self.input.is_empty()) {
            (false, _) => Phase::Sending,
            (true, false) => Phase::Receiving,
            (true, true) => Phase::Idle,
        };
        Turn::Wait { phase, has_answered }
    }

    /// Answers what has just been read together with what was there before.
    fn take(
        &mut self,
        len: usize,
        answerer: &mut Answerer,
        answered: &mut bool,
    ) -> io::Result<Option<Turn>> {
        if !self.input.is_empty() {
            self.input.extend_from_slice(&answerer.input[..len]);
            let input = std::mem::take(&mut self.input);
            return self.answer(&input, answerer, answered);
        }
        // The buffer moves out and back in, so that the answerer can be borrowed meanwhile.
        let input = std::mem::take(&mut answerer.input);
        let turn = self.answer(&input[..len], answerer, answered);
        answerer.input = input;
        turn
    }

    /// Answers the whole messages of `input` with one write, and keeps the rest of it.
    fn answer(
        &mut self,
        input: &[u8],
        answerer: &mut Answerer,
        answered: &mut bool,
    ) -> io::Result<Option<Turn>> {
        debug_assert!(self.input.is_empty());
        debug_assert!(self.end.is_none(), "nothing is answered behind the end");
        let batch = answerer.answer(input, &mut self.session);
        self.end = batch.end;
        if self.end.is_none() {
            self.input.extend_from_slice(&input[batch.input_len..]);
        }
        if batch.queries > 0 || !answerer.output.is_empty() {
            *answered = true;
            self.send(&answerer.output)?;
        }
        if batch.queries > 0 {
            answerer.recorder.finish_batch(batch.started_at, batch.queries);
        }
        Ok(None)
    }

    /// Sends replies, and keeps what the socket does not take.
    fn send(&mut self, output: &[u8]) -> io::Result<()> {
        debug_assert!(self.output.is_empty(), "nothing is answered while replies wait");
        let mut sent = 0;
        while sent < output.len() {
            match self.stream.write(&output[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output.extend_from_slice(&output[sent..]);
        self.output_sent = 0;
        Ok(())
    }

    /// Sends what waits, and returns whether all of it has gone.
    fn flush(&mut self) -> io::Result<bool> {
        while self.output_sent < self.output.len() {
            match self.stream.write(&self.output[self.output_sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.output_sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        (self.output, self.output_sent) = (Vec::new(), 0);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::publish::Publisher;
    use crate::serve::stats::Recorder;
    use crate::serve::transfer::TransferSlots;
    use crate::zone::HashSeed;

    /// A socket that has so many octets to read, and room for so many.
    struct Script {
        arrived: Vec<u8>,
        has_ended: bool,
        room: usize,
        taken: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
            if self.arrived.is_empty() && !self.has_ended {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = self.arrived.len().min(octets.len());
            octets[..len].copy_from_slice(&self.arrived[..len]);
            self.arrived.drain(..len);
            Ok(len)
        }
    }

    impl EndWriting for Script {
        fn end_writing(&self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Write for Script {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let len = self.room.min(octets.len());
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&octets[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn replies_before_garbage_are_taken_before_the_connection_closes() {
        let query = b"\0\x11\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
        let garbage = b"\0\x0c\0\x01\x80\0\0\0\0\0\0\0\0\0";
        let arrived = [&query[..], garbage, query].concat();
        let reply_len = query.len();
        for room in 0..=reply_len + 1 {
            let reader = Publisher::new(HashSeed(1)).reader();
            let (slots, recorder) = (TransferSlots::default(), Recorder::new("tcp"));
            let mut answerer = Answerer::new(reader, Arc::default(), slots, recorder);
            let script =
                Script { arrived: arrived.clone(), has_ended: false, room, taken: Vec::new() };
            let source = SocketAddr::from(([192, 0, 2, 1], 53));
            let mut connection = Connection::new(script, source);
            let close = Turn::Close(ConnectionEvent::ClosedGarbage);
            if room < reply_len {
                let wait = Turn::Wait { phase: Phase::Sending, has_answered: true };
                assert_eq!(connection.turn(&mut answerer), wait, "{room}");
                let wait = Turn::Wait { phase: Phase::Sending, has_answered: false };
                assert_eq!(connection.turn(&mut answerer), wait, "{room}");
                connection.stream.room = reply_len;
            }
            // It is not closed before its peer has: what is unread then would take replies with it.
            let wait = Turn::Wait { phase: Phase::Receiving, has_answered: room >= reply_len };
            assert_eq!(connection.turn(&mut answerer), wait, "{room}");
            connection.stream.arrived = vec![0; 3 * TCP_READ_OCTETS];
            connection.stream.has_ended = true;
            assert_eq!(connection.turn(&mut answerer), close, "{room}");
            let taken = &connection.stream.taken;
            assert_eq!((taken.len(), taken[5] & 15), (reply_len, 5), "REFUSED, whole");
        }
    }
}
