//! A record set in the store of one node is answered from the catalog of another.
//!
//! Everything is real here: redb, iroh-docs, QUIC over the loopback address; no relay and no
//! discovery. Waits are on conditions, with a bound.

mod feed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aspen_dns::lookup::Outcome;
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::record::RecordType;
use aspen_dns::replica::{AspenDnsClient, ListenerError, spawn_dns_sync_listener};
use aspen_dns::store::{Batch, Operation};
use aspen_dns::sync::status::SyncStatus;
use iroh::endpoint::{Connection, ConnectionError, Endpoint, RelayMode, presets};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh_blobs::ALPN as BLOBS_ALPN;

use feed::{Authority, Edge, PATIENCE, a, address, name, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_set_in_the_store_is_answered_by_an_edge_and_by_one_behind_it() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    authority.set(a("www.example", 1)).await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.wait_address("www.example", 1).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    let behind = Edge::start(&edge.ticket(&authority)).await;
    behind.wait_address("www.example", 1).await;

    let revision = authority.set(a("www.example", 2)).await;
    edge.wait_address("www.example", 2).await;
    behind.wait_address("www.example", 2).await;
    behind.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    edge.client.wait_revision(revision, PATIENCE).await.expect("the revision");

    authority.store.delete_record(&name("www.example"), RecordType::A).await.expect("deleted");
    edge.wait_outcome("www.example", &Outcome::NoName).await;
    behind.wait_outcome("www.example", &Outcome::NoName).await;
    assert_eq!(behind.client.stats().records_refused, 0);
    assert_eq!(behind.client.stats().sync.refused, 0);
    behind.stop().await;
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_many_records_arrives_whole_live_or_as_a_pack() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    for (round, count) in [(1_u8, 3_u32), (2, 200), (3, 3_000)] {
        let put = |index| Operation::PutRrset(a(&format!("h{index}.example"), round));
        let operations = (0..count).map(put).collect();
        let batch = Batch { operations, preconditions: Vec::new() };
        let committed = authority.store.apply(batch).await.expect("a commit");
        let waited = edge.client.wait_revision(committed.revision, PATIENCE).await;
        waited.unwrap_or_else(|error| panic!("{count} records: {error}"));
        for index in [0, count / 2, count - 1] {
            let found = edge.client.lookup_a(&name(&format!("h{index}.example")));
            assert_eq!(found, [address(round)], "h{index} of {count}");
        }
    }
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_come_and_go_and_a_disabled_one_is_not_served() {
    let authority = Authority::start().await;
    authority.create_zone("one.example").await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.wait_outcome("one.example", &Outcome::NoData).await;
    authority.create_zone("two.example").await;
    authority.set(a("www.two.example", 1)).await;
    edge.wait_address("www.two.example", 1).await;

    authority.set_enabled("two.example", false).await;
    edge.wait_outcome("www.two.example", &Outcome::NotOurs).await;
    authority.set_enabled("two.example", true).await;
    edge.wait_address("www.two.example", 1).await;

    authority.store.delete_zone(&name("one.example")).await.expect("deleted");
    edge.wait_outcome("one.example", &Outcome::NotOurs).await;
    edge.wait_address("www.two.example", 1).await;
    authority.create_zone("one.example").await;
    edge.wait_outcome("one.example", &Outcome::NoData).await;
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_edge_answers_from_its_disk_with_no_peer() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    authority.set(a("www.example", 1)).await;
    let ticket = authority.ticket();
    let edge = Edge::start(&ticket).await;
    edge.wait_address("www.example", 1).await;
    let revision = authority.set(a("www.example", 2)).await;
    edge.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    let dir = edge.stop().await;
    authority.stop().await;

    let edge = Edge::start_in(dir, &ticket).await;
    edge.wait_address("www.example", 2).await;
    assert_ne!(edge.client.status(), SyncStatus::Synced, "nobody has spoken");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_exporter_writes_only_what_is_missing() {
    let mut authority = Authority::start().await;
    authority.create_zone("example").await;
    authority.create_zone("other.example").await;
    let edge = Edge::start(&authority.ticket()).await;
    let revision = authority.set(a("www.example", 1)).await;
    edge.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    authority.wait_exported(revision).await;

    authority.restart_exporter().await;
    authority.wait_exported(revision).await;
    let status = *authority.exporter.status().borrow();
    assert_eq!((status.versions_written, status.octets_written), (0, 0), "{status:?}");

    authority.stop_exporter().await;
    authority.set(a("www.example", 2)).await;
    authority.store.delete_zone(&name("other.example")).await.expect("deleted");
    let revision = authority.create_zone("third.example").await;
    authority.restart_exporter().await;
    edge.wait_address("www.example", 2).await;
    edge.wait_outcome("other.example", &Outcome::NoName).await;
    edge.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    authority.wait_exported(revision).await;
    let status = *authority.exporter.status().borrow();
    assert!(status.octets_written < 4_096, "one removed, one new, one changed: {status:?}");
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_commits_is_neither_lost_nor_doubled() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u32 {
        let store = std::sync::Arc::clone(&authority.store);
        writers.spawn(async move {
            let mut revision = 0;
            for index in 0..250_u32 {
                let record = a(&format!("w{writer}-{index}.example"), writer as u8 + 1);
                revision = store.set_record(record).await.expect("a commit");
            }
            revision
        });
    }
    let revisions = writers.join_all().await;
    let revision = revisions.into_iter().max().expect("eight writers");
    edge.client.wait_revision(revision, PATIENCE).await.expect("the last revision");
    for writer in 0..8_u32 {
        for index in 0..250_u32 {
            let owner = name(&format!("w{writer}-{index}.example"));
            assert_eq!(edge.client.lookup_a(&owner), [address(writer as u8 + 1)], "{owner}");
        }
    }
    tokio::time::timeout(Duration::from_secs(5), edge.stop()).await.expect("ends soon");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_edge_has_no_zone_before_the_ones_below_it() {
    let authority = Authority::start().await;
    // So many names that the upper zone is a batch of its own.
    authority.create_zone("example").await;
    let put = |index: u32| Operation::PutRrset(a(&format!("h{index}.example"), 1));
    for start in [0, 4_000] {
        let operations = (start..start + 4_000).map(put).collect();
        let batch = Batch { operations, preconditions: Vec::new() };
        authority.store.apply(batch).await.expect("a commit");
    }
    let below: Vec<_> = (0..20).map(|index| name(&format!("z{index}.example"))).collect();
    for apex in &below {
        authority.create_zone(&apex.to_string()).await;
    }
    let edge = Edge::start(&authority.ticket()).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    let dir = edge.stop().await;

    let edge = Edge::start_in(dir, &authority.ticket()).await;
    let reader = edge.client.reader();
    let started = std::time::Instant::now();
    loop {
        let catalog = reader.load();
        if catalog.zone(&name("example")).is_some() {
            assert!(below.iter().all(|apex| catalog.zone(apex).is_some()));
            break;
        }
        drop(catalog);
        assert!(started.elapsed() < PATIENCE, "not in time");
        tokio::task::yield_now().await;
    }
    edge.stop().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_followed_once_until_the_handle_is_dropped_and_again_later() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    let twice = edge.client.follow(&edge.mesh).await;
    assert!(matches!(twice, Err(ListenerError::AlreadyFollowed)), "{twice:?}");
    let Edge { client, mesh, following, dir } = edge;
    drop(following);
    // The task ends by itself; until it has, the client is still followed.
    let began = Instant::now();
    let mut following = loop {
        match client.follow(&mesh).await {
            Ok(following) => break following,
            Err(error) => assert!(matches!(error, ListenerError::AlreadyFollowed), "{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "the dropped one goes on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let revision = authority.set(a("www.example", 1)).await;
    client.wait_revision(revision, PATIENCE).await.expect("the revision");
    let waited = tokio::time::timeout(Duration::from_millis(50), following.ended()).await;
    assert!(waited.is_err() && !following.is_over(), "it goes on");
    Edge { client: Arc::clone(&client), mesh, following, dir }.stop().await;
    assert_eq!(client.lookup_a(&name("www.example")), [address(1)], "as it was");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_feed_has_lost_while_nobody_followed_it_goes_when_it_is_followed_again() {
    let authority = Authority::start().await;
    authority.create_zone("one.example").await;
    let revision = authority.create_zone("two.example").await;
    // One edge that keeps its feed on the disk, and one that does not.
    for dir in [None, Some(tempfile::tempdir().expect("a directory"))] {
        let config = dir.as_ref().map(|dir| dir.path().join("mesh"));
        let mesh = Mesh::start(MeshConfig { dir: config, ..MeshConfig::default() }).await;
        let mesh = mesh.expect("a mesh");
        let client = AspenDnsClient::builder().ticket(authority.ticket()).build();
        let client = client.expect("a client");
        let following = client.follow(&mesh).await.expect("the feed is followed");
        client.wait_revision(revision, PATIENCE).await.expect("the revision");
        following.stop().await;
        authority.store.delete_zone(&name("two.example")).await.expect("deleted");
        let following = client.follow(&mesh).await.expect("the feed is followed again");
        let revision = authority.set(a("www.one.example", 1)).await;
        client.wait_revision(revision, PATIENCE).await.expect("the revision");
        client.wait_synced(PATIENCE).await.expect("synced");
        let outcome = |owner| client.resolve(&name(owner), RecordType::A).outcome;
        assert_eq!(outcome("two.example"), Outcome::NotOurs);
        assert_eq!(outcome("one.example"), Outcome::NoData);
        authority.create_zone("two.example").await;
        following.stop().await;
        mesh.shutdown().await;
    }
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_that_nobody_follows_for_it_though_the_task_was_ended_from_outside() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    let ticket = authority.ticket();
    let mesh = Mesh::start(MeshConfig::default()).await.expect("a mesh");
    let client = AspenDnsClient::builder().ticket(ticket.clone()).build().expect("a client");
    let spawned = spawn_dns_sync_listener(Arc::clone(&client), &mesh, &ticket).await;
    let (stop, task) = spawned.expect("the feed is followed");
    client.wait_synced(PATIENCE).await.expect("synced");
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    assert!(stop.is_cancelled() && !client.status().is_synced(), "{:?}", client.status());
    let following = client.follow(&mesh).await.expect("it is followed again");
    client.wait_synced(PATIENCE).await.expect("synced");
    following.stop().await;
    assert!(!client.status().is_synced(), "{:?}", client.status());
    mesh.shutdown().await;
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_follows_no_more_welcomes_nobody() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    let edge = Edge::start(&authority.ticket()).await;
    edge.client.wait_synced(PATIENCE).await.expect("synced");
    let behind = Edge::start(&edge.ticket(&authority)).await;
    let namespace = authority.ticket().namespace;
    let is_behind = || {
        let id = *behind.mesh.endpoint().id().as_bytes();
        edge.mesh.followers(&namespace).iter().any(|follower| follower.id == id)
    };
    wait_until("one follows", is_behind).await;
    edge.following.stop().await;
    wait_until("nobody follows", || !is_behind()).await;
    behind.stop().await;
    edge.mesh.shutdown().await;
    authority.stop().await;
}

#[tokio::test]
async fn a_client_without_a_ticket_follows_nothing() {
    let client = AspenDnsClient::builder().build().expect("a client");
    let mesh = Mesh::start(MeshConfig::default()).await.expect("a mesh");
    let followed = client.follow(&mesh).await;
    assert!(matches!(followed, Err(ListenerError::NoTicket)), "{followed:?}");
    mesh.shutdown().await;
}

/// Says its word to whoever asks.
#[derive(Debug)]
struct Mine;

impl ProtocolHandler for Mine {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let mut said = connection.open_uni().await?;
        said.write_all(b"mine").await.map_err(AcceptError::from_err)?;
        said.finish()?;
        connection.closed().await;
        Ok(())
    }
}

/// Binds an endpoint as a program does that has protocols of its own.
async fn bind_own() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    let builder = builder.clear_ip_transports().bind_addr("127.0.0.1:0").expect("an address");
    builder.transport_config(Mesh::transport_config()).bind().await.expect("a port")
}

/// Asks for the word of the program's own protocol.
async fn ask_own(asker: &Endpoint, program: &Endpoint) -> Vec<u8> {
    let connection = asker.connect(program.addr(), MINE).await.expect("it answers");
    let mut said = connection.accept_uni().await.expect("a stream");
    said.read_to_end(16).await.expect("its word")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_follows_and_is_followed_over_a_programs_own_endpoint() {
    let authority = Authority::start().await;
    authority.create_zone("example").await;
    authority.set(a("www.example", 1)).await;
    let (endpoint, asker) = (bind_own().await, bind_own().await);
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::with_endpoint(endpoint.clone(), Some(dir.path().join("mesh"))).await;
    let mesh = Arc::new(mesh.expect("a mesh"));
    let router = mesh.add_to(Router::builder(endpoint.clone()).accept(MINE, Mine)).spawn();
    let client = AspenDnsClient::builder().ticket(authority.ticket()).build().expect("a client");
    let following = client.follow(&mesh).await.expect("the feed is followed");
    client.wait_synced(PATIENCE).await.expect("synced");
    assert_eq!(client.lookup_a(&name("www.example")), [address(1)]);
    assert_eq!(ask_own(&asker, &endpoint).await, b"mine");
    // Another edge knows this one alone.
    let edge = Edge { client, mesh, following, dir };
    let behind = Edge::start(&edge.ticket(&authority)).await;
    let revision = authority.set(a("www.example", 2)).await;
    behind.client.wait_revision(revision, PATIENCE).await.expect("the revision");
    behind.wait_address("www.example", 2).await;

    let Edge { client, mesh, following, dir } = edge;
    let before = asker.connect(endpoint.addr(), BLOBS_ALPN).await.expect("a connection");
    following.stop().await;
    mesh.shutdown().await;
    assert!(!mesh.is_alive() && !endpoint.is_closed() && !router.is_shutdown());
    assert_eq!(client.lookup_a(&name("www.example")), [address(2)], "as it was");
    assert_eq!(ask_own(&asker, &endpoint).await, b"mine", "the program goes on");
    let after = asker.connect(endpoint.addr(), BLOBS_ALPN).await.expect("a connection");
    for connection in [before, after] {
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
        assert!(matches!(closed, Ok(ConnectionError::ApplicationClosed(_))), "{closed:?}");
    }
    behind.stop().await;
    router.shutdown().await.expect("the router ends well");
    assert!(endpoint.is_closed());
    // Its files are let go of: another run opens them, and nothing is left to end.
    mesh.shutdown().await;
    let again = Mesh::with_endpoint(asker.clone(), Some(dir.path().join("mesh"))).await;
    again.expect("the stores open").shutdown().await;
    assert!(!asker.is_closed());
    authority.stop().await;
}

/// The program's own protocol.
const MINE: &[u8] = b"mine/1";
