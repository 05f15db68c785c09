//! The servers of this crate as processes: the cache embedded in a program, and the echo.

use std::io::{self, BufRead as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use aspen_dns::catalog::CatalogChange;
use aspen_dns::name::Name;
use aspen_dns::publish::Publisher;
use aspen_dns::record::master::{MasterOptions, read_zone};
use aspen_dns::record::{Change, RecordType, Rrset};
use aspen_dns::serve::DnsProtocolServer;
use aspen_dns::zone::{HashSeed, Zone, build};

use super::change;
use super::mmsg::{self, Messages};
use super::{Result, flag};

/// Serves the master files of a directory: `DIRECTORY ADDRESS WORKERS`.
///
/// It answers until its standard input ends, and takes orders there, a line each:
/// * `change RATE NAMES FIRST`: publish so many changes a second, from number `FIRST` on, each
///   by itself, as an edge does it, from one thread of this process; replies `changing`;
/// * `still`: no more; replies with the number of the next change.
pub fn serve(arguments: &[String]) -> Result<()> {
    let [directory, address, workers, ..] = arguments else {
        return Err("usage: serve DIRECTORY ADDRESS WORKERS".into());
    };
    let address: SocketAddr = address.parse()?;
    let seed = HashSeed::random();
    let publisher = Publisher::new(seed);
    publisher.publish(load(Path::new(directory), seed)?);
    let server = DnsProtocolServer::builder(publisher.reader());
    let running = server.udp_tcp(address).workers(workers.parse()?).bind()?.start()?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let mut changer = None;
        for line in io::stdin().lock().lines() {
            let words: Vec<String> = line?.split(' ').map(str::to_owned).collect();
            match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["change", rate, names, first] => {
                    let (rate, names): (f64, u32) = (rate.parse()?, names.parse()?);
                    let (first, publisher): (u32, _) = (first.parse()?, &publisher);
                    ended.store(false, Ordering::Relaxed);
                    let ended = &ended;
                    changer = Some(scope.spawn(move || {
                        let make = |number| publish(publisher, number, names);
                        change::pace(first, rate, ended, make).map_err(|error| error.to_string())
                    }));
                    println!("changing");
                }
                ["still"] => {
                    ended.store(true, Ordering::Relaxed);
                    let changer = changer.take().ok_or("nothing changes")?;
                    println!("{}", changer.join().map_err(|_| "the changer panicked")??);
                }
                _ => return Err(format!("{words:?}: no order").into()),
            }
        }
        ended.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    running.shutdown()?;
    Ok(())
}

/// Publishes one change.
fn publish(publisher: &Publisher, number: u32, names: u32) -> Result<()> {
    let name = change::name_of(number, names);
    let owner = Name::from_text(&format!("n{name}.example.com"))?;
    let rrset = Rrset::new(owner, RecordType::A, 300, [change::address(number)])?;
    let catalog = publisher.catalog();
    let zone = catalog.zone(&Name::from_text("example.com")?).ok_or("no example.com")?;
    let (zone, report) = zone.edit(&[Change::Put(rrset)]);
    if report.applied != 1 {
        return Err(format!("n{name}: {report:?}").into());
    }
    drop(catalog);
    publisher.publish(vec![CatalogChange::Put(Arc::new(zone))]);
    Ok(())
}

/// Reads all master files of a directory, on as many threads as it may use CPUs.
fn load(directory: &Path, seed: HashSeed) -> Result<Vec<CatalogChange>> {
    let files = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let files = files.collect::<Result<Vec<PathBuf>>>()?;
    let next = AtomicUsize::new(0);
    let load_some = || {
        let mut zones = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let zone = load_file(file, seed).map_err(|error| error.to_string())?;
            zones.push(CatalogChange::Put(Arc::new(zone)));
        }
        Ok::<_, String>(zones)
    };
    let threads = thread::available_parallelism()?.get().min(files.len());
    thread::scope(|scope| {
        let loaders: Vec<_> = (0..threads).map(|_| scope.spawn(load_some)).collect();
        let mut all = Vec::with_capacity(files.len());
        for loader in loaders {
            all.extend(loader.join().map_err(|_| "a loader panicked")??);
        }
        Ok(all)
    })
}

/// Reads one master file.
fn load_file(file: &Path, seed: HashSeed) -> Result<Zone> {
    let text = std::fs::read(file)?;
    let options = MasterOptions { file: file.display().to_string(), ..MasterOptions::default() };
    let master = read_zone(&text, &Name::root(), options, &mut |_| {})?;
    drop(text);
    Ok(build(master.apex, seed, master.rrsets)?)
}

/// Sends every datagram back that comes to `ADDRESS`: what the system calls alone cost.
pub fn echo(arguments: &[String]) -> Result<()> {
    let address: SocketAddr = arguments.first().ok_or("usage: echo ADDRESS")?.parse()?;
    let socket = UdpSocket::bind(address)?;
    mmsg::enlarge(&socket)?;
    let batch = flag(arguments, "--batch", "64").parse()?;
    let mut messages = Messages::new(batch);
    loop {
        let count = messages.receive(&socket, true)?;
        for index in 0..count {
            if let Some(flags) = messages.datagram(index).get_mut(2) {
                *flags |= 0x80;
            }
        }
        messages.send_back(&socket, count)?;
    }
}
