//! Serves one master file over UDP and TCP, and nothing else: the cache embedded in a program.
//!
//! ```sh
//! cargo run --release --no-default-features --example serve_zone -- example.com.zone 127.0.0.1:5300
//! ```
//!
//! It answers until its standard input ends. An optional third argument is the number of UDP
//! workers.

use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;

use aspen_dns::masterfiles::{self, PublishedFile};
use aspen_dns::publish::stage::{Rank, Stage};
use aspen_dns::serve::DnsProtocolServer;
use aspen_dns::zone::HashSeed;

/// Reads the command line.
#[allow(dead_code)] // the loopback bench has this file as a module and calls `serve`
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    serve(&arguments)
}

/// Serves `FILE ADDRESS [WORKERS]` until the standard input ends.
pub(crate) fn serve(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (file, addr, workers) = match arguments {
        [file, addr] => (file, addr, 1),
        [file, addr, workers] => (file, addr, workers.parse()?),
        _ => return Err("usage: serve_zone FILE ADDRESS [WORKERS]".into()),
    };
    let addr: SocketAddr = addr.parse()?;

    let stage = Stage::new(HashSeed::random(), Rank::File);
    let PublishedFile { zone, warnings } = masterfiles::publish_file(file, &stage)?;
    warnings.kept.iter().for_each(|warning| eprintln!("{warning}"));
    eprintln!("{}: {} names, serial {}", zone.apex(), zone.name_count(), zone.serial());

    let server = DnsProtocolServer::builder(stage.reader());
    let running = server.udp_tcp(addr).workers(workers).bind()?.start()?;
    println!("ready {}", running.addrs()[0]);
    io::stdin().read_to_end(&mut Vec::new())?;
    let stats = running.shutdown()?;
    eprintln!("answered {} queries", stats.queries());
    Ok(())
}
