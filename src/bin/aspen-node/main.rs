//! `aspen-node`: a DNS node. Reads its flags, sets up its log, runs.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use aspen_dns::mesh;
use aspen_dns::node::error::RunError;
use aspen_dns::node::flags::{self, Flags};
use aspen_dns::node::run;
use tracing_subscriber::filter::{LevelFilter, Targets};
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
    if flags.show_endpoint {
        let key = mesh::endpoint_key(&flags.data_dir.join("mesh"))?;
        return Ok(writeln!(std::io::stdout(), "{key}")?);
    }
    let filter = log_filter(&flags.log)?;
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal);
    // A line that cannot be written is lost: telling so on the same stream would be a panic, which
    // ends whatever part of the node had something to say when a disk was full.
    tracing_subscriber::registry().with(log.log_internal_errors(false)).with(filter).init();
    let config = flags.into_config()?;
    Ok(run::run(&config)?)
}

/// Returns what is logged.
fn log_filter(wanted: &str) -> anyhow::Result<Targets> {
    // A word alone would be the name of a part, and all others would be silent.
    let is_clear = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
    if let Some(part) = wanted.split(',').find(|part| !is_clear(part.trim())) {
        anyhow::bail!("--log {wanted:?}: {part:?} is neither a level nor TARGET=LEVEL");
    }
    let read = |text: &str| {
        text.parse::<Targets>().map_err(|error| anyhow::anyhow!("--log {wanted:?}: {error}"))
    };
    let named = read(wanted)?;
    // What is said of a part counts for more than what is said of all, "off" included.
    match named.default_level() {
        None | Some(LevelFilter::OFF) => Ok(named),
        Some(_) => read(&format!("{QUIET},{wanted}")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    use tracing::Level;

    #[test]
    fn libraries_are_quiet_unless_they_are_asked_for_and_off_is_off() {
        let enables = |wanted: &str, target: &str, level: Level| {
            log_filter(wanted).expect("a filter").would_enable(target, &level)
        };
        assert!(enables("info", "aspen_dns::node", Level::INFO));
        assert!(enables("info", "iroh::endpoint", Level::ERROR));
        assert!(!enables("info", "iroh::endpoint", Level::WARN));
        assert!(enables("info,iroh=debug", "iroh::endpoint", Level::DEBUG));
        assert!(!enables("off", "iroh::endpoint", Level::ERROR));
        assert!(!enables("off", "aspen_dns::node", Level::ERROR));
        assert!(!enables("aspen_dns=info", "iroh::endpoint", Level::ERROR));
        for wanted in ["loud", "info,loud", "aspen_dns=loud"] {
            assert!(log_filter(wanted).is_err(), "{wanted:?}");
        }
    }
}
