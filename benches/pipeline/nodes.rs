//! Nodes in processes of their own, and their API over one kept connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::cpu;

/// A running `aspen-node`; it is killed when it goes out of scope.
pub struct Node {
    /// Where it answers DNS.
    pub dns: SocketAddr,
    /// Where its API listens.
    pub api: SocketAddr,
    /// The API's key.
    pub key: String,
    /// The process.
    child: Child,
}

impl Node {
    /// Starts a node and waits for its `ready` line.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aspen-node"))
            .args(["--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"])
            .args(["--iroh-listen", "127.0.0.1:0", "--relay", "off", "--udp-workers", "1"])
            .args(["--log", "error", "--data-dir"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("aspen-node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let field = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name} in {line:?}"))
        };
        let key = std::fs::read_to_string(data.join("api-key")).unwrap_or_default();
        Self { dns: field("dns="), api: field("api="), key: key.trim().to_owned(), child }
    }

    /// Opens a connection to the API.
    pub fn connect(&self) -> Api {
        let stream = TcpStream::connect(self.api).expect("the API listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Api { stream: BufReader::new(stream), key: self.key.clone() }
    }

    /// Imports a master file; returns the revision.
    pub fn import(&self, zone: &str, file: &Path) -> u64 {
        let body = std::fs::read(file).expect("the file was written");
        let path = format!("/api/v1/aspen/import?zone={zone}");
        revision(&self.connect().request("POST", &path, &body))
    }

    /// Makes a ticket.
    pub fn ticket(&self) -> String {
        let answer = self.connect().request("POST", "/api/v1/aspen/tickets", b"{}");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        answer["ticket"].as_str().unwrap_or_else(|| panic!("a ticket in {answer}")).to_owned()
    }

    /// Waits until the node serves a revision.
    pub fn wait_revision(&self, revision: u64) {
        let path = format!("/api/v1/aspen/wait?revision={revision}&timeout=60");
        self.connect().request("GET", &path, b"");
    }

    /// Returns what the node has used so far.
    pub fn usage(&self) -> Usage {
        let is_front_end = |thread: &str| thread.starts_with("udp-") || thread.starts_with("tcp-");
        // Threads of the others come and go with the work; those that answer are always the same.
        let whole = cpu::whole_time(self.child.id()).expect("it runs");
        let front_ends = cpu::threads_time(self.child.id(), is_front_end).expect("it runs");
        let metrics = self.connect().request("GET", "/metrics", b"");
        let publishes = metrics.lines().find_map(|line| line.strip_prefix("aspen_publishes_total"));
        Usage {
            cpu: whole.saturating_sub(front_ends),
            publishes: publishes.and_then(|count| count.trim().parse().ok()).unwrap_or(0),
        }
    }

    /// Returns the most memory that the process ever had resident.
    pub fn peak_rss_mib(&self) -> u64 {
        self.memory_kib("VmHWM:") / 1_024
    }

    /// Returns the memory that the process has resident.
    pub fn rss_mib(&self) -> f64 {
        self.memory_kib("VmRSS:") as f64 / 1_024.0
    }

    /// Returns a line about memory of the process's `status`.
    fn memory_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node has used.
#[derive(Clone, Copy)]
pub struct Usage {
    /// CPU time of all threads but those that answer queries.
    pub cpu: Duration,
    /// How often it has published.
    pub publishes: u64,
}

/// A kept connection to an API.
pub struct Api {
    /// The connection.
    stream: BufReader<TcpStream>,
    /// The key.
    key: String,
}

impl Api {
    /// Sends a request and returns the body of the reply, which must be a success. A write's reply
    /// is sent at its commit: the way from there to the answer is what is measured.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> String {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\n\
             Prefer: wait=0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        let socket = self.stream.get_mut();
        socket.write_all(&[head.as_bytes(), body].concat()).expect("the API reads");
        let (status, length) = self.read_head();
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).expect("a body");
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        text
    }

    /// Reads a reply's head: its status and the length of its body.
    fn read_head(&mut self) -> (u16, usize) {
        let (mut status, mut length) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(300);
        while Instant::now() < deadline {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a line");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        (status, length)
    }
}

/// Reads the revision out of a reply.
pub fn revision(answer: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    value["revision"].as_u64().unwrap_or_else(|| panic!("a revision in {value}"))
}
