//! Queries at a fixed rate, and how long each reply takes.
//!
//! The next query is sent when it is due, whatever became of those before (open loop), so that a
//! server that stops for a moment is seen by all queries of that moment. A query's latency is from
//! the system's clock just before it is sent to the kernel's stamp on its reply: how busy the
//! asking process is hardly matters.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ask::{Ask, Queries};
use super::{Result, mmsg, stamp};

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// Microseconds, one for each reply, in ascending order.
    pub us: Vec<f64>,
    /// Queries sent.
    pub sent: u64,
    /// Queries without a reply.
    pub lost: u64,
    /// Replies that did not answer.
    pub wrong: u64,
}

impl Latencies {
    /// Returns the latency that this share of replies does not exceed.
    pub fn percentile(&self, share: f64) -> f64 {
        let index = (self.us.len() as f64 * share) as usize;
        self.us.get(index.min(self.us.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

/// Queries on their way, and the replies.
struct Client {
    /// Connected to the server.
    socket: UdpSocket,
    /// When the query of each ID was sent; 0 once it is answered.
    sent_ns: Vec<u64>,
    /// What has come so far.
    found: Latencies,
}

/// Asks for an address `rate` times a second.
pub fn run(
    server: SocketAddr,
    queries: &Queries,
    rate: f64,
    duration: Duration,
) -> Result<Latencies> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    mmsg::enlarge(&socket)?;
    stamp::enable(&socket)?;
    socket.connect(server)?;
    // The kernel may otherwise sleep 50 us longer than it is asked to.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let sent_ns = vec![0; 1 + usize::from(u16::MAX)];
    let mut client = Client { socket, sent_ns, found: Latencies::default() };
    let total = (rate * duration.as_secs_f64()) as u64;
    let start = Instant::now();
    while client.found.sent < total {
        let due = ((start.elapsed().as_secs_f64() * rate) as u64 + 1).min(total);
        while client.found.sent < due {
            client.send(queries)?;
        }
        client.receive()?;
        let next = start + Duration::from_secs_f64(client.found.sent as f64 / rate);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let end = Instant::now() + LATE;
    while client.sent_ns.iter().any(|sent| *sent != 0) && Instant::now() < end {
        client.receive()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let Client { sent_ns, mut found, .. } = client;
    found.lost += sent_ns.iter().filter(|sent| **sent != 0).count() as u64;
    found.us.sort_by(f64::total_cmp);
    Ok(found)
}

impl Client {
    /// Sends the next query.
    fn send(&mut self, queries: &Queries) -> Result<()> {
        let id = self.found.sent as u16;
        let index = (self.found.sent % queries.count() as u64) as usize;
        let mut query = [0; 512];
        let octets = queries.query(index);
        query[..octets.len()].copy_from_slice(octets);
        query[..2].copy_from_slice(&id.to_be_bytes());
        // What was sent with this ID three seconds ago has no reply yet: it has none.
        self.found.lost += u64::from(self.sent_ns[usize::from(id)] != 0);
        self.sent_ns[usize::from(id)] = now_ns()?;
        self.socket.send(&query[..octets.len()])?;
        self.found.sent += 1;
        Ok(())
    }

    /// Takes the replies that are there.
    fn receive(&mut self) -> Result<()> {
        let mut reply = [0; 2_048];
        loop {
            let (len, came_ns) = match stamp::receive(&self.socket, &mut reply) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
            let sent_ns = std::mem::take(&mut self.sent_ns[id]);
            if sent_ns == 0 {
                continue;
            }
            self.found.us.push(came_ns.saturating_sub(sent_ns) as f64 / 1e3);
            self.found.wrong += u64::from(!Ask::A.is_answered_by(false, &reply[..len]));
        }
    }
}

/// Returns the system's clock.
fn now_ns() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64)
}

/// How long the last replies may take.
const LATE: Duration = Duration::from_secs(2);
