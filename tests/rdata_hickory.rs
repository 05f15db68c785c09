//! The RDATA codec against hickory-proto's: the same text makes the same wire form, and wire form
//! read and written by hickory-proto is what it was.

use aspen_dns::name::Name;
use aspen_dns::record::{RecordType, rdata};
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{
    BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding,
};

/// Presentation forms of every type that hickory-proto parses.
const SAMPLES: &[(RecordType, &str)] = &[
    (RecordType::A, "192.0.2.1"),
    (RecordType::AAAA, "2001:db8::53:1"),
    (RecordType::NS, "ns1.example.com."),
    (RecordType::CNAME, "www.example.com."),
    (RecordType::PTR, "host.example.com."),
    (RecordType::SOA, "ns1.example. hostmaster.example. 2024010101 7200 3600 1209600 300"),
    (RecordType::MX, "10 mail.example.com."),
    (RecordType::MX, "0 ."),
    (RecordType::TXT, "\"v=spf1 -all\" \"second string\""),
    (RecordType::HINFO, "\"PDP-11\" \"UNIX V7\""),
    (RecordType::SRV, "10 5 5060 sip.example.com."),
    (
        RecordType::NAPTR,
        "100 10 \"S\" \"SIP+D2U\" \"!^.*$!sip:a@example.com!\" _sip._udp.example.com.",
    ),
    (RecordType::CAA, "0 issue \"ca.example.net\""),
    (RecordType::CAA, "128 issuewild \";\""),
    (RecordType::CERT, "1 12345 8 aGVsbG8="),
    (RecordType::CSYNC, "66 3 A NS AAAA"),
    (RecordType::OPENPGPKEY, "aGVsbG8gd29ybGQ="),
    (RecordType::SSHFP, "4 2 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"),
    (RecordType::TLSA, "3 1 1 abababababababababababababababababababababababababababababababab"),
    (RecordType::SMIMEA, "3 0 1 efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"),
    (RecordType::SVCB, "16 svc.example. mandatory=port port=8443"),
    (RecordType::HTTPS, "1 . alpn=\"h2,h3\" ipv4hint=192.0.2.9 ipv6hint=2001:db8::1"),
];

/// Returns the RDATA that hickory-proto writes.
fn encode(data: &RData) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).expect("a parsed record is encoded");
    octets
}

#[test]
fn text_makes_the_wire_form_that_hickory_makes() {
    for (rtype, text) in SAMPLES {
        let ours = rdata::parse(*rtype, text, &Name::root()).expect(text);
        let theirs = RData::try_from_str(rtype.0.into(), text).expect(text);
        assert_eq!(ours, encode(&theirs), "{rtype} {text}");
    }
}

#[test]
fn wire_form_is_what_hickory_reads_and_writes() {
    for (rtype, text) in SAMPLES {
        let rdata = rdata::parse(*rtype, text, &Name::root()).expect(text);
        let len = u16::try_from(rdata.len()).expect("samples are short").to_be_bytes();
        let header = [&[0][..], &rtype.0.to_be_bytes(), &[0, 1, 0, 0, 0, 9], &len].concat();
        let octets = [header, rdata.clone()].concat();
        let record = Record::read(&mut BinDecoder::new(&octets)).expect(text);
        assert!(!matches!(record.data, RData::Unknown { .. }), "{rtype} is known to hickory");
        assert_eq!(encode(&record.data), rdata, "{rtype} {text}");
    }
}
