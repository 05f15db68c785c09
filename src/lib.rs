//! Aspen DNS: an authoritative DNS server whose data is a replicated document.
//!
//! Records are written to a store, exported to a signed log and a document that an iroh-docs namespace
//! leads to, replicated peer to peer to any number of edges, and answered there from immutable
//! snapshots that queries read without a lock. The binaries are `aspen-node` (a server) and `aspen-dns`
//! (its command line); this crate is all of it as a library.
//!
//! # For a program of one's own
//!
//! | to | there is |
//! |---|---|
//! | serve master files | [`masterfiles::publish_file`]; of a directory, with what changes in it, [`masterfiles::ZoneFiles`] |
//! | make records and zones | [`record::Rrset::from_text`], [`zone::build()`] |
//! | change a zone that is served | [`zone::Zone::edit`] |
//! | publish zones | [`publish::stage::Stage`], where each source has its rank; [`publish::Publisher`] below it |
//! | answer over UDP and TCP | [`serve::DnsProtocolServer`] |
//! | answer over anything else | [`serve::FrontEnd`], or [`responder::Responder::respond`] alone |
//! | look up in the process | [`lookup::resolve`] |
//! | know what breaks a zone | [`dnssec::check()`] |
//! | follow a feed | with the cargo feature `edge`, `replica::AspenDnsClient::follow` over a `mesh::Mesh` |
//! | write a feed | with the feature `node`, `store::DnsStore` and `export::DocsExporter` |
//!
//! # The cache, without iroh
//!
//! With `default-features = false` the crate has no async runtime, and builds in seconds.
//!
//! ```
//! use std::sync::Arc;
//! use aspen_dns::catalog::CatalogChange;
//! use aspen_dns::name::Name;
//! use aspen_dns::publish::stage::{Rank, Stage};
//! use aspen_dns::record::{Change, RecordType, Rrset};
//! use aspen_dns::serve::DnsProtocolServer;
//! use aspen_dns::zone::HashSeed;
//! use aspen_dns::{lookup, masterfiles};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("example.com.zone");
//! # std::fs::write(&path, "@ 300 SOA ns hostmaster 1 3600 600 86400 60\nwww A 192.0.2.1\n")?;
//! let stage = Stage::new(HashSeed::random(), Rank::File);
//! let zone = masterfiles::publish_file(&path, &stage)?.zone; // …/example.com.zone
//! let server = DnsProtocolServer::builder(stage.reader()).udp_tcp("127.0.0.1:0".parse()?);
//! let running = server.bind()?.start()?;
//!
//! // The next version shares all that did not change; readers see it at once or not at all.
//! let (next, report) = zone.edit(&[Change::Put(Rrset::from_text("www.example.com 60 A 192.0.2.9")?)]);
//! assert_eq!(report.applied, 1);
//! stage.publish(Rank::File, vec![CatalogChange::Put(Arc::new(next))]);
//!
//! let www = Name::from_text("www.example.com")?;
//! let found = lookup::resolve(&stage.reader().load(), &www, RecordType::A);
//! assert_eq!(found.ipv4(), ["192.0.2.9".parse::<std::net::Ipv4Addr>()?]);
//! running.shutdown()?;
//! # Ok(())
//! # }
//! ```
//!
//! # A whole edge
//!
#![cfg_attr(
    feature = "edge",
    doc = r##"
The cargo feature `edge` follows a feed and needs nothing else of a node. A [`mesh::Mesh`] is the peer among
peers: [`Mesh::start`](mesh::Mesh::start) binds an endpoint for it,
[`Mesh::with_endpoint`](mesh::Mesh::with_endpoint) takes the one that a program of iroh has already.

```no_run
use std::time::Duration;
use aspen_dns::mesh::{Mesh, MeshConfig};
use aspen_dns::name::Name;
use aspen_dns::replica::AspenDnsClient;
use aspen_dns::serve::DnsProtocolServer;

# async fn run() -> Result<(), Box<dyn std::error::Error>> {
let client = AspenDnsClient::builder().ticket(std::env::var("TICKET")?.parse()?).build()?;
let mesh = Mesh::start(MeshConfig { dir: Some("edge-data".into()), ..MeshConfig::default() }).await?;
let following = client.follow(&mesh).await?;
client.wait_synced(Duration::from_secs(10)).await?;
println!("{:?}", client.lookup_a(&Name::from_text("www.example.com")?));

let server = DnsProtocolServer::builder(client.reader()).udp_tcp("127.0.0.1:5300".parse()?).bind()?;
let running = server.start()?;
// … until the program ends:
running.shutdown()?;
following.stop().await;
mesh.shutdown().await;
# Ok(())
# }
```

A program's own zones go beside the feed's: [`AspenDnsClient::stage`](replica::AspenDnsClient::stage) is the
`stage` of the example above.
"##
)]
#![cfg_attr(not(feature = "edge"), doc = "Needs the cargo feature `edge`.")]
//!
//! # Architecture
//!
//! Two flows that meet in one place, [`publish`]; what is served has one owner, the stage:
//!
//! ```text
//! query:   serve (a batch) -> publish::Reader::load -> responder (the one door: Peer in, Verdict out)
//!                   message::query -> catalog -> zone::find -> answer -> wire::reply
//! change:  node (API) -> store (one commit) -> history -> export -> mesh  ~~ network ~~  replica -> sync::mirror
//!                   -> zone::edit -> publish::stage (what each source has of an apex) -> the pointer
//!          store -> history -> node::follow (an authority's own answers) -> publish::stage
//! ```
//!
//! A module uses only floors below its own; `tests/tidy` holds the table. The first four are pure: no
//! I/O, no clock, no lock, so that they are tested and fuzzed with plain values; but for [`clock`] and [`durable`],
//! which are how all others ask for the time and write a small file, and for the lock of the stage.
//!
//! | floor | modules | what they know |
//! |---|---|---|
//! | 0 words | [`limits`] [`clock`] [`durable`] [`name`] [`record`] [`octets`] [`ticket`] | names, types, RDATA, master files |
//! | 1 data | [`message`] [`zone`] [`catalog`] [`feed`] [`dnssec`] | messages, zones, what stands in a feed, what breaks a zone |
//! | 2 protocol | [`wire`] [`answer`] [`responder`] [`lookup`] | what a query is answered with |
//! | 3 publish | [`publish`] [`sync`] | what is served now, what a feed makes of it |
//! | 4 shells | [`masterfiles`] [`serve`], with the feature `edge` `mesh` `replica`, with `node` `store` `export` | sockets, disks, peers |
//! | 5 whole | `node`, the binaries | configuration, HTTP API, metrics |
// `pub` is what a program of somebody else's needs: what nobody calls is found by the compiler then.
#![warn(unreachable_pub)]
// A node has a caller for all of it; its parts alone have fewer.
#![cfg_attr(not(feature = "node"), allow(dead_code))]
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

pub mod masterfiles;
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
#[allow(unreachable_pub)] // other tests share it
#[path = "../tests/seeded/mod.rs"]
mod seeded;

/// The examples of the README, which compile too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
