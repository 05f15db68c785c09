//! Any entries, with any content, in any mixture with the callers' other events: never a panic,
//! never a step back.
//!
//! The input is a list of pieces: one octet that says what happens, one for the length of a key,
//! two for the length of a content, then both.
#![no_main]

use std::collections::HashMap;

use aspen_dns::feed::Revision;
use aspen_dns::feed::merge::for_each_rrset;
use aspen_dns::name::Name;
use aspen_dns::sync::batch::ZoneStep;
use aspen_dns::sync::core::{SyncConfig, SyncCore};
use aspen_dns::sync::entry::{FeedEntry, Origin};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut core = SyncCore::new(SyncConfig::default(), 0);
    let mut published: HashMap<Name, Revision> = HashMap::new();
    let mut contents: HashMap<[u8; 32], Bytes> = HashMap::new();
    let mut rest = input;
    let mut now_ms = 0;
    while let [what, key_len, high, low, tail @ ..] = rest {
        now_ms += u64::from(what >> 4) * 100;
        let (key, tail) = tail.split_at(usize::from(*key_len).min(tail.len()));
        let content_len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (content, tail) = tail.split_at(content_len);
        rest = tail;
        let content = Bytes::copy_from_slice(content);
        let hash = hash_of(&content);
        match what & 15 {
            0 => core.handle_scan_started(now_ms),
            1 => core.handle_scan_complete(now_ms),
            2 => core.handle_reconciled(now_ms),
            3 => core.handle_lost(now_ms),
            4 => core.handle_time(now_ms),
            5 => core.handle_content_failed(hash, now_ms),
            6 => core.handle_content(hash, &content, now_ms),
            what => {
                contents.insert(hash, content.clone());
                let entry = FeedEntry {
                    key,
                    author: [0; 32],
                    hash,
                    len: content.len() as u64,
                    timestamp_us: now_ms,
                    origin: if what & 1 == 1 { Origin::Scan } else { Origin::Event },
                    content: (what > 10).then_some(content),
                };
                let _ = core.handle_entry(&entry, now_ms);
            }
        }
        for hash in core.poll_fetch(now_ms, 2) {
            match contents.get(&hash) {
                Some(content) => core.handle_content(hash, content, now_ms),
                None => core.handle_content_failed(hash, now_ms),
            }
        }
        publish(&mut core, &mut published, now_ms);
        core.poll_status();
        core.poll_complaint();
        core.poll_rescan(now_ms);
        core.poll_timeout();
    }
});

/// Publishes a batch, or refuses what cannot be built.
fn publish(core: &mut SyncCore, published: &mut HashMap<Name, Revision>, now_ms: u64) {
    for batch in core.poll_batch(now_ms).unwrap_or_default() {
        let before = published.get(&batch.apex).copied();
        assert!(before.is_none_or(|before| before < batch.revision), "a zone went back");
        let is_built = match &batch.step {
            ZoneStep::Rebuild { packs, edits, .. } => {
                for_each_rrset(&batch.apex, packs, edits, |_| ()).is_ok()
            }
            ZoneStep::Edit(_) | ZoneStep::Remove => true,
        };
        if is_built {
            published.insert(batch.apex.clone(), batch.revision);
            core.handle_applied(&batch.apex, batch.revision, now_ms);
        } else {
            core.handle_refused(&batch.apex, batch.revision, now_ms);
        }
    }
}

/// A hash that a fuzzer can hardly make collide by accident.
fn hash_of(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (index, chunk) in hash.chunks_exact_mut(8).enumerate() {
        let mut word = 0xcbf2_9ce4_8422_2325_u64 ^ index as u64;
        for octet in content {
            word = (word ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    hash
}
