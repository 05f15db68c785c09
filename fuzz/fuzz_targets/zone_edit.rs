//! A zone that was edited holds and answers what one built of the same RRsets does.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use aspen_dns::answer::oracle::sample::{Draw, soa};
use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::name::Name;
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::responder::{Peer, Responder, Transport};
use aspen_dns::zone::{HashSeed, Zone, build};
use libfuzzer_sys::fuzz_target;

/// The seed of hashes.
const SEED: HashSeed = HashSeed(1);

/// RRsets by owner and type.
type Model = BTreeMap<(Name, RecordType), Rrset>;

/// Returns the replies of a zone to questions for each name and for one below it.
fn replies(zone: &Zone, names: &[Name]) -> Vec<Vec<u8>> {
    let put = vec![CatalogChange::Put(Arc::new(zone.clone()))];
    let catalog = Catalog::new(SEED).with_changes(put);
    let below = names.iter().filter_map(|name| name.with_label(b"x").ok());
    let mut replies = Vec::new();
    for name in names.iter().cloned().chain(below) {
        for qtype in [1_u16, 43] {
            let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
            packet.extend_from_slice(name.as_wire());
            packet.extend_from_slice(&qtype.to_be_bytes());
            packet.extend_from_slice(&[0, 1, 0, 0, 41, 0, 0, 0, 0, 0x80, 0, 0, 0]);
            let (mut reply, peer) = (Vec::new(), Peer::in_process(Transport::Tcp));
            Responder::default().respond(&catalog, &packet, &peer, &mut reply);
            replies.push(reply);
        }
    }
    replies
}

fuzz_target!(|octets: &[u8]| {
    let mut draw = Draw::new(octets);
    let apex = Name::from_text("example").expect("a name");
    let soa = soa(&apex, 300).expect("an SOA");
    let mut model = Model::new();
    model.insert((apex.clone(), RecordType::SOA), soa.clone());
    let mut zone = build(apex.clone(), SEED, vec![soa]).expect("a zone");
    while !draw.is_empty() {
        let changes: Vec<Change> = (0..=draw.below(6)).filter_map(|_| draw.change(&apex)).collect();
        for change in &changes {
            let key = (change.owner().clone(), change.rtype());
            match change {
                Change::Put(rrset) => model.insert(key, rrset.clone()),
                Change::Delete { .. } => model.remove(&key),
            };
        }
        let (next, report) = zone.edit(&changes);
        assert_eq!(report.refused, vec![]);
        zone = next;
    }
    let rebuilt = build(apex, SEED, model.values().cloned().collect()).expect("a zone");
    let sorted = |zone: &Zone| {
        let mut all: Vec<Rrset> = zone.rrsets().collect();
        all.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
        all
    };
    assert_eq!(sorted(&zone), model.values().cloned().collect::<Vec<_>>());
    assert_eq!(zone.name_count(), rebuilt.name_count());
    assert_eq!(zone.rrset_count(), rebuilt.rrset_count());
    assert_eq!(zone.record_count(), rebuilt.record_count());
    let names: Vec<Name> = model.keys().map(|key| key.0.clone()).collect();
    assert_eq!(replies(&zone, &names), replies(&rebuilt, &names));
});
