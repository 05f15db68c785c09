//! Asks a node over UDP, and has it transfer a zone over TCP.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use aspen_dns::name::Name;

pub const A: u16 = 1;
pub const SOA: u16 = 6;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const NOERROR: u8 = 0;
pub const SERVFAIL: u8 = 2;
pub const REFUSED: u8 = 5;

/// What came back of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    pub rcode: u8,
    /// The RDATA of the answers.
    pub answers: Vec<Vec<u8>>,
}

impl Reply {
    /// The serial of the SOA record that was asked for.
    pub fn serial(&self) -> Option<u32> {
        self.answers.first().map(|rdata| serial_of(rdata))
    }

    /// The value that the AAAA record asked for stands for.
    pub fn value(&self) -> Option<u32> {
        self.answers.first().map(|rdata| value_of(rdata))
    }
}

/// A zone as it was transferred.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transfer {
    pub serial: u32,
    /// The AAAA records' values by owner name, in wire format.
    pub values: BTreeMap<Vec<u8>, u32>,
}

/// The address of documentation that stands for a value.
pub fn address(value: u32) -> String {
    format!("2001:db8::{:x}:{:x}", value >> 16, value & 0xffff)
}

/// Asks once; none if nothing comes in time.
pub fn try_ask(server: SocketAddr, qname: &str, qtype: u16, timeout: Duration) -> Option<Reply> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(timeout)).unwrap();
    socket.connect(server).unwrap();
    let query = question(qname, qtype);
    socket.send(&query).ok()?;
    let mut reply = [0; 4096];
    let len = socket.recv(&mut reply).ok()?;
    let mut answers = Vec::new();
    read_answers(&reply[..len], |_, _, rdata| answers.push(rdata.to_vec()));
    Some(Reply { rcode: reply[3] & 0x0f, answers })
}

/// Asks a node that must answer.
pub fn ask(server: SocketAddr, qname: &str, qtype: u16) -> Reply {
    let reply = (0..5).find_map(|_| try_ask(server, qname, qtype, Duration::from_secs(2)));
    reply.unwrap_or_else(|| panic!("{server} does not answer {qname} {qtype}"))
}

/// Transfers a zone; an error if the connection breaks, or the RCODE of a refusal.
pub fn transfer(server: SocketAddr, apex: &str) -> std::io::Result<Result<Transfer, u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let query = question(apex, 252);
    let mut framed = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed)?;
    let (mut values, mut serial, mut soas) = (BTreeMap::new(), 0, 0);
    while soas < 2 {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut message)?;
        if message[3] & 0x0f != 0 {
            return Ok(Err(message[3] & 0x0f));
        }
        read_answers(&message, |owner, rtype, rdata| match rtype {
            SOA => {
                soas += 1;
                serial = serial_of(rdata);
            }
            AAAA => {
                values.insert(owner, value_of(rdata));
            }
            _ => {}
        });
    }
    Ok(Ok(Transfer { serial, values }))
}

/// Writes a query.
fn question(qname: &str, qtype: u16) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let qname: Name = qname.parse().unwrap();
    query.extend_from_slice(qname.as_wire());
    query.extend_from_slice(&qtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    query
}

/// Hands owner, type and RDATA of every record of the answer section to `take`.
fn read_answers(message: &[u8], mut take: impl FnMut(Vec<u8>, u16, &[u8])) {
    let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..number(4) {
        at = read_name(message, at).1 + 4;
    }
    for _ in 0..number(6) {
        let (owner, behind) = read_name(message, at);
        let len = usize::from(number(behind + 8));
        take(owner, number(behind), &message[behind + 10..behind + 10 + len]);
        at = behind + 10 + len;
    }
}

/// Reads a name, compressed or not; returns it and where it ends.
fn read_name(message: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let (mut name, mut end) = (Vec::new(), None);
    loop {
        let len = usize::from(message[at]);
        if len >= 0xc0 {
            end = end.or(Some(at + 2));
            at = (len & 0x3f) << 8 | usize::from(message[at + 1]);
            continue;
        }
        name.extend_from_slice(&message[at..=at + len]);
        at += len + 1;
        if len == 0 {
            return (name, end.unwrap_or(at));
        }
    }
}

/// The serial in the RDATA of a SOA record.
fn serial_of(rdata: &[u8]) -> u32 {
    let at = rdata.len() - 20;
    u32::from_be_bytes(rdata[at..at + 4].try_into().unwrap())
}

/// The value that the RDATA of an AAAA record stands for.
fn value_of(rdata: &[u8]) -> u32 {
    u32::from_be_bytes(rdata[12..].try_into().unwrap())
}
