//! What `dnssec::check` finds: nothing in what others signed, and everything that is then broken.

use std::path::Path;

use aspen_dns::dnssec::{self, CheckOptions, Finding, Parent, Ring, Time, ZoneReport};
use aspen_dns::name::Name;
use aspen_dns::record::master::{MasterOptions, read_zone};
use aspen_dns::record::{RecordType, Rrset, rdata};
use aspen_dns::zone::nsec3::{Nsec3Params, nsec3_hash};

use crate::signers::{self, Denial, Signer};
use crate::validate::{APEX, ZONE};

/// A signed zone, and what its parent says.
pub(crate) struct Signed {
    pub(crate) apex: Name,
    pub(crate) rrsets: Vec<Rrset>,
    ds: Vec<Vec<u8>>,
    pub(crate) now: Time,
}

/// Signs [`ZONE`].
pub(crate) fn sign(signer: Signer, denial: Denial) -> Signed {
    sign_text(signer, denial, ZONE)
}

/// Signs the zone of a master file.
fn sign_text(signer: Signer, denial: Denial, text: &str) -> Signed {
    let dir = tempfile::tempdir().unwrap();
    let path = signers::sign(signer, denial, dir.path(), APEX, text);
    let ds = signers::ds(&path, APEX);
    let ds = ds.lines().map(|line| line.split_once(" DS ").unwrap().1);
    let ds = ds.map(|text| rdata::parse(RecordType::DS, text, &Name::root()).unwrap()).collect();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let apex = Name::from_text(APEX).unwrap();
    Signed { rrsets: read(&path, &apex), apex, ds, now: Time(u32::try_from(now).unwrap()) }
}

/// Reads a master file.
fn read(path: &Path, apex: &Name) -> Vec<Rrset> {
    let text = std::fs::read(path).unwrap();
    read_zone(&text, apex, MasterOptions::default(), &mut |_| {}).unwrap().rrsets
}

impl Signed {
    /// Checks the zone as it now is.
    fn check(&self) -> ZoneReport {
        let options = CheckOptions { now: self.now, expiry_warning_s: 86_400, threads: 2 };
        dnssec::check(&self.apex, &self.rrsets, Parent::Ds(&self.ds), &options, &Ring)
    }
}

/// Changes that somebody makes to a signed zone.
impl Signed {
    /// Finds an RRset.
    fn set(&mut self, owner: &str, rtype: RecordType) -> &mut Rrset {
        let owner = name(owner);
        let found = |set: &&mut Rrset| set.owner == owner && set.rtype == rtype;
        self.rrsets.iter_mut().find(found).unwrap_or_else(|| panic!("{owner} {rtype}"))
    }

    /// Removes an RRset.
    pub(crate) fn remove(&mut self, owner: &str, rtype: RecordType) {
        let owner = name(owner);
        self.rrsets.retain(|set| set.owner != owner || set.rtype != rtype);
    }

    /// Gives an RRset other records.
    fn records(&mut self, owner: &str, rtype: RecordType, records: Vec<Vec<u8>>) {
        self.remove(owner, rtype);
        if !records.is_empty() {
            self.rrsets.push(Rrset::new(name(owner), rtype, 300, records).unwrap());
        }
    }

    /// Gives an RRset one other record.
    pub(crate) fn put(&mut self, owner: &str, rtype: RecordType, text: &str) {
        self.records(owner, rtype, vec![rdata::parse(rtype, text, &Name::root()).unwrap()]);
    }

    /// Changes the signatures of an owner that cover a type; `None` removes one.
    fn sigs(
        &mut self,
        owner: &str,
        covered: RecordType,
        change: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
    ) {
        let sigs: Vec<Vec<u8>> = self
            .set(owner, RecordType::RRSIG)
            .rdata
            .iter()
            .filter_map(|sig| {
                let sig = sig.to_vec();
                if sig[..2] == covered.0.to_be_bytes() { change(sig) } else { Some(sig) }
            })
            .collect();
        self.records(owner, RecordType::RRSIG, sigs);
    }

    /// Changes an RRset's RDATA, of one record.
    pub(crate) fn change(&mut self, owner: &str, rtype: RecordType, change: impl Fn(&mut Vec<u8>)) {
        let set = self.set(owner, rtype);
        let (mut rdata, ttl_s) = (set.rdata.first().to_vec(), set.ttl_s);
        change(&mut rdata);
        self.records(owner, rtype, vec![rdata]);
        self.set(owner, rtype).ttl_s = ttl_s;
    }

    /// Returns the owner of the NSEC3 record of a name, as the finding shows it.
    pub(crate) fn hash_of(&self, owner: &str) -> String {
        let params = Nsec3Params { iterations: 0, salt: Box::default() };
        let hash = nsec3_hash(name(owner).as_wire(), &params);
        let label = data_encoding::BASE32HEX_NOPAD.encode(&hash).to_lowercase();
        format!("{label}.{APEX}")
    }

    /// Returns what is found in the zone as it now is.
    fn found(&self) -> Vec<String> {
        lines(&self.check())
    }
}

/// Returns severity, owner and type, and kind of each finding.
pub(crate) fn lines(report: &ZoneReport) -> Vec<String> {
    let found = report.findings.iter().map(|finding| {
        let Finding { severity, owner, rtype, fault } = finding;
        format!("{severity} {owner} {rtype} {}", fault.code())
    });
    found.collect()
}

/// Reads an owner name in the zone.
pub(crate) fn name(owner: &str) -> Name {
    let text = match owner {
        "@" => APEX.to_owned(),
        owner if owner.ends_with(APEX) => owner.to_owned(),
        owner => format!("{owner}.{APEX}"),
    };
    Name::from_text(&text).unwrap()
}

/// Signs with NSEC and checks that a change breaks exactly these rules.
fn check_nsec(change: impl Fn(&mut Signed), expected: &[&str]) {
    let mut zone = sign(Signer::Bind, Denial::Nsec);
    change(&mut zone);
    assert_eq!(zone.found(), expected);
}

#[test]
fn nothing_is_wrong_with_what_others_signed() {
    for signer in [Signer::Bind, Signer::Knot, Signer::Ldns] {
        for denial in [Denial::Nsec, Denial::Nsec3, Denial::OptOut] {
            let zone = sign(signer, denial);
            let report = zone.check();
            assert!(report.findings.is_empty(), "{signer:?} {denial:?}: {:?}", report.findings);
            assert!(report.is_signed && report.signatures > 55, "{}", report.signatures);
        }
    }
}

#[test]
fn capital_letters_in_rdata_are_signed_as_others_sign_them() {
    let apex = "$TTL 300\n@ SOA Ns.Example. Host.Example. 7 3600 600 86400 60\n@ NS Ns.Example.\n";
    for signer in [Signer::Bind, Signer::Knot, Signer::Ldns] {
        let rare = if signer == Signer::Bind { RARE_CAPITALS } else { &[] };
        let records = CAPITALS.iter().chain(rare).enumerate();
        let text: String = records.map(|(index, rdata)| format!("a{index} {rdata}\n")).collect();
        let report = sign_text(signer, Denial::Nsec, &format!("{apex}{text}")).check();
        assert!(report.findings.is_empty(), "{signer:?}: {:?}", lines(&report));
        assert!(report.signatures > (CAPITALS.len() + rare.len()) as u64, "{signer:?}");
    }
}

/// Records with capital letters in their names.
const CAPITALS: &[&str] = &[
    "CNAME A.Example.",
    "PTR A.Example.",
    "MINFO A.Example. B.Example.",
    "MX 1 A.Example.",
    "RP A.Example. B.Example.",
    "AFSDB 1 A.Example.",
    "RT 1 A.Example.",
    "NAPTR 1 2 \"S\" \"X\" \"\" A.Example.",
    "KX 1 A.Example.",
    "SRV 1 2 3 A.Example.",
    "DNAME A.Example.",
    "HINFO \"A\" \"B\"",
    "IPSECKEY 1 3 2 A.Example. AAAA",
    "LP 1 A.Example.",
    "SVCB 1 A.Example.",
    "HTTPS 1 A.Example.",
];
/// Further ones, of which Knot or ldns does not know the form.
const RARE_CAPITALS: &[&str] = &[
    "MB A.Example.",
    "MG A.Example.",
    "MR A.Example.",
    "PX 1 A.Example. B.Example.",
    "A6 64 ::1 A.Example.",
    "NXT A.Example. A",
];

#[test]
fn an_rrset_that_is_not_what_was_signed_is_found() {
    use RecordType as T;
    check_nsec(
        |zone| zone.put("www", T::A, "192.0.2.99"),
        &["error www.example.test A signature-bad"],
    );
    check_nsec(
        |zone| zone.set("www", T::A).ttl_s = 301,
        &["error www.example.test A original-ttl-differs"],
    );
    check_nsec(
        |zone| zone.set("www", T::A).ttl_s = 60,
        &["warning www.example.test A original-ttl-differs"],
    );
    check_nsec(|zone| zone.sigs("www", T::A, |_| None), &["error www.example.test A not-signed"]);
    check_nsec(
        |zone| zone.remove("www", T::TXT),
        &[
            "warning www.example.test RRSIG covers-nothing",
            "error www.example.test NSEC nsec-types",
        ],
    );
    check_nsec(
        |zone| zone.put("www", T::AAAA, "2001:db8::2"),
        &["error www.example.test AAAA not-signed", "error www.example.test NSEC nsec-types"],
    );
}

#[test]
fn what_a_signature_says_is_checked() {
    use RecordType as T;
    let sig = |at: usize, value: u8| {
        move |zone: &mut Signed| {
            zone.sigs("www", T::A, |mut sig| {
                sig[at] = value;
                Some(sig)
            });
        }
    };
    check_nsec(
        sig(3, 2),
        &["error www.example.test A labels-differ", "error www.example.test A signature-bad"],
    );
    check_nsec(sig(2, 8), &["error www.example.test A key-missing"]);
    // The signer's name begins with `eyample`.
    check_nsec(
        sig(20, b'y'),
        &["error www.example.test A signer-not-apex", "error www.example.test A signature-bad"],
    );
    // One good signature beside a bad one is enough.
    check_nsec(
        |zone| {
            let set = zone.set("www", T::RRSIG);
            let mut sigs: Vec<Vec<u8>> = set.rdata.iter().map(<[u8]>::to_vec).collect();
            let mut other = sigs.iter().find(|sig| sig[1] == 1).unwrap().clone();
            *other.last_mut().unwrap() ^= 1;
            sigs.push(other);
            zone.records("www", T::RRSIG, sigs);
        },
        &["warning www.example.test A signature-bad"],
    );
}

#[test]
fn signatures_have_their_time() {
    const DAY_S: u32 = 86_400;
    check_nsec(|zone| zone.now.0 += 26 * DAY_S, &[]);
    check_nsec(
        |zone| zone.now.0 += 29 * DAY_S + DAY_S / 2,
        &["warning example.test RRSIG signature-expires-soon"],
    );
    for (later_s, code) in [(31, "signature-expired"), (-1, "signature-not-yet-valid")] {
        let mut zone = sign(Signer::Bind, Denial::Nsec3);
        zone.now.0 = zone.now.0.wrapping_add_signed(later_s * DAY_S.cast_signed());
        let report = zone.check();
        // Besides that nothing but what follows from it.
        assert_eq!(report.counts.get(code), Some(&report.signatures), "{code}");
        let others = ["dnskey-not-signed", "ds-key-not-signing"];
        let is_known = |finding: &Finding| {
            finding.fault.code() == code || others.contains(&finding.fault.code())
        };
        assert!(report.findings.iter().all(is_known), "{:?}", report.findings);
        assert_eq!(report.errors, report.signatures + 2);
    }
}

#[test]
fn data_that_is_not_authoritative_is_not_signed() {
    use RecordType as T;
    for (owner, covered) in [("insecure", T::NS), ("ns.insecure", T::A)] {
        let expected = format!("error {owner}.{APEX} {covered} signed-not-authoritative");
        check_nsec(
            |zone| {
                let mut sigs: Vec<Vec<u8>> = match owner {
                    "insecure" => {
                        zone.set(owner, T::RRSIG).rdata.iter().map(<[u8]>::to_vec).collect()
                    }
                    _ => Vec::new(),
                };
                let mut sig = zone.set("www", T::RRSIG).rdata.first().to_vec();
                sig[..2].copy_from_slice(&covered.0.to_be_bytes());
                sigs.push(sig);
                zone.records(owner, T::RRSIG, sigs);
            },
            &[&expected],
        );
    }
}

#[test]
fn the_nsec_chain_is_whole() {
    use RecordType as T;
    check_nsec(
        |zone| {
            zone.remove("www", T::NSEC);
            zone.sigs("www", T::NSEC, |_| None);
        },
        &["error www.example.test NSEC nsec-missing"],
    );
    // A new name: it is neither signed nor in the chain, whose record before leads past it.
    check_nsec(
        |zone| zone.put("wwz", T::A, "192.0.2.1"),
        &[
            "error www.example.test NSEC nsec-next",
            "error wwz.example.test A not-signed",
            "error wwz.example.test NSEC nsec-missing",
        ],
    );
    // A name that is gone with its record: the one before still leads to it.
    check_nsec(
        |zone| {
            for rtype in [T::A, T::NSEC, T::RRSIG] {
                zone.remove("ns", rtype);
            }
            zone.remove("ns", T::AAAA);
            zone.put("@", T::NS, "ns.test.");
        },
        &["error example.test NS signature-bad", "error nothere.example.test NSEC nsec-next"],
    );
    check_nsec(
        |zone| zone.remove("ns", T::A),
        &["warning ns.example.test RRSIG covers-nothing", "error ns.example.test NSEC nsec-types"],
    );
    check_nsec(
        |zone| zone.set("www", T::NSEC).ttl_s = 59,
        &[
            "warning www.example.test NSEC original-ttl-differs",
            "warning www.example.test NSEC denial-ttl",
        ],
    );
    check_nsec(
        |zone| {
            let rdata = zone.set("www", T::NSEC).rdata.first().to_vec();
            zone.records("ns.insecure", T::NSEC, vec![rdata]);
            zone.set("ns.insecure", T::NSEC).ttl_s = 60;
        },
        &["error ns.insecure.example.test NSEC nsec-extra"],
    );
}

#[test]
fn the_nsec3_chain_is_whole() {
    use RecordType as T;
    for (denial, owner, is_error) in [
        (Denial::Nsec3, "www", true),
        (Denial::Nsec3, "er.ent2", true),
        (Denial::Nsec3, "insecure", true),
        (Denial::Nsec3, "entcut", true),
        (Denial::OptOut, "www", true),
        (Denial::OptOut, "er.ent2", true),
    ] {
        let mut zone = sign(Signer::Knot, denial);
        let hash = zone.hash_of(owner);
        zone.remove(&hash, T::NSEC3);
        zone.remove(&hash, T::RRSIG);
        let found = zone.found();
        let missing = format!("error {owner}.{APEX} NSEC3 nsec3-missing");
        assert_eq!(found.contains(&missing), is_error, "{denial:?} {owner}: {found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|text| text.ends_with("nsec3-next")), "{found:?}");
    }
    let mut zone = sign(Signer::Bind, Denial::Nsec3);
    let hash = zone.hash_of("www");
    zone.change(&hash, T::NSEC3, |rdata| *rdata.last_mut().unwrap() ^= 1);
    let expected =
        [format!("error {hash} NSEC3 signature-bad"), format!("error {hash} NSEC3 nsec3-types")];
    assert_eq!(zone.found(), expected);
    // A name that is gone, but not its record.
    let mut zone = sign(Signer::Bind, Denial::Nsec3);
    let hash = zone.hash_of("mail");
    zone.remove("mail", T::A);
    zone.remove("mail", T::RRSIG);
    let found = zone.found();
    assert!(found.contains(&format!("error {hash} NSEC3 nsec3-extra")), "{found:?}");
    assert!(found.contains(&"warning example.test MX host-no-address".to_owned()), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn nsec3_parameters_are_those_of_the_records() {
    use RecordType as T;
    let mut zone = sign(Signer::Bind, Denial::Nsec3);
    zone.put("@", T::NSEC3PARAM, "1 0 5 aabb");
    let report = zone.check();
    let records = zone.rrsets.iter().filter(|set| set.rtype == T::NSEC3).count() as u64;
    assert_eq!(report.counts.get("nsec3-params-differ"), Some(&records));
    let found = zone.found();
    assert!(found.contains(&"warning example.test NSEC3PARAM nsec3-iterations".to_owned()));
    assert!(found.contains(&"warning example.test NSEC3PARAM nsec3-salt".to_owned()));
    zone.put("@", T::NSEC3PARAM, "1 0 65535 -");
    assert!(
        zone.found()
            .contains(&"error example.test NSEC3PARAM nsec3-iterations-too-many".to_owned())
    );
    zone.remove("@", T::NSEC3PARAM);
    assert!(zone.found().contains(&"error example.test NSEC3PARAM nsec3-no-param".to_owned()));
    let mut zone = sign(Signer::Bind, Denial::Nsec3);
    zone.put("www", T::NSEC, "x.test. A");
    assert!(zone.found().contains(&"error example.test NSEC mixed-denial".to_owned()));
    let mut zone = sign(Signer::Bind, Denial::Nsec3);
    zone.rrsets.retain(|set| !matches!(set.rtype, T::NSEC3 | T::NSEC3PARAM));
    assert!(zone.found().contains(&"error example.test NSEC no-denial".to_owned()));
}

#[test]
fn keys_and_ds_records_match() {
    use RecordType as T;
    let other = vec![[&[0x12, 0x34, 13, 2][..], &[7; 32]].concat()];
    check_nsec(|zone| zone.ds = other.clone(), &["error example.test DS ds-no-dnskey"]);
    check_nsec(|zone| zone.ds.extend(other.clone()), &["warning example.test DS ds-no-dnskey"]);
    check_nsec(|zone| zone.ds.clear(), &["warning example.test DS no-ds"]);
    // The key that the parent vouches for does not sign the keys.
    check_nsec(
        |zone| zone.sigs("@", T::DNSKEY, |_| None),
        &[
            "error example.test DS ds-key-not-signing",
            "error example.test DNSKEY dnskey-not-signed",
        ],
    );
    let mut zone = sign(Signer::Bind, Denial::Nsec);
    zone.remove("@", T::DNSKEY);
    let found = zone.found();
    for code in ["DNSKEY no-dnskey", "NS key-missing", "DS ds-no-dnskey"] {
        assert!(found.contains(&format!("error {APEX} {code}")), "{code}: {found:?}");
    }
}

#[test]
fn cds_and_cdnskey_records_are_of_the_keys() {
    use RecordType as T;
    let zone = || sign(Signer::Knot, Denial::Nsec);
    let mut other = zone();
    other.change("@", T::CDS, |rdata| rdata[0] ^= 1);
    assert_eq!(
        other.found(),
        [
            "error example.test CDS signature-bad",
            "error example.test CDS cds-no-dnskey",
            "error example.test CDS cds-cdnskey-differ",
            "warning example.test CDS cds-unknown-key",
        ]
    );
    let mut deleted = zone();
    deleted.put("@", T::CDS, "0 0 0 00");
    deleted.put("@", T::CDNSKEY, "0 3 0 AA==");
    let found = deleted.found();
    assert!(
        found
            .iter()
            .all(|text| text.ends_with("signature-bad") || text.ends_with("original-ttl-differs")),
        "{found:?}"
    );
    let mut misplaced = zone();
    misplaced.put("www", T::CDS, "0 0 0 00");
    assert!(misplaced.found().contains(&"error www.example.test CDS cds-not-at-apex".to_owned()));
}

#[test]
fn a_zones_digest_is_that_of_the_zone() {
    use RecordType as T;
    let mut zone = sign(Signer::Ldns, Denial::Nsec3);
    // Below a cut no signature covers it, but the digest does.
    zone.put("ns.insecure", T::A, "192.0.2.99");
    assert_eq!(zone.found(), ["error example.test ZONEMD zonemd-differs"; 2]);
    let mut zone = sign(Signer::Ldns, Denial::Nsec);
    zone.change("@", T::SOA, |rdata| {
        let serial_at = rdata.len() - 17;
        rdata[serial_at] += 1;
    });
    let found = zone.found();
    assert_eq!(found.iter().filter(|text| text.ends_with("zonemd-serial")).count(), 2, "{found:?}");
    assert_eq!(found.len(), 5, "the SOA's signature, two serials, two digests: {found:?}");
}
