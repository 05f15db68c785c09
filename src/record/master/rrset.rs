//! One RRset from its text, for a program that has it at hand and no file.
//!
//! **Invariant:** every record of the text is of the RRset, or the error says which is not, and why.
//! **Not here:** RRsets of a whole zone (`master::groups`), where some of this is only a warning.

use std::collections::HashSet;
use std::str::FromStr;

use crate::name::Name;
use crate::record::master::reader::CLASS_IN;
use crate::record::master::{MasterError, MasterOptions, MasterReader, MasterRecord, MasterRule};
use crate::record::{Rrset, rdata};

impl Rrset {
    /// Reads an RRset as a master file has it: a line for each record, all of one owner, type and TTL.
    ///
    /// Names are absolute, with or without the dot at their end. A line that begins with a blank goes on
    /// with the owner of the line before; a record without TTL has that of the record before, the
    /// first an hour. A record that is there twice is kept once.
    ///
    /// # Errors
    /// The first rule that the text breaks, with line and column; also [`MasterRule::NoRecord`],
    /// [`MasterRule::OtherRrset`] and [`MasterRule::OtherTtl`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aspen_dns::record::Rrset;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let www = Rrset::from_text("www.example.com 300 A 192.0.2.1")?;
    /// assert_eq!(www.rdata.first(), [192, 0, 2, 1]);
    ///
    /// let mail = Rrset::from_text(
    ///     "example.com 1h MX 10 mail.example.com
    ///                     MX 20 mail.example.net",
    /// )?;
    /// assert_eq!((mail.ttl_s, mail.rdata.count()), (3_600, 2));
    ///
    /// let error = Rrset::from_text("www.example.com 300 A 192.0.2.256").unwrap_err();
    /// assert_eq!(error.to_string(), "RRset:1:23: A: the address is not an IPv4 address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_text(text: &str) -> Result<Self, MasterError> {
        let options = MasterOptions { file: FILE.to_owned(), ..MasterOptions::default() };
        let mut records = MasterReader::new(text.as_bytes(), &Name::root(), options);
        let first = records.next().unwrap_or_else(|| Err(error_at(1, 1, MasterRule::NoRecord)))?;
        let error = |record: &MasterRecord, rule| Err(error_at(record.line, record.column, rule));
        if first.class != CLASS_IN {
            return error(&first, MasterRule::ClassNotIn);
        }
        // Names in RDATA keep the case of their letters, which makes no other record.
        let mut seen = HashSet::from([rdata::canonical(first.rtype, &first.rdata).into_owned()]);
        let mut list = vec![first.rdata];
        for record in records {
            let record = record?;
            let MasterRecord { owner, rtype, ttl_s, .. } = &record;
            let (owner, rtype, ttl_s, line) = (owner.clone(), *rtype, *ttl_s, first.line);
            if (&owner, rtype, record.class) != (&first.owner, first.rtype, CLASS_IN) {
                return error(&record, MasterRule::OtherRrset { owner, rtype, line });
            }
            if ttl_s != first.ttl_s {
                return error(&record, MasterRule::OtherTtl { ttl_s, line });
            }
            if !seen.insert(rdata::canonical(rtype, &record.rdata).into_owned()) {
                continue;
            }
            if rtype.is_singleton() {
                return error(&record, MasterRule::SecondSingle { owner, rtype, line });
            }
            list.push(record.rdata);
        }
        let (owner, rtype) = (first.owner.clone(), first.rtype);
        Self::new(first.owner, rtype, first.ttl_s, list).map_err(|rule| {
            error_at(first.line, first.column, MasterRule::Rrset { owner, rtype, rule })
        })
    }
}

impl FromStr for Rrset {
    type Err = MasterError;

    fn from_str(text: &str) -> Result<Self, MasterError> {
        Self::from_text(text)
    }
}

/// Makes an error about a place in the text.
fn error_at(line: u32, column: u32, rule: MasterRule) -> MasterError {
    MasterError { file: FILE.to_owned(), line, column, rule }
}

/// What errors say in the place of a file's name.
const FILE: &str = "RRset";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RRSET_RECORDS_MAX;

    /// Reads a text and shows the RRset in one line, or the error.
    fn show(text: &str) -> String {
        match Rrset::from_text(text) {
            Ok(Rrset { owner, rtype, ttl_s, rdata: list }) => {
                let mut shown = format!("{} {ttl_s} {rtype}", owner.to_fqdn());
                for octets in &list {
                    shown.push_str(" | ");
                    rdata::write(rtype, octets, &mut shown);
                }
                shown
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_form_of_a_record_is_read() {
        for (text, shown) in [
            ("www.example 300 IN A 192.0.2.1", "www.example. 300 A | 192.0.2.1"),
            ("www.example. A 192.0.2.1 ; an hour\n", "www.example. 3600 A | 192.0.2.1"),
            ("x 1 A 192.0.2.2\nX 1 A 192.0.2.1\nx 1 A 192.0.2.2", "x. 1 A | 192.0.2.2 | 192.0.2.1"),
            ("x 60 TXT (\n \"a b\"\n c )\n TXT d", "x. 60 TXT | \"a b\" \"c\" | \"d\""),
            ("x 60 TYPE65400 \\# 2 0a0b", "x. 60 TYPE65400 | \\# 2 0a0b"),
            (". 60 NS ns", ". 60 NS | ns."),
            ("x 5 CNAME Y\nx 5 CNAME y", "x. 5 CNAME | Y."),
        ] {
            assert_eq!(show(text), shown, "{text:?}");
        }
        assert_eq!("x 1 A 192.0.2.1".parse::<Rrset>(), Rrset::from_text("x 1 A 192.0.2.1"));
    }

    #[test]
    fn a_text_that_makes_no_rrset_says_where_and_why() {
        let many = |count: u32| {
            let line = |i: u32| format!("x 1 A 192.{}.{}.1\n", i >> 8, i & 255);
            (0..count).map(line).collect::<String>()
        };
        assert!(Rrset::from_text(&many(RRSET_RECORDS_MAX)).is_ok());
        for (text, shown) in [
            ("", "RRset:1:1: no record"),
            (" ; nothing\n", "RRset:1:1: no record"),
            (
                " A 192.0.2.1",
                "RRset:1:2: the first record has no owner name before it that it could share",
            ),
            ("x 1 CH A 192.0.2.1", "RRset:1:1: the class is not IN"),
            (
                "x 1 A 192.0.2.1\ny 1 A 192.0.2.2",
                "RRset:2:1: A at y is of another RRset than line 1",
            ),
            ("x 1 A 192.0.2.1\n  AAAA ::1", "RRset:2:3: AAAA at x is of another RRset than line 1"),
            (
                "x 1 A 192.0.2.1\nx 1 CH A 192.0.2.1",
                "RRset:2:1: A at x is of another RRset than line 1",
            ),
            (
                "\nx 1 A 192.0.2.1\nx 2 A 192.0.2.2",
                "RRset:3:1: a TTL of 2 seconds, another than in line 2 (RFC 2181 section 5.2)",
            ),
            (
                "x 1 CNAME y\nx 1 CNAME z",
                "RRset:2:1: a second CNAME at x, which differs from that in line 1",
            ),
            ("$INCLUDE y", "RRset:1:1: $INCLUDE is not allowed here"),
            (
                &many(RRSET_RECORDS_MAX + 1),
                &format!(
                    "RRset:1:1: A at x: an RRset of more than {RRSET_RECORDS_MAX} records fits no message"
                ),
            ),
        ] {
            assert_eq!(show(text), shown, "{text:?}");
        }
    }
}
