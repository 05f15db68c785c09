//! The ticket that an edge is given: which feed, whose, and where to reach it.
//!
//! Text form: `aspendns`, then the octets in lower-case base32 (RFC 4648 section 6, no padding).
//! The last four octets are a CRC-32 over all before them, in every version, so that a mistyped
//! ticket is told apart from one that is newer than this program.
//!
//! **Invariant:** a ticket that exists keeps every limit of `limits`; what is written reads back.
//! **Not here:** secrets. A ticket lets its holder read the whole namespace, and write nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

use crate::limits::{
    TICKET_ADDRS_MAX, TICKET_CLUSTER_ID_LEN_MAX, TICKET_PEERS_MAX, TICKET_RELAY_LEN_MAX,
    TICKET_TEXT_LEN_MAX, TICKET_ZONES_MAX,
};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_counted, put_varint};

/// What an edge needs to follow a feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsClientTicket {
    /// The name of the cluster that writes the feed, for people.
    pub cluster_id: String,
    /// The iroh-docs namespace (its public key).
    pub namespace: [u8; 32],
    /// The one author whose entries are believed; all zero for a namespace in the original
    /// system's form, which has an author per node: there every author is believed.
    pub author: [u8; 32],
    /// Who to connect to, at most [`TICKET_PEERS_MAX`].
    pub peers: Vec<TicketPeer>,
    /// The zones that the edge wants; `None` is all. At most [`TICKET_ZONES_MAX`].
    pub zone_filter: Option<Vec<Name>>,
}

/// One node to connect to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TicketPeer {
    /// The node's public key.
    pub id: [u8; 32],
    /// Its addresses, at most [`TICKET_ADDRS_MAX`].
    pub addrs: Vec<SocketAddr>,
    /// The URL of its relay.
    pub relay: Option<String>,
}

/// Why text is no ticket, or values make none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TicketError {
    /// The text does not begin with `aspendns`.
    #[error("a ticket begins with \"{PREFIX}\"")]
    NoTicket,
    /// The text is longer than any ticket.
    #[error("a ticket of {len} characters, {TICKET_TEXT_LEN_MAX} at most")]
    TooLong {
        /// Its characters.
        len: usize,
    },
    /// A character that base32 does not have, or a length that it cannot have.
    #[error("the ticket has a wrong character, or one too few, at or after character {at}")]
    BadCharacter {
        /// Where, from zero, in the whole text.
        at: usize,
    },
    /// The checksum does not fit.
    #[error("the ticket was mistyped or cut short: its checksum does not fit")]
    Mistyped,
    /// A ticket of the original system.
    #[error("this is a ticket of the original Aspen, which names no feed author and is not read")]
    Original,
    /// The ticket is newer than this program.
    #[error("the ticket has version {version}, this program knows {VERSION}")]
    TooNew {
        /// Its version.
        version: u8,
    },
    /// The checksum fits, but the content breaks a rule.
    #[error("the ticket is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// A part exceeds its limit.
    #[error("{found} {what} in a ticket, {max} at most")]
    TooMany {
        /// The part.
        what: &'static str,
        /// How many there are, or how long it is.
        found: usize,
        /// The limit.
        max: usize,
    },
}

impl DnsClientTicket {
    /// Whether the zone filter lets `name` pass: it is at or below one of its names.
    pub fn admits(&self, name: &Name) -> bool {
        let Some(filter) = &self.zone_filter else { return true };
        filter.iter().any(|zone| name.is_at_or_below(zone))
    }

    /// Checks every limit; a ticket is written only if it holds them.
    ///
    /// # Errors
    /// [`TicketError::TooMany`].
    pub fn check(&self) -> Result<(), TicketError> {
        let at_most = |what, found, max| {
            if found > max { Err(TicketError::TooMany { what, found, max }) } else { Ok(()) }
        };
        at_most("octets of cluster id", self.cluster_id.len(), TICKET_CLUSTER_ID_LEN_MAX)?;
        at_most("peers", self.peers.len(), TICKET_PEERS_MAX)?;
        for peer in &self.peers {
            at_most("addresses of a peer", peer.addrs.len(), TICKET_ADDRS_MAX)?;
            let relay_len = peer.relay.as_ref().map_or(0, String::len);
            at_most("octets of a relay's URL", relay_len, TICKET_RELAY_LEN_MAX)?;
        }
        let zones = self.zone_filter.as_ref().map_or(0, Vec::len);
        at_most("zones", zones, TICKET_ZONES_MAX)
    }

    /// Writes the text form.
    ///
    /// # Errors
    /// [`TicketError::TooMany`] if a limit is exceeded.
    pub fn to_text(&self) -> Result<String, TicketError> {
        self.check()?;
        let mut text = BASE32_NOPAD.encode(&self.to_octets());
        text.make_ascii_lowercase();
        Ok(format!("{PREFIX}{text}"))
    }

    /// Writes version, content and checksum.
    fn to_octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        FORMAT.put(&mut out);
        put_counted(&mut out, self.cluster_id.as_bytes());
        out.extend_from_slice(&self.namespace);
        out.extend_from_slice(&self.author);
        put_varint(&mut out, self.peers.len() as u64);
        for peer in &self.peers {
            put_peer(&mut out, peer);
        }
        match &self.zone_filter {
            None => out.push(0),
            Some(zones) => {
                out.push(1);
                put_varint(&mut out, zones.len() as u64);
                zones.iter().for_each(|zone| out.extend_from_slice(zone.as_wire()));
            }
        }
        let checksum = crc32(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Reads what [`DnsClientTicket::to_octets`] wrote, without the checksum.
    fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = OctetReader::new(octets);
        reader.format("ticket", FORMAT)?;
        let cluster_id = reader.text("cluster id", TICKET_CLUSTER_ID_LEN_MAX)?.to_owned();
        let namespace = reader.array("namespace")?;
        let author = reader.array("author")?;
        let peer_count = reader.varint("count of peers", TICKET_PEERS_MAX as u64)?;
        let peers = (0..peer_count).map(|_| read_peer(&mut reader)).collect::<Result<_, _>>()?;
        let at = reader.at();
        let zone_filter = match reader.u8("zone filter")? {
            0 => None,
            1 => {
                let count = reader.varint("count of zones", TICKET_ZONES_MAX as u64)?;
                Some((0..count).map(|_| reader.name()).collect::<Result<_, _>>()?)
            }
            _ => return Err(DecodeError::BadValue { what: "zone filter", at }),
        };
        reader.end()?;
        Ok(Self { cluster_id, namespace, author, peers, zone_filter })
    }
}

impl fmt::Display for DnsClientTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text().map_err(|_| fmt::Error)?)
    }
}

impl FromStr for DnsClientTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > TICKET_TEXT_LEN_MAX {
            return Err(TicketError::TooLong { len: text.len() });
        }
        let prefix = text.get(..PREFIX.len()).ok_or(TicketError::NoTicket)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(TicketError::NoTicket);
        }
        let encoded = text[PREFIX.len()..].to_ascii_uppercase();
        let octets = BASE32_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|error| TicketError::BadCharacter { at: PREFIX.len() + error.position })?;
        let (content, checksum) = octets.split_last_chunk::<4>().ok_or(TicketError::Mistyped)?;
        if crc32(content) != u32::from_be_bytes(*checksum) {
            let is_original = is_original_ticket(&octets);
            return Err(if is_original { TicketError::Original } else { TicketError::Mistyped });
        }
        Self::from_octets(content).map_err(|error| match error {
            DecodeError::TooNew { version, .. } => TicketError::TooNew { version },
            other => TicketError::Malformed(other),
        })
    }
}

/// Appends one peer: key, addresses, relay.
pub(crate) fn put_peer(out: &mut Vec<u8>, peer: &TicketPeer) {
    out.extend_from_slice(&peer.id);
    put_varint(out, peer.addrs.len() as u64);
    for addr in &peer.addrs {
        match addr.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&addr.port().to_be_bytes());
    }
    put_counted(out, peer.relay.as_deref().unwrap_or_default().as_bytes());
}

/// Reads one peer.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn read_peer(reader: &mut OctetReader<'_>) -> Result<TicketPeer, DecodeError> {
    let id = reader.array("peer id")?;
    let addr_count = reader.varint("count of addresses", TICKET_ADDRS_MAX as u64)?;
    let mut addrs = Vec::new();
    for _ in 0..addr_count {
        let at = reader.at();
        let ip = match reader.u8("address family")? {
            4 => IpAddr::from(reader.array::<4>("IPv4 address")?),
            6 => IpAddr::from(reader.array::<16>("IPv6 address")?),
            _ => return Err(DecodeError::BadValue { what: "address family", at }),
        };
        addrs.push(SocketAddr::new(ip, reader.u16("port")?));
    }
    let relay = reader.text("relay URL", TICKET_RELAY_LEN_MAX)?;
    let relay = (!relay.is_empty()).then(|| relay.to_owned());
    Ok(TicketPeer { id, addrs, relay })
}

/// Whether octets look like the original's: a counted cluster id, a priority, and a namespace as
/// 64 hexadecimal digits.
fn is_original_ticket(octets: &[u8]) -> bool {
    let mut reader = OctetReader::new(octets);
    let cluster_id = reader.text("cluster id", 127);
    let priority = reader.u8("priority");
    let namespace = reader.text("namespace", 64);
    cluster_id.is_ok()
        && priority.is_ok()
        && namespace.is_ok_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Returns the CRC-32 of ISO-HDLC (as in Ethernet and gzip).
fn crc32(octets: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// What the text form begins with.
pub(crate) const PREFIX: &str = "aspendns";
/// The version that is written, and the newest that is read.
const VERSION: u8 = 1;
/// The first octets of a ticket.
const FORMAT: Format = Format { letters: *b"AT", version: VERSION };

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> DnsClientTicket {
        let peer = |port| TicketPeer {
            id: [port as u8; 32],
            addrs: vec![
                SocketAddr::from(([192, 0, 2, 1], port)),
                "[2001:db8::1]:4433".parse().unwrap(),
            ],
            relay: (port == 1).then(|| "https://relay.example./".to_owned()),
        };
        DnsClientTicket {
            cluster_id: "test".to_owned(),
            namespace: [7; 32],
            author: [9; 32],
            peers: vec![peer(1), peer(2)],
            zone_filter: Some(vec!["example.com".parse().unwrap(), Name::root()]),
        }
    }

    fn parse(text: &str) -> Result<DnsClientTicket, TicketError> {
        text.parse()
    }

    #[test]
    fn a_ticket_reads_back_in_any_case_and_with_blanks_around() {
        let mut ticket = ticket();
        let text = ticket.to_string();
        assert!(text.starts_with("aspendns"));
        assert_eq!(parse(&text).as_ref(), Ok(&ticket));
        assert_eq!(parse(&format!(" {}\n", text.to_uppercase())).as_ref(), Ok(&ticket));
        ticket.zone_filter = None;
        ticket.peers.clear();
        assert_eq!(parse(&ticket.to_string()), Ok(ticket));
    }

    #[test]
    fn every_single_typing_error_is_told_as_one() {
        let text = ticket().to_string();
        for at in PREFIX.len()..text.len() {
            let wrong = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut typed = text.clone();
            typed.replace_range(at..=at, wrong);
            let error = parse(&typed).expect_err("a wrong character");
            let is_told = matches!(error, TicketError::Mistyped | TicketError::BadCharacter { .. });
            assert!(is_told, "{at}: {error}");
            assert!(parse(&text[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(parse("aspendns1"), Err(TicketError::BadCharacter { at: 8 }));
        assert_eq!(parse("aspendns"), Err(TicketError::Mistyped));
    }

    #[test]
    fn a_newer_ticket_is_told_apart_from_a_mistyped_one() {
        let mut octets = ticket().to_octets();
        octets.truncate(octets.len() - 4);
        octets[2] = 2;
        octets.extend_from_slice(b"what a later version adds");
        let checksum = crc32(&octets);
        octets.extend_from_slice(&checksum.to_be_bytes());
        let text = format!("aspendns{}", BASE32_NOPAD.encode(&octets));
        assert_eq!(parse(&text), Err(TicketError::TooNew { version: 2 }));
    }

    #[test]
    fn the_original_systems_tickets_are_refused_by_name() {
        let mut octets = b"\x04prod\0\x40".to_vec();
        octets.extend_from_slice("ab".repeat(32).as_bytes());
        octets.extend_from_slice(&[0, 0]);
        let text = format!("aspendns{}", BASE32_NOPAD.encode(&octets).to_lowercase());
        assert_eq!(parse(&text), Err(TicketError::Original));
        assert_eq!(parse("aspendocsabcdef"), Err(TicketError::NoTicket));
        assert_eq!(parse("äöü"), Err(TicketError::NoTicket));
        assert_eq!(parse(""), Err(TicketError::NoTicket));
    }

    #[test]
    fn limits_hold_at_and_break_above_on_both_ways() {
        let mut full = ticket();
        full.peers = vec![full.peers[0].clone(); TICKET_PEERS_MAX];
        full.zone_filter = Some(vec!["example.com".parse().unwrap(); TICKET_ZONES_MAX]);
        assert_eq!(parse(&full.to_string()).as_ref(), Ok(&full));
        let mut over = full.clone();
        over.peers.push(over.peers[0].clone());
        assert!(matches!(over.to_text(), Err(TicketError::TooMany { what: "peers", .. })));
        let text = format!("aspendns{}", BASE32_NOPAD.encode(&over.to_octets()));
        assert!(matches!(parse(&text), Err(TicketError::Malformed(DecodeError::TooMany { .. }))));
        let mut over = full;
        over.zone_filter = Some(vec![Name::root(); TICKET_ZONES_MAX + 1]);
        assert!(matches!(over.to_text(), Err(TicketError::TooMany { what: "zones", .. })));
        let text = "aspendns".to_owned() + &"a".repeat(TICKET_TEXT_LEN_MAX);
        assert!(matches!(parse(&text), Err(TicketError::TooLong { .. })));
    }

    #[test]
    fn the_filter_admits_by_labels() {
        let mut ticket = ticket();
        ticket.zone_filter = Some(vec!["example.com".parse().unwrap()]);
        let admits = |text: &str| ticket.admits(&text.parse().unwrap());
        assert!(admits("example.com"));
        assert!(admits("a.example.com"));
        assert!(!admits("notexample.com"));
        assert!(!admits("com"));
    }

    #[test]
    fn the_checksum_is_the_common_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
