//! Entries of a feed of the first format: those that the listener hears of, and those that a program hands in.
//!
//! **Invariant:** all of them are taken by one function, in the order in which they come.
//! **Not here:** what an entry means (`sync::core`), where its content comes from (`fetch`).

use std::sync::atomic::Ordering;

use super::{AspenDnsClient, ClientError};
use crate::sync::entry::{FeedEntry, Origin};

impl AspenDnsClient {
    /// Takes one entry of a feed: the key and the value as they stand in the namespace. Keys of
    /// other things than DNS are passed over.
    ///
    /// # Errors
    /// [`ClientError::Entry`] for an entry that breaks a rule. It is counted and changes nothing.
    pub fn process_sync_entry(&self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.process(key, Some(value))
    }

    /// Takes the delete of one entry, as the original system's feeds have them. In a feed with a
    /// header deletes are values, and an emptied entry changes nothing.
    ///
    /// # Errors
    /// [`ClientError::Entry`] for a key that breaks a rule.
    pub fn process_sync_delete(&self, key: &[u8]) -> Result<(), ClientError> {
        self.process(key, None)
    }

    /// Takes one entry, from wherever it comes; says whether it breaks a rule.
    pub(super) fn take_entry(&self, entry: &FeedEntry<'_>) -> bool {
        let now_ms = self.now_ms();
        let mut core = self.core();
        let refused = core.stats().refused;
        core.handle_entry(entry, now_ms);
        core.stats().refused > refused
    }

    /// Returns the timestamp of the next entry that is handed in: later than that of each before it, for the
    /// newest entry of a key is the one that counts.
    fn next_timestamp_us(&self) -> u64 {
        let now_us = self.now_us();
        let next = |last: u64| now_us.max(last + 1);
        let last = self
            .handed_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        last.map_or(now_us, next)
    }

    /// Takes one entry that was handed in.
    fn process(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), ClientError> {
        if !key.starts_with(crate::feed::key::PREFIX.as_bytes()) {
            return Ok(());
        }
        let content = value.map(bytes::Bytes::copy_from_slice);
        let hash = value.map_or(iroh_blobs::Hash::EMPTY, iroh_blobs::Hash::new);
        let entry = FeedEntry {
            key,
            author: self.author.unwrap_or_default(),
            hash: *hash.as_bytes(),
            len: value.map_or(0, |value| value.len() as u64),
            timestamp_us: self.next_timestamp_us(),
            origin: Origin::Event,
            content,
        };
        // It is a scan of one entry: what is there is known as a whole before and after it.
        self.core().handle_scan_started(self.now_ms());
        let is_refused = self.take_entry(&entry);
        let complaint = is_refused.then(|| self.core().poll_complaint()).flatten();
        self.core().handle_scan_complete(self.now_ms());
        if self.is_followed.load(Ordering::Acquire) {
            self.wake.notify_one();
        } else {
            self.drive();
        }
        match complaint {
            Some(complaint) => Err(ClientError::Entry {
                key: complaint.key.escape_ascii().to_string(),
                error: complaint.error,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordType;

    const ZONE: &[u8] = br#"{"name":"example","enabled":true,"default_ttl":60,
        "metadata":{"serial":1,"last_modified_ms":0,"description":null}}"#;
    const A: &[u8] = br#"{"domain":"a.example","ttl_seconds":60,
        "data":{"type":"A","addresses":["192.0.2.1"]},"updated_at_ms":1000}"#;

    #[test]
    fn entries_that_are_handed_in_are_served_and_deletes_take_them_away() {
        let client = AspenDnsClient::builder().build().unwrap();
        let a = "a.example".parse().unwrap();
        client.process_sync_entry(b"dns:_zone:example", ZONE).unwrap();
        assert!(client.lookup_a(&a).is_empty());
        client.process_sync_entry(b"dns:a.example:A", A).unwrap();
        assert_eq!(client.lookup_a(&a), ["192.0.2.1".parse::<std::net::Ipv4Addr>().unwrap()]);
        client.process_sync_delete(b"dns:a.example:A").unwrap();
        assert!(client.lookup_a(&a).is_empty());
        client.process_sync_delete(b"dns:_zone:example").unwrap();
        assert_eq!(client.stats().zones, 0);
    }

    #[test]
    fn what_breaks_a_rule_is_told_and_what_is_not_dns_is_passed_over() {
        let client = AspenDnsClient::builder().build().unwrap();
        client.process_sync_entry(b"dns:_zone:example", ZONE).unwrap();
        let refused = client.process_sync_entry(b"dns:a.example:A", b"no document");
        assert!(matches!(refused, Err(ClientError::Entry { .. })), "{refused:?}");
        let refused = client.process_sync_entry(b"dns:a..example:A", A);
        assert!(matches!(refused, Err(ClientError::Entry { .. })), "{refused:?}");
        assert_eq!(client.stats().sync.refused, 2);
        client.process_sync_entry(b"other:thing", b"anything").unwrap();
        client.process_sync_entry(b"dns:a.example:A", A).unwrap();
        let found = client.resolve(&"a.example".parse().unwrap(), RecordType::A);
        assert!(found.rrset().is_some(), "the rest applies");
    }
}
