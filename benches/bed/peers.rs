//! The servers that are measured: each in processes of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::config::{Setup, Source};
use super::corpus::Corpus;
use super::{Result, cpu};

/// A server that has been started. Dropped, it is stopped.
#[derive(Debug)]
pub struct Peer {
    /// What it is called.
    pub name: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its first process.
    process: Child,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Its zones.
    pub corpus: &'a Corpus,
    /// Where its own files go.
    pub home: PathBuf,
    /// Where it is to answer.
    pub address: SocketAddr,
    /// The network namespace with that address, if it is not ours.
    pub netns: Option<String>,
    /// Threads that answer, or that load, where a server has a number for them.
    pub workers: usize,
    /// The CPUs that it may use, as `taskset -c` takes them; all of them if empty.
    pub cpus: String,
    /// Where its records come from.
    pub source: Source,
    /// The `aspen-node` that `node` stands for.
    pub node: Option<PathBuf>,
}

impl<'a> Plan<'a> {
    /// Plans a server of master files with one worker on one CPU.
    pub fn pinned(corpus: &'a Corpus, directory: &Path, name: &str, port: u16) -> Self {
        Self {
            corpus,
            home: directory.join(format!("{name}-{port}")),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            netns: None,
            workers: 1,
            cpus: SERVER_CPU.to_string(),
            source: Source::Files,
            node: None,
        }
    }

    /// Returns the command that starts a server, after its configuration has been written.
    fn prepare(&self, name: &str) -> Result<Vec<String>> {
        fs::create_dir_all(&self.home)?;
        let home = self.home.to_str().ok_or("a path")?;
        let (zones, kind) = (self.corpus.directory.to_str().ok_or("a path")?, self.corpus.kind);
        let (ip, port) = (self.address.ip(), self.address.port());
        let setup = Setup { home, zones, kind, ip, port, workers: self.workers };
        let own = std::env::current_exe()?.to_str().ok_or("a path")?.to_owned();
        let conf = format!("{home}/server.conf");
        let address = self.address.to_string();
        let (workers, pdns_home) = (self.workers.to_string(), format!("--config-dir={home}"));
        let (command, text): (Vec<&str>, String) = match name {
            "aspen" => (vec![&own, "serve", zones, &address, &workers], String::new()),
            "echo" => (vec![&own, "echo", &address], String::new()),
            "node" => {
                let node = self.node.as_ref().and_then(|node| node.to_str());
                let node = node.ok_or("give --node PATH of aspen-node")?;
                let words = [node, "--zone-dir", zones, "--data-dir", home, "--dns-listen"];
                let more = [&address, "--udp-workers", &workers, "--api-listen", "off"];
                let log = ["--log", "error"];
                (words.into_iter().chain(more).chain(log).collect(), String::new())
            }
            "nsd" => (vec!["nsd", "-d", "-c", &conf], setup.nsd(&self.source)),
            "knot" => (vec!["knotd", "-c", &conf], setup.knot(&self.source)),
            "bind" => (vec!["named", "-f", "-n", &workers, "-c", &conf], setup.bind(&self.source)?),
            "pdns" => (vec!["pdns_server", &pdns_home], setup.pdns()?),
            other => return Err(format!("no server is called {other}").into()),
        };
        let file = if name == "pdns" { format!("{home}/pdns.conf") } else { conf.clone() };
        fs::write(file, text)?;
        Ok(command.into_iter().map(str::to_owned).collect())
    }
}

impl Peer {
    /// Starts a server. Whether it answers is another question ([`super::wait`]).
    pub fn start(name: &str, plan: &Plan<'_>) -> Result<Self> {
        Self::start_timed(name, plan).map(|started| started.0)
    }

    /// Starts a server, and says when its process was made; its configuration stood before that.
    pub fn start_timed(name: &str, plan: &Plan<'_>) -> Result<(Self, Instant)> {
        let command = plan.prepare(name)?;
        let log = fs::File::create(plan.home.join("log"))?;
        // A server left over from somewhere else must not be measured instead of this one.
        if plan.netns.is_none() {
            drop((UdpSocket::bind(plan.address)?, TcpListener::bind(plan.address)?));
        }
        // Should the bench be killed, its servers go with it.
        let mut starter = Command::new("setpriv");
        starter.args(["--pdeathsig", "TERM"]);
        if let Some(netns) = &plan.netns {
            starter.args(["ip", "netns", "exec", netns]);
        }
        if !plan.cpus.is_empty() {
            starter.args(["taskset", "-c", &plan.cpus]);
        }
        let takes_orders = name == "aspen";
        let output = if takes_orders { Stdio::piped() } else { log.try_clone()?.into() };
        let starter = starter.args(command).stdin(Stdio::piped()).stdout(output).stderr(log);
        let (name, address, begun) = (name.to_owned(), plan.address, Instant::now());
        Ok((Self { name, address, process: starter.spawn()? }, begun))
    }

    /// Whether it sends queries back instead of answers.
    pub fn is_echo(&self) -> bool {
        self.name == "echo"
    }

    /// Returns the CPU time of all its processes so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu::tree_time(self.process.id())
    }

    /// Returns the resident octets of all its processes (PSS).
    pub fn memory(&self) -> Result<u64> {
        cpu::tree_memory(self.process.id())
    }

    /// Fails if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} has ended: {status}", self.name).into()),
        }
    }

    /// Gives an order to a server of our own ([`super::serve`]) and returns its reply.
    pub fn order(&mut self, text: &str) -> Result<String> {
        let orders = self.process.stdin.as_mut().ok_or("it takes no orders")?;
        writeln!(orders, "{text}")?;
        let replies = self.process.stdout.as_mut().ok_or("it takes no orders")?;
        // One line at a time is written, and only as a reply: the buffer takes no more than it.
        let mut reply = String::new();
        BufReader::with_capacity(1, replies).read_line(&mut reply)?;
        Ok(reply.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Asked politely, a server stops its children too.
        if let Some(process) =
            i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

/// Where servers with one worker run.
const SERVER_CPU: usize = 0;
