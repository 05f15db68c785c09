//! Several writers of one zone beside writers of others: nothing that is acknowledged may be undone.

use std::sync::Arc;

use aspen_dns::record::RecordType;
use aspen_dns::store::{Batch, DnsStore, Expectation, StoreError, StoredRrset};

use crate::fixture::{apply, fixture, name, operation};

/// Writers of the counter.
const COUNTERS: u32 = 4;
/// Writers of other zones.
const OTHERS: u32 = 6;
/// Changes of each.
const CHANGES: u32 = 250;

/// The value of the counter: the last octets of its address.
fn value_of(found: &StoredRrset) -> u32 {
    let address = found.rrset.rdata.iter().next().unwrap();
    u32::from_be_bytes(address[12..].try_into().unwrap())
}

/// Raises the counter by one as often as nobody else gets ahead; returns how often that was acknowledged.
async fn count(store: Arc<DnsStore>) -> u32 {
    let owner = name("c.one.example");
    let mut acknowledged = 0;
    for _ in 0..CHANGES {
        let found = store.get_record(&owner, RecordType::AAAA).await.unwrap().unwrap();
        let value = value_of(&found);
        let expected = Expectation::RrsetAtRevision {
            owner: owner.clone(),
            rtype: RecordType::AAAA,
            revision: found.revision,
        };
        let operations = vec![operation(&format!(
            "+ c.one.example AAAA 2001:db8::{:x}:{:x}",
            (value + 1) >> 16,
            (value + 1) & 0xffff
        ))];
        match store.apply(Batch { operations, preconditions: vec![expected] }).await {
            Ok(_) => acknowledged += 1,
            Err(StoreError::PreconditionFailed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_under_preconditions_lose_nothing_beside_writers_of_other_zones() {
    let f = fixture().await;
    apply(&f.store, "+zone one.example\n+ c.one.example AAAA 2001:db8::0").await.unwrap();
    let mut tasks = Vec::new();
    for at in 0..OTHERS {
        let store = f.store.clone();
        apply(&store, &format!("+zone o{at}.example")).await.unwrap();
        tasks.push(tokio::spawn(async move {
            for change in 0..CHANGES {
                let text = format!("+ n{}.o{at}.example A 192.0.2.{}", change % 50, change % 250);
                apply(&store, &text).await.unwrap();
            }
            0
        }));
    }
    tasks.extend((0..COUNTERS).map(|_| tokio::spawn(count(f.store.clone()))));
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += task.await.unwrap();
    }
    let found = f.store.get_record(&name("c.one.example"), RecordType::AAAA).await.unwrap();
    assert!(acknowledged > 0);
    assert_eq!(value_of(&found.unwrap()), acknowledged);
    assert!(!f.store.recount(&name("one.example")).await.unwrap(), "a digest is wrong");
}
