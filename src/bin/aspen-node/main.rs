//! `aspen-node`: a DNS node. Reads its flags, sets up its log, runs.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use aspen_dns::node::error::RunError;
use aspen_dns::node::flags::{self, Flags};
use aspen_dns::node::run;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    // What databases make below the data directory is nobody else's business: keys lie in it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let flags = match flags::parse_flags(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => match flags::one_line(&error) {
            Some(line) => return fail(&line),
            None => error.exit(),
        },
    };
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        // An error's text has its cause's in it.
        Err(error) => match error.downcast_ref() {
            Some(RunError::Broken(_)) => {
                fail(&error.to_string());
                ExitCode::from(BROKEN)
            }
            _ => fail(&error.to_string()),
        },
    }
}

/// Sets up the log and runs the node.
fn start(flags: Flags) -> anyhow::Result<()> {
    let filter: Targets = format!("{QUIET},{}", flags.log)
        .parse()
        .map_err(|error| anyhow::anyhow!("--log {:?}: {error}", flags.log))?;
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal);
    // A line that cannot be written is lost: telling so on the same stream would be a panic, which
    // ends whatever part of the node had something to say when a disk was full.
    tracing_subscriber::registry().with(log.log_internal_errors(false)).with(filter).init();
    let config = flags.into_config()?;
    Ok(run::run(&config)?)
}

/// The exit status of a node that ran and is to be started again (EX_SOFTWARE of sysexits.h).
const BROKEN: u8 = 70;

/// What libraries say of each peer that comes and goes; `--log` may ask for it.
const QUIET: &str = "iroh=error,iroh_docs=error,iroh_gossip=error,iroh_blobs=error,noq=error";

/// Says on one line why the node does not run.
fn fail(line: &str) -> ExitCode {
    eprintln!("aspen-node: {line}");
    ExitCode::FAILURE
}
