//! What `dnssec::check_names` finds after an edit, from the names that it touched.

use aspen_dns::dnssec::{CheckOptions, Ring, check_names, names_needed};
use aspen_dns::record::{RecordType as T, Rrset};

use crate::check::{Signed, lines, name, sign};
use crate::signers::{Denial, Signer};

/// Returns what is found about the names `touched`, looking at no more of the zone than is needed.
fn found(zone: &Signed, touched: &[&str]) -> Vec<String> {
    let touched: Vec<_> = touched.iter().map(|owner| name(owner)).collect();
    let at = |owner| zone.rrsets.iter().filter(move |set| set.owner == owner).cloned();
    let at_apex: Vec<Rrset> = at(zone.apex.clone()).collect();
    let needed = names_needed(&zone.apex, &at_apex, &touched);
    assert!(needed.len() <= 2 * (1 + 4 * touched.len()), "{needed:?}");
    let rrsets: Vec<Rrset> = needed.into_iter().flat_map(at).collect();
    let options = CheckOptions { now: zone.now, expiry_warning_s: 0, threads: 1 };
    lines(&check_names(&zone.apex, &rrsets, &touched, &options, &Ring))
}

#[test]
fn nothing_is_found_where_nothing_is_broken() {
    let names = [
        "@",
        "www",
        "ns",
        "a.ent",
        "x.wild",
        "*.wild",
        "insecure",
        "ns.insecure",
        "x.entcut",
        "nx",
    ];
    for signer in [Signer::Bind, Signer::Knot, Signer::Ldns] {
        for denial in [Denial::Nsec, Denial::Nsec3, Denial::OptOut] {
            let zone = sign(signer, denial);
            assert_eq!(found(&zone, &names), Vec::<String>::new(), "{signer:?} {denial:?}");
        }
    }
}

#[test]
fn a_changed_rrset_and_the_serial_that_rose_are_found() {
    let mut zone = sign(Signer::Bind, Denial::Nsec);
    zone.put("www", T::A, "192.0.2.99");
    zone.change("@", T::SOA, |rdata| {
        let serial_at = rdata.len() - 17;
        rdata[serial_at] += 1;
    });
    let soa = "error example.test SOA signature-bad";
    assert_eq!(found(&zone, &["www"]), [soa, "error www.example.test A signature-bad"]);
    assert_eq!(found(&zone, &["mail"]), [soa]);
}

#[test]
fn a_new_name_is_missed_in_the_chain() {
    for denial in [Denial::Nsec, Denial::Nsec3, Denial::OptOut] {
        let mut zone = sign(Signer::Knot, denial);
        zone.put("a.new", T::A, "192.0.2.99");
        let expected: &[&str] = match denial {
            Denial::Nsec => &[
                "error a.new.example.test A not-signed",
                "error a.new.example.test NSEC nsec-missing",
            ],
            // `new` is there already, for `host.new`.
            _ => &[
                "error a.new.example.test A not-signed",
                "error a.new.example.test NSEC3 nsec3-missing",
            ],
        };
        assert_eq!(found(&zone, &["a.new"]), expected, "{denial:?}");
        zone.put("x.fresh", T::A, "192.0.2.99");
        let ent = "error fresh.example.test NSEC3 nsec3-missing".to_owned();
        assert_eq!(found(&zone, &["x.fresh"]).contains(&ent), denial != Denial::Nsec);
        // A delegation that is not secure needs no record where there is opt-out.
        zone.put("newcut", T::NS, "ns.test.");
        let is_found = !found(&zone, &["newcut"]).is_empty();
        assert_eq!(is_found, denial != Denial::OptOut, "{denial:?}");
    }
}

#[test]
fn a_deleted_rrset_stays_in_the_bitmap() {
    let mut zone = sign(Signer::Ldns, Denial::Nsec);
    zone.remove("www", T::TXT);
    assert_eq!(
        found(&zone, &["www"]),
        ["warning www.example.test RRSIG covers-nothing", "error www.example.test NSEC nsec-types"]
    );
    zone.remove("www", T::A);
    zone.remove("www", T::RRSIG);
    assert_eq!(
        found(&zone, &["www"]),
        ["error www.example.test NSEC not-signed", "error www.example.test NSEC nsec-extra"]
    );
    let mut zone = sign(Signer::Ldns, Denial::Nsec3);
    for rtype in [T::A, T::TXT, T::RRSIG] {
        zone.remove("www", rtype);
    }
    assert_eq!(found(&zone, &["www"]), ["error www.example.test NSEC3 nsec3-types"]);
}
