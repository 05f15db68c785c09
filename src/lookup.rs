//! Typed look-ups over the published catalog, for programs that embed it.
//!
//! A look-up asks the [`Responder`], as every front end does, and reads what it replies: whatever a
//! query over the network is told, a look-up in the same process is told too. It follows aliases
//! and wildcards inside the catalog and never leaves it.
//!
//! **Invariant:** one snapshot per look-up, so an answer never mixes two versions of a zone.
//! **Not here:** recursion: what is below a zone cut or in nobody's zone is said to be so.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::answer;
use crate::catalog::Catalog;
use crate::message::header::{FLAG_TC, opcode};
use crate::message::question::CLASS_IN;
use crate::message::reader::Message;
use crate::message::writer::MessageWriter;
use crate::message::{MessageError, Section, rcode};
use crate::name::Name;
use crate::record::{RecordType, Rrset};
use crate::responder::{Peer, Responder, Transport};
use crate::zone::path::NamePath;

/// What a catalog says to a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolution {
    /// The CNAME RRsets that led from the name asked for to the last one; those that follow from a
    /// DNAME (RFC 6672) are among them.
    pub aliases: Vec<Rrset>,
    /// What is known of the last name.
    pub outcome: Outcome,
}

/// What is known of one name and type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The RRset. Of a wildcard it bears the name that was asked for (RFC 4592 section 2.1.3).
    Found(Rrset),
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist, or a DNAME makes a name of it that is too long.
    NoName,
    /// The name is at or below this zone cut.
    Delegated(Name),
    /// The name is in no zone of the catalog.
    NotOurs,
    /// The aliases go round, or there are more in a row than
    /// [`ALIAS_CHAIN_MAX`](crate::limits::ALIAS_CHAIN_MAX).
    TooManyAliases,
    /// The RRset, with the aliases to it, fits no message.
    TooLong,
    /// The name is ours, but what its zone holds is not known now: it is being loaded, or its data cannot be read.
    Unavailable,
    /// What was asked for is no type of data, a zone transfer for instance.
    NotAnswered,
}

impl Resolution {
    /// The RRset, if there is one.
    pub fn rrset(&self) -> Option<&Rrset> {
        match &self.outcome {
            Outcome::Found(rrset) => Some(rrset),
            _ => None,
        }
    }

    /// The addresses, if an A RRset was found.
    pub fn ipv4(&self) -> Vec<Ipv4Addr> {
        let address = |octets: &[u8]| <[u8; 4]>::try_from(octets).ok().map(Into::into);
        self.read(&[RecordType::A], address)
    }

    /// The addresses, if an AAAA RRset was found.
    pub fn ipv6(&self) -> Vec<Ipv6Addr> {
        let address = |octets: &[u8]| <[u8; 16]>::try_from(octets).ok().map(Into::into);
        self.read(&[RecordType::AAAA], address)
    }

    /// The names, if a CNAME, NS or PTR RRset was found.
    pub fn names(&self) -> Vec<Name> {
        self.read(&[RecordType::CNAME, RecordType::NS, RecordType::PTR], name_in)
    }

    /// The mail exchanges, if an MX RRset was found, best first.
    pub fn exchanges(&self) -> Vec<MailExchange> {
        let mut exchanges = self.read(&[RecordType::MX], MailExchange::read);
        exchanges.sort();
        exchanges
    }

    /// The services, if an SRV RRset was found, lowest priority first, heaviest first within one.
    pub fn services(&self) -> Vec<Service> {
        let mut services = self.read(&[RecordType::SRV], Service::read);
        services.sort_by_key(|service| (service.priority, u16::MAX - service.weight));
        services
    }

    /// The strings of each record in order, if a TXT RRset was found.
    pub fn texts(&self) -> Vec<Vec<Vec<u8>>> {
        self.read(&[RecordType::TXT], |octets| Some(strings(octets)))
    }

    /// The authorizations, if a CAA RRset was found.
    pub fn authorizations(&self) -> Vec<Authorization> {
        self.read(&[RecordType::CAA], Authorization::read)
    }

    /// Reads the records that were found, if they are of one of these types.
    fn read<T>(&self, rtypes: &[RecordType], read: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
        let rrset = self.rrset().filter(|rrset| rtypes.contains(&rrset.rtype));
        rrset.map(|rrset| rrset.rdata.iter().filter_map(read).collect()).unwrap_or_default()
    }
}

/// One mail exchange (RFC 1035 section 3.3.9).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct MailExchange {
    /// Lower values are tried first.
    pub preference: u16,
    /// The host; the root means that no mail is accepted (RFC 7505).
    pub exchange: Name,
}

/// One server of a service (RFC 2782).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Lower values are tried first.
    pub priority: u16,
    /// The share of this server among those of its priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; the root means that the service is not offered.
    pub target: Name,
}

/// One authorization of a certificate authority (RFC 8659 section 4.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// Bit 7 says that who does not know the tag must refuse.
    pub flags: u8,
    /// `issue`, `issuewild`, `iodef` or another.
    pub tag: String,
    /// The value, any octets.
    pub value: Vec<u8>,
}

/// Answers a question from a catalog.
pub fn resolve(catalog: &Catalog, qname: &Name, rtype: RecordType) -> Resolution {
    let mut query = Vec::new();
    let mut writer = MessageWriter::new(&mut query, 0, opcode::QUERY, 0, QUERY_OCTETS_MAX);
    let asked = writer.push_question(qname, rtype, CLASS_IN);
    debug_assert!(asked.is_ok(), "a question fits");
    writer.finish();
    let mut reply = Vec::with_capacity(REPLY_OCTETS);
    // Nothing is cut here, so the reply may be as long as a stream's.
    let peer = Peer::in_process(Transport::Tcp);
    Responder::default().respond(catalog, &query, &peer, &mut reply);
    let view = ReplyView::read(&reply);
    debug_assert!(view.is_ok(), "our own replies are well-formed");
    let nothing = |_| Resolution { aliases: Vec::new(), outcome: Outcome::NotAnswered };
    view.map_or_else(nothing, |view| walk(catalog, qname, rtype, view))
}

/// What a reply says.
#[derive(Debug)]
struct ReplyView {
    /// The RCODE.
    rcode: u16,
    /// Whether something did not fit.
    is_truncated: bool,
    /// The answer section.
    answers: Vec<Rrset>,
    /// The authority section.
    authority: Vec<Rrset>,
}

impl ReplyView {
    /// Reads what a look-up wants to know.
    fn read(reply: &[u8]) -> Result<Self, MessageError> {
        let message = Message::read(reply)?;
        Ok(Self {
            rcode: message.rcode(),
            is_truncated: message.header().flags() & FLAG_TC != 0,
            answers: message.rrsets(Section::Answer)?,
            authority: message.rrsets(Section::Authority)?,
        })
    }
}

/// Follows the aliases of a reply from `qname` on to what it says of the last name.
fn walk(catalog: &Catalog, qname: &Name, rtype: RecordType, mut view: ReplyView) -> Resolution {
    let (mut aliases, mut name) = (Vec::new(), qname.clone());
    for rrset in std::mem::take(&mut view.answers) {
        let is_asked = rtype == rrset.rtype || rtype == RecordType::ANY;
        if rrset.owner != name {
            // A DNAME stands above the name that it redirects; its CNAME comes next.
            continue;
        }
        if is_asked {
            return Resolution { aliases, outcome: Outcome::Found(rrset) };
        }
        if let Some(target) = rrset.rdata.iter().find_map(name_in)
            && rrset.rtype == RecordType::CNAME
        {
            name = target;
            aliases.push(rrset);
        }
    }
    let outcome = outcome_without_rrset(catalog, &name, rtype, !aliases.is_empty(), &view);
    Resolution { aliases, outcome }
}

/// Returns what a reply says of the last name, whose RRset it has not.
fn outcome_without_rrset(
    catalog: &Catalog,
    name: &Name,
    rtype: RecordType,
    is_alias: bool,
    view: &ReplyView,
) -> Outcome {
    let has = |rtype| view.authority.iter().find(|rrset: &&Rrset| rrset.rtype == rtype);
    let mut path = NamePath::new();
    path.set_canonical(name.as_wire(), catalog.seed());
    if view.is_truncated {
        return Outcome::TooLong;
    }
    match view.rcode {
        rcode::NOERROR => {}
        rcode::NXDOMAIN | rcode::YXDOMAIN => return Outcome::NoName,
        rcode::SERVFAIL => return Outcome::Unavailable,
        _ if catalog.find(&path).is_none() => return Outcome::NotOurs,
        _ => return Outcome::NotAnswered,
    }
    match (has(RecordType::SOA), has(RecordType::NS)) {
        (None, Some(cut)) => Outcome::Delegated(cut.owner.clone()),
        (Some(_), _) => Outcome::NoData,
        // Aliases end without a word where nobody here can go on.
        (None, None) if answer::hold_of(catalog, &path, rtype).is_some() => Outcome::Unavailable,
        (None, None) if catalog.find(&path).is_none() => Outcome::NotOurs,
        (None, None) if is_alias => Outcome::TooManyAliases,
        (None, None) => Outcome::NoData,
    }
}

impl MailExchange {
    /// Reads the RDATA of an MX record.
    fn read(octets: &[u8]) -> Option<Self> {
        let (preference, exchange) = octets.split_first_chunk::<2>()?;
        let preference = u16::from_be_bytes(*preference);
        Some(Self { preference, exchange: name_in(exchange)? })
    }
}

impl Service {
    /// Reads the RDATA of an SRV record.
    fn read(octets: &[u8]) -> Option<Self> {
        let ([p0, p1, w0, w1, o0, o1], target) = octets.split_first_chunk::<6>()?;
        Some(Self {
            priority: u16::from_be_bytes([*p0, *p1]),
            weight: u16::from_be_bytes([*w0, *w1]),
            port: u16::from_be_bytes([*o0, *o1]),
            target: name_in(target)?,
        })
    }
}

impl Authorization {
    /// Reads the RDATA of a CAA record.
    fn read(octets: &[u8]) -> Option<Self> {
        let ([flags, tag_len], rest) = octets.split_first_chunk::<2>()?;
        let (tag, value) = rest.split_at_checked(usize::from(*tag_len))?;
        let tag = String::from_utf8(tag.to_vec()).ok()?;
        Some(Self { flags: *flags, tag, value: value.to_vec() })
    }
}

/// Reads a name that fills its octets, in any case.
fn name_in(octets: &[u8]) -> Option<Name> {
    Name::from_wire(&octets.to_ascii_lowercase()).ok()
}

/// Reads the strings of one TXT record.
fn strings(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    while let Some((len, rest)) = octets.split_first() {
        let Some((string, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
        strings.push(string.to_vec());
        octets = rest;
    }
    strings
}

/// Octets that every query fits.
const QUERY_OCTETS_MAX: u16 = 512;
/// Octets that most replies fit; a longer one takes more.
const REPLY_OCTETS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogChange, HoldReason};
    use crate::record::master::{MasterOptions, read_zone};
    use crate::zone::{HashSeed, build};
    use std::sync::Arc;

    const ZONE: &str = "@ 300 SOA ns hostmaster 1 3600 600 604800 300\n@ NS ns\nns A 192.0.2.53\n\
        www A 192.0.2.1\nwww A 192.0.2.2\n*.wild MX 10 mail\nmail A 192.0.2.3\n\
        alias CNAME other\nother CNAME www\naway CNAME www.elsewhere.test.\n\
        round CNAME trip\ntrip CNAME round\nold DNAME new\nhost.new A 192.0.2.4\n\
        cut NS ns.cut\nns.cut A 192.0.2.5\nto-cut CNAME a.cut\n";

    fn name(text: &str) -> Name {
        Name::from_text(text).expect(text)
    }

    fn catalog(text: &str) -> Catalog {
        let origin = name("example.");
        let parsed = read_zone(text.as_bytes(), &origin, MasterOptions::default(), &mut |_| {});
        let parsed = parsed.expect("a master file");
        let zone = build(parsed.apex, HashSeed(7), parsed.rrsets).expect("a zone");
        Catalog::new(HashSeed(7)).with_changes(vec![CatalogChange::Put(Arc::new(zone))])
    }

    /// Writes a resolution as the aliases' targets and what came of the last name.
    fn summary(resolution: &Resolution) -> String {
        let mut text = String::new();
        for alias in &resolution.aliases {
            text += &format!("{} -> ", alias.owner.to_fqdn());
        }
        text + &match &resolution.outcome {
            Outcome::Found(rrset) => {
                format!("{} {} {}", rrset.owner.to_fqdn(), rrset.rtype, rrset.rdata.count())
            }
            Outcome::Delegated(cut) => format!("below {}", cut.to_fqdn()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_look_up_is_told_what_a_query_is() {
        let catalog = catalog(ZONE);
        for (qname, rtype, expected) in [
            ("www.example.", RecordType::A, "www.example. A 2"),
            ("www.example.", RecordType::AAAA, "NoData"),
            ("example.", RecordType::SOA, "example. SOA 1"),
            ("example.", RecordType::NS, "example. NS 1"),
            ("nobody.example.", RecordType::A, "NoName"),
            ("a.b.wild.example.", RecordType::MX, "a.b.wild.example. MX 1"),
            ("wild.example.", RecordType::MX, "NoData"),
            ("alias.example.", RecordType::CNAME, "alias.example. CNAME 1"),
            (
                "alias.example.",
                RecordType::A,
                "alias.example. -> other.example. -> www.example. A 2",
            ),
            ("alias.example.", RecordType::MX, "alias.example. -> other.example. -> NoData"),
            ("away.example.", RecordType::A, "away.example. -> NotOurs"),
            ("round.example.", RecordType::A, "round.example. -> trip.example. -> TooManyAliases"),
            ("host.old.example.", RecordType::A, "host.old.example. -> host.new.example. A 1"),
            ("none.old.example.", RecordType::A, "none.old.example. -> NoName"),
            ("old.example.", RecordType::DNAME, "old.example. DNAME 1"),
            ("cut.example.", RecordType::NS, "below cut.example."),
            ("x.cut.example.", RecordType::A, "below cut.example."),
            ("to-cut.example.", RecordType::A, "to-cut.example. -> below cut.example."),
            ("www.elsewhere.test.", RecordType::A, "NotOurs"),
            ("example.", RecordType::AXFR, "NotAnswered"),
            ("www.example.", RecordType::IXFR, "NotAnswered"),
            ("elsewhere.test.", RecordType::AXFR, "NotOurs"),
        ] {
            let resolution = resolve(&catalog, &name(qname), rtype);
            assert_eq!(summary(&resolution), expected, "{qname} {rtype}");
        }
        let any = resolve(&catalog, &name("mail.example."), RecordType::ANY);
        assert_eq!(summary(&any), "mail.example. A 1");
        let mail = resolve(&catalog, &name("x.wild.example."), RecordType::MX);
        let expected = MailExchange { preference: 10, exchange: name("mail.example.") };
        assert_eq!(mail.exchanges(), [expected]);
        assert_eq!(mail.rrset().map(|rrset| rrset.ttl_s), Some(300));
    }

    #[test]
    fn what_is_held_is_unavailable_however_it_is_come_to() {
        let held = |apex: &str| CatalogChange::Hold(name(apex), HoldReason::Loading);
        let text = format!("{ZONE}to-held CNAME www.held.test.\nto-sub CNAME sub\n");
        let catalog = catalog(&text).with_changes(vec![held("held.test."), held("sub.example.")]);
        for (qname, rtype, expected) in [
            ("held.test.", RecordType::SOA, "Unavailable"),
            ("www.held.test.", RecordType::A, "Unavailable"),
            ("www.sub.example.", RecordType::A, "Unavailable"),
            ("held.test.", RecordType::AXFR, "Unavailable"),
            ("to-held.example.", RecordType::A, "to-held.example. -> Unavailable"),
            ("to-sub.example.", RecordType::A, "to-sub.example. -> Unavailable"),
            ("away.example.", RecordType::A, "away.example. -> NotOurs"),
            ("www.example.", RecordType::AAAA, "NoData"),
        ] {
            let resolution = resolve(&catalog, &name(qname), rtype);
            assert_eq!(summary(&resolution), expected, "{qname} {rtype}");
        }
    }

    #[test]
    fn records_are_read_by_their_type_alone() {
        let catalog = catalog(&format!(
            "{ZONE}{}",
            concat!(
                "six AAAA 2001:db8::1\n_s._tcp SRV 2 1 80 www\n_s._tcp SRV 1 1 81 .\n",
                "_s._tcp SRV 1 9 82 www\ntext TXT one \"two three\"\ntext TXT \"\"\n",
                "ca CAA 128 issue \"ca.test\"\nback PTR www\n",
            )
        ));
        let ask = |qname: &str, rtype| resolve(&catalog, &name(qname), rtype);
        let six = ask("six.example.", RecordType::AAAA);
        assert_eq!(six.ipv6(), ["2001:db8::1".parse::<Ipv6Addr>().expect("an address")]);
        assert!(six.ipv4().is_empty() && six.names().is_empty() && six.texts().is_empty());
        let ports: Vec<u16> = ask("_s._tcp.example.", RecordType::SRV)
            .services()
            .iter()
            .map(|service| service.port)
            .collect();
        assert_eq!(ports, [82, 81, 80], "by priority, then the heaviest");
        let texts = ask("text.example.", RecordType::TXT).texts();
        assert_eq!(texts.len(), 2);
        assert!(texts.contains(&vec![b"one".to_vec(), b"two three".to_vec()]));
        assert!(texts.contains(&vec![Vec::new()]));
        let (tag, value) = ("issue".to_owned(), b"ca.test".to_vec());
        let expected = Authorization { flags: 128, tag, value };
        assert_eq!(ask("ca.example.", RecordType::CAA).authorizations(), [expected]);
        assert_eq!(ask("back.example.", RecordType::PTR).names(), [name("www.example.")]);
        assert_eq!(ask("alias.example.", RecordType::A).ipv4().len(), 2);
        assert!(ask("nobody.example.", RecordType::A).ipv4().is_empty());
    }

    #[test]
    fn a_chain_longer_than_is_followed_says_so() {
        use crate::limits::ALIAS_CHAIN_MAX;
        let mut text = String::from("@ 300 SOA ns hostmaster 1 3600 600 604800 300\n@ NS ns\n");
        for number in 0..ALIAS_CHAIN_MAX {
            text += &format!("c{number} CNAME c{}\n", number + 1);
        }
        text += &format!("c{ALIAS_CHAIN_MAX} A 192.0.2.1\n");
        let catalog = catalog(&text);
        let long = resolve(&catalog, &name("c0.example."), RecordType::A);
        assert_eq!(long.outcome, Outcome::TooManyAliases);
        let short = resolve(&catalog, &name("c1.example."), RecordType::A);
        assert_eq!(short.aliases.len(), ALIAS_CHAIN_MAX - 1);
        assert!(short.rrset().is_some());
    }
}
