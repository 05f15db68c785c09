//! Every kind of proof in our answers, validated by delv with the zone's own key as trust anchor.

use std::path::Path;
use std::sync::Arc;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::Publisher;
use aspen_dns::record::master::{MasterOptions, read_zone};
use aspen_dns::serve::{DnsProtocolServer, RunningServer};
use aspen_dns::zone::{HashSeed, Zone, build};

use crate::delv::Delv;
use crate::signers::{self, Denial, Signer};

/// The zone that is asked about.
pub(crate) const APEX: &str = "example.test";
/// Its records, the DS records of `secure` aside.
pub(crate) const ZONE: &str = "\
$TTL 300
@ SOA ns hostmaster 7 3600 600 86400 60
@ NS ns
@ MX 10 mail
@ TXT \"apex\"
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail A 192.0.2.2
www A 192.0.2.3
www TXT \"w w w\"
a.ent A 192.0.2.4
deep.er.ent2 TXT \"deep\"
*.wild TXT \"wild\"
*.wild A 192.0.2.5
here.wild A 192.0.2.6
*.walias CNAME www
alias CNAME www
chain CNAME alias
toapex CNAME @
tonx CNAME nx
tonodata CNAME mail
towild CNAME x.wild
tosecure CNAME www.secure
toinsecure CNAME www.insecure
moved DNAME new
host.new A 192.0.2.7
movedagain DNAME moved
a\\.b A 192.0.2.8
sp\\032ace\\000 A 192.0.2.9
A-Upper.Case A 192.0.2.10
par\\(en\\;thesis TXT \"x\"
secure NS ns.secure
ns.secure A 192.0.2.11
insecure NS ns.insecure
ns.insecure A 192.0.2.12
nothere NS ns.other.test.
x.entcut NS ns.other.test.
";
/// The records of the two child zones.
const CHILD: &str = "\
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.11
www A 192.0.2.20
*.w TXT \"w\"
";

/// Questions about [`ZONE`], and what the validator has to say of the answer.
///
/// The fourth is for a zone with opt-out where that makes a difference: a span with the flag proves
/// only that there is no signed delegation, so what needs such a proof is not secure (RFC 5155
/// section 9.2). All spans of our three signers have the flag.
///
/// RRSIG is no type that delv asks for: it waits until it gives up.
const QUESTIONS: &[(&str, &str, &str, &str)] = &[
    // Positive answers.
    ("www", "A", "secure", ""),
    ("www", "TXT", "secure", ""),
    ("www", "ANY", "secure", ""),
    ("@", "SOA", "secure", ""),
    ("@", "NS", "secure", ""),
    ("@", "MX", "secure", ""),
    ("@", "DNSKEY", "secure", ""),
    ("@", "ANY", "secure", ""),
    // NODATA, at names and at empty non-terminals.
    ("www", "AAAA", "secure NODATA", ""),
    ("@", "AAAA", "secure NODATA", ""),
    ("ent", "A", "secure NODATA", ""),
    ("er.ent2", "TXT", "secure NODATA", ""),
    ("ent2", "A", "secure NODATA", ""),
    ("entcut", "A", "secure NODATA", ""),
    ("wild", "A", "secure NODATA", ""),
    // NXDOMAIN.
    ("nx", "A", "secure NXDOMAIN", ""),
    ("a.b.c.nx", "A", "secure NXDOMAIN", ""),
    ("nx.www", "A", "secure NXDOMAIN", ""),
    ("x.ent", "A", "secure NXDOMAIN", ""),
    ("x.here.wild", "A", "secure NXDOMAIN", ""),
    ("zzz", "A", "secure NXDOMAIN", ""),
    // Wildcards.
    ("x.wild", "A", "secure", "insecure"),
    ("a.b.wild", "TXT", "secure", "insecure"),
    ("x.wild", "ANY", "secure", "insecure"),
    ("*.wild", "A", "secure", ""),
    ("x.wild", "MX", "secure NODATA", ""),
    ("here.wild", "TXT", "secure NODATA", ""),
    ("x.walias", "A", "secure", "insecure + secure"),
    ("x.walias", "MX", "secure NODATA", "insecure + secure NODATA"),
    ("x.walias", "CNAME", "secure", "insecure"),
    // Aliases, to each kind of end.
    ("alias", "A", "secure", ""),
    ("chain", "A", "secure", ""),
    ("chain", "CNAME", "secure", ""),
    ("toapex", "MX", "secure", ""),
    ("alias", "AAAA", "secure NODATA", ""),
    ("tonodata", "TXT", "secure NODATA", ""),
    ("tonx", "A", "secure NXDOMAIN", ""),
    ("towild", "A", "secure", "secure + insecure"),
    ("towild", "MX", "secure NODATA", ""),
    ("tosecure", "A", "secure", ""),
    ("tosecure", "AAAA", "secure NODATA", ""),
    ("toinsecure", "A", "secure + insecure", ""),
    ("moved", "DNAME", "secure", ""),
    ("moved", "TXT", "secure NODATA", ""),
    ("host.moved", "A", "secure", ""),
    ("host.moved", "AAAA", "secure NODATA", ""),
    ("nx.moved", "A", "secure NXDOMAIN", ""),
    ("host.movedagain", "A", "secure", ""),
    // Names with escapes.
    ("a\\.b", "A", "secure", ""),
    ("sp\\032ace\\000", "A", "secure", ""),
    ("a-upper.case", "A", "secure", ""),
    ("par\\(en\\;thesis", "TXT", "secure", ""),
    ("a\\.c", "A", "secure NXDOMAIN", ""),
    ("\\000\\001", "A", "secure NXDOMAIN", ""),
    // Delegations, secure and not.
    ("secure", "DS", "secure", ""),
    ("secure", "NS", "secure", ""),
    ("www.secure", "A", "secure", ""),
    ("nx.secure", "A", "secure NXDOMAIN", ""),
    ("x.w.secure", "TXT", "secure", "insecure"),
    ("insecure", "DS", "secure NODATA", ""),
    ("nothere", "DS", "secure NODATA", ""),
    ("x.entcut", "DS", "secure NODATA", ""),
    ("insecure", "NS", "insecure", ""),
    ("www.insecure", "A", "insecure", ""),
    ("nx.insecure", "A", "insecure NXDOMAIN", ""),
];

/// A zone and its two children, served.
struct Served {
    /// The server.
    server: RunningServer,
    /// The validator.
    delv: Delv,
    /// Where the files are.
    _dir: tempfile::TempDir,
}

/// Signs the zones and serves them.
fn serve(signer: Signer, denial: Denial) -> Served {
    serve_changed(signer, denial, str::to_owned)
}

/// Signs the zones and serves them, [`ZONE`] with a change that the signer did not see.
fn serve_changed(signer: Signer, denial: Denial, change: fn(&str) -> String) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let child = signers::sign(signer, denial, dir.path(), "secure.example.test", CHILD);
    let text = format!("{ZONE}{}", signers::ds(&child, "secure.example.test"));
    let parent = signers::sign(signer, denial, dir.path(), APEX, &text);
    let signed = std::fs::read_to_string(&parent).unwrap();
    std::fs::write(&parent, change(&signed)).unwrap();
    let plain = dir.path().join("insecure");
    std::fs::write(&plain, CHILD).unwrap();
    let publisher = Publisher::new(HashSeed(1));
    let zones = [
        read(&parent, APEX),
        read(&child, "secure.example.test"),
        read(&plain, "insecure.example.test"),
    ];
    publisher.publish(zones.map(|zone| CatalogChange::Put(Arc::new(zone))).into());
    let server = DnsProtocolServer::builder(publisher.reader())
        .udp_tcp("127.0.0.1:0".parse().unwrap())
        .workers(1)
        .bind()
        .unwrap()
        .start()
        .unwrap();
    let delv = Delv::new(dir.path(), server.addrs()[0], APEX, &signers::ds(&parent, APEX));
    Served { server, delv, _dir: dir }
}

/// Reads a master file as the node does.
fn read(path: &Path, apex: &str) -> Zone {
    let (text, origin) = (std::fs::read(path).unwrap(), Name::from_text(apex).unwrap());
    let options = MasterOptions { file: path.display().to_string(), ..MasterOptions::default() };
    let master = read_zone(&text, &origin, options, &mut |_| {}).unwrap();
    assert_eq!(master.warnings.count, 0, "{:?}", master.warnings);
    build(master.apex, HashSeed(1), master.rrsets).unwrap()
}

/// Asks everything of a signer's three zones.
fn check(signer: Signer) {
    for denial in [Denial::Nsec, Denial::Nsec3, Denial::OptOut] {
        let served = serve(signer, denial);
        // The chain's own records are data as well.
        let is_nsec = denial == Denial::Nsec;
        let own = |is_there: bool| if is_there { "secure" } else { "secure NODATA" };
        let chain = [("www", "NSEC", own(is_nsec), ""), ("@", "NSEC3PARAM", own(!is_nsec), "")];
        let mut wrong = Vec::new();
        for &(owner, qtype, expected, opt_out) in QUESTIONS.iter().chain(&chain) {
            let expected = match denial {
                Denial::OptOut if !opt_out.is_empty() => opt_out,
                _ => expected,
            };
            let qname = match owner {
                "@" => format!("{APEX}."),
                owner => format!("{owner}.{APEX}."),
            };
            let said = served.delv.judge(&qname, qtype);
            if said != expected {
                wrong.push(format!("{qname} {qtype}: {said}, expected {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{signer:?} {denial:?}:\n{}", wrong.join("\n"));
        served.server.shutdown().unwrap();
    }
}

#[test]
fn delv_validates_every_kind_of_proof_in_zones_that_bind_signed() {
    check(Signer::Bind);
}

#[test]
fn delv_validates_every_kind_of_proof_in_zones_that_knot_signed() {
    check(Signer::Knot);
}

#[test]
fn delv_validates_every_kind_of_proof_in_zones_that_ldns_signed() {
    check(Signer::Ldns);
}

#[test]
fn delv_refuses_what_was_changed_after_it_was_signed() {
    let served =
        serve_changed(Signer::Bind, Denial::Nsec, |text| text.replace("192.0.2.3", "192.0.2.33"));
    assert_eq!(served.delv.judge("www.example.test.", "A"), "RRSIG failed to verify");
    assert_eq!(served.delv.judge("mail.example.test.", "A"), "secure");
    served.server.shutdown().unwrap();
}
