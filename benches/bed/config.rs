//! The configurations of the other servers, tuned for speed.
//!
//! One worker a transport; no response rate limiting (Debian's NSD has it on); shortest answers
//! where that is a choice; no journal and no database where the records come from master files, so
//! that nothing is written on the side. PowerDNS keeps its packet cache, as by default.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use super::Result;
use super::corpus::Kind;

/// Where a server's records come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// From master files.
    Files,
    /// From a master file, and then from dynamic updates; these ports of 127.0.0.1 are notified.
    Updates {
        /// The secondary servers.
        notified: Vec<u16>,
    },
    /// By zone transfer from this port of 127.0.0.1.
    Transfer {
        /// The primary server.
        primary: u16,
    },
}

/// What all configurations need to know.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Where the server's own files go.
    pub home: &'a str,
    /// Where the master files are.
    pub zones: &'a str,
    /// Which zones there are.
    pub kind: Kind,
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// Threads.
    pub workers: usize,
}

impl Setup<'_> {
    /// NSD's configuration.
    pub fn nsd(&self, source: &Source) -> String {
        let Self { home, zones, ip, port, .. } = self;
        let mut text = format!(
            "server:\n ip-address: {ip}\n port: {port}\n server-count: 1\n username: \"\"\n \
             chroot: \"\"\n zonesdir: \"{home}\"\n zonelistfile: \"{home}/zone.list\"\n \
             pidfile: \"{home}/pid\"\n xfrdfile: \"\"\n xfrdir: \"{home}\"\n database: \"\"\n \
             rrl-ratelimit: 0\n minimal-responses: yes\n reuseport: yes\n \
             xfrd-reload-timeout: 0\nremote-control:\n control-enable: no\n"
        );
        for apex in self.kind.apexes() {
            // Writing to a string does not fail, here and below.
            let _ = match source {
                Source::Transfer { primary } => writeln!(
                    text,
                    "zone:\n name: {apex}\n zonefile: \"{home}/{apex}\"\n \
                     allow-notify: 127.0.0.1 NOKEY\n request-xfr: 127.0.0.1@{primary} NOKEY"
                ),
                _ => writeln!(text, "zone:\n name: {apex}\n zonefile: \"{zones}/{apex}.zone\""),
            };
        }
        text
    }

    /// Knot's configuration.
    pub fn knot(&self, source: &Source) -> String {
        let Self { home, zones, ip, port, workers, .. } = self;
        let mut text = format!(
            "server:\n  rundir: \"{home}\"\n  listen: {ip}@{port}\n  udp-workers: {workers}\n  \
             tcp-workers: {workers}\n  background-workers: {workers}\n  udp-max-payload: 1232\n\
             database:\n  storage: \"{home}\"\nlog:\n  - target: stderr\n    any: warning\n\
             acl:\n  - id: loop\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n"
        );
        if let Source::Transfer { primary } = source {
            let _ = writeln!(
                text,
                "remote:\n  - id: primary\n    address: 127.0.0.1@{primary}\ntemplate:\n  \
                 - id: default\n    acl: loop\n    master: primary\n    file: \"{home}/%s.zone\"\n    \
                 zonefile-sync: -1\n    zonefile-load: none\n    journal-content: all"
            );
        } else {
            let _ = writeln!(
                text,
                "template:\n  - id: default\n    file: \"{zones}/%s.zone\"\n    \
                 zonefile-sync: -1\n    journal-content: none"
            );
        }
        text.push_str("zone:\n");
        for apex in self.kind.apexes() {
            let _ = writeln!(text, "  - domain: {apex}");
        }
        text
    }

    /// BIND's configuration.
    pub fn bind(&self, source: &Source) -> Result<String> {
        let Self { home, zones, ip, port, .. } = self;
        let mut text = format!(
            "options {{ directory \"{home}\"; listen-on port {port} {{ {ip}; }}; \
             listen-on-v6 {{ none; }}; recursion no; pid-file \"{home}/pid\"; lock-file none; \
             minimal-responses yes; session-keyfile none; dnssec-validation no; notify explicit; \
             managed-keys-directory \"{home}\"; notify-delay 0; notify-rate 1000; \
             startup-notify-rate 1000; serial-query-rate 1000; allow-transfer {{ any; }}; \
             empty-zones-enable no; }};\ncontrols {{ }};\n"
        );
        for apex in self.kind.apexes() {
            let own = format!("{home}/{apex}.zone");
            let _ = match source {
                Source::Files => writeln!(
                    text,
                    "zone \"{apex}\" {{ type primary; file \"{zones}/{apex}.zone\"; }};"
                ),
                Source::Updates { notified } => {
                    // It writes to its file.
                    fs::copy(format!("{zones}/{apex}.zone"), &own)?;
                    let notified: String =
                        notified.iter().map(|port| format!("127.0.0.1 port {port}; ")).collect();
                    writeln!(
                        text,
                        "zone \"{apex}\" {{ type primary; file \"{own}\"; \
                         allow-update {{ 127.0.0.0/8; }}; also-notify {{ {notified} }}; }};"
                    )
                }
                Source::Transfer { primary } => writeln!(
                    text,
                    "zone \"{apex}\" {{ type secondary; file \"{own}\"; notify no; \
                     primaries {{ 127.0.0.1 port {primary}; }}; \
                     allow-notify {{ 127.0.0.0/8; }}; }};"
                ),
            };
        }
        Ok(text)
    }

    /// PowerDNS's configuration: its bind backend, master files only.
    pub fn pdns(&self) -> Result<String> {
        let Self { home, zones, ip, port, workers, .. } = self;
        let mut list = String::new();
        for apex in self.kind.apexes() {
            let _ =
                writeln!(list, "zone \"{apex}\" {{ type master; file \"{zones}/{apex}.zone\"; }};");
        }
        fs::write(format!("{home}/zones.conf"), list)?;
        Ok(format!(
            "launch=bind\nbind-config={home}/zones.conf\nlocal-address={ip}\n\
             local-port={port}\nreceiver-threads={workers}\ndistributor-threads=1\n\
             socket-dir={home}\nsetuid=\nsetgid=\nsecurity-poll-suffix=\ndaemon=no\nguardian=no\n"
        ))
    }
}
