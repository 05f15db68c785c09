//! The rules of the book of feeds.

use super::*;

fn key(seed: u8) -> EndpointKey {
    EndpointKey(*iroh::SecretKey::from_bytes(&[seed; 32]).public().as_bytes())
}

fn feed(name: &str) -> FeedRecord {
    FeedRecord::new(name.to_owned(), None, 1)
}

fn book(names: &[&str]) -> FeedBook {
    let mut book = FeedBook::default().with_main();
    names.iter().for_each(|name| book.add(feed(name), 1).unwrap());
    book
}

#[test]
fn names_are_plain_and_nobody_has_one_twice() {
    let mut book = book(&["partner"]);
    let taken = |name: &str| Err(FeedBookError::NameTaken { name: name.to_owned() });
    assert_eq!(book.add(feed("partner"), 1), taken("partner"));
    assert_eq!(book.add(feed("main"), 1), taken("main"));
    let longest = "a".repeat(FEED_NAME_LEN_MAX);
    assert_eq!(book.add(feed(&longest), 1), Ok(()));
    for bad in ["", "-a", "a b", "a/b", "a~1", "ä", &format!("{longest}a")] {
        let refused = book.add(feed(bad), 1);
        assert!(matches!(refused, Err(FeedBookError::BadName { .. })), "{bad}");
    }
}

#[test]
fn a_feed_made_anew_has_other_keys_and_one_that_has_ended_stays_so() {
    let mut book = book(&["partner"]);
    let before = book.clone();
    let old = book.find("partner").unwrap().key.clone();
    book.end("partner", [1; 32], (EndedReason::Revoked, 2)).unwrap();
    assert!(!book.take(&before), "another authority that has not heard of it brings nothing back");
    let mut put_back = before.clone();
    assert!(put_back.take(&book), "a store that was put back hears of it");
    assert_eq!(put_back, book);
    book.add(feed("partner"), 1).unwrap();
    assert_ne!(book.find("partner").unwrap().key, old);
    let again = book.end("nobody", [1; 32], (EndedReason::Revoked, 2));
    assert!(matches!(again, Err(FeedBookError::NoSuchFeed { .. })));
    let main = book.end("main", [1; 32], (EndedReason::Revoked, 2));
    assert_eq!(main, Err(FeedBookError::MainStays));
}

#[test]
fn feeds_endpoints_and_ended_feeds_are_bounded() {
    let mut book = book(&[]);
    for count in 0..FEEDS_MAX {
        book.add(feed(&format!("f{count}")), 1).unwrap();
    }
    assert_eq!(book.add(feed("more"), 1), Err(FeedBookError::TooManyFeeds));
    let listed: Vec<EndpointKey> = (0..=FEED_ENDPOINTS_MAX)
        .map(|at| {
            let mut octets = [0; 32];
            octets[..8].copy_from_slice(&(at as u64).to_be_bytes());
            EndpointKey(octets)
        })
        .collect();
    assert_eq!(book.allow("f0", &listed, 1), Err(FeedBookError::TooManyEndpoints));
    assert_eq!(book.allow("f0", &listed[1..], 1), Ok(()));
    for at in 0..=FEEDS_ENDED_MAX {
        let name = format!("f{}", at % FEEDS_MAX as usize);
        if book.find(&name).is_none() {
            book.add(feed(&name), 1).unwrap();
        }
        book.end(&name, [1; 32], (EndedReason::Revoked, at as u64)).unwrap();
    }
    assert_eq!(book.ended.len(), FEEDS_ENDED_MAX);
    assert_eq!(book.ended[0].at_ms, 1);
}

#[test]
fn a_list_begins_with_the_first_who_is_allowed() {
    let mut book = book(&["partner"]);
    let refused = book.deny("partner", key(1), 5);
    assert!(matches!(refused, Err(FeedBookError::NoList { .. })));
    book.allow("partner", &[key(1), key(2)], 5).unwrap();
    book.deny("partner", key(1), 5).unwrap();
    assert!(matches!(book.deny("partner", key(1), 5), Err(FeedBookError::NotListed { .. })));
    let listed = |book: &FeedBook| book.find("partner").unwrap().allowed.clone();
    assert_eq!(listed(&book), Some(BTreeSet::from([key(2)])));
    book.deny("partner", key(2), 5).unwrap();
    assert_eq!(listed(&book), Some(BTreeSet::new()), "an empty list is for nobody");
    book.open("partner", 5).unwrap();
    assert_eq!(listed(&book), None);
}

#[test]
fn a_rotated_feed_gets_a_name_with_a_number_and_ends_while_the_new_one_has_its_list() {
    let mut book = book(&["partner"]);
    book.allow("partner", &[key(1)], 5).unwrap();
    let old = book.find("partner").unwrap().clone();
    book.rotate("partner", "feed-new", (10, 100)).unwrap();
    let (moved, new) = (book.find("partner~1").unwrap(), book.find("partner").unwrap());
    assert_eq!((&moved.key, moved.moves_to.as_deref()), (&old.key, Some("feed-new")));
    assert_eq!((moved.expires_ms, new.expires_ms), (Some(100), None));
    assert_eq!((new.key.as_str(), &new.allowed), ("feed-new", &old.allowed));
    assert!(moved.edition > old.edition);
    let again = book.rotate("partner~1", "feed-x", (10, 100));
    assert!(matches!(again, Err(FeedBookError::Moved { .. })));
    book.rotate("main", "feed-main", (10, 100)).unwrap();
    assert!(book.find("main").unwrap().is_main() && !book.find("main~1").unwrap().is_main());
    assert_eq!(book.rotate("partner", "feed-y", (10, 10)), Err(FeedBookError::TimeOver));
}

#[test]
fn a_book_reads_back() {
    let mut book = book(&["partner"]);
    book.allow("partner", &[key(1)], 5).unwrap();
    book.expire("partner", Some(9), 1).unwrap();
    book.add(FeedRecord::of_zones(vec!["a.example".parse().unwrap()]), 1).unwrap();
    book.add(feed("gone"), 1).unwrap();
    book.end("gone", key(3).0, (EndedReason::Expired, 5)).unwrap();
    let text = serde_json::to_string(&book).unwrap();
    assert_eq!(serde_json::from_str::<FeedBook>(&text).unwrap(), book);
    assert_eq!(book.expire("partner", Some(7), 7), Err(FeedBookError::TimeOver));
}
