//! The feeds of an authority as they are kept: what each carries, for whom, until when; and those that have ended.
//!
//! A feed is one audience: whoever holds a ticket of it can read all that it carries. Its name is for people;
//! its keys lie in files, and notes of the store, that are called by another name, which is drawn when the feed is
//! made: a feed that is made anew under the name of one that was revoked is another feed.
//!
//! **Invariant:** no two feeds have one name or one key; there is always one called `main`, with all zones; a feed
//! that has ended never comes back.
//! **Not here:** where the book is kept (`feed_list`, `sharing`), what is done about it (`feeds`).

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha1::Digest as _;

use super::feed_text::{EndpointKey, zone_texts};
use crate::limits::{FEED_ENDPOINTS_MAX, FEED_NAME_LEN_MAX, FEEDS_ENDED_MAX, FEEDS_MAX};
use crate::mesh::Ended;
use crate::name::Name;

/// All feeds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeedBook {
    /// Those that are written, or would be if it were our turn.
    pub feeds: Vec<FeedRecord>,
    /// Those that have ended, the newest last, [`FEEDS_ENDED_MAX`] at most.
    #[serde(default)]
    pub ended: Vec<EndedFeed>,
}

/// A feed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FeedRecord {
    /// What people call it.
    pub name: String,
    /// What its keys are called in files and notes.
    pub key: String,
    /// The zones that it carries, sorted; all if there is none.
    #[serde(with = "zone_texts")]
    pub zones: Option<Vec<Name>>,
    /// When it was made, in milliseconds since 1970; 0 where an older version has not noted it.
    #[serde(default)]
    pub created_ms: u64,
    /// When it ends by itself.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// The endpoints that may have it; all if there is no list.
    #[serde(default)]
    pub allowed: Option<BTreeSet<EndpointKey>>,
}

/// A feed that has ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct EndedFeed {
    /// What people called it.
    pub name: String,
    /// What its keys were called.
    pub key: String,
    /// Its namespace: who asks for it is told why there is none.
    pub namespace: EndpointKey,
    /// Why.
    pub reason: EndedReason,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Why a feed has ended, as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedReason {
    /// It was revoked.
    Revoked,
    /// Its time was over.
    Expired,
}

/// Why the book stays as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FeedBookError {
    /// A name that no feed has.
    #[error("no feed is called {name:?}; `aspen-dns feed list` shows those that there are")]
    NoSuchFeed {
        /// The name.
        name: String,
    },
    /// A name that another feed has.
    #[error("a feed is called {name} already: choose another name, or remove that one first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// What is no name of a feed.
    #[error(
        "{name:?} is no name of a feed: 1 to {FEED_NAME_LEN_MAX} letters, digits, points, \"-\" and \"_\", a letter \
         or digit first"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// The feed with all zones stays.
    #[error(
        "the feed main, with all zones, neither ends nor expires: to shut out who holds its ticket, give it a list \
         (`aspen-dns feed allow`)"
    )]
    MainStays,
    /// So many feeds would keep the node from its work.
    #[error("there are {FEEDS_MAX} feeds beside main already: remove one that nobody needs")]
    TooManyFeeds,
    /// A list that is too long.
    #[error("a list has {FEED_ENDPOINTS_MAX} endpoints at most: make another feed for the others")]
    TooManyEndpoints,
    /// Nobody can be taken off a list that there is none.
    #[error(
        "the feed {name} has no list and is for whoever has its ticket: give it one first, with those who may have it \
         (`aspen-dns feed allow {name} KEY…`)"
    )]
    NoList {
        /// Its name.
        name: String,
    },
    /// It is not on the list.
    #[error("{key} is not on the list of the feed {name}")]
    NotListed {
        /// The feed.
        name: String,
        /// The key.
        key: String,
    },
    /// A time that is over.
    #[error(
        "a feed that ended at once would be of no use: give a time to come, or remove the feed"
    )]
    TimeOver,
}

impl From<EndedReason> for Ended {
    fn from(reason: EndedReason) -> Self {
        match reason {
            EndedReason::Revoked => Self::Revoked,
            EndedReason::Expired => Self::Expired,
        }
    }
}

impl FeedRecord {
    /// A feed that is made now, under a name that is drawn for its keys.
    pub fn new(name: String, zones: Option<Vec<Name>>, created_ms: u64) -> Self {
        let drawn: [u8; 8] = rand::random();
        let key = format!("feed-{}", HEXLOWER.encode(&drawn));
        Self { name, key, zones, created_ms, expires_ms: None, allowed: None }
    }

    /// The feed with all zones as it is at first.
    fn main() -> Self {
        let name = MAIN.to_owned();
        Self { key: name.clone(), ..Self::new(name, None, 0) }
    }

    /// A feed of an older version, whose keys are called by its zones.
    pub(super) fn of_zones(zones: Vec<Name>) -> Self {
        let name = name_of_zones(&zones);
        Self { key: name.clone(), ..Self::new(name, Some(zones), 0) }
    }

    /// Whether it is the one with all zones that always is.
    pub fn is_main(&self) -> bool {
        self.name == MAIN
    }
}

impl FeedBook {
    /// A book with what lists of older versions say.
    pub(super) fn of_lists(lists: Vec<Vec<Name>>) -> Self {
        let feeds = lists.into_iter().map(FeedRecord::of_zones).collect();
        Self { feeds, ended: Vec::new() }
    }

    /// Sees to it that there is the feed with all zones.
    pub(super) fn with_main(mut self) -> Self {
        if self.find(MAIN).is_none() {
            self.feeds.insert(0, FeedRecord::main());
        }
        self
    }

    /// The feed of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&FeedRecord> {
        self.feeds.iter().find(|feed| feed.name == name)
    }

    /// The feed whose keys are called so.
    pub(crate) fn by_key(&self, key: &str) -> Option<&FeedRecord> {
        self.feeds.iter().find(|feed| feed.key == key)
    }

    /// The feed of a name, to be changed.
    fn named(&mut self, name: &str) -> Result<&mut FeedRecord, FeedBookError> {
        let found = self.feeds.iter_mut().find(|feed| feed.name == name);
        found.ok_or_else(|| FeedBookError::NoSuchFeed { name: name.chars().take(80).collect() })
    }

    /// Takes what another book has and this one knows nothing of; says whether that was anything.
    pub(super) fn take(&mut self, other: &Self) -> bool {
        let mut is_news = false;
        for feed in &other.feeds {
            let is_ended = self.ended.iter().any(|ended| ended.key == feed.key);
            if is_ended || self.by_key(&feed.key).is_some() {
                continue;
            }
            if self.find(&feed.name).is_some() {
                if !feed.is_main() {
                    tracing::warn!(feed = %feed.name, "a feed of this node has the name of another one in the store");
                }
                continue;
            }
            self.feeds.push(feed.clone());
            is_news = true;
        }
        is_news
    }

    /// Adds a feed.
    ///
    /// # Errors
    /// [`FeedBookError::BadName`], [`FeedBookError::NameTaken`], [`FeedBookError::TooManyFeeds`],
    /// [`FeedBookError::TooManyEndpoints`], [`FeedBookError::TimeOver`].
    pub(super) fn add(&mut self, feed: FeedRecord, now_ms: u64) -> Result<(), FeedBookError> {
        if !is_feed_name(&feed.name) {
            return Err(FeedBookError::BadName { name: feed.name.chars().take(80).collect() });
        }
        if self.find(&feed.name).is_some() {
            return Err(FeedBookError::NameTaken { name: feed.name });
        }
        if self.feeds.len() > FEEDS_MAX as usize {
            return Err(FeedBookError::TooManyFeeds);
        }
        if feed.allowed.as_ref().is_some_and(|listed| listed.len() > FEED_ENDPOINTS_MAX) {
            return Err(FeedBookError::TooManyEndpoints);
        }
        if feed.expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err(FeedBookError::TimeOver);
        }
        self.feeds.push(feed);
        Ok(())
    }

    /// Ends a feed whose namespace is this.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`] and [`FeedBookError::MainStays`].
    pub(super) fn end(
        &mut self,
        name: &str,
        namespace: [u8; 32],
        (reason, at_ms): (EndedReason, u64),
    ) -> Result<(), FeedBookError> {
        let feed = self.named(name)?.clone();
        if feed.is_main() {
            return Err(FeedBookError::MainStays);
        }
        self.feeds.retain(|known| known.key != feed.key);
        let namespace = EndpointKey(namespace);
        self.ended.push(EndedFeed { name: feed.name, key: feed.key, namespace, reason, at_ms });
        let over = self.ended.len().saturating_sub(FEEDS_ENDED_MAX);
        self.ended.drain(..over);
        Ok(())
    }

    /// Puts endpoints on the list of a feed, which has one from then on.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`] and [`FeedBookError::TooManyEndpoints`].
    pub(super) fn allow(&mut self, name: &str, keys: &[EndpointKey]) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        let mut listed = feed.allowed.clone().unwrap_or_default();
        listed.extend(keys);
        if listed.len() > FEED_ENDPOINTS_MAX {
            return Err(FeedBookError::TooManyEndpoints);
        }
        feed.allowed = Some(listed);
        Ok(())
    }

    /// Takes an endpoint off the list of a feed.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`], [`FeedBookError::NoList`], [`FeedBookError::NotListed`].
    pub(super) fn deny(&mut self, name: &str, key: EndpointKey) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        let name = feed.name.clone();
        let Some(listed) = &mut feed.allowed else { return Err(FeedBookError::NoList { name }) };
        match listed.remove(&key) {
            true => Ok(()),
            false => Err(FeedBookError::NotListed { name, key: key.to_string() }),
        }
    }

    /// Takes the list of a feed away: it is for whoever has its ticket.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`].
    pub(super) fn open(&mut self, name: &str) -> Result<(), FeedBookError> {
        self.named(name)?.allowed = None;
        Ok(())
    }

    /// Says when a feed ends by itself, if it does.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`], [`FeedBookError::MainStays`], [`FeedBookError::TimeOver`].
    pub(super) fn expire(
        &mut self,
        name: &str,
        at_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        if feed.is_main() {
            return Err(FeedBookError::MainStays);
        }
        if at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err(FeedBookError::TimeOver);
        }
        feed.expires_ms = at_ms;
        Ok(())
    }
}

/// Whether a text can be the name of a feed that somebody makes.
fn is_feed_name(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    (1..=FEED_NAME_LEN_MAX).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// What the feed of a ticket for some zones is called that nobody has named.
pub(super) fn name_of_zones(zones: &[Name]) -> String {
    let mut text = String::new();
    for zone in zones {
        text.push_str(&zone.to_fqdn());
        text.push('\n');
    }
    let digest = sha1::Sha1::digest(text.as_bytes());
    format!("zones-{}", HEXLOWER.encode(&digest))
}

/// The feed with all zones that always is.
pub(super) const MAIN: &str = "main";

#[cfg(test)]
mod tests {
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
        assert!(
            !book.take(&before),
            "another authority that has not heard of it brings nothing back"
        );
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
        assert_eq!(book.allow("f0", &listed), Err(FeedBookError::TooManyEndpoints));
        assert_eq!(book.allow("f0", &listed[1..]), Ok(()));
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
        let refused = book.deny("partner", key(1));
        assert!(matches!(refused, Err(FeedBookError::NoList { .. })));
        book.allow("partner", &[key(1), key(2)]).unwrap();
        book.deny("partner", key(1)).unwrap();
        assert!(matches!(book.deny("partner", key(1)), Err(FeedBookError::NotListed { .. })));
        let listed = |book: &FeedBook| book.find("partner").unwrap().allowed.clone();
        assert_eq!(listed(&book), Some(BTreeSet::from([key(2)])));
        book.deny("partner", key(2)).unwrap();
        assert_eq!(listed(&book), Some(BTreeSet::new()), "an empty list is for nobody");
        book.open("partner").unwrap();
        assert_eq!(listed(&book), None);
    }

    #[test]
    fn a_book_reads_back() {
        let mut book = book(&["partner"]);
        book.allow("partner", &[key(1)]).unwrap();
        book.expire("partner", Some(9), 1).unwrap();
        book.add(FeedRecord::of_zones(vec!["a.example".parse().unwrap()]), 1).unwrap();
        book.add(feed("gone"), 1).unwrap();
        book.end("gone", key(3).0, (EndedReason::Expired, 5)).unwrap();
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<FeedBook>(&text).unwrap(), book);
        assert_eq!(book.expire("partner", Some(7), 7), Err(FeedBookError::TimeOver));
    }
}
