//! The servers that are measured: each in processes of its own, with one worker, on one CPU.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Result, SERVER_CPU, sample};

/// A server that has been started. Dropped, it is stopped.
pub(crate) struct Peer {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// Its first process.
    process: Child,
}

impl Peer {
    /// Starts a server of `example.com.zone` in `directory`.
    pub(crate) fn start(name: &str, directory: &Path, port: u16) -> Result<Self> {
        let home = directory.join(name);
        fs::create_dir_all(&home)?;
        let zone = directory.join("example.com.zone");
        let (home, zone) = (home.to_str().ok_or("a path")?, zone.to_str().ok_or("a path")?);
        let own = std::env::current_exe()?;
        let own = own.to_str().ok_or("a path")?;
        let conf = format!("{home}/server.conf");
        let (address, pdns_home) = (format!("127.0.0.1:{port}"), format!("--config-dir={home}"));
        let (name, config, command): (_, _, Vec<&str>) = match name {
            "aspen" => ("aspen", String::new(), vec![own, "serve", zone, &address]),
            "echo" => ("echo", String::new(), vec![own, "echo", &address["127.0.0.1:".len()..]]),
            "nsd" => ("nsd", nsd(home, zone, port), vec!["nsd", "-d", "-c", &conf]),
            "knot" => ("knot", knot(home, zone, port), vec!["knotd", "-c", &conf]),
            "bind" => ("bind", bind(home, zone, port), vec!["named", "-f", "-n", "1", "-c", &conf]),
            "pdns" => ("pdns", pdns(home, zone, port)?, vec!["pdns_server", &pdns_home]),
            other => return Err(format!("no server is called {other}").into()),
        };
        let file = if name == "pdns" { format!("{home}/pdns.conf") } else { conf.clone() };
        fs::write(file, config)?;
        let log = fs::File::create(format!("{home}/log"))?;
        // A server left over from somewhere else must not be measured instead of this one.
        drop((std::net::UdpSocket::bind(&address)?, std::net::TcpListener::bind(&address)?));
        // Should the bench be killed, its servers go with it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &SERVER_CPU.to_string()])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { name, port, process })
    }

    /// Whether it sends queries back instead of answers.
    pub(crate) fn is_echo(&self) -> bool {
        self.name == "echo"
    }

    /// Returns the CPU time of all its processes so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        sample::tree_cpu_time(self.process.id())
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

/// NSD's configuration.
fn nsd(home: &str, zone: &str, port: u16) -> String {
    format!(
        "server:\n ip-address: 127.0.0.1\n port: {port}\n server-count: 1\n username: \"\"\n \
         chroot: \"\"\n zonesdir: \"{home}\"\n zonelistfile: \"{home}/zone.list\"\n \
         pidfile: \"{home}/pid\"\n xfrdfile: \"\"\n xfrdir: \"{home}\"\n \
         rrl-ratelimit: 0\n minimal-responses: yes\n reuseport: yes\n\
         remote-control:\n control-enable: no\n\
         zone:\n name: example.com\n zonefile: \"{zone}\"\n"
    )
}

/// Knot's configuration.
fn knot(home: &str, zone: &str, port: u16) -> String {
    format!(
        "server:\n  rundir: \"{home}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  \
         tcp-workers: 1\n  background-workers: 1\n  udp-max-payload: 1232\n\
         database:\n  storage: \"{home}\"\n\
         log:\n  - target: stderr\n    any: warning\n\
         zone:\n  - domain: example.com\n    file: \"{zone}\"\n    zonefile-sync: -1\n    \
         journal-content: none\n"
    )
}

/// BIND's configuration.
fn bind(home: &str, zone: &str, port: u16) -> String {
    format!(
        "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; pid-file \"{home}/pid\"; \
         minimal-responses yes; session-keyfile none; dnssec-validation no; }};\n\
         controls {{ }};\n\
         zone \"example.com\" {{ type primary; file \"{zone}\"; }};\n"
    )
}

/// PowerDNS's configuration, with its packet cache on as it is by default.
fn pdns(home: &str, zone: &str, port: u16) -> Result<String> {
    let zones = format!("{home}/zones.conf");
    fs::write(&zones, format!("zone \"example.com\" {{ type master; file \"{zone}\"; }};\n"))?;
    Ok(format!(
        "launch=bind\nbind-config={zones}\nlocal-address=127.0.0.1\nlocal-port={port}\n\
         receiver-threads=1\ndistributor-threads=1\nsocket-dir={home}\nsetuid=\nsetgid=\n\
         security-poll-suffix=\ndaemon=no\nguardian=no\n"
    ))
}
