//! Compares our answers with those of four name servers on the zones of the Ferret data set.
//!
//! ```sh
//! git clone https://github.com/dns-groot/FerretDataset
//! cargo run --release --no-default-features --example ferret -- FerretDataset [--list]
//! ```
//!
//! Each zone is read, built and asked in this process, over UDP without EDNS as the data set was
//! recorded. Compared with the answer that most of BIND, NSD, Knot and PowerDNS gave in 2021 (or,
//! where most of them do not agree, with each of them): rcode, AA, TC, and answer, authority and
//! additional section as sets of records with their TTLs. Not compared: the order of records, the
//! case of names, other header bits, size and compression.
//!
//! Of the zones that break a rule, those that are refused are listed by rule, those that are
//! served by warning, and their answers are compared with the servers' that serve them.
//!
//! A difference must be explained by a rule of `explain`; exit status 1 if one is not, or if we
//! refuse a valid zone or one that most references accept. `--list` prints the explained ones one by one, too.

mod chain;
mod dataset;
mod explain;
mod report;
mod response;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aspen_dns::catalog::{Catalog, CatalogChange};
use aspen_dns::name::Name;
use aspen_dns::record::master::{MasterOptions, MasterZone, read_zone};
use aspen_dns::record::{RecordType, Rrset};
use aspen_dns::responder::{Peer, Responder, Transport, Verdict};
use aspen_dns::zone::{BuildError, HashSeed, build};

use dataset::{Query, StatedTtls};
use explain::Asked;
use report::Report;
use response::Response;

/// Reads the command line and runs all parts.
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, lists_all) = match args.as_slice() {
        [folder] => (Path::new(folder), false),
        [folder, flag] if flag == "--list" => (Path::new(folder), true),
        _ => return Err("usage: ferret DATASET [--list]".into()),
    };
    let mut parts = vec![VALID.to_owned()];
    parts.extend((1..=9).map(|rule| format!("InvalidZoneFileTests/FalseCond_{rule}")));
    let mut total = Report::default();
    let mut is_suspect = false;
    for part in &parts {
        let mut report = Report::new(part == VALID);
        for number in dataset::zone_numbers(&folder.join(part))? {
            run_zone(&folder.join(part), number, &mut report)?;
        }
        report.print_zones(part, lists_all);
        report.print_answers(lists_all);
        is_suspect |= report.is_suspect();
        total.add_answers(&report);
    }
    println!();
    total.print_kinds();
    println!("{}", total.summary());
    Ok(if is_suspect { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads one zone, asks all questions about it and compares the answers.
fn run_zone(folder: &Path, number: u32, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let path = dataset::zone_path(folder, number);
    let text = std::fs::read_to_string(&path)?;
    let options = MasterOptions { file: format!("{number}.txt"), ..MasterOptions::default() };
    let read = match read_zone(text.as_bytes(), &Name::root(), options, &mut |_| {}) {
        Ok(read) => read,
        Err(error) => {
            let checkers = dataset::checkers(folder, number)?;
            report.refused(&variant(&error.rule), error.to_string(), &checkers);
            return Ok(());
        }
    };
    let server = match Server::new(&read) {
        Ok(server) => server,
        Err(error) => {
            let checkers = dataset::checkers(folder, number)?;
            report.refused(&variant(&error), format!("{number}.txt: {error}"), &checkers);
            return Ok(());
        }
    };
    report.served(read.warnings.kept.iter().map(|warning| variant(&warning.kind)));
    for query in dataset::queries(folder, number)? {
        compare(&server, &read, StatedTtls::of(&text), number, &query, report)?;
    }
    Ok(())
}

/// Asks one question and counts the answer.
fn compare(
    server: &Server,
    zone: &MasterZone,
    ttls: StatedTtls,
    number: u32,
    query: &Query,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let ours = server.ask(&query.qname, query.qtype, Transport::Udp)?;
    let ask = |qname: &Name, qtype: RecordType| {
        server.ask(qname, qtype, Transport::Tcp).unwrap_or_default()
    };
    let rrsets: &[Rrset] = &zone.rrsets;
    let (qname, qtype, apex) = (&query.qname, query.qtype, &zone.apex);
    let asked = Asked { qname, qtype, apex, rrsets, ttls, ask: &ask };
    report.answered(number, query, &ours, &|theirs| asked.explain(&ours, theirs));
    Ok(())
}

/// A server of one zone.
struct Server {
    /// The zone.
    catalog: Catalog,
}

impl Server {
    /// Builds the zone.
    fn new(read: &MasterZone) -> Result<Self, BuildError> {
        let seed = HashSeed::random();
        let zone = build(read.apex.clone(), seed, read.rrsets.clone())?;
        let put = vec![CatalogChange::Put(Arc::new(zone))];
        Ok(Self { catalog: Catalog::new(seed).with_changes(put) })
    }

    /// Asks a question.
    fn ask(
        &self,
        qname: &Name,
        qtype: RecordType,
        transport: Transport,
    ) -> Result<Response, Box<dyn Error>> {
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(qname.as_wire());
        query.extend_from_slice(&qtype.0.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        let (mut reply, peer) = (Vec::new(), Peer::in_process(transport));
        match Responder::default().respond(&self.catalog, &query, &peer, &mut reply) {
            Verdict::Drop(reason) => Err(format!("{qname} {qtype}: {reason:?}").into()),
            _ => Response::from_wire(&reply),
        }
    }
}

/// Returns the name of an enum's variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

/// The part of the data set whose zones keep all rules.
const VALID: &str = "ValidZoneFileTests";
