//! Another front end: answers queries that come to a Unix datagram socket.
//!
//! ```sh
//! cargo run --no-default-features --example unix_datagram
//! ```
//!
//! It serves a small zone on a socket in the temporary directory, asks it one question, and stops.

use std::error::Error;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::{Publisher, Reader};
use aspen_dns::record::master::{MasterOptions, read_zone};
use aspen_dns::responder::{Peer, Responder, Transport};
use aspen_dns::serve::event::NoReplyReason;
use aspen_dns::serve::stats::{Counters, Recorder};
use aspen_dns::serve::{DnsProtocolServer, FrontEnd, Shutdown};
use aspen_dns::zone::{HashSeed, build};

/// Answers on one Unix datagram socket. Whoever asks has bound an address for the reply.
struct UnixFrontEnd {
    /// Where queries come in.
    socket: UnixDatagram,
    /// Counts them.
    recorder: Recorder,
}

impl FrontEnd for UnixFrontEnd {
    fn name(&self) -> &'static str {
        "unix"
    }

    fn counters(&self) -> Option<Arc<Counters>> {
        Some(self.recorder.counters())
    }

    fn run(
        mut self: Box<Self>,
        reader: Reader,
        responder: Arc<Responder>,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        // It wakes now and then to see whether to stop; who does not read keeps nobody waiting.
        self.socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        self.socket.set_write_timeout(Some(Duration::from_millis(1)))?;
        let (mut query, mut reply) = (vec![0; 65_535], Vec::with_capacity(65_535));
        while !shutdown.is_requested() {
            let (len, source) = match self.socket.recv_from(&mut query) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let started_at = self.recorder.start_batch();
            // No datagram is cut here, so the reply may be as long as a TCP reply.
            let peer = Peer::in_process(Transport::Tcp);
            let verdict = responder.respond(&reader.load(), &query[..len], &peer, &mut reply);
            self.recorder.count_verdict(&verdict);
            // Of a transfer, too, the buffer holds what is sent where none begins: one message is no run.
            if let (Some(_), Some(path)) = (verdict.facts(), source.as_pathname())
                && self.socket.send_to(&reply, path).is_err()
            {
                self.recorder.count_lost_replies(NoReplyReason::SendRefused, 1);
            }
            self.recorder.finish_batch(started_at, 1);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let publisher = Publisher::new(HashSeed::random());
    let text = b"@ SOA ns hostmaster 1 3600 600 604800 300\n@ NS ns\nns A 192.0.2.53\n";
    let origin = Name::from_text("example.")?;
    let master = read_zone(text, &origin, MasterOptions::default(), &mut |_| {})?;
    let zone = build(master.apex, publisher.catalog().seed(), master.rrsets)?;
    publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);

    let directory = std::env::temp_dir().join(format!("aspen-dns-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let (server, client) = (directory.join("server"), directory.join("client"));
    let socket = UnixDatagram::bind(&server)?;
    let front_end = UnixFrontEnd { socket, recorder: Recorder::new("unix") };
    let builder = DnsProtocolServer::builder(publisher.reader()).front_end(Box::new(front_end));
    let running = builder.bind()?.start()?;

    let asker = UnixDatagram::bind(&client)?;
    let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x02ns\x07example\0\0\x01\0\x01";
    asker.send_to(query, &server)?;
    let mut reply = [0; 512];
    let len = asker.recv(&mut reply)?;
    println!("{len} octets, the last four of which are the address {:?}", &reply[len - 4..len]);
    println!("{} queries", running.shutdown()?.queries());
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
