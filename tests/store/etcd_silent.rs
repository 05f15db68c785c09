//! Members of etcd that fall silent: what is asked of one goes to another.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use aspen_dns::limits::{ETCD_PULSE_MS, ETCD_SILENCE_MS_MAX};
use aspen_dns::store::etcd::{EtcdConfig, EtcdStore};
use aspen_dns::store::kv::KeyValueStore;

use crate::cluster::Cluster;
use crate::contract::puts;

/// For how long a member may be silent until another one is used, and what a busy machine takes.
const LEFT_WITHIN: Duration = Duration::from_millis(ETCD_PULSE_MS + ETCD_SILENCE_MS_MAX + 2_000);

/// Engines of a cluster: one that uses a member which does not lead, and one that uses the leader; and which member
/// that is that does not lead.
async fn follower_and_writer(cluster: &Cluster) -> (EtcdStore, EtcdStore, usize) {
    let at = |endpoints: &[&String]| EtcdConfig {
        endpoints: endpoints.iter().map(|endpoint| (*endpoint).clone()).collect(),
        ..cluster.config("p/")
    };
    let all = cluster.endpoints();
    // It answers once there is a leader; nobody has to be elected when another one falls silent.
    EtcdStore::connect(cluster.config("p/")).await.unwrap();
    let leader = cluster.leader().await.expect("one leads");
    let silent = (leader + 1) % 3;
    // Once it knows who leads it is chosen, as the first one.
    EtcdStore::connect(at(&[&all[silent]])).await.unwrap();
    let follower = EtcdStore::connect(at(&[&all[silent], &all[leader]])).await.unwrap();
    let writer = EtcdStore::connect(at(&[&all[leader]])).await.unwrap();
    (follower, writer, silent)
}

/// Its connection takes six seconds to break, for which answers would be behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_goes_on_at_another_member_when_its_own_falls_silent() {
    let Some(cluster) = Cluster::start(3) else { return };
    let (follower, writer, silent) = follower_and_writer(&cluster).await;
    let mut feed = follower.changes(0).await.unwrap();
    writer.commit(puts(&[("A", "1")])).await.unwrap();
    feed.next().await.unwrap();
    cluster.signal(silent, "-STOP");
    let began = Instant::now();
    let revision = writer.commit(puts(&[("A", "2")])).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), feed.next()).await;
    let after = began.elapsed();
    println!("told after {after:?}");
    assert_eq!(told.expect("it goes on").unwrap().revision, revision);
    assert!(after < LEFT_WITHIN, "{after:?}");
    cluster.signal(silent, "-CONT");
}

/// Who wanted the lease of the feeds waited for four seconds for what it had asked a member that was cut off, saw only
/// then that nobody raised its beat, and waited on for as long as the lease lasts: edges were behind by six seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_was_asked_that_falls_silent_is_asked_of_another() {
    let Some(cluster) = Cluster::start(3) else { return };
    let (follower, _writer, silent) = follower_and_writer(&cluster).await;
    follower.commit(puts(&[("A", "1")])).await.unwrap();
    cluster.signal(silent, "-STOP");
    let began = Instant::now();
    let (read, made) = tokio::join!(follower.get(b"A"), follower.commit(puts(&[("B", "2")])));
    let after = began.elapsed();
    println!("answered after {after:?}");
    assert_eq!(read.unwrap().unwrap().value, b"1");
    made.unwrap();
    assert!(after < LEFT_WITHIN, "{after:?}");
    cluster.signal(silent, "-CONT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_silent_do_not_keep_the_one_that_answers_from_being_found() {
    let Some(cluster) = Cluster::start(1) else { return };
    EtcdStore::connect(cluster.config("p/")).await.unwrap();
    // They take a connection and say nothing: each would be waited for for 0.8 s.
    let silent = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let url = |at: &TcpListener| format!("http://{}", at.local_addr().unwrap());
    let endpoints = silent.iter().map(url).chain(cluster.endpoints()).collect();
    let began = Instant::now();
    EtcdStore::connect(EtcdConfig { endpoints, ..cluster.config("p/") }).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(3_000), "{:?}", began.elapsed());
}
