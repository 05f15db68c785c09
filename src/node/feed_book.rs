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
    /// What the keys of the feed are called that takes its place, if one does.
    #[serde(default)]
    pub moves_to: Option<String>,
    /// Rises with everything that those who follow are told of it; 0 while there is nothing to tell.
    #[serde(default)]
    pub edition: u64,
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
    /// A feed that another one has taken the place of already.
    #[error("another feed has taken the place of {name} already: rotate that one")]
    Moved {
        /// Its name.
        name: String,
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
        let (expires_ms, allowed, moves_to, edition) = (None, None, None, 0);
        Self { name, key, zones, created_ms, expires_ms, allowed, moves_to, edition }
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

    /// Has those who follow be told of it anew.
    fn tell(&mut self, now_ms: u64) {
        self.edition = now_ms.max(self.edition.saturating_add(1));
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
        // A store that is put back to an older state has feeds that have ended since.
        for ended in &other.ended {
            if self.ended.iter().any(|known| known.key == ended.key) {
                continue;
            }
            self.feeds.retain(|feed| feed.key != ended.key);
            self.push_ended(ended.clone());
            is_news = true;
        }
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
        let mut feed = feed;
        if feed.allowed.is_some() {
            feed.tell(now_ms);
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
        self.push_ended(EndedFeed { name: feed.name, key: feed.key, namespace, reason, at_ms });
        Ok(())
    }

    /// Notes that a feed has ended; the oldest of too many are forgotten.
    fn push_ended(&mut self, ended: EndedFeed) {
        let at = self.ended.partition_point(|known| known.at_ms <= ended.at_ms);
        self.ended.insert(at, ended);
        let over = self.ended.len().saturating_sub(FEEDS_ENDED_MAX);
        self.ended.drain(..over);
    }

    /// Puts endpoints on the list of a feed, which has one from then on.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`] and [`FeedBookError::TooManyEndpoints`].
    pub(super) fn allow(
        &mut self,
        name: &str,
        keys: &[EndpointKey],
        now_ms: u64,
    ) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        let mut listed = feed.allowed.clone().unwrap_or_default();
        listed.extend(keys);
        if listed.len() > FEED_ENDPOINTS_MAX {
            return Err(FeedBookError::TooManyEndpoints);
        }
        feed.allowed = Some(listed);
        feed.tell(now_ms);
        Ok(())
    }

    /// Takes an endpoint off the list of a feed.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`], [`FeedBookError::NoList`], [`FeedBookError::NotListed`].
    pub(super) fn deny(
        &mut self,
        name: &str,
        key: EndpointKey,
        now_ms: u64,
    ) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        let name = feed.name.clone();
        let Some(listed) = &mut feed.allowed else { return Err(FeedBookError::NoList { name }) };
        if !listed.remove(&key) {
            return Err(FeedBookError::NotListed { name, key: key.to_string() });
        }
        feed.tell(now_ms);
        Ok(())
    }

    /// Takes the list of a feed away: it is for whoever has its ticket.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`].
    pub(super) fn open(&mut self, name: &str, now_ms: u64) -> Result<(), FeedBookError> {
        let feed = self.named(name)?;
        feed.allowed = None;
        feed.tell(now_ms);
        Ok(())
    }

    /// Puts another feed for the same audience, with keys of its own, in the place of one: that one gets a name with
    /// a number, and ends at a time.
    ///
    /// # Errors
    /// [`FeedBookError::NoSuchFeed`], [`FeedBookError::TooManyFeeds`], [`FeedBookError::Moved`],
    /// [`FeedBookError::TimeOver`].
    pub(super) fn rotate(
        &mut self,
        name: &str,
        key: &str,
        (now_ms, end_ms): (u64, u64),
    ) -> Result<(), FeedBookError> {
        if self.feeds.len() > FEEDS_MAX as usize {
            return Err(FeedBookError::TooManyFeeds);
        }
        if end_ms <= now_ms {
            return Err(FeedBookError::TimeOver);
        }
        let is_free = |name: &String| self.find(name).is_none();
        let spare = (1_u32..).map(|count| format!("{name}~{count}")).find(is_free);
        let old = self.named(name)?;
        if old.moves_to.is_some() {
            return Err(FeedBookError::Moved { name: name.to_owned() });
        }
        let new = FeedRecord {
            key: key.to_owned(),
            created_ms: now_ms,
            edition: if old.allowed.is_some() { now_ms } else { 0 },
            ..old.clone()
        };
        old.name = spare.unwrap_or_default();
        old.moves_to = Some(new.key.clone());
        old.expires_ms = Some(old.expires_ms.map_or(end_ms, |expires_ms| expires_ms.min(end_ms)));
        old.tell(now_ms);
        self.feeds.push(new);
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
mod tests;
