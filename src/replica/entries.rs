//! Entries of a feed of the first format: those that the listener hears of, and those that a program hands in.
//!
//! **Invariant:** whoever hands an entry in is told what became of that one, by whomever the core is driven.
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
    /// [`ClientError::Followed`] while the client follows a log, which alone says what is served.
    pub fn process_sync_entry(&self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        self.process(key, Some(value))
    }

    /// Takes the delete of one entry, as the original system's feeds have them. In a feed with a
    /// header deletes are values, and an emptied entry changes nothing.
    ///
    /// # Errors
    /// [`ClientError::Entry`] for a key that breaks a rule, and [`ClientError::Followed`].
    pub fn process_sync_delete(&self, key: &[u8]) -> Result<(), ClientError> {
        self.process(key, None)
    }

    /// Takes one entry that the listener has heard of; what is wrong with it is complained of.
    pub(super) fn take_entry(&self, entry: &FeedEntry<'_>) {
        let now_ms = self.now_ms();
        let _ = self.core().handle_entry(entry, now_ms);
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
        let has_entries = self.has_entries.load(Ordering::Acquire);
        if self.is_followed.load(Ordering::Acquire) && !has_entries {
            return Err(ClientError::Followed);
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
        let now_ms = self.now_ms();
        let mut core = self.core();
        // It is a scan of one entry: what is there is known as a whole before and after it.
        core.handle_scan_started(now_ms);
        let taken = core.handle_entry(&entry, now_ms);
        core.handle_scan_complete(now_ms);
        let is_followed = self.is_followed.load(Ordering::Acquire);
        if !is_followed {
            // Nobody logs it: whoever has handed it in is told.
            while core.poll_complaint().is_some() {}
        }
        drop(core);
        if is_followed {
            self.wake.notify_one();
        } else {
            self.drive();
        }
        taken.map_err(|error| ClientError::Entry { key: key.escape_ascii().to_string(), error })
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
        let again = client.process_sync_entry(b"dns:a..example:A", A);
        assert!(matches!(again, Err(ClientError::Entry { .. })), "{again:?}");
        assert_eq!(client.stats().sync.refused, 3);
        client.process_sync_entry(b"other:thing", b"anything").unwrap();
        client.process_sync_entry(b"dns:a.example:A", A).unwrap();
        let found = client.resolve(&"a.example".parse().unwrap(), RecordType::A);
        assert!(found.rrset().is_some(), "the rest applies");
    }

    #[test]
    fn each_who_hands_an_entry_in_is_told_of_that_one_while_others_take_complaints() {
        let client = AspenDnsClient::builder().build().unwrap();
        client.process_sync_entry(b"dns:_zone:example", ZONE).unwrap();
        // As if a listener drove the core.
        client.is_followed.store(true, Ordering::Release);
        for key in [b"dns:a..example:A", b"dns:b..example:A", b"dns:b..example:A"] {
            match client.process_sync_entry(key, A) {
                Err(ClientError::Entry { key: told, .. }) => {
                    assert_eq!(told, key.escape_ascii().to_string());
                }
                other => panic!("{other:?}"),
            }
        }
        let logged: Vec<_> = std::iter::from_fn(|| client.core().poll_complaint()).collect();
        assert_eq!(logged.len(), 2, "told once each: {logged:?}");
    }

    #[test]
    fn entries_are_refused_while_a_log_is_followed() {
        let client = AspenDnsClient::builder().build().unwrap();
        client.is_followed.store(true, Ordering::Release);
        client.has_entries.store(false, Ordering::Release);
        let refused = client.process_sync_entry(b"dns:_zone:example", ZONE);
        assert!(matches!(refused, Err(ClientError::Followed)), "{refused:?}");
        client.process_sync_entry(b"other:thing", b"anything").unwrap();
        client.is_followed.store(false, Ordering::Release);
        client.process_sync_entry(b"dns:_zone:example", ZONE).unwrap();
    }
}
