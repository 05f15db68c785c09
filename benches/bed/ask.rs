//! The questions, and what a right reply to each looks like.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::Result;
use super::corpus::{ALIASES, DELEGATIONS, Kind};

/// A kind of query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// The address of a name that exists.
    A,
    /// The address of a name that is an alias of one that exists.
    Cname,
    /// The text of a name that has an address only.
    Nodata,
    /// The address of a name that does not exist.
    Nxdomain,
    /// A name below a zone cut.
    Referral,
    /// A name that a wildcard stands for.
    Wildcard,
}

/// Every kind with its name.
const NAMES: [(&str, Ask); 6] = [
    ("a", Ask::A),
    ("cname", Ask::Cname),
    ("nodata", Ask::Nodata),
    ("nxdomain", Ask::Nxdomain),
    ("referral", Ask::Referral),
    ("wildcard", Ask::Wildcard),
];

impl Ask {
    /// Reads a kind's name.
    pub fn parse(name: &str) -> Result<Self> {
        let known = NAMES.into_iter().find(|known| known.0 == name);
        let all = NAMES.map(|known| known.0).join(", ");
        known.map(|known| known.1).ok_or_else(|| format!("{name}: one of {all}").into())
    }

    /// Returns the kind's name.
    pub fn name(self) -> &'static str {
        NAMES.into_iter().find(|known| known.1 == self).map_or("", |known| known.0)
    }

    /// Returns the name and type that are asked, for a random number.
    pub fn question(self, kind: Kind, number: u32) -> Result<(String, RecordType)> {
        let qname = match (self, kind) {
            (Self::A | Self::Nodata, Kind::Many(_)) => format!("www.{}.", kind.apex(number)),
            (Self::Nxdomain, Kind::Many(_)) => format!("x.{}.", kind.apex(number)),
            (_, Kind::Many(_)) => {
                return Err(format!("small zones have nothing to ask {} of", self.name()).into());
            }
            (Self::A | Self::Nodata, _) => format!("n{number}.example.com."),
            (Self::Cname, _) => format!("c{}.example.com.", number % ALIASES),
            (Self::Nxdomain, _) => format!("x{number}.example.com."),
            (Self::Referral, _) => format!("www.d{}.example.com.", number % DELEGATIONS),
            (Self::Wildcard, _) => format!("w{number}.wild.example.com."),
        };
        let qtype = if self == Self::Nodata { RecordType::TXT } else { RecordType::A };
        Ok((qname, qtype))
    }

    /// Makes a query with EDNS; with the DO bit if the zone is signed.
    pub fn query(self, id: u16, kind: Kind, number: u32) -> Result<Vec<u8>> {
        let (qname, qtype) = self.question(kind, number)?;
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(qname)?, qtype));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(kind.is_signed());
        message.edns = Some(edns);
        Ok(message.to_vec()?)
    }

    /// Whether a reply is what was asked for, by its header: QR, TC, RCODE and the counts.
    ///
    /// Of a signed zone every RRset must come with a signature, and every denial with proof.
    pub fn is_answered_by(self, is_signed: bool, reply: &[u8]) -> bool {
        let Some(header) = reply.first_chunk::<12>() else { return false };
        let rcode = u16::from(header[3] & 15);
        let answers = u16::from_be_bytes([header[6], header[7]]);
        let authorities = u16::from_be_bytes([header[8], header[9]]);
        let is_noerror = rcode == u16::from(ResponseCode::NoError);
        let is_nxdomain = rcode == u16::from(ResponseCode::NXDomain);
        let sets = if is_signed { 2 } else { 1 };
        let is_denied = if is_signed { authorities >= 4 } else { authorities == 1 };
        let is_whole = header[2] & 0x80 != 0 && header[2] & 0x02 == 0;
        is_whole
            && match self {
                Self::A => is_noerror && answers == sets,
                Self::Wildcard => is_noerror && answers == sets && (!is_signed || authorities >= 2),
                Self::Cname => is_noerror && answers == 2 * sets,
                Self::Referral => {
                    let proof = if is_signed { 2 } else { 0 };
                    is_noerror && answers == 0 && authorities >= 2 + proof
                }
                Self::Nodata => is_noerror && answers == 0 && is_denied,
                Self::Nxdomain => is_nxdomain && answers == 0 && is_denied,
            }
    }
}

/// Whether a reply answers with exactly this address, by its RDATA.
pub fn has_address(kind: Kind, reply: &[u8], octets: [u8; 4]) -> bool {
    let [a, b, c, d] = octets;
    Ask::A.is_answered_by(kind.is_signed(), reply)
        && reply.windows(6).any(|part| part == [0, 4, a, b, c, d])
}

/// Queries in one piece of memory, made beforehand.
#[derive(Debug)]
pub struct Queries {
    /// Their octets, one after the other.
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Queries {
    /// Makes queries about random names: as many as there are names, within limits.
    pub fn random(ask: Ask, kind: Kind) -> Result<Self> {
        let mut random = Random(5);
        let count = kind.count().clamp(QUERIES_MIN, QUERIES_MAX);
        Self::collect((0..count).map(|id| ask.query(id as u16, kind, random.below(kind.count()))))
    }

    /// Takes queries over.
    pub fn collect(queries: impl Iterator<Item = Result<Vec<u8>>>) -> Result<Self> {
        let (mut octets, mut ends) = (Vec::new(), Vec::new());
        for query in queries {
            octets.extend_from_slice(&query?);
            ends.push(octets.len());
        }
        Ok(Self { octets, ends })
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Returns one of them.
    pub fn query(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.octets[start..self.ends[index]]
    }
}

/// Random numbers (splitmix64), the same ones in every run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Different queries at least; one for each ID.
const QUERIES_MIN: u32 = 1 << 16;
/// Different queries at most, so that they stay below 64 MiB.
const QUERIES_MAX: u32 = 1 << 20;
/// The largest reply that queries allow, in octets: what servers of today agree on.
const UDP_PAYLOAD: u16 = 1_232;
