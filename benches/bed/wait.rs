//! Polls a server until it answers as its master files say.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::ask::{Ask, Random, has_address};
use super::corpus::{self, Kind};
use super::mmsg;
use super::peers::Peer;
use super::{Result, change};

/// When right answers came.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The first one.
    pub first: Instant,
    /// The first one to the last of what was asked.
    pub last: Instant,
}

/// Polls a server for the first and the last zone or name and for a random sample between them,
/// until each has been answered with its address.
///
/// A few queries every millisecond cost the starting server next to nothing.
///
/// # Errors
/// If the server ends, or does not answer all of it within `limit`.
pub fn until_answered(peer: &mut Peer, kind: Kind, limit: Duration) -> Result<Answered> {
    let mut random = Random(11);
    let count = kind.count();
    let sample = [0, count - 1].into_iter().chain((0..SAMPLE).map(|_| random.below(count)));
    let mut asker = Asker::new(peer.address, kind)?;
    let mut left: Vec<Wanted> =
        sample.map(|number| Wanted { number, address: corpus::address(number) }).collect();
    let (mut first, end) = (None, Instant::now() + limit);
    while Instant::now() < end {
        for wanted in left.iter().take(AT_ONCE) {
            asker.ask(*wanted)?;
        }
        std::thread::sleep(Duration::from_millis(1));
        let right = asker.take();
        let now = Instant::now();
        if !right.is_empty() {
            first.get_or_insert(now);
            left.retain(|wanted| !right.contains(wanted));
        }
        if let (true, Some(first)) = (left.is_empty(), first) {
            return Ok(Answered { first, last: now });
        }
        let asked = left.len().min(AT_ONCE);
        left.rotate_left(asked);
        peer.check_alive()?;
    }
    Err(format!("{} does not answer {} of {SAMPLE} samples", peer.name, left.len()).into())
}

/// Asks for every zone, or for names spread over the whole of a large one, and returns how many
/// have not the address of their master file.
pub fn count_wrong(peer: &Peer, kind: Kind) -> Result<u64> {
    let step = kind.count().div_ceil(SWEEP_MAX).max(1);
    let numbers = (0..kind.count()).step_by(step as usize);
    let wanted = numbers.map(|number| Wanted { number, address: corpus::address(number) });
    sweep(peer, kind, wanted.collect())
}

/// Waits until the last of some changes are seen; returns how many are not.
///
/// Only as many of the last changes are looked at as half the zone has names: what came before may
/// have been changed again.
pub fn count_unseen(peer: &Peer, kind: Kind, changes: Range<u32>) -> Result<u64> {
    let names = kind.count();
    let start = changes.start.max(changes.end.saturating_sub(names / 2));
    let wanted = (start..changes.end).map(|change| Wanted {
        number: change::name_of(change, names),
        address: change::address(change),
    });
    sweep(peer, kind, wanted.collect())
}

/// Asks again and again for what has not been answered as wanted; returns how much is left when
/// for a while nothing more has been.
fn sweep(peer: &Peer, kind: Kind, mut left: Vec<Wanted>) -> Result<u64> {
    let mut asker = Asker::new(peer.address, kind)?;
    let mut heard_at = Instant::now();
    while !left.is_empty() && heard_at.elapsed() < SWEEP_PATIENCE {
        let mut right = HashSet::new();
        for some in left.chunks(AT_ONCE) {
            for wanted in some {
                asker.ask(*wanted)?;
            }
            // Late replies are taken with the next ones.
            let (before, moment) = (right.len(), Instant::now() + Duration::from_millis(20));
            while right.len() < before + some.len() && Instant::now() < moment {
                right.extend(asker.take());
            }
        }
        right.extend(asker.take());
        if !right.is_empty() {
            heard_at = Instant::now();
        }
        left.retain(|wanted| !right.contains(wanted));
    }
    Ok(left.len() as u64)
}

/// Something to ask for, and the address that it must have.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Wanted {
    /// The name's or the zone's number.
    number: u32,
    /// The address.
    address: [u8; 4],
}

/// Asks for addresses, and knows by the IDs what a reply should have.
struct Asker {
    /// Connected to the server.
    socket: UdpSocket,
    /// What is there to ask for.
    kind: Kind,
    /// What was asked with each ID.
    asked: Vec<Wanted>,
    /// The next ID.
    next: u16,
}

impl Asker {
    /// Will ask a server.
    fn new(server: SocketAddr, kind: Kind) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        mmsg::enlarge(&socket)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let asked = vec![Wanted::default(); 1 + usize::from(u16::MAX)];
        Ok(Self { socket, kind, asked, next: 0 })
    }

    /// Sends a query; nobody may listen yet.
    fn ask(&mut self, wanted: Wanted) -> Result<()> {
        self.asked[usize::from(self.next)] = wanted;
        let _ = self.socket.send(&Ask::A.query(self.next, self.kind, wanted.number)?);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Takes the replies that are there; returns what was answered as wanted.
    fn take(&self) -> Vec<Wanted> {
        let (mut reply, mut right) = ([0; 2_048], Vec::new());
        for _ in 0..2 * AT_ONCE {
            let len = match self.socket.recv(&mut reply) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A datagram that was refused before shows now, once.
                Err(_) => continue,
            };
            let wanted = self.asked[usize::from(u16::from_be_bytes([reply[0], reply[1]]))];
            if has_address(self.kind, &reply[..len], wanted.address) {
                right.push(wanted);
            }
        }
        right
    }
}

/// Queries in one go.
const AT_ONCE: usize = 64;
/// Zones or names that are asked for besides the first and the last.
const SAMPLE: usize = 500;
/// Names of a sweep at most, so that it takes seconds.
const SWEEP_MAX: u32 = 100_000;
/// How long a sweep goes on when nothing more is answered as wanted.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
