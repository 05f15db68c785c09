//! The zone that all servers serve, and the queries about it.

use std::io::Write;
use std::path::Path;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::Result;

/// A kind of query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ask {
    /// The address of a name that exists.
    A,
    /// The address of a name that does not.
    Nxdomain,
    /// A name below a zone cut.
    Referral,
    /// A name that a wildcard stands for.
    Wildcard,
}

impl Ask {
    /// Reads a kind's name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let all = [Self::A, Self::Nxdomain, Self::Referral, Self::Wildcard];
        let known = all.into_iter().find(|ask| ask.name() == name);
        known.ok_or_else(|| format!("{name}: a, nxdomain, referral or wildcard").into())
    }

    /// Returns the kind's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::Nxdomain => "nxdomain",
            Self::Referral => "referral",
            Self::Wildcard => "wildcard",
        }
    }

    /// Makes a query about something random, with EDNS.
    pub(crate) fn query(self, id: u16, names: u32, random: &mut Random) -> Result<Vec<u8>> {
        let qname = match self {
            Self::A => format!("n{}.example.com.", random.below(names)),
            Self::Nxdomain => format!("x{}.example.com.", random.below(names)),
            Self::Referral => format!("www.d{}.example.com.", random.below(DELEGATIONS)),
            Self::Wildcard => format!("w{}.wild.example.com.", random.below(names)),
        };
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(qname)?, RecordType::A));
        message.edns = Some(Edns::new());
        Ok(message.to_vec()?)
    }

    /// Whether a reply is what was asked for, by its header: QR, RCODE and the counts.
    pub(crate) fn is_answered_by(self, reply: &[u8]) -> bool {
        let Some(header) = reply.first_chunk::<12>() else { return false };
        let (rcode, answers) =
            (u16::from(header[3] & 15), u16::from_be_bytes([header[6], header[7]]));
        let authorities = u16::from_be_bytes([header[8], header[9]]);
        let noerror = u16::from(ResponseCode::NoError);
        header[2] & 0x80 != 0
            && match self {
                Self::A | Self::Wildcard => rcode == noerror && answers == 1,
                Self::Referral => rcode == noerror && answers == 0 && authorities == 2,
                Self::Nxdomain => rcode == u16::from(ResponseCode::NXDomain) && authorities == 1,
            }
    }
}

/// Writes the master file: `names` addresses, delegations with glue, and a wildcard.
pub(crate) fn write(file: &Path, names: u32) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    writeln!(out, "$ORIGIN example.com.\n$TTL 300")?;
    writeln!(out, "@ SOA ns1 hostmaster 1 3600 600 604800 300\n@ NS ns1\n@ NS ns2")?;
    writeln!(out, "ns1 A 192.0.2.1\nns2 A 192.0.2.2\n*.wild A 192.0.2.3")?;
    for number in 0..DELEGATIONS {
        writeln!(out, "d{number} NS ns1.d{number}\nd{number} NS ns2.d{number}")?;
        writeln!(out, "ns1.d{number} A 192.0.2.4\nns2.d{number} A 192.0.2.5")?;
    }
    for number in 0..names {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(out, "n{number} A 10.{a}.{b}.{c}")?;
    }
    Ok(out.flush()?)
}

/// Random numbers (splitmix64), the same ones in every run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Zone cuts in the zone.
const DELEGATIONS: u32 = 1_000;
