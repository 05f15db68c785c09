//! Puts a node together from its parts, runs it, and takes it apart again.
//!
//! **Invariant:** when the line `ready …` is printed, every address is bound and the zones that
//! were there at the start are answered; nothing is left running after [`run`] returns.
//! **Not here:** what the parts do.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::config::{Flags, Plan, PlanError};
use super::zone_files::{self, ZoneFileError};
use crate::catalog::CatalogChange;
use crate::limits::FREE_RETIRED_MS;
use crate::publish::{Publisher, Reader};
use crate::responder::{Responder, ResponderConfig};
use crate::serve::{BindError, DnsProtocolServer};
use crate::zone::{HashSeed, Zone};

/// Why a node does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flags cannot be meant together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A zone file is not served.
    #[error(transparent)]
    ZoneFile(#[from] ZoneFileError),
    /// A DNS address is not to be had.
    #[error("--dns-listen: {0}")]
    Dns(#[from] BindError),
    /// Only zone files can be served.
    #[error("give --zone-dir or --zone-file")]
    NoZones,
    /// The system gives no threads or signals.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// Every [`RunError`]; each is one line.
pub async fn run(flags: &Flags) -> Result<(), RunError> {
    if Plan::from_flags(flags)? != Plan::Static {
        return Err(RunError::NoZones);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let publisher = Publisher::new(HashSeed(rand::random()));
    let server = bind_dns(flags, publisher.reader())?;
    let zones = load_static(flags, publisher.catalog().seed())?;
    publisher.publish(zones.into_iter().map(|zone| CatalogChange::Put(Arc::new(zone))).collect());
    let server = server.start()?;
    let addresses: Vec<String> = server.addrs().iter().map(ToString::to_string).collect();
    let mut out = std::io::stdout().lock();
    let line = format!("ready dns={} api=off role=static\n", addresses.join(","));
    // Nobody may be reading; that is no reason to stop.
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::warn!("standard output is closed");
    }
    drop(out);
    let mut tick = tokio::time::interval(Duration::from_millis(FREE_RETIRED_MS));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tick.tick() => {
                publisher.free_retired();
            }
        }
    }
    tracing::info!("stopping");
    if let Err(error) = server.shutdown() {
        tracing::error!(%error, "a front end ended badly");
    }
    Ok(())
}

/// Reads the zones that files hold.
fn load_static(flags: &Flags, seed: HashSeed) -> Result<Vec<Zone>, RunError> {
    let mut paths = match &flags.zone_dir {
        Some(dir) => zone_files::list_dir(dir)?,
        None => Vec::new(),
    };
    if flags.zone_dir.is_some() && paths.is_empty() {
        tracing::warn!("the zone directory holds no NAME.zone file");
    }
    let from_dir = paths.len();
    paths.extend(flags.zone_file.iter().cloned());
    let loaded = zone_files::load(&paths, seed);
    for failed in loaded.errors {
        // A file that was named must be served; of a directory, what can be served is.
        if failed.index >= from_dir || loaded.zones.is_empty() {
            return Err(failed.error.into());
        }
        tracing::error!("{}", failed.error);
    }
    Ok(loaded.zones)
}

/// Binds the DNS addresses.
fn bind_dns(flags: &Flags, reader: Reader) -> Result<DnsProtocolServer, RunError> {
    let config =
        ResponderConfig { version: flags.version_txt.clone(), identity: flags.nsid.clone() };
    let mut builder =
        DnsProtocolServer::builder(reader).responder(Arc::new(Responder::new(config)));
    for address in flags.dns_addresses() {
        builder = builder.udp_tcp(address);
    }
    if let Some(workers) = flags.udp_workers {
        builder = builder.workers(usize::from(workers));
    }
    Ok(builder.bind()?)
}
