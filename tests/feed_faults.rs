//! What an edge makes of a namespace that holds bad entries, or is another system's.
//!
//! A bad entry is counted and complained of; the rest applies. The namespaces are written here
//! entry by entry, as a faulty exporter would.

mod feed;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::feed::Revision;
use aspen_dns::feed::beat::FeedHeader;
use aspen_dns::feed::items::ItemRef;
use aspen_dns::feed::key;
use aspen_dns::feed::manifest::{Manifest, PackKind, PackRef, ZoneMode};
use aspen_dns::feed::pack::PackWriter;
use aspen_dns::lookup::Outcome;
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::publish::stage::Rank;
use aspen_dns::record::{RecordType, Rrset, Soa};
use aspen_dns::replica::{AspenDnsClient, spawn_dns_sync_listener};
use aspen_dns::ticket::DnsClientTicket;
use aspen_dns::zone::build;
use feed::{Authority, Edge, PATIENCE, a, address, name, wait_until};
use iroh_blobs::Hash;
use iroh_docs::AuthorId;
use iroh_docs::api::Doc;

/// A namespace that a test writes entry by entry.
struct RawFeed {
    /// The peer that serves it.
    mesh: Mesh,
    /// The namespace.
    doc: Doc,
    /// Who writes it.
    author: AuthorId,
}

impl RawFeed {
    /// Begins with nothing in it.
    async fn start() -> Self {
        let mesh = Mesh::start(MeshConfig::default()).await.expect("a mesh");
        let doc = mesh.docs().create().await.expect("a namespace");
        let author = mesh.docs().author_default().await.expect("an author");
        doc.start_sync(Vec::new()).await.expect("served");
        Self { mesh, doc, author }
    }

    /// The ticket of the feed.
    fn ticket(&self) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: "raw".to_owned(),
            namespace: *self.doc.id().as_bytes(),
            author: *self.author.as_bytes(),
            peers: vec![self.mesh.own_peer()],
            zone_filter: None,
        }
    }

    /// Writes an entry.
    async fn put(&self, key: &[u8], value: Vec<u8>) {
        self.doc.set_bytes(self.author, key.to_vec(), value).await.expect("written");
    }

    /// Writes the header.
    async fn put_header(&self) {
        let header = FeedHeader { cluster_id: "raw".to_owned(), epoch: 1, term: 1 };
        self.put(&key::terminate(key::HEADER_KEY), header.to_octets()).await;
    }

    /// Writes a zone of one pack; `alter` may spoil the pack before its entry is written.
    async fn put_zone(&self, apex: &str, rrsets: &[Rrset], alter: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let octets = alter(pack(apex, rrsets));
        self.put(&key::terminate(&key::pack_key(&name(apex), 0)), octets.clone()).await;
        self.put_manifest(apex, &octets, *Hash::new(&octets).as_bytes()).await;
    }

    /// Writes a manifest that names one pack.
    async fn put_manifest(&self, apex: &str, octets: &[u8], hash: [u8; 32]) {
        let pack = PackRef {
            number: 0,
            hash,
            len: octets.len() as u32,
            rrset_count: 1,
            kind: PackKind::Base,
            first_owner: name(apex),
        };
        let manifest = Manifest {
            apex: name(apex),
            mode: ZoneMode::Served,
            revision: Revision::new(1, 1),
            serial: 1,
            name_count: 2,
            settings: Vec::new(),
            packs: vec![pack],
        };
        let octets = manifest.to_octets().expect("a manifest");
        self.put(&key::terminate(&key::zone_key(&name(apex))), octets).await;
    }
}

/// Writes a base pack.
fn pack(apex: &str, rrsets: &[Rrset]) -> Vec<u8> {
    let mut writer = PackWriter::base(name(apex));
    for rrset in rrsets {
        writer.push(ItemRef::Put(rrset.as_ref())).expect("in order");
    }
    writer.finish()
}

/// A zone of an SOA and one host.
fn zone(apex: &str, octet: u8) -> Vec<Rrset> {
    let rdata = Soa { serial: 1, ..Soa::default() }.to_rdata();
    let soa = Rrset::new(name(apex), RecordType::SOA, 60, [rdata]).expect("an SOA");
    vec![soa, a(&format!("www.{apex}"), octet)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_entry_is_counted_and_the_other_zones_are_served() {
    let feed = RawFeed::start().await;
    feed.put_header().await;
    feed.put(b"dns:_zone:garbage.example\0", b"not a manifest".to_vec()).await;
    feed.put(b"dns:_what:x\0", b"no kind".to_vec()).await;
    feed.put(b"dns:_live:x.example\0zz\0", b"no revision".to_vec()).await;
    let spoil = |mut octets: Vec<u8>| {
        let at = octets.len() / 2;
        octets.truncate(at);
        octets
    };
    feed.put_zone("spoiled.example", &zone("spoiled.example", 1), spoil).await;
    feed.put_zone("good.example", &zone("good.example", 2), |octets| octets).await;
    let edge = Edge::start(&feed.ticket()).await;
    edge.wait_address("www.good.example", 2).await;
    wait_until("four refusals", || {
        let stats = edge.client.stats().sync;
        stats.refused >= 3 && stats.refused + stats.build_failures >= 4
    })
    .await;
    edge.wait_outcome("www.spoiled.example", &Outcome::NotOurs).await;
    feed.put_zone("late.example", &zone("late.example", 3), |octets| octets).await;
    edge.wait_address("www.late.example", 3).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_another_author_change_nothing() {
    let feed = RawFeed::start().await;
    feed.put_header().await;
    feed.put_zone("good.example", &zone("good.example", 1), |octets| octets).await;
    let stranger = feed.mesh.docs().author_create().await.expect("an author");
    let stranger_feed = RawFeed { mesh: feed.mesh, doc: feed.doc.clone(), author: stranger };
    stranger_feed.put_zone("good.example", &zone("good.example", 9), |octets| octets).await;
    stranger_feed.put_zone("bad.example", &zone("bad.example", 9), |octets| octets).await;
    let ticket = DnsClientTicket { author: *feed.author.as_bytes(), ..stranger_feed.ticket() };
    let edge = Edge::start(&ticket).await;
    edge.wait_address("www.good.example", 1).await;
    wait_until("the stranger is counted", || edge.client.stats().sync.foreign_authors >= 4).await;
    let found = edge.client.resolve(&name("www.bad.example"), RecordType::A);
    assert_eq!(found.outcome, Outcome::NotOurs);
    assert_eq!(edge.client.lookup_a(&name("www.good.example")), [address(1)]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_nobody_has_is_asked_for_until_it_comes() {
    let feed = RawFeed::start().await;
    feed.put_header().await;
    let octets = pack("late.example", &zone("late.example", 1));
    feed.put_manifest("late.example", &octets, *Hash::new(&octets).as_bytes()).await;
    feed.put_zone("good.example", &zone("good.example", 2), |octets| octets).await;
    let edge = Edge::start(&feed.ticket()).await;
    edge.wait_address("www.good.example", 2).await;
    wait_until("it was asked for", || edge.client.stats().sync.fetch_failures >= 2).await;
    assert!(!edge.client.status().is_synced());
    let key = key::terminate(&key::pack_key(&name("late.example"), 0));
    feed.put(&key, octets).await;
    edge.wait_address("www.late.example", 1).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_in_the_original_form_is_served() {
    let feed = RawFeed::start().await;
    let zone = br#"{"name":"example.com","enabled":true,"default_ttl":3600,"metadata":{"serial":1,"last_modified_ms":0,"description":null}}"#;
    feed.put(b"dns:_zone:example.com", zone.to_vec()).await;
    let record = br#"{"domain":"www.example.com","ttl_seconds":300,"data":{"type":"A","addresses":["192.0.2.7"]},"updated_at_ms":1766800000000}"#;
    feed.put(b"dns:www.example.com:A", record.to_vec()).await;
    feed.put(b"dns:bad.example.com:A", b"{".to_vec()).await;
    let ticket = DnsClientTicket { author: [0; 32], ..feed.ticket() };
    let edge = Edge::start(&ticket).await;
    edge.wait_address("www.example.com", 7).await;
    let record = record.to_vec();
    let text = String::from_utf8(record).expect("text").replace("192.0.2.7", "192.0.2.8");
    feed.put(b"dns:www.example.com:A", text.into_bytes()).await;
    edge.wait_address("www.example.com", 8).await;
    feed.put(b"dns:www.example.com:A", vec![0]).await;
    edge.wait_outcome("www.example.com", &Outcome::NoName).await;
    wait_until("the bad record is counted", || edge.client.stats().sync.refused >= 1).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_with_a_part_of_the_zones_has_no_other_in_its_namespace() {
    let config = aspen_dns::export::FeedConfig {
        name: "partner".to_owned(),
        zones: Some(vec![name("one.example")]),
        ..Default::default()
    };
    let authority = Authority::start_with(config).await;
    authority.create_zone("two.example").await;
    authority.create_zone("one.example").await;
    authority.set(a("www.two.example", 1)).await;
    let revision = authority.set(a("www.one.example", 2)).await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.wait_address("www.one.example", 2).await;
    edge.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    let found = edge.client.resolve(&name("www.two.example"), RecordType::A);
    assert_eq!(found.outcome, Outcome::NotOurs);
    assert_eq!(edge.client.stats().sync.filtered, 0, "nothing was there to be left out");
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_own_zones_stand_before_the_synced_ones() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    authority.set(a("www.example", 1)).await;
    authority.create_zone("fixed.example").await;
    let ticket = authority.ticket();
    let mesh = Mesh::start(MeshConfig::default()).await.expect("a mesh");
    let client = AspenDnsClient::builder()
        .ticket(ticket.clone())
        .static_zone(name("fixed.example"), zone("fixed.example", 9))
        .build()
        .expect("a client");
    assert_eq!(client.lookup_a(&name("www.fixed.example")), [address(9)], "before any peer");
    let listener = spawn_dns_sync_listener(std::sync::Arc::clone(&client), &mesh, &ticket).await;
    let (stop, task) = listener.expect("the listener starts");
    client.wait_synced(PATIENCE).await.expect("synced");
    assert_eq!(client.lookup_a(&name("www.example")), [address(1)]);
    assert_eq!(client.lookup_a(&name("www.fixed.example")), [address(9)]);
    // One that is published later covers the feed's at once, which goes on behind it.
    let own = |octet| {
        let built = build(name("example"), client.stage().catalog().seed(), zone("example", octet));
        CatalogChange::Put(std::sync::Arc::new(built.expect("a zone")))
    };
    client.stage().publish(Rank::File, vec![own(7)]);
    assert_eq!(client.lookup_a(&name("www.example")), [address(7)]);
    let revision = authority.set(a("www.example", 2)).await;
    client.wait_revision(revision, PATIENCE).await.expect("the revision");
    assert_eq!(client.lookup_a(&name("www.example")), [address(7)]);
    client.stage().publish(Rank::File, vec![CatalogChange::Remove(name("example"))]);
    assert_eq!(client.lookup_a(&name("www.example")), [address(2)]);
    stop.cancel();
    task.await.expect("ends well");
    mesh.shutdown().await;
    authority.stop().await;
}
