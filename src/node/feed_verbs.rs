//! What can be done with the feeds of an authority: made, shown, listed, ended, and given lists and times.
//!
//! **Invariant:** what was done is in the book when it is answered, and holds for whoever follows.
//! **Not here:** the rules (`feed_book`), making it so (`feeds`).

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::feed::Feed;
use super::feed_book::{
    EndedFeed, EndedReason, FeedBook, FeedBookError, FeedRecord, MAIN, name_of_zones,
};
use super::feed_error::FeedsError;
use super::feed_text::EndpointKey;
use super::feeds::Feeds;
use crate::clock::now_ms;
use crate::limits::ROTATED_MS_DEFAULT;
use crate::mesh::access::Audience;
use crate::name::Name;
use crate::ticket::DnsClientTicket;

/// All feeds, as they are shown.
#[derive(Clone, Debug, Serialize)]
pub struct FeedsReport {
    /// Those that there are.
    pub feeds: Vec<FeedReport>,
    /// Those that have ended, the newest last.
    pub ended: Vec<EndedFeed>,
}

/// A feed, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct FeedReport {
    /// What is kept of it; what its keys are called among it.
    #[serde(flatten)]
    pub record: FeedRecord,
    /// Its namespace.
    pub namespace: EndpointKey,
    /// How it is, in a word.
    pub state: &'static str,
    /// How many follow it at this node.
    pub followers: u64,
    /// How often an endpoint was refused it at this node.
    pub refusals: u64,
    /// Endpoints that were refused it, some of them.
    pub refused: Vec<RefusedEndpoint>,
}

/// An endpoint that was refused a feed.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedEndpoint {
    /// Its key.
    pub endpoint: String,
    /// How often.
    pub count: u64,
}

/// A feed that is to be made.
#[derive(Clone, Debug, Default)]
pub struct NewFeed {
    /// What it is to be called.
    pub name: String,
    /// Its zones, sorted, each once; all if there is none.
    pub zones: Option<Vec<Name>>,
    /// Who may have it; whoever has a ticket if there is none.
    pub allowed: Option<BTreeSet<EndpointKey>>,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

impl Feeds {
    /// Returns a ticket of the feed with exactly `zones` (sorted, each once), or with all zones; makes the feed.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn ticket(&self, zones: Option<Vec<Name>>) -> Result<DnsClientTicket, FeedsError> {
        let Some(zones) = zones else { return self.ticket_of(MAIN).await };
        debug_assert!(zones.is_sorted());
        let name = name_of_zones(&zones);
        match self
            .create(NewFeed { name: name.clone(), zones: Some(zones), ..NewFeed::default() })
            .await
        {
            // It was made before, perhaps by another authority just now.
            Err(FeedsError::Book(FeedBookError::NameTaken { .. })) => self.ticket_of(&name).await,
            made => made,
        }
    }

    /// Returns a ticket of the feed of a name.
    ///
    /// # Errors
    /// [`FeedsError::Book`] and [`FeedsError::Share`].
    pub async fn ticket_of(&self, name: &str) -> Result<DnsClientTicket, FeedsError> {
        let others = self.authorities().await?;
        Ok(self.kept.lock().await.named(name)?.ticket(others))
    }

    /// Makes a feed, and returns a ticket of it.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn create(&self, new: NewFeed) -> Result<DnsClientTicket, FeedsError> {
        let now_ms = now_ms();
        let mut record = FeedRecord::new(new.name, new.zones, now_ms);
        (record.allowed, record.expires_ms) = (new.allowed, new.expires_ms);
        let name = record.name.clone();
        self.change(|book| book.add(record.clone(), now_ms)).await?;
        self.ticket_of(&name).await
    }

    /// Ends a feed for good.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn revoke(&self, name: &str) -> Result<(), FeedsError> {
        self.finish(name, EndedReason::Revoked).await
    }

    /// Ends the feeds whose time is over, by this node's clock.
    ///
    /// # Errors
    /// Every [`FeedsError`]; one feed that cannot be ended keeps no other from it. It is served to nobody from here
    /// all the same.
    pub(super) async fn end_expired(&self) -> Result<(), FeedsError> {
        // Of several authorities it is the clock of the one that writes the feeds that counts.
        if self.sharing.is_some() && !self.has_turn() {
            return Ok(());
        }
        let now_ms = now_ms();
        let due: Vec<String> = {
            let kept = self.kept.lock().await;
            let is_due = |feed: &&FeedRecord| feed.expires_ms.is_some_and(|at_ms| at_ms <= now_ms);
            kept.book.feeds.iter().filter(is_due).map(|feed| feed.name.clone()).collect()
        };
        let mut ended = Ok(());
        for name in due {
            let finished = self.finish(&name, EndedReason::Expired).await;
            if finished.is_err()
                && let Ok(feed) = self.kept.lock().await.named(&name)
            {
                self.mesh
                    .access()
                    .set(feed.namespace(), Audience::Nobody(EndedReason::Expired.into()));
            }
            ended = ended.and(finished);
        }
        ended
    }

    /// Ends a feed.
    async fn finish(&self, name: &str, reason: EndedReason) -> Result<(), FeedsError> {
        let mut kept = self.kept.lock().await;
        let feed = kept.named(name)?;
        let (key, namespace, now_ms) = (feed.record().key, feed.namespace(), now_ms());
        let end = |book: &mut FeedBook| {
            let is_same = book.find(name).is_some_and(|found| {
                // Another authority may have given it more time.
                let is_due = found.expires_ms.is_some_and(|at_ms| at_ms <= now_ms);
                found.key == key && (reason == EndedReason::Revoked || is_due)
            });
            if is_same { book.end(name, namespace, (reason, now_ms)) } else { Ok(()) }
        };
        self.change_kept(&mut kept, end).await
    }

    /// Puts endpoints on the list of a feed.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn allow(&self, name: &str, keys: &[EndpointKey]) -> Result<(), FeedsError> {
        let now_ms = now_ms();
        self.change(|book| book.allow(name, keys, now_ms)).await?;
        // Edges that hand the feed on are to know it at once.
        self.tell().await
    }

    /// Takes an endpoint off the list of a feed; it is cut off.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn deny(&self, name: &str, key: EndpointKey) -> Result<(), FeedsError> {
        let now_ms = now_ms();
        self.change(|book| book.deny(name, key, now_ms)).await?;
        // Edges that hand the feed on are to know it at once.
        self.tell().await
    }

    /// Takes the list of a feed away.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn open(&self, name: &str) -> Result<(), FeedsError> {
        let now_ms = now_ms();
        self.change(|book| book.open(name, now_ms)).await?;
        // Edges that hand the feed on are to know it at once.
        self.tell().await
    }

    /// Says when a feed ends by itself.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn expire(&self, name: &str, at_ms: Option<u64>) -> Result<(), FeedsError> {
        let now_ms = now_ms();
        self.change(|book| book.expire(name, at_ms, now_ms)).await
    }

    /// Puts another feed in the place of one, for the same audience: those who follow go on to it, and the old one
    /// ends at `end_ms`, a week from now by default. Returns a ticket of the new one.
    ///
    /// # Errors
    /// Every [`FeedsError`].
    pub async fn rotate(
        &self,
        name: &str,
        end_ms: Option<u64>,
    ) -> Result<DnsClientTicket, FeedsError> {
        let now_ms = now_ms();
        let end_ms = end_ms.unwrap_or(now_ms.saturating_add(ROTATED_MS_DEFAULT));
        let key = FeedRecord::new(String::new(), None, now_ms).key;
        self.change(|book| book.rotate(name, &key, (now_ms, end_ms))).await?;
        self.ticket_of(name).await
    }

    /// Tells those who follow feeds of this node who may have them, and those of one in whose place another has come
    /// its ticket, once that one can be read as a whole.
    ///
    /// # Errors
    /// [`FeedsError::Share`] and [`FeedsError::Export`]; one that fails keeps no other from being told.
    pub(super) async fn tell(&self) -> Result<(), FeedsError> {
        let feeds = self.feeds().await;
        let others = self.authorities().await?;
        let mut told = Ok(());
        for feed in &feeds {
            let (record, Some(exporter)) = (feed.record(), feed.exporter()) else { continue };
            if record.edition == 0 {
                continue;
            }
            let next = record.moves_to.as_ref().and_then(|key| {
                let next = feeds.iter().find(|next| next.record().key == *key)?;
                next.exporter().is_some_and(|exporter| exporter.is_whole()).then_some(next)
            });
            let moves_to = next.and_then(|next| next.ticket(others.clone()).to_text().ok());
            let notice = feed.notice(&record, moves_to);
            told = told.and(exporter.tell(&notice).await.map_err(FeedsError::from));
        }
        told
    }

    /// Shows all feeds.
    pub async fn report(&self) -> FeedsReport {
        let kept = self.kept.lock().await;
        let shown = |record: &FeedRecord| kept.feeds.get(&record.key).map(|feed| self.show(feed));
        let feeds = kept.book.feeds.iter().filter_map(shown).collect();
        FeedsReport { feeds, ended: kept.book.ended.clone() }
    }

    /// Shows the feed of a name.
    ///
    /// # Errors
    /// [`FeedsError::Book`].
    pub async fn report_of(&self, name: &str) -> Result<FeedReport, FeedsError> {
        Ok(self.show(&*self.kept.lock().await.named(name)?))
    }

    /// Shows a feed.
    fn show(&self, feed: &Feed) -> FeedReport {
        let namespace = feed.namespace();
        let refusals = self.mesh.refusals(&namespace);
        let endpoint = |(id, count): &([u8; 32], u64)| RefusedEndpoint {
            endpoint: HEXLOWER.encode(id),
            count: *count,
        };
        FeedReport {
            record: feed.record(),
            namespace: EndpointKey(namespace),
            state: if feed.record().moves_to.is_some() { "rotated" } else { "active" },
            followers: feed.followers().len() as u64,
            refusals: refusals.count,
            refused: refusals.endpoints.iter().map(endpoint).collect(),
        }
    }
}
