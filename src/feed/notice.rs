//! The notice of a feed: who may have it, and what becomes of it.
//!
//! The author signs it; the one with the highest number holds. It goes with the log, to whoever follows, and stands
//! in the namespace beside the name of the newest version, so that an edge which was off learns of it. Layout:
//!
//! ```text
//! format "AN" 1, namespace [32], number u64,
//! audience u8 (0 all, 1 a list: count varint, endpoint [32] each),
//! fate u8 (0 goes on, 1 moves: ticket counted); signature [64]
//! ```
//!
//! The signature is Ed25519 over [`CONTEXT`] and everything before it.
//!
//! **Invariant:** what is written reads back.
//! **Not here:** signing and verifying (`export`, `mesh::author`), what is done about it (`replica`).

use crate::limits::{FEED_ENDPOINTS_MAX, NOTICE_OCTETS_MAX, TICKET_TEXT_LEN_MAX};
use crate::octets::{DecodeError, Format, OctetReader, put_counted, put_varint};

/// What the author signs in front of a notice's octets, so that a signature over them means nothing elsewhere.
pub const CONTEXT: &[u8] = b"aspen-dns notice\0";

/// What the author of a feed says of the feed itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The feed.
    pub namespace: [u8; 32],
    /// Of two notices the one with the higher number holds.
    pub number: u64,
    /// The endpoints that may have it; all if there is no list.
    pub audience: Option<Vec<[u8; 32]>>,
    /// The text of the ticket of the feed that takes its place, if one does.
    pub moves_to: Option<String>,
}

impl Notice {
    /// Writes it, and signs it with `sign`.
    pub fn to_octets(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        FORMAT.put(&mut out);
        out.extend_from_slice(&self.namespace);
        out.extend_from_slice(&self.number.to_be_bytes());
        match &self.audience {
            None => out.push(0),
            Some(listed) => {
                out.push(1);
                put_varint(&mut out, listed.len() as u64);
                listed.iter().for_each(|id| out.extend_from_slice(id));
            }
        }
        match &self.moves_to {
            None => out.push(0),
            Some(ticket) => {
                out.push(1);
                put_counted(&mut out, ticket.as_bytes());
            }
        }
        let signature = sign(&[CONTEXT, &out].concat());
        out.extend_from_slice(&signature);
        out
    }

    /// Splits octets into what is signed and the signature.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn split(octets: &[u8]) -> Result<(&[u8], &[u8; 64]), DecodeError> {
        if octets.len() > NOTICE_OCTETS_MAX {
            let (found, max) = (octets.len() as u64, NOTICE_OCTETS_MAX as u64);
            return Err(DecodeError::TooMany { what: "length of a notice", at: 0, found, max });
        }
        octets.split_last_chunk::<64>().ok_or(DecodeError::CutShort { what: "signature", at: 0 })
    }

    /// Whether octets are meant as a notice.
    pub fn is_one(octets: &[u8]) -> bool {
        octets.starts_with(&FORMAT.letters)
    }

    /// Reads a notice. Whether its signature holds is for the caller to find out.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        let (signed, _) = Self::split(octets)?;
        let mut reader = OctetReader::new(signed);
        reader.format("notice", FORMAT)?;
        let namespace = reader.array("namespace")?;
        let number = reader.u64("number")?;
        let at = reader.at();
        let audience = match reader.u8("audience")? {
            0 => None,
            1 => {
                let count = reader.varint("count of endpoints", FEED_ENDPOINTS_MAX as u64)?;
                Some((0..count).map(|_| reader.array("endpoint")).collect::<Result<_, _>>()?)
            }
            _ => return Err(DecodeError::BadValue { what: "audience", at }),
        };
        let at = reader.at();
        let moves_to = match reader.u8("fate")? {
            0 => None,
            1 => Some(reader.text("ticket", TICKET_TEXT_LEN_MAX)?.to_owned()),
            _ => return Err(DecodeError::BadValue { what: "fate", at }),
        };
        reader.end()?;
        Ok(Self { namespace, number, audience, moves_to })
    }
}

/// The first octets of a notice.
const FORMAT: Format = Format { letters: *b"AN", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(listed: usize) -> Notice {
        Notice {
            namespace: [1; 32],
            number: 7,
            audience: Some((0..listed).map(|at| [at as u8; 32]).collect()),
            moves_to: Some("aspendnsabc".to_owned()),
        }
    }

    fn write(notice: &Notice) -> Vec<u8> {
        notice.to_octets(|octets| {
            assert!(octets.starts_with(CONTEXT));
            [9; 64]
        })
    }

    #[test]
    fn a_notice_reads_back_and_nothing_that_is_cut_does() {
        for notice in [notice(0), notice(3), Notice { audience: None, moves_to: None, ..notice(0) }]
        {
            let octets = write(&notice);
            assert!(Notice::is_one(&octets));
            assert_eq!(Notice::from_octets(&octets).as_ref(), Ok(&notice));
            for len in 0..octets.len() {
                assert!(Notice::from_octets(&octets[..len]).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn a_list_and_a_notice_are_bounded() {
        assert!(Notice::from_octets(&write(&notice(FEED_ENDPOINTS_MAX))).is_ok());
        let over = Notice::from_octets(&write(&notice(FEED_ENDPOINTS_MAX + 1)));
        assert!(matches!(over, Err(DecodeError::TooMany { .. })));
        let long = vec![b'A'; NOTICE_OCTETS_MAX + 1];
        assert!(matches!(Notice::from_octets(&long), Err(DecodeError::TooMany { .. })));
        let full = Notice {
            moves_to: Some("a".repeat(TICKET_TEXT_LEN_MAX)),
            ..notice(FEED_ENDPOINTS_MAX)
        };
        assert!(write(&full).len() <= NOTICE_OCTETS_MAX);
    }
}
