//! What stands between two nodes: packets that take long, and packets that are lost.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Passes packets on between whoever dials it and one address; it ends with the process.
#[derive(Debug)]
pub struct Relay {
    /// Where it is dialed.
    pub address: SocketAddr,
    /// Whether packets to that address are lost.
    pub loses_to: Arc<AtomicBool>,
    /// Whether those that come from there are.
    pub loses_from: Arc<AtomicBool>,
}

impl Relay {
    /// Passes packets on to an address and back, each `later` than it came.
    pub fn start(to: SocketAddr, later: Duration) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let back = match to {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)),
        };
        let back = back.expect("a port");
        back.connect(to).expect("an address");
        let address = front.local_addr().expect("an address");
        let (loses_to, loses_from) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let dialed_by: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let clone = |socket: &UdpSocket| socket.try_clone().expect("a descriptor");
        let (read, write, heard) = (clone(&front), clone(&back), Arc::clone(&dialed_by));
        pass(read, later, Arc::clone(&loses_to), move |packet, source| {
            *heard.lock().expect("no panic") = Some(source);
            let _ = write.send(packet);
        });
        pass(back, later, Arc::clone(&loses_from), move |packet, _| {
            if let Some(source) = *dialed_by.lock().expect("no panic") {
                let _ = front.send_to(packet, source);
            }
        });
        Self { address, loses_to, loses_from }
    }
}

/// Gives each packet on when it is due, but for those that are lost.
fn pass(
    read: UdpSocket,
    later: Duration,
    loses: Arc<AtomicBool>,
    give: impl Fn(&[u8], SocketAddr) + Send + 'static,
) {
    let (sender, packets) = mpsc::channel::<(Instant, SocketAddr, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut packet = vec![0; 65_536];
        loop {
            // A peer that is gone is an error here, and may come back.
            let Ok((len, source)) = read.recv_from(&mut packet) else { continue };
            let is_lost = loses.load(Ordering::Relaxed);
            if !is_lost
                && sender.send((Instant::now() + later, source, packet[..len].to_vec())).is_err()
            {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, source, packet) in packets {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            give(&packet, source);
        }
    });
}
