//! The words for what front ends count: why a query got no answer, what happened to a connection.
//!
//! **Invariant:** `ALL` has every variant in the order of its number, so that it indexes counters.
//! **Not here:** the counters (`serve::stats`).

/// Why a query got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoReplyReason {
    /// The message has QR=1: answering answers makes two servers talk for ever.
    Response,
    /// The message is shorter than a header.
    TooShort,
    /// The datagram says that it comes from port 0, where nothing can be sent.
    SourcePortZero,
    /// The kernel had to drop the datagram, since the receive queue of the socket was full.
    ReceiveQueueFull,
    /// The reply did not fit the send queue of the socket.
    SendQueueFull,
    /// The system refused to send the reply, by a route or a filter for instance.
    SendRefused,
}

impl NoReplyReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 6] = [
        Self::Response,
        Self::TooShort,
        Self::SourcePortZero,
        Self::ReceiveQueueFull,
        Self::SendQueueFull,
        Self::SendRefused,
    ];

    /// Returns the reason as a label, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::TooShort => "too_short",
            Self::SourcePortZero => "source_port_zero",
            Self::ReceiveQueueFull => "receive_queue_full",
            Self::SendQueueFull => "send_queue_full",
            Self::SendRefused => "send_refused",
        }
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEvent {
    /// It was accepted and is being served.
    Accepted,
    /// It was refused: its address has as many as it may have.
    RefusedByAddress,
    /// It closed: the peer had closed its side, and all replies were written.
    ClosedByPeer,
    /// It closed: no query for too long.
    ClosedIdle,
    /// It closed: a message took too long to come in.
    ClosedSlowMessage,
    /// It closed: the peer took no octet of its replies for too long.
    ClosedSlowReader,
    /// It closed: it made room for a new one.
    ClosedForRoom,
    /// It closed: what it sent was no query.
    ClosedGarbage,
    /// It closed: a record of the zone that it was being sent fits no message.
    ClosedByHugeRecord,
    /// It closed: the system reported an error, a reset for instance.
    ClosedByError,
    /// It closed: the server stopped.
    ClosedByShutdown,
}

impl ConnectionEvent {
    /// Every event, in the order of the counters.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::RefusedByAddress,
        Self::ClosedByPeer,
        Self::ClosedIdle,
        Self::ClosedSlowMessage,
        Self::ClosedSlowReader,
        Self::ClosedForRoom,
        Self::ClosedGarbage,
        Self::ClosedByHugeRecord,
        Self::ClosedByError,
        Self::ClosedByShutdown,
    ];

    /// Returns the event as a label, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RefusedByAddress => "refused_by_address",
            Self::ClosedByPeer => "closed_by_peer",
            Self::ClosedIdle => "closed_idle",
            Self::ClosedSlowMessage => "closed_slow_message",
            Self::ClosedSlowReader => "closed_slow_reader",
            Self::ClosedForRoom => "closed_for_room",
            Self::ClosedGarbage => "closed_garbage",
            Self::ClosedByHugeRecord => "closed_by_huge_record",
            Self::ClosedByError => "closed_by_error",
            Self::ClosedByShutdown => "closed_by_shutdown",
        }
    }

    /// Whether a connection that was served ends with it.
    pub fn is_close(self) -> bool {
        !matches!(self, Self::Accepted | Self::RefusedByAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_event_stands_where_its_counter_does() {
        assert!(
            NoReplyReason::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index)
        );
        let events = ConnectionEvent::ALL;
        assert!(events.iter().enumerate().all(|(index, event)| *event as usize == index));
    }
}
