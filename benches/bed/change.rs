//! Changes of `example.com`: which name gets which address, and dynamic updates that say so.
//!
//! Change number `k` is the same everywhere, so that whoever makes changes and whoever looks for
//! them need not talk. RFC 2136 for the updates.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Result;

/// Returns the number of the name that a change changes: each another one, spread over the zone.
pub fn name_of(change: u32, names: u32) -> u32 {
    (u64::from(change) * 2_654_435_761 % u64::from(names)) as u32
}

/// Returns the address that a change sets.
pub fn address(change: u32) -> [u8; 4] {
    let [_, b, c, d] = change.to_be_bytes();
    [11, b, c, d]
}

/// Calls `make` for one change after the other, `rate` a second, until `ended`; returns the number
/// of the next one. Behind time, it goes as fast as it can.
///
/// # Errors
/// The first error of `make`.
pub fn pace(
    first: u32,
    rate: f64,
    ended: &AtomicBool,
    mut make: impl FnMut(u32) -> Result<()>,
) -> Result<u32> {
    let start = Instant::now();
    let mut next = first;
    while !ended.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs_f64(f64::from(next - first) / rate);
        let early = due.saturating_duration_since(Instant::now());
        if early.is_zero() {
            make(next)?;
            next += 1;
        } else {
            std::thread::sleep(early.min(Duration::from_millis(20)));
        }
    }
    Ok(next)
}

/// Sends dynamic updates to a server, one at a time.
#[derive(Debug)]
pub struct Updater {
    /// Connected to the server.
    socket: UdpSocket,
    /// How many names the zone has.
    names: u32,
}

impl Updater {
    /// Will update the zone of a server.
    pub fn new(server: SocketAddr, names: u32) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { socket, names })
    }

    /// Makes one change, and waits until the server has committed it.
    pub fn update(&self, change: u32) -> Result<()> {
        let id = change as u16;
        let owner = Name::from_ascii(format!("n{}.example.com.", name_of(change, self.names)))?;
        let mut message = Message::new(id, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(Name::from_ascii("example.com.")?, RecordType::SOA));
        // First the RRset goes (RFC 2136 section 2.5.2), then the record comes.
        let mut gone = Record::update0(owner.clone(), 0, RecordType::A);
        gone.dns_class = DNSClass::ANY;
        let new = Record::from_rdata(owner, 300, RData::A(A(Ipv4Addr::from(address(change)))));
        message.add_authority(gone);
        message.add_authority(new);
        self.socket.send(&message.to_vec()?)?;
        let mut reply = [0; 512];
        loop {
            let len = self.socket.recv(&mut reply)?;
            if len >= 12 && reply[..2] == id.to_be_bytes() {
                let rcode = u16::from(reply[3] & 15);
                let is_done = rcode == u16::from(ResponseCode::NoError);
                return if is_done { Ok(()) } else { Err(format!("update: rcode {rcode}").into()) };
            }
        }
    }
}
