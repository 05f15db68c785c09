//! The distributed engine: the contract suite over one member, and three members whose leader is
//! killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aspen_dns::node::config::{EtcdCluster, StoreConfig, StoreEngine};
use aspen_dns::node::origin::{OriginError, open_store};
use aspen_dns::record::RecordType;
use aspen_dns::store::etcd::{EtcdConfig, EtcdStore, EtcdTls, Password};
use aspen_dns::store::kv::{KeyValueStore, KvError};
use aspen_dns::store::lease::{LeaseState, LeaseTimes};
use aspen_dns::store::zone_settings::ZoneSettings;
use aspen_dns::store::{DnsStore, Operation, StoreError};

use crate::cluster::{Cluster, tls};
use crate::contract::{CASES, puts, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    let Some(cluster) = Cluster::start(1) else { return };
    for case in CASES {
        println!("{case}");
        // Each case under a prefix of its own: what others write must not show.
        let config = cluster.config(&format!("{case}/"));
        run(case, Arc::new(EtcdStore::connect(config).await.unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_etcd_has_compacted_says_so() {
    let Some(cluster) = Cluster::start(1) else { return };
    let store = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let mut revisions = Vec::new();
    for index in 0..10 {
        revisions.push(store.commit(puts(&[("A", &index.to_string())])).await.unwrap());
    }
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.revision().await.unwrap(), revisions[9]);
    store.commit(puts(&[("A", "last")])).await.unwrap();
    let config = cluster.config("p/");
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    let compacted = i64::try_from(revisions[9]).unwrap() + 1;
    client.compact(compacted, None).await.unwrap();
    let gone = store.changes(revisions[3]).await;
    assert!(matches!(gone.err(), Some(KvError::Compacted { .. })));
    let old = snapshot.get_many(&[b"A".to_vec()]).await;
    assert!(matches!(old, Err(KvError::Compacted { .. })), "{old:?}");
    assert!(store.changes(store.revision().await.unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_asks_for_certificates_and_a_user_gets_them() {
    let Some(cluster) = Cluster::start_with(1, true) else { return };
    let read = |file: &str| Some(std::fs::read(tls(file)).unwrap());
    let tls = EtcdTls { ca: read("ca.pem"), certificate: read("node.pem"), key: read("node.key") };
    let config = EtcdConfig { tls: tls.clone(), ..cluster.config("p/") };
    let store = EtcdStore::connect(config.clone()).await.unwrap();
    store.commit(puts(&[("A", "1")])).await.unwrap();
    let without = EtcdTls { certificate: None, key: None, ..tls };
    let without = EtcdStore::connect(EtcdConfig { tls: without, ..config.clone() }).await;
    assert!(without.is_err(), "it shows no certificate");
    // Others than the tests' store have no way to make users but through TLS.
    let options = etcd_client::ConnectOptions::new().with_tls(
        etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(config.tls.ca.as_ref().unwrap()))
            .identity(etcd_client::Identity::from_pem(
                config.tls.certificate.as_ref().unwrap(),
                config.tls.key.as_ref().unwrap(),
            )),
    );
    let mut client = etcd_client::Client::connect(&config.endpoints, Some(options)).await.unwrap();
    client.user_add("root", "a password", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let user = |password: &str| Some(("root".to_owned(), Password::new(password)));
    let known = EtcdConfig { user: user("a password"), ..config.clone() };
    let store = EtcdStore::connect(known).await.unwrap();
    assert_eq!(store.get(b"A").await.unwrap().unwrap().value, b"1");
    store.commit(puts(&[("A", "2")])).await.unwrap();
    let wrong = EtcdStore::connect(EtcdConfig { user: user("no password"), ..config }).await;
    let error = wrong.expect_err("a wrong password").to_string();
    assert!(error.contains("invalid user ID or password"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_followed_though_etcd_has_compacted_what_is_not_ours() {
    let Some(cluster) = Cluster::start(1) else { return };
    let config = cluster.config("p/");
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    let engine = EtcdStore::connect(config).await.unwrap();
    let store = DnsStore::open(Arc::new(engine)).await.unwrap();
    let zone = |text: &str| ZoneSettings::new(text.parse().unwrap());
    let first = store.create_zone(zone("a.example")).await.unwrap();
    let mut compact = async || {
        let mut newest = 0;
        for _ in 0..5 {
            let put = client.put("of somebody else", "x", None).await.unwrap();
            newest = put.header().unwrap().revision();
        }
        client.compact(newest, None).await.unwrap();
    };
    compact().await;
    let mut commits = store.commits(store.revision().await.unwrap()).await.unwrap();
    compact().await;
    let second = store.create_zone(zone("b.example")).await.unwrap();
    let limit = Duration::from_secs(20);
    let next = tokio::time::timeout(limit, commits.next()).await.expect("it comes").unwrap();
    assert_eq!((next.revision, next.zones.len()), (second, 1));
    // What is of ours, and gone, is a gap.
    compact().await;
    assert!(first < second);
    let gone = store.commits(first).await.err();
    assert!(matches!(gone, Some(StoreError::Kv(KvError::Compacted { .. }))), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_ends_where_etcd_refuses_for_good() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let store = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let revision = store.commit(puts(&[("A", "1")])).await.unwrap();
    let mut feed = store.changes(revision).await.unwrap();
    let config = cluster.config("p/");
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    client.user_add("root", "a password", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    // The watch was made before; the next one is to begin where nobody may read.
    cluster.kill(0);
    cluster.start_member(0);
    let ended = tokio::time::timeout(LIMIT, feed.next()).await.expect("a feed that ends");
    assert!(matches!(ended, Err(KvError::Engine(_))), "{ended:?}");
    let again = tokio::time::timeout(LIMIT, store.changes(revision)).await.expect("an answer");
    assert!(matches!(again.err(), Some(KvError::Engine(_))));
}

/// A cluster that was put back knows less than its follower.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_ends_where_etcd_has_gone_back() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let store = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let revision = store.commit(puts(&[("A", "1")])).await.unwrap();
    let mut feed = store.changes(revision).await.unwrap();
    cluster.empty(0);
    cluster.start_member(0);
    let ended = tokio::time::timeout(LIMIT, feed.next()).await.expect("a feed that ends");
    assert!(matches!(ended, Err(KvError::Ahead { .. })), "{ended:?}");
}

/// One that was put back and has gone on counts past its followers, with other commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_ends_where_etcd_was_put_back_and_has_overtaken_it() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let store = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    store.commit(puts(&[("J", "1")])).await.unwrap();
    cluster.keep(0);
    let mut told = store.changes(0).await.unwrap();
    let lost = store.commit(puts(&[("J", "2"), ("Z", "2")])).await.unwrap();
    while told.next().await.unwrap().revision < lost {}
    let mut fresh = store.changes(lost).await.unwrap();
    cluster.put_back(0);
    cluster.start_member(0);
    let other = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    // Some revision may be the very one that was told.
    while other.commit(puts(&[("J", "other"), ("Z", "2")])).await.unwrap() <= lost {}
    for feed in [&mut told, &mut fresh] {
        let ended = tokio::time::timeout(LIMIT, feed.next()).await.expect("a feed that ends");
        assert!(matches!(ended, Err(KvError::Replaced { after }) if after == lost), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_end_where_etcd_was_put_back_and_has_compacted_what_was_told() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let open = async |cluster: &Cluster| {
        let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
        DnsStore::open(Arc::new(engine)).await.unwrap()
    };
    let store = open(&cluster).await;
    let zone = |text: &str| ZoneSettings::new(text.parse().unwrap());
    let kept = store.create_zone(zone("a.example")).await.unwrap();
    cluster.keep(0);
    let mut commits = store.commits(kept).await.unwrap();
    let lost = store.create_zone(zone("b.example")).await.unwrap();
    assert_eq!(commits.next().await.unwrap().revision, lost);
    cluster.put_back(0);
    cluster.start_member(0);
    let config = cluster.config("p/");
    // Who writes below asks once only: the member must be there.
    EtcdStore::connect(config.clone()).await.unwrap();
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    let mut newest = 0;
    while newest <= i64::try_from(lost).unwrap() + 1 {
        let put = client.put("of somebody else", "x", None).await.unwrap();
        newest = put.header().unwrap().revision();
    }
    client.compact(newest, None).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, commits.next()).await.expect("an end");
    assert!(matches!(ended, Err(StoreError::Kv(KvError::Replaced { .. }))), "{ended:?}");
}

/// Volumes that are lost and wrong addresses must not take every zone from the edges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_fed_edges_starts_with_an_empty_cluster_only_if_asked() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let data = tempfile::tempdir().unwrap();
    let open = |cluster: &Cluster, is_new_allowed: bool| {
        let endpoints = cluster.config("").endpoints;
        let engine =
            StoreEngine::Etcd(Box::new(EtcdCluster { endpoints, ..EtcdCluster::default() }));
        let (config, data) = (StoreConfig { engine, is_new_allowed }, data.path());
        async move { open_store(&config, data).await }
    };
    let restart_empty = |cluster: &mut Cluster| {
        cluster.empty(0);
        cluster.start_member(0);
    };
    open(&cluster, false).await.unwrap();
    // Nobody was fed from it: another one will do as well.
    restart_empty(&mut cluster);
    open(&cluster, false).await.unwrap();
    let feeds = data.path().join("mesh").join("feeds");
    std::fs::create_dir_all(&feeds).unwrap();
    std::fs::write(feeds.join("main.json"), "{}").unwrap();
    // It is still the same one, though nothing was written.
    open(&cluster, false).await.unwrap();
    restart_empty(&mut cluster);
    for _ in 0..2 {
        let error = open(&cluster, false).await.expect_err("an empty cluster");
        assert!(matches!(error, OriginError::StoreEmpty { .. }), "{error}");
        assert!(error.to_string().contains("--new-store"), "{error}");
    }
    open(&cluster, true).await.unwrap();
    let store = open(&cluster, false).await.unwrap();
    // One with commits was put there on purpose.
    let settings = ZoneSettings::new(crate::fixture::name("example.com"));
    store.create_zone(settings).await.unwrap();
    std::fs::write(data.path().join("store-identity"), "another\n").unwrap();
    open(&cluster, false).await.unwrap();
}

/// Four writers count up, each in a key of its own, while the leader is killed and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_commit_is_lost_when_the_leader_is_killed() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let store = Arc::new(EtcdStore::connect(cluster.config("p/")).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (store, stop) = (store.clone(), stop.clone());
        writers.spawn(async move {
            let mut made = Vec::new();
            let mut index = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let (key, value) = (format!("W{writer}"), index.to_string());
                match store.commit(puts(&[(&key, &value)])).await {
                    Ok(revision) => made.push((revision, key, value)),
                    Err(error) => panic!("a commit failed: {error}"),
                }
                index += 1;
            }
            made
        });
    }
    let mut feed = store.changes(0).await.unwrap();
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let event = feed.next().await.unwrap();
            let change = event.changes.into_iter().next().unwrap();
            if change.key == b"Z" {
                return seen;
            }
            let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
            seen.push((event.revision, text(change.key), text(change.value.unwrap())));
        }
    });
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let leader = cluster.leader().await.unwrap_or(round % 3);
        println!("round {round}: killing member {leader}");
        cluster.kill(leader);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cluster.start_member(leader);
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut made = Vec::new();
    while let Some(joined) = writers.join_next().await {
        made.extend(joined.unwrap());
    }
    store.commit(puts(&[("Z", "end")])).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(20), follower).await.unwrap().unwrap();
    made.sort();
    println!("{} commits, {} seen", made.len(), seen.len());
    assert!(made.len() > 100);
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "in order, each revision once");
    // Each commit was acknowledged with the revision at which the feed has it: none is lost, none
    // is there twice, none is there that was not acknowledged.
    assert_eq!(seen, made);
    let distinct: HashSet<&(u64, String, String)> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w_31_reads_and_writes_go_on_at_the_members_that_are_left() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let store = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let revision = store.commit(puts(&[("A", "1")])).await.unwrap();
    // Whichever member is in use, it goes, and the next one is asked.
    cluster.kill(0);
    assert_eq!(store.get(b"A").await.unwrap().unwrap().revision, revision);
    let later = store.commit(puts(&[("A", "2")])).await.unwrap();
    assert_eq!(store.get(b"A").await.unwrap().unwrap().revision, later);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_commits_come_to_what_is_counted() {
    let Some(cluster) = Cluster::start(1) else { return };
    let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let store = DnsStore::open(Arc::new(engine)).await.unwrap();
    crate::digest::random_commits_come_to_what_is_counted(store, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_authorities_share_a_cluster() {
    use crate::fixture::{contents, name, rrset};
    let Some(cluster) = Cluster::start(1) else { return };
    let open = || async {
        let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
        DnsStore::open(Arc::new(engine)).await.unwrap()
    };
    let stores = [open().await, open().await];
    let mut commits = stores[1].commits(0).await.unwrap();
    stores[0].create_zone(ZoneSettings::new(name("example.com"))).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = stores[writer % 2].clone();
        tasks.spawn(async move {
            for index in 0..10 {
                let text = format!("w{writer}-{index}.example.com A 192.0.2.1");
                store.set_record(rrset(&text)).await.unwrap();
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    let told = crate::fixture::told_once(&mut commits, &stores[0], "example.com").await;
    let wanted = (0..8).flat_map(|writer| (0..10).map(move |index| format!("w{writer}-{index}")));
    let wanted: Vec<String> = wanted.map(|label| format!("{label}.example.com")).collect();
    assert_eq!(told, wanted, "each change is told once");
    let previous =
        stores[0].get_zone(&name("example.com")).await.unwrap().map(|zone| zone.revision);
    assert_eq!(contents(&stores[0], "example.com").await.len(), 82);
    // An import of more than one transaction is one commit here, too.
    let rrsets = (0..1_000).map(|n| rrset(&format!("n{n}.example.com A 192.0.2.1"))).collect();
    let revision =
        stores[1].import_zone(&name("example.com"), rrsets, None, &|_| {}).await.unwrap();
    let commit = commits.next().await.unwrap();
    assert_eq!((commit.revision, commit.zones[0].prev_revision), (revision, previous));
    assert_eq!(contents(&stores[0], "example.com").await.len(), 1_002);
    // Each of them remembers where the rows stood before the other imported.
    for round in 0..6 {
        let (importer, writer) = (&stores[round % 2], &stores[(round + 1) % 2]);
        writer.set_record(rrset("n7.example.com A 192.0.2.7")).await.unwrap();
        let rrsets = (0..1_000).map(|n| rrset(&format!("n{n}.example.com A 192.0.2.1"))).collect();
        importer.import_zone(&name("example.com"), rrsets, None, &|_| {}).await.unwrap();
        writer.delete_record(&name("n8.example.com"), RecordType::A).await.unwrap();
        writer.set_record(rrset("n9.example.com A 192.0.2.9")).await.unwrap();
        for store in &stores {
            let read = contents(store, "example.com").await;
            assert_eq!(read.len(), 1_001);
            assert!(read.contains(&"n9.example.com A 192.0.2.9".to_owned()));
            assert!(!read.iter().any(|shown| shown.starts_with("n8.")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_would_nearly_fill_the_quota_is_refused_and_a_change_is_not() {
    use crate::fixture::{contents, name, rrset};
    let Some(cluster) = Cluster::start(1) else { return };
    let config = EtcdConfig { quota_octets: 100_000, ..cluster.config("p/") };
    let store = DnsStore::open(Arc::new(EtcdStore::connect(config).await.unwrap())).await.unwrap();
    let import = async |count| {
        let rrsets = (0..count).map(|n| rrset(&format!("n{n}.example.com A 192.0.2.1")));
        store.import_zone(&name("example.com"), rrsets.collect(), None, &|_| {}).await
    };
    let error = import(9_000).await.unwrap_err();
    assert!(matches!(error, StoreError::Kv(KvError::NearlyFull { .. })), "{error}");
    store.create_zone(ZoneSettings::new(name("example.com"))).await.unwrap();
    store.set_record(rrset("www.example.com A 192.0.2.1")).await.unwrap();
    assert_eq!(contents(&store, "example.com").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_goes_to_another_when_it_is_asked_to_and_stays_where_there_is_none() {
    let (Some(cluster), mut holders) = (Cluster::start(1), Vec::new()) else { return };
    let stop = tokio_util::sync::CancellationToken::new();
    for name in ["a", "b"] {
        let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
        let store = DnsStore::open(Arc::new(engine)).await.unwrap();
        let (lease, state) = store.lease("feeds", name, LeaseTimes::default());
        let yields = lease.yields();
        let end = stop.child_token();
        let task = tokio::spawn(lease.run(end.clone()));
        if name == "a" {
            wait_held(&state, 0).await;
        }
        holders.push((store, state, yields, end, task));
    }
    let term = holders[0].1.borrow().term;
    // Who does not know of it yet does not take it in time.
    let mut other = holders[1].1.clone();
    let knows = other.wait_for(|state| state.holder.is_some());
    tokio::time::timeout(LIMIT, knows).await.expect("it looks").unwrap();
    holders[0].2.notify_one();
    wait_held(&holders[1].1, term).await;
    assert_eq!(holders[0].1.borrow().held, None);
    // Nobody else is there: it is held by the same one, in another term.
    let (_, state, _, end, task) = holders.remove(0);
    end.cancel();
    task.await.unwrap();
    drop(state);
    let term = holders[0].1.borrow().term;
    holders[0].2.notify_one();
    wait_held(&holders[0].1, term).await;
    stop.cancel();
}

/// Waits until a lease is held in a term above one.
async fn wait_held(state: &tokio::sync::watch::Receiver<LeaseState>, above: u64) {
    let mut state = state.clone();
    let held = state.wait_for(|state| state.held.is_some() && state.term > above);
    tokio::time::timeout(LIMIT, held).await.expect("it is held").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_to_etcd_and_back() {
    let Some(cluster) = Cluster::start(1) else { return };
    let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    crate::backup::a_copy_is_what_was_copied(Arc::new(engine)).await;
}

/// How long something may take that comes to an end.
const LIMIT: Duration = Duration::from_secs(30);

/// Far more than etcd takes in one transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_ten_thousand_is_one_commit() {
    use crate::fixture::{contents, name, rrset};
    let Some(cluster) = Cluster::start(1) else { return };
    let engine = EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let store = DnsStore::open(Arc::new(engine)).await.unwrap();
    store.create_zone(ZoneSettings::new(name("example.com"))).await.unwrap();
    store.set_record(rrset("www.example.com A 192.0.2.1")).await.unwrap();
    let mut commits = store.commits(store.revision().await.unwrap()).await.unwrap();
    let put = |at| Operation::PutRrset(rrset(&format!("n{at}.example.com A 192.0.2.1")));
    let made = store.apply((0..10_000).map(put).collect::<Vec<_>>().into()).await.unwrap();
    assert_eq!(made.changed, 10_000);
    let commit = tokio::time::timeout(Duration::from_secs(10), commits.next()).await.unwrap();
    assert_eq!(commit.unwrap().revision, made.revision);
    assert_eq!(contents(&store, "example.com").await.len(), 10_003);
    assert!(!store.recount(&name("example.com")).await.unwrap(), "it is counted right");
}
