//! The edge's state machine under permuted, doubled, delayed and lost arrivals.

#[allow(dead_code)] // each test uses its part of the model
mod feed_model;

use aspen_dns::sync::core::SyncConfig;
use feed_model::Seeded;
use feed_model::edge::run;

#[test]
fn any_order_of_arrival_ends_in_the_authoritys_state() {
    let base: u64 =
        std::env::var("ASPEN_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
    let rounds = if std::env::var("ASPEN_TEST_SEED").is_ok() { 1 } else { 150 };
    for round in 0..rounds {
        let seed = base.wrapping_add(round);
        println!("ASPEN_TEST_SEED={seed}");
        run(&mut Seeded(seed), SyncConfig::default());
    }
}
