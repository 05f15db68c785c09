//! What holds of all records of a type, whoever asks: each fact once, with its RFC.
//!
//! A fact is a match on the number and no search, so that answers and master files of millions of
//! records may ask for it.
//!
//! **Invariant:** where a fact speaks of names in RDATA, the type's layout has names there. Of a
//! type that is not named here nothing holds, as of one that nobody has heard of (RFC 3597).
//! **Not here:** the fields of RDATA (`record::rdata`), numbers and mnemonics (`record::rtype`).

use crate::name;
use crate::record::RecordType;

/// Where the names are in RDATA of a type whose names may be compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NameLayout {
    /// Octets in front of the first name.
    pub skip: usize,
    /// How many names follow.
    pub names: usize,
    /// Octets behind the last name.
    pub tail: usize,
}

/// What a record at a zone cut, the owner of a delegation, is to the zone that delegates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AtCut {
    /// The zone's own, which it signs.
    Signed,
    /// Of the zone and never signed: the delegation, and signatures themselves.
    Unsigned,
    /// An address that a referral may need, and otherwise the child's.
    Glue,
    /// The child's; the delegation hides it.
    Occluded,
}

impl RecordType {
    /// Whether the number stands for a question or for message data, never for data in a zone
    /// (OPT, and the meta and question types 128 to 255; RFC 6895 section 3.1).
    #[inline]
    pub const fn is_meta(self) -> bool {
        matches!(self, Self(0) | Self::OPT | Self(128..=255))
    }

    /// Returns where the names are that may be compressed: in types of RFC 1035 alone
    /// (RFC 3597 section 4).
    #[inline]
    pub(crate) const fn compressible_names(self) -> Option<NameLayout> {
        let (skip, names, tail) = match self {
            Self::NS
            | Self::CNAME
            | Self::PTR
            | Self::MD
            | Self::MF
            | Self::MB
            | Self::MG
            | Self::MR => (0, 1, 0),
            Self::MX => (2, 1, 0),
            Self::SOA => (0, 2, 20),
            Self::MINFO => (0, 2, 0),
            _ => return None,
        };
        Some(NameLayout { skip, names, tail })
    }

    /// Returns where a sender may have compressed names in RDATA: how many octets stand in front of the first,
    /// and how many names follow each other there. Those of RFC 1035, and of the types whose names older
    /// senders compress (RFC 3597 section 4).
    pub(crate) fn sent_names(self, rdata: &[u8]) -> Option<(usize, usize)> {
        if let Some(layout) = self.compressible_names() {
            return Some((layout.skip, layout.names));
        }
        Some(match self {
            Self::NXT => (0, 1),
            Self::RP => (0, 2),
            Self::AFSDB | Self::RT => (2, 1),
            Self::PX => (2, 2),
            Self::SRV => (6, 1),
            Self::SIG => (18, 1),
            // Two integers, then three character-strings (RFC 3403 section 4.1).
            Self::NAPTR => {
                let string = |at: usize| at + 1 + rdata.get(at).map_or(0, |len| usize::from(*len));
                (string(string(string(4))), 1)
            }
            _ => return None,
        })
    }

    /// Whether the case of names in RDATA does not count: the canonical form has them in lower
    /// case, and RDATA is compared so.
    ///
    /// RFC 4034 section 6.2, whose list RFC 6840 section 5.1 corrects: not NSEC, but RRSIG. In all
    /// later types names are octets like others (RFC 3597 sections 6 and 7).
    #[inline]
    pub(crate) const fn has_lower_names(self) -> bool {
        self.compressible_names().is_some()
            || matches!(
                self,
                Self::RP
                    | Self::AFSDB
                    | Self::RT
                    | Self::SIG
                    | Self::PX
                    | Self::NXT
                    | Self::NAPTR
                    | Self::KX
                    | Self::SRV
                    | Self::DNAME
                    | Self::A6
                    | Self::RRSIG
            )
    }

    /// Whether an owner has at most one record of the type (RFC 1035 section 5.2 for SOA, RFC 2181
    /// section 10.1 for CNAME, RFC 6672 section 2.4 for DNAME).
    #[inline]
    pub(crate) const fn is_singleton(self) -> bool {
        matches!(self, Self::SOA | Self::CNAME | Self::DNAME)
    }

    /// Whether a record of the type may be at the owner of a CNAME, the CNAME itself included.
    ///
    /// RFC 4035 section 2.5 (RRSIG, NSEC and, for secure updates by RFC 3007, KEY); RFC 2181 section
    /// 10.1 (SIG, NXT and KEY). That zones are no longer signed with SIG and NXT makes none that
    /// was wrong.
    #[inline]
    pub(crate) const fn may_stand_beside_cname(self) -> bool {
        matches!(self, Self::CNAME | Self::RRSIG | Self::NSEC | Self::SIG | Self::NXT | Self::KEY)
    }

    /// Returns what a record of the type is at a zone cut (RFC 4035 sections 2.2 to 2.4; RFC 1034
    /// section 4.2.1 for glue).
    #[inline]
    pub(crate) const fn at_cut(self) -> AtCut {
        match self {
            Self::DS | Self::NSEC => AtCut::Signed,
            Self::NS | Self::RRSIG => AtCut::Unsigned,
            _ if self.is_address() => AtCut::Glue,
            _ => AtCut::Occluded,
        }
    }

    /// Whether a record of the type is a host's address (RFC 1035 section 3.4.1, RFC 3596 section
    /// 2.1).
    #[inline]
    pub(crate) const fn is_address(self) -> bool {
        matches!(self, Self::A | Self::AAAA)
    }

    /// Whether a record of the type denies names and types (RFC 4035 section 2.3, RFC 5155).
    #[inline]
    pub const fn is_denial(self) -> bool {
        matches!(self, Self::NSEC | Self::NSEC3)
    }

    /// Returns how many octets of RDATA stand in front of the name of a host, if the type names
    /// one whose addresses an answer may tell as well.
    ///
    /// RFC 1035 sections 3.3.3 to 3.3.11 (MB, MD, MF, MX, NS), RFC 1183 sections 1 and 3.3 (AFSDB,
    /// RT), RFC 2230 section 3 (KX), RFC 2782 (SRV), RFC 9460 section 4.1 (SVCB, HTTPS).
    #[inline]
    pub(crate) const fn host_at(self) -> Option<usize> {
        match self {
            Self::NS | Self::MB | Self::MD | Self::MF => Some(0),
            Self::MX | Self::AFSDB | Self::RT | Self::KX | Self::SVCB | Self::HTTPS => Some(2),
            Self::SRV => Some(6),
            _ => None,
        }
    }

    /// Whether the host that a record names must have an address and be no alias; its name then
    /// ends the RDATA (RFC 2181 section 10.3 for NS and MX, RFC 2782 for SRV).
    #[inline]
    pub(crate) const fn needs_host_address(self) -> bool {
        matches!(self, Self::NS | Self::MX | Self::SRV)
    }
}

impl NameLayout {
    /// Whether RDATA has its names where they should be, and nothing left over.
    pub(crate) fn fits(&self, rdata: &[u8]) -> bool {
        let Some(mut rest) = rdata.get(self.skip..) else { return false };
        for _ in 0..self.names {
            match name::wire_len(rest) {
                Ok(len) => rest = &rest[len..],
                Err(_) => return false,
            }
        }
        rest.len() == self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_no_zone_has_no_other_fact() {
        for rtype in (0..=u16::MAX).map(RecordType).filter(|rtype| rtype.is_meta()) {
            assert!(!rtype.has_lower_names() && !rtype.is_singleton(), "{rtype}");
            assert!(!rtype.may_stand_beside_cname() && rtype.host_at().is_none(), "{rtype}");
            assert_eq!(rtype.at_cut(), AtCut::Occluded, "{rtype}");
        }
    }

    #[test]
    fn rdata_fits_if_its_names_stand_where_they_should() {
        for (rtype, rdata, is_good) in [
            (RecordType::NS, &b"\x01a\0"[..], true),
            (RecordType::NS, b"", false),
            (RecordType::NS, b"\x01a", false),
            (RecordType::NS, b"\0\0", false),
            (RecordType::MX, b"\0\x01\0", true),
            (RecordType::MX, b"\0", false),
            (RecordType::SOA, b"\0\0\0", false),
            (RecordType::CNAME, b"\xc0\x0c", false),
        ] {
            let layout = rtype.compressible_names().expect("has names");
            assert_eq!(layout.fits(rdata), is_good, "{rtype} {rdata:?}");
        }
    }
}
