//! Ranges, cursors, and what a commit may be.

use super::*;

#[test]
fn a_prefix_range_ends_before_the_next_prefix() {
    for (prefix, end) in [(&b"ab"[..], &b"ac"[..]), (b"a\xff", b"b"), (b"\xff", b"\xff\xff")] {
        let range = KeyRange::prefix(prefix);
        assert_eq!((range.start.as_slice(), range.end.as_slice()), (prefix, end));
    }
}

#[test]
fn a_cursor_never_widens_the_range() {
    let range = KeyRange::prefix(b"b");
    assert_eq!(range.beyond(Some(&Cursor(b"a".to_vec()))).start, b"b");
    assert_eq!(range.beyond(Some(&Cursor(b"bx".to_vec()))).start, b"bx");
    assert_eq!(range.beyond(Some(&Cursor(b"z".to_vec()))).start, b"c");
}

#[test]
fn a_key_twice_in_one_commit_is_refused() {
    let limits = KvLimits { operations_max: 3, octets_max: 6 };
    let put = |key: &[u8]| (key.to_vec(), b"v".to_vec());
    let twice =
        KvCommit { puts: vec![put(b"a")], deletes: vec![b"a".to_vec()], ..KvCommit::default() };
    assert!(matches!(twice.check(limits), Err(KvError::DuplicateKey)));
    let fits = KvCommit { puts: vec![put(b"a"), put(b"b"), put(b"c")], ..KvCommit::default() };
    assert!(fits.check(limits).is_ok());
    let more = KvCommit { puts: vec![put(b"a"), put(b"b"), put(b"cd")], ..KvCommit::default() };
    assert!(matches!(more.check(limits), Err(KvError::TooManyOctets { octets: 7, .. })));
}
