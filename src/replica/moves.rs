//! Goes on from a feed to the one that has taken its place: which ticket holds, and what the client takes over.
//!
//! What the author says of the feed lies beside what is kept of it. Once nothing more is kept of a feed that has
//! moved, the edge begins with the feed that has taken its place, whatever ticket it is started with.
//!
//! **Invariant:** a notice is believed only if the author of its feed has signed it.
//! **Not here:** when an edge goes over (`follow::successor`).

use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::AspenDnsClient;
use super::archive::Archive;
use crate::catalog::CatalogChange;
use crate::durable;
use crate::feed::notice::Notice;
use crate::limits::MOVES_MAX;
use crate::mesh::author::AuthorKey;
use crate::name::Name;
use crate::publish::stage::Rank;
use crate::ticket::DnsClientTicket;

/// Returns the ticket of the feed that is to be followed by an edge with this one: of the last that took the place
/// of another, as far as the edge has gone over.
pub(super) fn settle_ticket(mesh_dir: &Path, ticket: &DnsClientTicket) -> DnsClientTicket {
    let mut ticket = ticket.clone();
    for _ in 0..MOVES_MAX {
        let is_left = !Archive::is_there(mesh_dir, &ticket.namespace);
        let notice = read_notice(mesh_dir, &ticket).filter(|_| is_left);
        let Some(next) = notice.and_then(|(notice, _)| next_ticket(&ticket, &notice)) else {
            break;
        };
        ticket = next;
    }
    ticket
}

/// Returns the ticket of the feed that takes the place of another, as that one's notice says.
pub(super) fn next_ticket(ticket: &DnsClientTicket, notice: &Notice) -> Option<DnsClientTicket> {
    let mut next: DnsClientTicket = notice.moves_to.as_ref()?.parse().ok()?;
    // What of the feed this edge wants is for it to say.
    next.zone_filter = next.zone_filter.or_else(|| ticket.zone_filter.clone());
    (next.namespace != ticket.namespace).then_some(next)
}

/// Reads what the author of a feed has said of it, with its octets.
pub(super) fn read_notice(mesh_dir: &Path, ticket: &DnsClientTicket) -> Option<(Notice, Bytes)> {
    let octets = std::fs::read(notice_file(mesh_dir, &ticket.namespace)).ok()?;
    let notice = believe(&AuthorKey::new(&ticket.author), ticket, &octets)?;
    Some((notice, octets.into()))
}

/// Keeps what the author of a feed has said of it. A disk that is full costs the next start a moment.
pub(super) fn keep_notice(mesh_dir: &Path, namespace: &[u8; 32], octets: &[u8]) {
    let file = notice_file(mesh_dir, namespace);
    let kept = file.parent().map_or(Ok(()), durable::create_dir);
    if let Err(error) = kept.and_then(|()| durable::write(&file, octets)) {
        tracing::warn!(file = %file.display(), %error, "what the author says of the feed cannot be kept");
    }
}

/// Reads a notice of a feed that its author has signed.
pub(super) fn believe(
    author: &AuthorKey,
    ticket: &DnsClientTicket,
    octets: &[u8],
) -> Option<Notice> {
    if !author.has_signed_notice(octets) {
        return None;
    }
    let notice = Notice::from_octets(octets).ok()?;
    (notice.namespace == ticket.namespace).then_some(notice)
}

/// Where what the author of a feed has said of it lies.
fn notice_file(mesh_dir: &Path, namespace: &[u8; 32]) -> std::path::PathBuf {
    Archive::dir_in(mesh_dir, namespace).join("notice")
}

impl AspenDnsClient {
    /// Notes which feed is followed.
    pub(super) fn note_ticket(&self, ticket: &DnsClientTicket) {
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket.clone());
    }

    /// Takes all that another client has of a feed, in the place of what is served of the one before: from one moment
    /// to the next.
    pub(super) fn take_from(&self, other: &Self) {
        let fed = |client: &Self| -> Vec<Name> {
            let catalog = client.stage.catalog();
            let apexes = catalog.zones().map(|zone| zone.apex().clone());
            // Those that have expired are held, and would come back with the author.
            let held = catalog.held().map(|hold| hold.apex.clone());
            apexes
                .chain(held)
                .filter(|apex| client.stage.zone(Rank::Feed, apex).is_some())
                .collect()
        };
        let zones: Vec<_> =
            fed(other).iter().filter_map(|apex| other.stage.zone(Rank::Feed, apex)).collect();
        let mut gone = fed(self);
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        gone.extend(held);
        gone.retain(|apex| other.stage.zone(Rank::Feed, apex).is_none());
        // Nothing has changed of what both have: it counts for nothing.
        let mut changes: Vec<_> =
            zones.into_iter().map(|zone| (CatalogChange::Put(zone), 0)).collect();
        changes.extend(gone.into_iter().map(|apex| (CatalogChange::Remove(apex), 0)));
        *self.mirror() = other.mirror().take();
        self.stage.publish_edits(Rank::Feed, changes);
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = other.upstream();
        self.note_barred(None);
    }

    /// The revision below which another feed of the same history would be behind what is answered here.
    pub(super) fn answered_up_to(&self) -> u64 {
        let read = |mirror: &mut crate::sync::mirror::Mirror| {
            let newest = mirror.zone_digests().map(|(_, revision, _)| revision).max();
            mirror.served_place().1.revision.max(newest.unwrap_or_default())
        };
        self.with_mirror(read).unwrap_or_default()
    }
}

/// A client that reads a feed beside the one that is served.
pub(super) fn client_beside(
    client: &AspenDnsClient,
    ticket: &DnsClientTicket,
) -> Option<Arc<AspenDnsClient>> {
    AspenDnsClient::builder().like(client).ticket(ticket.clone()).build().ok()
}

#[cfg(test)]
mod tests {
    use iroh_docs::Author;

    use super::*;

    fn author(seed: u8) -> Author {
        Author::from_bytes(&[seed; 32])
    }

    /// The ticket of a feed whose author is the one of its number.
    fn ticket(feed: u8) -> DnsClientTicket {
        DnsClientTicket {
            cluster_id: "test".to_owned(),
            namespace: [feed; 32],
            author: *author(feed).id().as_bytes(),
            peers: Vec::new(),
            zone_filter: None,
        }
    }

    fn notice(feed: u8, to: Option<u8>, signed_by: u8) -> Vec<u8> {
        let moves_to = to.map(|to| ticket(to).to_string());
        let notice = Notice { namespace: [feed; 32], number: 1, audience: None, moves_to };
        notice.to_octets(|octets| author(signed_by).sign(octets).to_bytes())
    }

    fn settled(dir: &Path, from: &DnsClientTicket) -> u8 {
        settle_ticket(dir, from).namespace[0]
    }

    #[test]
    fn an_edge_goes_on_with_the_last_feed_that_took_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(settled(dir, &ticket(1)), 1);
        keep_notice(dir, &[1; 32], &notice(1, Some(2), 1));
        keep_notice(dir, &[2; 32], &notice(2, Some(3), 2));
        keep_notice(dir, &[3; 32], &notice(3, None, 3));
        assert_eq!(settled(dir, &ticket(1)), 3);
        // What the edge wants of the feed stays.
        let zones = Some(vec!["a.example".parse().unwrap()]);
        let narrow = DnsClientTicket { zone_filter: zones.clone(), ..ticket(1) };
        assert_eq!(settle_ticket(dir, &narrow).zone_filter, zones);
        // It has not gone over from the second one yet.
        std::fs::write(Archive::dir_in(dir, &[2; 32]).join("root"), "").unwrap();
        assert_eq!(settled(dir, &ticket(1)), 2);
        Archive::forget(dir, &[2; 32]);
        assert_eq!(settled(dir, &ticket(1)), 3);
    }

    #[test]
    fn notices_that_are_forged_damaged_or_lead_in_a_circle_lead_nowhere_new() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for bad in [notice(1, Some(2), 9), notice(5, Some(2), 1), b"AN".to_vec(), Vec::new()] {
            keep_notice(dir, &[1; 32], &bad);
            assert_eq!(settled(dir, &ticket(1)), 1);
        }
        keep_notice(dir, &[1; 32], &notice(1, Some(1), 1));
        assert_eq!(settled(dir, &ticket(1)), 1);
        keep_notice(dir, &[1; 32], &notice(1, Some(2), 1));
        keep_notice(dir, &[2; 32], &notice(2, Some(1), 2));
        assert!([1, 2].contains(&settled(dir, &ticket(1))), "it ends");
        let unreadable = Notice {
            namespace: [3; 32],
            number: 1,
            audience: None,
            moves_to: Some("aspendnsnonsense".to_owned()),
        };
        assert_eq!(next_ticket(&ticket(3), &unreadable), None);
    }
}
