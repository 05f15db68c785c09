//! The RDATA of SOA records (RFC 1035 section 3.3.13).
//!
//! **Not here:** which of two serials is newer (`record::serial`), who makes a serial
//! (`store::serial`).

/// The fields of an SOA record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Soa<'a> {
    /// MNAME and RNAME in wire form, the one behind the other: the primary server, and the mailbox
    /// of who is responsible. In a message they may be compressed.
    pub names: &'a [u8],
    /// SERIAL, the number of the zone's version (RFC 1982).
    pub serial: u32,
    /// REFRESH, in seconds: when a secondary asks for a newer version.
    pub refresh_s: u32,
    /// RETRY, in seconds: when it asks again if nobody answered.
    pub retry_s: u32,
    /// EXPIRE, in seconds: when it stops serving what it could not refresh.
    pub expire_s: u32,
    /// MINIMUM, in seconds: how long at most a negative answer is kept (RFC 2308 section 4).
    pub minimum_s: u32,
}

impl<'a> Soa<'a> {
    /// Takes RDATA apart, whether its names are compressed or not; `None` if it is too short.
    ///
    /// What the names are is not looked at (`rdata::check` does that, and who expands names).
    pub fn read(rdata: &'a [u8]) -> Option<Self> {
        let (names, numbers) = rdata.split_last_chunk::<20>()?;
        let words: &[[u8; 4]; 5] = numbers.as_chunks().0.try_into().ok()?;
        let [serial, refresh_s, retry_s, expire_s, minimum_s] = words.map(u32::from_be_bytes);
        let soa = Self { names, serial, refresh_s, retry_s, expire_s, minimum_s };
        // A name has an octet at least.
        (names.len() >= 2).then_some(soa)
    }

    /// Returns the RDATA.
    pub fn to_rdata(&self) -> Vec<u8> {
        let Self { names, serial, refresh_s, retry_s, expire_s, minimum_s } = *self;
        let numbers = [serial, refresh_s, retry_s, expire_s, minimum_s].map(u32::to_be_bytes);
        [names, numbers.as_flattened()].concat()
    }

    /// Returns the TTL, in seconds, of negative answers and of the records that prove them, from
    /// that of the SOA record (RFC 2308 section 5, RFC 9077 section 3).
    pub fn negative_ttl_s(&self, ttl_s: u32) -> u32 {
        ttl_s.min(self.minimum_s)
    }
}

/// An SOA of the root's names and of zeroes, of which only what is set shall matter.
impl Default for Soa<'_> {
    fn default() -> Self {
        let (names, serial) = (&[0, 0], 0);
        Self { names, serial, refresh_s: 0, retry_s: 0, expire_s: 0, minimum_s: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::record::{RecordType, rdata};

    #[test]
    fn an_soa_is_written_as_it_was_read() {
        let text = "ns.test. Host.test. 4294967295 2 3 4 5";
        let octets = rdata::parse(RecordType::SOA, text, &Name::root()).unwrap();
        let soa = Soa::read(&octets).unwrap();
        let names = b"\x02ns\x04test\0\x04Host\x04test\0";
        let (serial, refresh_s, retry_s, expire_s, minimum_s) = (u32::MAX, 2, 3, 4, 5);
        assert_eq!(soa, Soa { names, serial, refresh_s, retry_s, expire_s, minimum_s });
        assert_eq!(soa.to_rdata(), octets);
        assert_eq!(Soa::read(&Soa::default().to_rdata()), Some(Soa::default()));
    }

    #[test]
    fn what_is_too_short_is_no_soa() {
        for len in 0..22 {
            assert_eq!(Soa::read(&[0; 22][..len]), None, "{len}");
        }
        assert_eq!(Soa::read(&[0; 22]), Some(Soa::default()));
    }

    #[test]
    fn a_negative_answer_is_kept_no_longer_than_either_says() {
        let soa = Soa { minimum_s: 60, ..Soa::default() };
        for (ttl_s, expected) in [(59, 59), (60, 60), (61, 60), (0, 0)] {
            assert_eq!(soa.negative_ttl_s(ttl_s), expected);
        }
    }
}
