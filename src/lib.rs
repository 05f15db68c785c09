//! Aspen DNS: an authoritative DNS server whose data is a replicated document.
//!
//! Records are written to a store, exported to a signed log and a document that an iroh-docs namespace
//! leads to, replicated peer to peer to any number of edges, and answered there from immutable
//! snapshots that queries read without a lock. The binaries are `aspen-node` (a server) and `aspen-dns`
//! (its command line); this crate is all of it as a library.
//!
//! # Architecture
//!
//! Two flows that meet in one place, [`publish`]:
//!
//! ```text
//! query:   serve -> publish::Reader::load -> responder::Responder::respond
//!                   message::query -> catalog -> zone::find -> answer -> wire::reply
//! change:  node (API) -> store -> export -> mesh  ~~ network ~~  replica -> sync::mirror -> zone::edit
//!                   -> publish::stage (what several sources have of an apex) -> publish::Publisher
//! ```
//!
//! A module uses only floors below its own; `tests/tidy` holds the table. The first four are pure: no
//! I/O, no clock, no lock, so that they are tested and fuzzed with plain values.
//!
//! | floor | modules | what they know |
//! |---|---|---|
//! | 0 words | [`limits`] [`clock`] [`durable`] [`name`] [`record`] [`octets`] [`ticket`] | names, types, RDATA, master files |
//! | 1 data | [`message`] [`zone`] [`catalog`] [`feed`] [`dnssec`] | messages, zones, what stands in a feed, what breaks a zone |
//! | 2 protocol | [`wire`] [`answer`] [`responder`] [`lookup`] | what a query is answered with |
//! | 3 publish | [`publish`] [`sync`] | what is served now, what a feed makes of it |
//! | 4 shells | [`files`] [`serve`], with the feature `edge` `mesh` `replica`, with `node` `store` `export` | sockets, disks, peers |
//! | 5 whole | `node`, the binaries | configuration, HTTP API, metrics |
//!
//! # Embedding the cache, without iroh
//!
//! With `default-features = false` the crate is floors 0 to 3, [`files`] and [`serve`], and builds in seconds.
//!
//! ```
//! use std::sync::Arc;
//! use aspen_dns::catalog::CatalogChange;
//! use aspen_dns::name::Name;
//! use aspen_dns::publish::Publisher;
//! use aspen_dns::record::{Change, RecordType, Rrset, master};
//! use aspen_dns::zone::{HashSeed, build};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = HashSeed::random();
//! let publisher = Publisher::new(seed);
//! let text = b"@ 300 SOA ns hostmaster 1 3600 600 86400 60\nwww A 192.0.2.1\n";
//! let origin = Name::from_text("example.com")?;
//! let parsed = master::read_zone(text, &origin, master::MasterOptions::default(), &mut |_| {})?;
//! let zone = build(parsed.apex.clone(), seed, parsed.rrsets)?;
//! publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
//!
//! // The next version shares all that did not change; readers see it at once or not at all.
//! let www = Name::from_text("www.example.com")?;
//! let rrset = Rrset::new(www.clone(), RecordType::A, 60, [[192, 0, 2, 9]])?;
//! let catalog = publisher.catalog();
//! let (zone, report) = catalog.zone(&parsed.apex).expect("published above").edit(&[Change::Put(rrset)]);
//! assert_eq!(report.applied, 1);
//! publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
//! let snapshot = publisher.reader().load();
//! let zone = snapshot.zone(&parsed.apex).expect("published above");
//! assert_eq!(zone.rrset(&www, RecordType::A).map(|rrset| rrset.ttl_s), Some(60));
//! # Ok(())
//! # }
//! ```
//!
//! # Embedding a whole edge
//!
#![cfg_attr(
    feature = "edge",
    doc = r##"
```no_run
use std::time::Duration;
use aspen_dns::replica::{AspenDnsClient, spawn_dns_sync_listener};
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::name::Name;
use aspen_dns::serve::DnsProtocolServer;
use aspen_dns::ticket::DnsClientTicket;

# async fn run() -> Result<(), Box<dyn std::error::Error>> {
let ticket: DnsClientTicket = std::env::var("TICKET")?.parse()?;
let mesh = Mesh::start(MeshConfig::default()).await?;
let client = AspenDnsClient::builder().ticket(ticket.clone()).build()?;
let (stop, task) = spawn_dns_sync_listener(client.clone(), &mesh, &ticket).await?;
client.wait_synced(Duration::from_secs(10)).await?;
println!("{:?}", client.lookup_a(&Name::from_text("www.example.com")?));

let server = DnsProtocolServer::builder(client.reader()).udp_tcp("127.0.0.1:5300".parse()?).bind()?;
let running = server.start()?;
// … until the program ends:
running.shutdown()?;
stop.cancel();
task.await?;
# Ok(())
# }
```
"##
)]
#![cfg_attr(not(feature = "edge"), doc = "Needs the cargo feature `edge`.")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod durable;
pub mod limits;
pub mod name;
pub mod octets;
pub mod record;
pub mod ticket;

pub mod catalog;
pub mod dnssec;
pub mod feed;
pub mod message;
pub mod zone;

pub mod answer;
pub mod lookup;
pub mod responder;
pub mod wire;

pub mod publish;
pub mod sync;

pub mod files;
pub mod serve;

#[cfg(feature = "node")]
pub mod export;
#[cfg(feature = "edge")]
pub mod mesh;
#[cfg(feature = "edge")]
pub mod replica;
#[cfg(feature = "node")]
pub mod store;

#[cfg(feature = "node")]
pub mod node;

#[cfg(test)]
#[path = "../tests/seeded/mod.rs"]
mod seeded;
