//! Who else can be followed: peers of the ticket, those that others named, those that follow us.
//!
//! The newest are kept over a restart, so that a node which has lost its upstream, or has moved,
//! finds the others again. An address is only where to look: who answers there is proven by its key.
//!
//! **Invariant:** [`KNOWN_PEERS_MAX`] peers beside those of the ticket, the newest.
//! **Not here:** which of them is followed (`replica`).

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::durable;
use crate::limits::KNOWN_PEERS_MAX;
use crate::octets::{Format, OctetReader, put_varint};
use crate::ticket::{TicketPeer, put_peer, read_peer};

/// The peers of one feed.
#[derive(Debug)]
pub(crate) struct Peers {
    /// This node's own key, which is no peer.
    own: [u8; 32],
    /// Where they are kept.
    file: Option<PathBuf>,
    /// The peers, the newest last; those of the ticket first and for ever.
    state: Mutex<Known>,
    /// Wakes who dials them.
    pub(crate) news: Notify,
}

/// The peers.
#[derive(Debug, Default)]
struct Known {
    /// Those of the ticket.
    fixed: Vec<TicketPeer>,
    /// The others, the newest last.
    others: Vec<TicketPeer>,
}

impl Peers {
    /// Begins with the peers of a ticket and those that were known before.
    pub(crate) fn load(own: [u8; 32], fixed: &[TicketPeer], file: Option<PathBuf>) -> Self {
        let others = file.as_deref().and_then(|file| std::fs::read(file).ok());
        let others = others.and_then(|octets| read(&octets)).unwrap_or_default();
        let fixed = fixed.iter().filter(|peer| peer.id != own).cloned().collect();
        let peers = Self {
            own,
            file,
            state: Mutex::new(Known { fixed, ..Known::default() }),
            news: Notify::new(),
        };
        for peer in others {
            peers.state().hear(peer);
        }
        peers
    }

    /// This node's own key.
    pub(crate) fn own(&self) -> [u8; 32] {
        self.own
    }

    /// Takes others in the place of those of the ticket; says whether that is news.
    pub(crate) fn set_fixed(&self, fixed: &[TicketPeer]) -> bool {
        let fixed: Vec<TicketPeer> =
            fixed.iter().filter(|peer| peer.id != self.own).cloned().collect();
        let mut state = self.state();
        let is_news = state.fixed != fixed;
        state.others.retain(|other| fixed.iter().all(|peer| peer.id != other.id));
        state.fixed = fixed;
        is_news
    }

    /// Notes where a peer says that it is itself.
    pub(crate) fn note(&self, peer: TicketPeer) {
        self.take(vec![peer], Known::note);
    }

    /// Notes where peers are, as another one says.
    pub(crate) fn hear(&self, peers: Vec<TicketPeer>) {
        self.take(peers, Known::hear);
    }

    /// Takes what is of use of some peers, and keeps it if that is news.
    fn take(&self, peers: Vec<TicketPeer>, take: fn(&mut Known, TicketPeer) -> bool) {
        let mut state = self.state();
        let mut is_news = false;
        for peer in peers {
            let is_useful = peer.id != self.own && !(peer.addrs.is_empty() && peer.relay.is_none());
            is_news |= is_useful && take(&mut state, peer);
        }
        if !is_news {
            return;
        }
        // Those of the ticket may be elsewhere than it says.
        let kept: Vec<TicketPeer> = state.others.iter().chain(&state.fixed).cloned().collect();
        let octets = write(&kept[kept.len().saturating_sub(KNOWN_PEERS_MAX)..]);
        drop(state);
        let keep = |file: &PathBuf| {
            file.parent().map_or(Ok(()), durable::create_dir)?;
            durable::write(file, &octets)
        };
        if let Some(file) = &self.file
            && let Err(error) = keep(file)
        {
            tracing::warn!(file = %file.display(), %error, "the peers that are known cannot be kept");
        }
        self.news.notify_waiters();
    }

    /// All peers, those of the ticket first, then the newest.
    pub(crate) fn all(&self) -> Vec<TicketPeer> {
        let state = self.state();
        state.fixed.iter().chain(state.others.iter().rev()).cloned().collect()
    }

    /// The peers of the ticket, and the others, the newest first.
    pub(crate) fn split(&self) -> (Vec<TicketPeer>, Vec<TicketPeer>) {
        let state = self.state();
        (state.fixed.clone(), state.others.iter().rev().cloned().collect())
    }

    /// Up to [`KNOWN_PEERS_MAX`] peers, as a welcome names them: not `id`, who asks.
    pub(crate) fn others(&self, id: &[u8; 32]) -> Vec<TicketPeer> {
        let mut all = self.all();
        all.retain(|peer| peer.id != *id);
        all.truncate(KNOWN_PEERS_MAX);
        all
    }

    /// The peers.
    fn state(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes where a peer says that it is itself; says whether that is news.
    fn note(&mut self, peer: TicketPeer) -> bool {
        if let Some(known) = self.fixed.iter_mut().find(|known| known.id == peer.id) {
            let is_news = *known != peer;
            self.others.retain(|other| other.id != peer.id);
            *known = peer;
            return is_news;
        }
        let is_known = |known: &TicketPeer| known.id == peer.id;
        if self.others.iter().filter(|known| is_known(known)).eq([&peer]) {
            return false;
        }
        self.others.retain(|known| !is_known(known));
        self.push(peer);
        true
    }

    /// Takes where somebody is whom another one names: beside what is known of that peer, since it may
    /// have been there before. Says whether that is news.
    fn hear(&mut self, peer: TicketPeer) -> bool {
        if self.fixed.contains(&peer) || self.others.contains(&peer) {
            return false;
        }
        self.push(peer);
        true
    }

    /// Takes a peer in the place of the oldest.
    fn push(&mut self, peer: TicketPeer) {
        self.others.push(peer);
        if self.others.len() > KNOWN_PEERS_MAX {
            self.others.remove(0);
        }
    }
}

/// Writes peers as they are kept.
pub(crate) fn write(peers: &[TicketPeer]) -> Vec<u8> {
    let mut out = Vec::new();
    FORMAT.put(&mut out);
    put_varint(&mut out, peers.len() as u64);
    peers.iter().for_each(|peer| put_peer(&mut out, peer));
    out
}

/// Reads peers that were kept. They are a help and no more: what does not read is none.
pub(crate) fn read(octets: &[u8]) -> Option<Vec<TicketPeer>> {
    let mut reader = OctetReader::new(octets);
    reader.format("peers", FORMAT).ok()?;
    let count = reader.varint("count of peers", KNOWN_PEERS_MAX as u64).ok()?;
    let peers = (0..count).map(|_| read_peer(&mut reader).ok()).collect();
    reader.end().ok()?;
    peers
}

/// The first octets of the file.
const FORMAT: Format = Format { letters: *b"AP", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8, port: u16) -> TicketPeer {
        TicketPeer { id: [id; 32], addrs: vec![([192, 0, 2, 1], port).into()], relay: None }
    }

    #[test]
    fn the_newest_are_kept_over_a_restart_and_a_moved_one_replaces_itself() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("peers");
        let peers = Peers::load([0; 32], &[peer(1, 1), peer(0, 9)], Some(file.clone()));
        assert_eq!(peers.all(), [peer(1, 1)], "this node is no peer of its own");
        for id in 2..=30 {
            peers.note(peer(id, 1));
        }
        peers.note(peer(30, 2));
        peers.note(peer(0, 1));
        peers.note(TicketPeer { id: [31; 32], ..TicketPeer::default() });
        peers.note(peer(1, 7));
        let all = peers.all();
        assert_eq!((&all[0], &all[1]), (&peer(1, 7), &peer(30, 2)));
        assert_eq!(all.len(), 1 + KNOWN_PEERS_MAX);
        assert!(peers.others(&[30; 32]).iter().all(|peer| peer.id != [30; 32]));
        // A peer of the ticket that has moved is looked for in both places.
        let again = Peers::load([0; 32], &[peer(1, 1)], Some(file.clone()));
        assert_eq!(again.all()[..2], [peer(1, 1), peer(1, 7)]);
        assert_eq!(again.all()[2..], all[1..KNOWN_PEERS_MAX]);
        std::fs::write(&file, "nonsense").unwrap();
        assert_eq!(Peers::load([0; 32], &[], Some(file)).all(), []);
    }

    #[test]
    fn where_others_say_that_a_peer_is_takes_no_place_of_what_it_says_itself() {
        let peers = Peers::load([0; 32], &[peer(1, 1)], None);
        peers.note(peer(2, 1));
        for _ in 0..3 {
            peers.hear(vec![peer(1, 5), peer(2, 5), peer(1, 6)]);
        }
        assert_eq!(peers.all(), [peer(1, 1), peer(1, 6), peer(2, 5), peer(1, 5), peer(2, 1)]);
        // What it says itself counts alone.
        peers.note(peer(2, 9));
        peers.note(peer(1, 9));
        assert_eq!(peers.all(), [peer(1, 9), peer(2, 9)]);
    }
}
