//! A node in a process of its own, on free ports of the loopback address.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use ureq::Agent;

/// A running node; it is killed when it goes out of scope.
pub struct Node {
    pub dns: SocketAddr,
    pub api: String,
    pub key: String,
    pub data_dir: PathBuf,
    child: Child,
}

/// Returns a command that starts `aspen-node` on free ports, without what the environment says.
pub fn node_command(data_dir: &Path, arguments: &[&str]) -> Command {
    node_command_at(data_dir, ("127.0.0.1:0", "127.0.0.1:0"), arguments)
}

/// Returns one that starts it where DNS and the API are to be.
pub fn node_command_at(data_dir: &Path, (dns, api): (&str, &str), arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASPEN_")) {
        command.env_remove(name);
    }
    command
        .args(["--dns-listen", dns, "--api-listen", api])
        .args([
            "--iroh-listen",
            "127.0.0.1:0",
            "--udp-workers",
            "1",
            "--log",
            "error,aspen_dns=warn",
        ])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments);
    command
}

impl Node {
    /// Starts a node in `data_dir` and waits until it is ready.
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_command(&mut node_command(data_dir, arguments), data_dir)
    }

    /// Starts a node by a command and waits until it is ready.
    pub fn start_command(command: &mut Command, data_dir: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("aspen-node starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let field = |name: &str| {
            let field = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            field.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        assert!(line.starts_with("ready "), "{line:?}");
        let key = std::fs::read_to_string(data_dir.join("api-key")).expect("a key");
        Self {
            dns: field("dns=").parse().expect("an address"),
            api: format!("http://{}", field("api=")),
            key: key.trim().to_owned(),
            data_dir: data_dir.to_owned(),
            child,
        }
    }

    /// Sends a request and returns status and body.
    pub fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, _, text) = self.request_with(method, path, &[], body);
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request with headers; returns status, revision header and the body's text.
    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, Option<u64>, String) {
        let agent = Agent::config_builder().proxy(None).http_status_as_error(false).build();
        let agent = Agent::from(agent);
        let url = format!("{}{path}", self.api);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        let has_key = headers.iter().any(|(name, _)| *name == "X-API-Key");
        if !has_key {
            request = request.header("X-API-Key", &self.key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body.to_string()).unwrap())
            }
            None => agent.run(request.body(()).unwrap()),
        };
        let mut response = answer.expect("an answer");
        let revision = response.headers().get("aspen-revision");
        let revision = revision.map(|value| value.to_str().unwrap().parse().unwrap());
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        (response.status().as_u16(), revision, text.expect("a body"))
    }

    /// Runs `aspen-dns` against this node.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-dns"));
        command.args(["--api", &self.api, "--data-dir"]).arg(&self.data_dir).args(arguments);
        command.output().expect("aspen-dns runs")
    }

    /// Runs `aspen-dns`, which must succeed, and returns what it printed.
    pub fn cli_ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `aspen-dns`, which must fail with status 1, and returns what it said.
    pub fn cli_fails(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Asks for (`name`, type number) and returns RCODE and the RDATA octets of the answers.
    pub fn ask(&self, name: &str, rtype: u16) -> (u8, Vec<Vec<u8>>) {
        ask(self.dns, name, rtype)
    }

    /// Asks until the first answer has this RDATA, for some seconds.
    pub fn wait_for(&self, name: &str, rtype: u16, rdata: &[u8]) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.ask(name, rtype);
            if found.1.first().is_some_and(|first| first == rdata) {
                return;
            }
            assert!(Instant::now() < until, "{name} {rtype}: {found:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal, as `kill` names it.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        Command::new("kill").args([signal, &id]).status().expect("kill runs");
    }

    /// Ends the node with SIGTERM and returns its exit status.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        let status = self.child.wait().expect("a status");
        status.code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a new directory.
pub fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Sends one query by UDP.
pub fn ask(server: SocketAddr, name: &str, rtype: u16) -> (u8, Vec<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let name: aspen_dns::name::Name = name.parse().unwrap();
    query.extend_from_slice(name.as_wire());
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    socket.send_to(&query, server).unwrap();
    let mut reply = [0; 4096];
    let len = socket.recv(&mut reply).expect("an answer");
    read_answers(&reply[..len], query.len())
}

/// Reads RCODE and the RDATA of the answer section, which begins at `at`.
fn read_answers(reply: &[u8], mut at: usize) -> (u8, Vec<Vec<u8>>) {
    let mut answers = Vec::new();
    for _ in 0..u16::from_be_bytes([reply[6], reply[7]]) {
        while reply[at] != 0 && reply[at] < 0xc0 {
            at += usize::from(reply[at]) + 1;
        }
        at += if reply[at] == 0 { 1 } else { 2 };
        let len = usize::from(u16::from_be_bytes([reply[at + 8], reply[at + 9]]));
        answers.push(reply[at + 10..at + 10 + len].to_vec());
        at += 10 + len;
    }
    (reply[3] & 0x0f, answers)
}
