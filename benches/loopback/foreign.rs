//! The loads that somebody else wrote, dnsperf and kxdpgun, so that no figure hangs on our own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bed::ask::{Ask, Random};
use crate::bed::corpus::Kind;
use crate::bed::{CLIENT_CPU, Result};
use crate::load::Outcome;

/// Which program asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Program {
    /// dnsperf: eight ports with 256 queries open, as our own load has.
    Dnsperf,
    /// kxdpgun: queries at a fixed rate out of a device, past the kernel's sockets (AF_XDP).
    Kxdpgun {
        /// Queries a second: few enough that none is lost.
        rate: u32,
        /// The device.
        device: String,
    },
}

/// A program with a file of queries.
#[derive(Debug)]
pub struct Foreign {
    /// The program.
    program: Program,
    /// The file.
    file: PathBuf,
    /// Whether DNSSEC records are wanted.
    is_signed: bool,
    /// The rcode that every reply must have.
    rcode: &'static str,
}

impl Foreign {
    /// Writes the file of queries: the same names in the same order as our own load.
    pub fn new(program: Program, ask: Ask, kind: Kind, directory: &Path) -> Result<Self> {
        let (mut random, mut text) = (Random(5), String::new());
        // kxdpgun takes flags behind the type: E for EDNS, D for the DO bit.
        let flag = match (&program, kind.is_signed()) {
            (Program::Dnsperf, _) => "",
            (Program::Kxdpgun { .. }, false) => " E",
            (Program::Kxdpgun { .. }, true) => " D",
        };
        for _ in 0..kind.count().clamp(1 << 16, 1 << 20) {
            let (qname, qtype) = ask.question(kind, random.below(kind.count()))?;
            text.push_str(&format!("{qname} {qtype}{flag}\n"));
        }
        let file = directory.join(format!("{}.queries", ask.name()));
        fs::write(&file, text)?;
        let rcode = if ask == Ask::Nxdomain { "NXDOMAIN" } else { "NOERROR" };
        Ok(Self { program, file, is_signed: kind.is_signed(), rcode })
    }

    /// Asks a server for some time, on the CPU of the load.
    pub fn run(&self, server: SocketAddr, duration: Duration) -> Result<Outcome> {
        let seconds = duration.as_secs().max(1).to_string();
        let (ip, port) = (server.ip().to_string(), server.port().to_string());
        match &self.program {
            Program::Dnsperf => {
                let mut command = Command::new("dnsperf");
                command.args(["-s", &ip, "-p", &port, "-l", &seconds, "-c", "8", "-q", "256"]);
                command.args(["-t", "1", "-W", if self.is_signed { "-D" } else { "-e" }, "-d"]);
                let text = output(command.arg(&self.file))?;
                let answered = number(&text, "Queries completed:")?;
                let lost = number(&text, "Queries lost:")?;
                // `Response codes:  NOERROR 1000 (100.00%), …`
                let mut words = text.split_whitespace();
                let right = words.by_ref().find(|word| *word == self.rcode).and(words.next());
                let right: u64 = right.and_then(|right| right.parse().ok()).unwrap_or(0);
                Ok(Outcome { answered, lost, wrong: answered.saturating_sub(right) })
            }
            Program::Kxdpgun { rate, device } => {
                let mut command = Command::new("kxdpgun");
                command.args(["-t", &seconds, "-Q", &rate.to_string(), "-p", &port, "-I", device]);
                command.args(["-F", &format!("{CLIENT_CPU}s1"), "-i"]).arg(&self.file);
                let text = output(command.arg(&ip))?;
                let sent = number(&text, "total queries:")?;
                let answered = number(&text, "total replies:")?;
                let right = number(&text, &format!("responded {}:", self.rcode)).unwrap_or(0);
                let lost = sent.saturating_sub(answered);
                Ok(Outcome { answered, lost, wrong: answered.saturating_sub(right) })
            }
        }
    }
}

/// Runs a command to its end and returns what it prints.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Returns the number behind a title.
fn number(text: &str, title: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(title));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("no {title} in: {text}").into())
}
