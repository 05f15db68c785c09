//! A node in a process of its own, on free ports of the loopback address, and how to talk to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::asker::{AAAA, address, ask, transfer};

/// How long anything may take that should take a moment: machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Start {
    dir: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    listen: String,
    log: String,
}

impl Start {
    /// An authority in `dir`.
    pub fn authority(dir: &Path) -> Self {
        Self::new(dir).with(&["--role", "authority"])
    }

    /// An edge in `dir`.
    pub fn edge(dir: &Path, ticket: &str) -> Self {
        Self::new(dir).with(&["--role", "edge", "--ticket", ticket])
    }

    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            log: "error,aspen_dns=warn".to_owned(),
        }
    }

    /// With more arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|text| (*text).to_owned()));
        self
    }

    /// With a variable of the environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another log.
    pub fn with_log(mut self, log: &str) -> Self {
        log.clone_into(&mut self.log);
        self
    }

    /// At an address for other nodes.
    pub fn at(mut self, listen: &str) -> Self {
        listen.clone_into(&mut self.listen);
        self
    }

    /// The file that the node's log goes to.
    fn log_path(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-node"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASPEN_")) {
            command.env_remove(name);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        command
            .args(["--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"])
            .args(["--udp-workers", "1", "--log", &self.log])
            .args(["--iroh-listen", &self.listen])
            .arg("--data-dir")
            .arg(&self.dir)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log.unwrap());
        command
    }

    /// Starts the node and waits until it is ready.
    pub fn run(&self) -> Node {
        let started = Instant::now();
        let mut child = self.command().spawn().expect("aspen-node starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = lines.recv_timeout(PATIENCE).unwrap_or_default();
        let field = |name: &str| {
            let field = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            field.and_then(|field| field.parse().ok())
        };
        let (Some(dns), Some(api)) = (field("dns="), field("api=")) else {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
            panic!("not ready in {:?}: {line:?} {log}", started.elapsed());
        };
        let key = std::fs::read_to_string(self.dir.join("api-key")).expect("a key");
        let reach = Reach { dns, api, key: key.trim().to_owned() };
        Node { reach, start: self.clone(), ready_after: started.elapsed(), child }
    }

    /// Starts a node that must refuse to start; returns what it says, which must be one line.
    pub fn refusal(&self) -> String {
        let output = self.command().stderr(Stdio::piped()).output().expect("aspen-node runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        text
    }
}

/// Where a node is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    pub dns: SocketAddr,
    api: SocketAddr,
    key: String,
}

/// A running node; it is killed when it goes out of scope.
pub struct Node {
    pub reach: Reach,
    pub ready_after: Duration,
    start: Start,
    child: Child,
}

impl std::ops::Deref for Node {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        &self.reach
    }
}

impl Node {
    /// Ends the node as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it ended");
    }

    /// Ends the node with SIGTERM, upon which it must end well.
    pub fn terminate(mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            assert!(Instant::now() < until, "the node does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the node has logged in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.start.log_path()).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(20);
            eprintln!("the log of {}:", self.start.dir.display());
            log.lines().skip(from).for_each(|line| eprintln!("  {line}"));
        }
    }
}

impl Reach {
    /// Sends a request; an error if the connection breaks.
    pub fn send(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.api)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\nconnection: close\r\n\
             content-length: {len}\r\n\r\n",
            self.api, self.key
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(broken)?, body.to_owned()))
    }

    /// Sends a request that must succeed.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, text) = self.send(method, path, body).expect("an answer");
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What the node says of itself.
    pub fn status(&self) -> Value {
        self.request("GET", "/api/v1/aspen/status", "")
    }

    /// A ticket for all zones.
    pub fn ticket(&self) -> String {
        let made = self.request("POST", "/api/v1/aspen/tickets", "{}");
        made["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// Makes a zone.
    pub fn create_zone(&self, apex: &str) {
        self.request("POST", &format!("/api/v1/aspen/zones/{apex}"), "{}");
    }

    /// Deletes a zone.
    pub fn delete_zone(&self, apex: &str) {
        self.request("DELETE", &format!("/api/v1/aspen/zones/{apex}"), "");
    }

    /// Sets the value of a name.
    pub fn set(&self, owner: &str, value: u32) {
        let path = format!("/api/v1/aspen/records/{owner}/AAAA");
        let body = json!({"ttl_seconds": 60, "rdata": [address(value)]});
        self.request("PUT", &path, &body.to_string());
    }

    /// Replaces a zone by one of so many names of one value.
    pub fn import(&self, apex: &str, names: u32, value: u32) {
        let path = format!("/api/v1/aspen/import?origin={apex}");
        self.request("POST", &path, &zone_text(names, value));
    }

    /// The value of a name; none if it is not there.
    pub fn value(&self, owner: &str) -> Option<u32> {
        ask(self.dns, owner, AAAA).value()
    }

    /// Waits until a name has a value; returns how long that took.
    pub fn wait_value(&self, owner: &str, value: Option<u32>) -> Duration {
        wait(&format!("{owner} {value:?}"), || self.value(owner) == value)
    }
}

/// The master file of a zone of so many names of one value.
pub fn zone_text(names: u32, value: u32) -> String {
    let mut text = "$TTL 60\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n\
                    @ NS ns.example.\n"
        .to_owned();
    let address = address(value);
    for name in 0..names {
        text.push_str(&format!("i{name} AAAA {address}\n"));
    }
    text
}

/// Waits until something holds; returns how long that took.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// Waits until an edge says that it serves all that the authority has stored, nobody writing;
/// returns how long that took.
pub fn wait_synced(authority: &Reach, edge: &Reach) -> Duration {
    let began = Instant::now();
    loop {
        let (own, its) = (authority.status(), edge.status());
        let is_whole = own["store_revision"].is_u64()
            && own["store_revision"] == own["served_revision"]
            && own["store_revision"] == its["served_revision"]
            && its["sync"]["status"] == "Synced";
        if is_whole {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "not synced:\n{own}\n{its}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sees that an edge has every record of some zones as the authority has it.
pub fn assert_equal(authority: &Reach, edge: &Reach, zones: &[&str]) {
    for zone in zones {
        let own = transfer(authority.dns, zone).expect("a transfer");
        let its = transfer(edge.dns, zone).expect("a transfer");
        let (Ok(own), Ok(its)) = (&own, &its) else {
            assert_eq!(own.as_ref().err(), its.as_ref().err(), "{zone}: RCODEs of transfers");
            continue;
        };
        assert_eq!((own.serial, own.values.len()), (its.serial, its.values.len()), "{zone}");
        let differ = own.values.iter().find(|(owner, value)| its.values.get(*owner) != Some(value));
        assert_eq!(differ, None, "{zone}");
    }
}
