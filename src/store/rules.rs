//! The rules that records must keep to be stored, each an error that names it.
//!
//! **Invariant:** pure; a zone whose owners all pass `check_owner` loads everywhere.
//! **Not here:** in which zone a record belongs (`store::draft`), DNAME's subtree (there, too).

use crate::feed::pack::rrset_octets;
use crate::limits::{OWNER_OCTETS_MAX, TTL_S_MAX};
use crate::name::Name;
use crate::record::{RdataError, RecordType, Rrset, RrsetError, rdata};

/// The rule that a record broke.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// No zone holds the owner.
    #[error("{owner} lies in no zone of this store")]
    NoZone {
        /// The owner.
        owner: Name,
    },
    /// The owner is not in the zone that was named.
    #[error("{owner} is not at or below the apex {apex}")]
    OutOfZone {
        /// The owner.
        owner: Name,
        /// The apex that was named.
        apex: Name,
    },
    /// A CNAME beside other data.
    #[error("a CNAME at {owner} must be alone; there is also {beside} (RFC 2181 section 10.1)")]
    CnameNotAlone {
        /// The owner.
        owner: Name,
        /// A type that stands beside it.
        beside: RecordType,
    },
    /// A DNAME beside an NS RRset that is not the apex's.
    #[error("a DNAME at {owner} beside NS, which only an apex may have (RFC 6672 section 2.3)")]
    DnameBesideNs {
        /// The owner.
        owner: Name,
    },
    /// Data below a DNAME.
    #[error("{owner} lies below the DNAME at {dname} (RFC 6672 section 2.4)")]
    BelowDname {
        /// The owner.
        owner: Name,
        /// The DNAME's owner.
        dname: Name,
    },
    /// More than one record of a type that has one.
    #[error("{owner} {rtype} has {count} records, it has one (RFC 1034, RFC 2181, RFC 6672)")]
    Singleton {
        /// The owner.
        owner: Name,
        /// SOA, CNAME or DNAME.
        rtype: RecordType,
        /// How many there were.
        count: usize,
    },
    /// An SOA that is not at the apex.
    #[error("an SOA at {owner}, which is not the apex {apex} (RFC 1035 section 5.2)")]
    SoaNotAtApex {
        /// The owner.
        owner: Name,
        /// The apex.
        apex: Name,
    },
    /// A type that stands in messages only.
    #[error("{owner} {rtype}: the type stands for a question, never for data (RFC 6895)")]
    MetaType {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// RDATA that does not fit its type.
    #[error("{owner} {rtype}: {error}")]
    BadRdata {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// What is wrong.
        error: RdataError,
    },
    /// More records than the zone allows.
    #[error("{owner} {rtype} has {count} records, {count_max} at most by the zone's settings")]
    RrsetTooLarge {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// How many there were.
        count: usize,
        /// How many there may be.
        count_max: u32,
    },
    /// More records at one name than can travel together.
    #[error(
        "the records of {owner} are {octets} octets, {OWNER_OCTETS_MAX} at most for all types of one \
         name: put some of them at another"
    )]
    OwnerTooLarge {
        /// The owner.
        owner: Name,
        /// How many octets there would be, lengths and names included.
        octets: usize,
    },
    /// A TTL with the highest bit set.
    #[error("{owner} {rtype}: a TTL of {ttl_s} s, {TTL_S_MAX} at most (RFC 2181 section 8)")]
    TtlTooLong {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// The TTL in seconds.
        ttl_s: u32,
    },
    /// Records that make no RRset.
    #[error("{owner} {rtype}: {error}")]
    BadRrset {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
        /// What is wrong.
        error: RrsetError,
    },
    /// Records to be added without a TTL where there is no RRset that has one.
    #[error("{owner} {rtype}: there is no RRset whose TTL could be kept, and the ttl is missing")]
    NoTtl {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
    /// The SOA or the NS RRset of an apex that nobody wrote.
    #[error(
        "{owner} {rtype} is made of the zone's settings, and no zone is without: write one in its \
         place, or change the settings"
    )]
    Synthesized {
        /// The apex.
        owner: Name,
        /// SOA or NS.
        rtype: RecordType,
    },
    /// Two RRsets of one owner and type.
    #[error("{owner} {rtype} is there twice")]
    Twice {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: RecordType,
    },
}

/// Checks one RRset for the zone `apex`.
///
/// # Errors
/// Every [`RuleError`] that one RRset can break.
pub(crate) fn check_rrset(rrset: &Rrset, apex: &Name, records_max: u32) -> Result<(), RuleError> {
    let (owner, rtype, ttl_s) = (&rrset.owner, rrset.rtype, rrset.ttl_s);
    if !owner.is_at_or_below(apex) {
        return Err(RuleError::OutOfZone { owner: owner.clone(), apex: apex.clone() });
    }
    if rtype.is_meta() {
        return Err(RuleError::MetaType { owner: owner.clone(), rtype });
    }
    if rtype == RecordType::SOA && owner != apex {
        return Err(RuleError::SoaNotAtApex { owner: owner.clone(), apex: apex.clone() });
    }
    if ttl_s > TTL_S_MAX {
        return Err(RuleError::TtlTooLong { owner: owner.clone(), rtype, ttl_s });
    }
    let count = rrset.rdata.count();
    if rtype.is_singleton() && count != 1 {
        return Err(RuleError::Singleton { owner: owner.clone(), rtype, count });
    }
    if count > records_max as usize {
        let (owner, count_max) = (owner.clone(), records_max);
        return Err(RuleError::RrsetTooLarge { owner, rtype, count, count_max });
    }
    for record in &rrset.rdata {
        rdata::check(rtype, record).map_err(|error| RuleError::BadRdata {
            owner: owner.clone(),
            rtype,
            error,
        })?;
    }
    Ok(())
}

/// Checks the types of one owner against each other; `types` names each once.
///
/// An apex always has an SOA and an NS RRset, whether they are in `types` or not.
///
/// # Errors
/// [`RuleError::CnameNotAlone`] or [`RuleError::DnameBesideNs`].
pub(crate) fn check_owner(
    owner: &Name,
    apex: &Name,
    types: &[RecordType],
) -> Result<(), RuleError> {
    check_alias(owner, apex, types)?;
    let has = |rtype| types.contains(&rtype);
    if has(RecordType::DNAME) && has(RecordType::NS) && owner != apex {
        return Err(RuleError::DnameBesideNs { owner: owner.clone() });
    }
    Ok(())
}

/// Checks that all records of an owner fit a pack of the feed, by the octets of each RRset's RDATA.
///
/// # Errors
/// [`RuleError::OwnerTooLarge`].
pub(crate) fn check_owner_octets(
    owner: &Name,
    rdata: impl Iterator<Item = usize>,
) -> Result<(), RuleError> {
    let octets = rdata.map(|rdata| rrset_octets(owner.as_wire().len(), rdata)).sum();
    match octets > OWNER_OCTETS_MAX {
        true => Err(RuleError::OwnerTooLarge { owner: owner.clone(), octets }),
        false => Ok(()),
    }
}

/// Checks that a CNAME is alone at its owner; `types` names each once.
///
/// # Errors
/// [`RuleError::CnameNotAlone`].
pub(crate) fn check_alias(
    owner: &Name,
    apex: &Name,
    types: &[RecordType],
) -> Result<(), RuleError> {
    if types.contains(&RecordType::CNAME) {
        let other = types.iter().copied().find(|rtype| !rtype.may_stand_beside_cname());
        let other = other.or((owner == apex).then_some(RecordType::SOA));
        if let Some(beside) = other {
            return Err(RuleError::CnameNotAlone { owner: owner.clone(), beside });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn check(owner: &str, rtype: RecordType, records: &[&[u8]]) -> Result<(), RuleError> {
        let rrset = Rrset::new(name(owner), rtype, 60, records).unwrap();
        check_rrset(&rrset, &name("example.com"), 2)
    }

    #[test]
    fn each_broken_rule_is_named() {
        let a: &[u8] = &[192, 0, 2, 1];
        assert_eq!(check("www.example.com", RecordType::A, &[a]), Ok(()));
        // W-22: a name that only ends like the apex is not in the zone.
        let outside = check("www.notexample.com", RecordType::A, &[a]);
        assert!(matches!(outside, Err(RuleError::OutOfZone { .. })));
        let bad = check("www.example.com", RecordType::A, &[&a[..3]]);
        assert!(matches!(bad, Err(RuleError::BadRdata { .. })));
        let meta = check("www.example.com", RecordType::ANY, &[a]);
        assert!(matches!(meta, Err(RuleError::MetaType { .. })));
        let soa = check("www.example.com", RecordType::SOA, &[a]);
        assert!(matches!(soa, Err(RuleError::SoaNotAtApex { .. })));
        for rtype in [RecordType::CNAME, RecordType::DNAME] {
            let two = check("www.example.com", rtype, &[b"\x01a\0", b"\x01b\0"]);
            assert!(matches!(two, Err(RuleError::Singleton { count: 2, .. })));
        }
        let two_soa = check("example.com", RecordType::SOA, &[b"a", b"b"]);
        assert!(matches!(two_soa, Err(RuleError::Singleton { .. })));
        let three = check("www.example.com", RecordType::TXT, &[b"\x01a", b"\x01b", b"\x01c"]);
        assert!(matches!(three, Err(RuleError::RrsetTooLarge { count: 3, count_max: 2, .. })));
    }

    #[test]
    fn w_27_a_cname_stands_beside_nothing_but_what_signs_and_denies_it() {
        let (apex, owner) = (name("example.com"), name("www.example.com"));
        use RecordType as T;
        for (owner, types, is_allowed) in [
            (&owner, &[T::CNAME][..], true),
            (&owner, &[T::CNAME, T::RRSIG, T::NSEC, T::KEY], true),
            (&owner, &[T::CNAME, T::A], false),
            (&owner, &[T::TXT, T::CNAME], false),
            (&owner, &[T::DNAME, T::CNAME], false),
            (&owner, &[T::DNAME, T::A], true),
            (&owner, &[T::DNAME, T::NS], false),
            (&apex, &[T::DNAME, T::NS], true),
            (&apex, &[T::CNAME], false), // the apex has SOA and NS
        ] {
            assert_eq!(check_owner(owner, &apex, types).is_ok(), is_allowed, "{types:?}");
        }
    }
}
