//! Polls a server until it answers as its master files say.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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

/// Something to ask for, and the address that it must have.
type Wanted = (u32, [u8; 4]);

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
    let numbers = [0, count - 1].into_iter().chain((0..SAMPLE).map(|_| random.below(count)));
    let mut asker = Asker::new(peer.address, kind)?;
    let mut left: Vec<u32> = numbers.collect();
    let (mut first, end) = (None, Instant::now() + limit);
    while Instant::now() < end {
        let some = left.len().min(AT_ONCE);
        asker.ask(&left[..some])?;
        std::thread::sleep(Duration::from_millis(1));
        let right = asker.take(|number, reply| has_address(kind, reply, corpus::address(number)));
        let now = Instant::now();
        if !right.is_empty() {
            first.get_or_insert(now);
            left.retain(|number| !right.contains(number));
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

/// Asks for every zone or name once more, and returns how many have not the right address.
pub fn count_wrong(peer: &Peer, kind: Kind) -> Result<u64> {
    let wanted: Vec<Wanted> =
        (0..kind.count()).map(|number| (number, corpus::address(number))).collect();
    let left = sweep(peer, kind, wanted, Duration::from_secs(60))?;
    Ok(left.len() as u64)
}

/// Waits until the last of the changes before number `next` are seen; returns how many are not.
///
/// Only the changes of the last half of the zone's names are looked at: what came before may
/// have been changed again.
pub fn count_unseen(peer: &Peer, kind: Kind, changes: std::ops::Range<u32>) -> Result<u64> {
    let names = kind.count();
    let start = changes.start.max(changes.end.saturating_sub(names / 2));
    let wanted = (start..changes.end)
        .map(|number| (change::name_of(number, names), change::address(number)));
    let left = sweep(peer, kind, wanted.collect(), Duration::from_secs(20))?;
    Ok(left.len() as u64)
}

/// Asks again and again for what has not been answered as wanted; returns what is left.
fn sweep(peer: &Peer, kind: Kind, wanted: Vec<Wanted>, limit: Duration) -> Result<Vec<Wanted>> {
    let mut asker = Asker::new(peer.address, kind)?;
    let (mut left, end) = (wanted, Instant::now() + limit);
    while !left.is_empty() && Instant::now() < end {
        let mut still = Vec::new();
        for some in left.chunks(AT_ONCE) {
            let numbers: Vec<u32> = some.iter().map(|wanted| wanted.0).collect();
            asker.ask(&numbers)?;
            let mut right = Vec::new();
            let moment = Instant::now() + Duration::from_millis(20);
            while right.len() < some.len() && Instant::now() < moment {
                right.extend(asker.take(|number, reply| {
                    let wanted = some.iter().find(|wanted| wanted.0 == number);
                    wanted.is_some_and(|wanted| has_address(kind, reply, wanted.1))
                }));
            }
            still.extend(some.iter().filter(|wanted| !right.contains(&wanted.0)));
        }
        left = still;
    }
    Ok(left)
}

/// Asks for addresses, and knows the numbers by the IDs.
struct Asker {
    /// Connected to the server.
    socket: UdpSocket,
    /// What is there to ask for.
    kind: Kind,
    /// The number behind each ID.
    numbers: Vec<u32>,
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
        Ok(Self { socket, kind, numbers: vec![0; 1 + usize::from(u16::MAX)], next: 0 })
    }

    /// Sends queries for these numbers; nobody may listen yet.
    fn ask(&mut self, numbers: &[u32]) -> Result<()> {
        for number in numbers {
            self.numbers[usize::from(self.next)] = *number;
            let _ = self.socket.send(&Ask::A.query(self.next, self.kind, *number)?);
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }

    /// Takes the replies that are there; returns the numbers of those that are right.
    fn take(&self, is_right: impl Fn(u32, &[u8]) -> bool) -> Vec<u32> {
        let (mut reply, mut right) = ([0; 2_048], Vec::new());
        for _ in 0..2 * AT_ONCE {
            let len = match self.socket.recv(&mut reply) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A datagram that was refused before shows now, once.
                Err(_) => continue,
            };
            let number = self.numbers[usize::from(u16::from_be_bytes([reply[0], reply[1]]))];
            if is_right(number, &reply[..len]) {
                right.push(number);
            }
        }
        right
    }
}

/// Queries in one go.
const AT_ONCE: usize = 64;
/// Zones or names that are asked for besides the first and the last.
const SAMPLE: usize = 500;
