//! What a full answer tells beyond the question: the zone's NS records, and the addresses of the
//! hosts that the answer names.
//!
//! RFC 1034 section 4.3.2 steps 3a and 6; RFC 2782 (SRV), RFC 9460 section 4.1 (SVCB, HTTPS).
//!
//! **Invariant:** nothing of it sets TC: what does not fit is left out, and with it all that would
//! come behind it.
//! **Not here:** the addresses that a referral needs (`answer::referral`).

use super::{Walk, locate};
use crate::catalog::Catalog;
use crate::limits::ADDITIONAL_NAMES_MAX;
use crate::message::Full;
use crate::message::header::FLAG_TC;
use crate::message::{ExpandedName, RECORD_HEAD_LEN, Section};
use crate::name::wire_len;
use crate::record::RecordType;
use crate::wire::reply::Owner;
use crate::zone::Found;
use crate::zone::node::EntryView;
use crate::zone::prepare::{expand_name, records};

impl<'c> Walk<'_, '_, 'c> {
    /// Appends what a full answer has beside the question's own.
    pub(super) fn push_additional(&mut self, catalog: &'c Catalog) {
        let Some((zone, node, entry)) = self.last.filter(|_| self.flags & FLAG_TC == 0) else {
            return;
        };
        let mut named = ExpandedName::new();
        let _ = named.try_extend_from_slice(node.prefix());
        let _ = named.try_extend_from_slice(zone.apex().as_wire());
        let ns = zone.apex_node().rrset(RecordType::NS);
        // The question may have been for these very records.
        let is_told = node.prefix().is_empty() && matches!(entry.rtype, RecordType::NS);
        let Some(ns) = ns.filter(|_| !is_told) else {
            let _ = self.push_hosts(catalog, &entry, &named);
            return;
        };
        let apex = zone.apex().as_wire();
        let owner = self.suffix_owner(apex);
        let is_dnssec_ok = self.is_dnssec_ok;
        let pushed = self.message.push(Section::Authority, &ns, owner, is_dnssec_ok);
        if pushed.is_ok() && self.push_hosts(catalog, &entry, &named).is_ok() {
            let _ = self.push_hosts(catalog, &ns, apex);
        }
    }

    /// Appends the addresses of the hosts that an RRset of `owner` names.
    fn push_hosts(
        &mut self,
        catalog: &'c Catalog,
        entry: &EntryView<'_>,
        owner: &[u8],
    ) -> Result<(), Full> {
        let Some(skip) = entry.rtype.host_at() else { return Ok(()) };
        let mut target = ExpandedName::new();
        for record in records(entry.body).take(ADDITIONAL_NAMES_MAX) {
            let at = record.at + RECORD_HEAD_LEN + skip;
            if entry.pointers.is_empty() {
                let Some(rest) = record.rdata.get(skip..) else { continue };
                target.clear();
                let len = wire_len(rest).unwrap_or(0);
                let _ = target.try_extend_from_slice(&rest[..len]);
            } else {
                expand_name(entry.body, at, owner, &mut target);
            }
            // The root stands for no host, or for the owner itself (RFC 2782, RFC 9460 section 2.5).
            if target.len() > 1 {
                self.push_host(catalog, &target)?;
            }
        }
        Ok(())
    }

    /// Appends the addresses of one host, if it is ours and they do not stand there already.
    fn push_host(&mut self, catalog: &'c Catalog, target: &[u8]) -> Result<(), Full> {
        self.other.set_any_case(target, catalog.seed());
        let Some(place) = locate(catalog, self.other, RecordType::A) else { return Ok(()) };
        let Found::Node(node) = place.found else { return Ok(()) };
        let hash = self.other.hash();
        if hash == self.path.hash() || self.hosts.contains(&hash) || self.hosts.is_full() {
            return Ok(());
        }
        let _ = self.hosts.try_push(hash);
        for rtype in [RecordType::A, RecordType::AAAA] {
            let Some(entry) = node.rrset(rtype) else { continue };
            let apex = place.zone.apex().as_wire();
            let apex_at = match self.suffix_owner(apex) {
                Owner::Suffix { at, .. } | Owner::Elsewhere { at, .. } => Some(at),
                Owner::Written { .. } => None,
            };
            let owner = Owner::Written { prefix: node.prefix(), apex, apex_at };
            self.message.push(Section::Additional, &entry, owner, self.is_dnssec_ok)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer_with, catalog, query, summary};
    use crate::responder::ResponderConfig;

    const ZONE: &str = "example. SOA ns.example. h.example. 1 2 3 4 5
        example. NS ns.example.
        example. NS ns.test.
        example. MX 10 a.example.
        example. MX 20 b.example.
        ns.example. A 192.0.2.1
        ns.example. AAAA 2001:db8::1
        a.example. A 192.0.2.2
        b.example. CNAME a.example.
        _s._tcp.example. SRV 1 2 3 a.example.
        _h.example. SVCB 1 a.example.
        alias.example. CNAME a.example.
        many.example. A 192.0.2.11
        many.example. A 192.0.2.12
        many.example. A 192.0.2.13
        hosts.example. NS x.hosts.example.
        test. SOA ns.test. h.test. 1 2 3 4 5
        test. NS ns.test.
        ns.test. A 192.0.2.3";

    fn check(question: &str, expected: &str) {
        let config = ResponderConfig { has_full_replies: true, ..ResponderConfig::default() };
        let (qname, qtype) = question.split_once(' ').expect("name and type");
        let reply = answer_with(config, &catalog(ZONE), &query(qname, qtype, None));
        assert_eq!(summary(&reply), expected, "{question}");
    }

    #[test]
    fn a_full_answer_tells_the_name_servers_and_where_its_hosts_are() {
        let ns = "| au example. NS ns.example. | au example. NS ns.test.";
        let ns_hosts = "| ad ns.example. A 192.0.2.1 | ad ns.example. AAAA 2001:db8::1 \
                        | ad ns.test. A 192.0.2.3";
        check("a.example. A", &format!("NOERROR aa | an a.example. A 192.0.2.2 {ns} {ns_hosts}"));
        check(
            "example. MX",
            &format!(
                "NOERROR aa | an example. MX 10 a.example. | an example. MX 20 b.example. {ns} \
                 | ad a.example. A 192.0.2.2 {ns_hosts}"
            ),
        );
        check(
            "_s._tcp.example. SRV",
            &format!(
                "NOERROR aa | an _s._tcp.example. SRV 1 2 3 a.example. {ns} \
                 | ad a.example. A 192.0.2.2 {ns_hosts}"
            ),
        );
        check(
            "alias.example. A",
            &format!(
                "NOERROR aa | an alias.example. CNAME a.example. | an a.example. A 192.0.2.2 {ns} \
                 {ns_hosts}"
            ),
        );
    }

    #[test]
    fn name_servers_that_were_asked_for_are_told_once() {
        check(
            "example. NS",
            "NOERROR aa | an example. NS ns.example. | an example. NS ns.test. \
             | ad ns.example. A 192.0.2.1 | ad ns.example. AAAA 2001:db8::1 | ad ns.test. A 192.0.2.3",
        );
        check("ns.test. A", "NOERROR aa | an ns.test. A 192.0.2.3 | au test. NS ns.test.");
    }

    #[test]
    fn what_is_no_positive_answer_stays_as_it_is() {
        let negative = "aa | au example. SOA ns.example. h.example. 1 2 3 4 5";
        check("none.example. A", &format!("NXDOMAIN {negative}"));
        check("a.example. TXT", &format!("NOERROR {negative}"));
        check("y.hosts.example. A", "NOERROR | au hosts.example. NS x.hosts.example.");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_not_truncated() {
        let mut zone = ZONE.to_owned();
        for host in 0..60 {
            zone.push_str(&format!("\ntest. NS host-{host}.test.\nhost-{host}.test. A 192.0.2.9"));
        }
        let config = ResponderConfig { has_full_replies: true, ..ResponderConfig::default() };
        let reply = answer_with(config, &catalog(&zone), &query("ns.test.", "A", None));
        assert!(reply.len() <= 512, "{}", reply.len());
        assert_eq!(summary(&reply), "NOERROR aa | an ns.test. A 192.0.2.3");
    }

    #[test]
    fn each_record_is_the_first_as_often_as_any_other() {
        let config = ResponderConfig { has_rotation: true, ..ResponderConfig::default() };
        for question in ["many.example. A", "example. NS", "example. MX"] {
            let (qname, qtype) = question.split_once(' ').expect("name and type");
            let plain =
                answer_with(ResponderConfig::default(), &catalog(ZONE), &query(qname, qtype, None));
            let records: Vec<String> =
                summary(&plain).split(" | ").skip(1).map(str::to_owned).collect();
            for id in 0..12_u16 {
                let mut packet = query(qname, qtype, None);
                packet[..2].copy_from_slice(&id.to_be_bytes());
                let mut reply = answer_with(config.clone(), &catalog(ZONE), &packet);
                reply[..2].copy_from_slice(&[0x12, 0x34]);
                let mut expected = records.clone();
                expected.rotate_left(usize::from(id) % records.len());
                let turned = summary(&reply);
                assert_eq!(turned.split(" | ").skip(1).collect::<Vec<_>>(), expected, "{question}");
            }
        }
    }
}
