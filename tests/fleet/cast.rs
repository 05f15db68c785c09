//! The processes of a fleet: each in its namespace, with a disk and a clock of its own.
//!
//! **Invariant:** a process is said to run from when it is ready until just before it is ended or paused, so that
//! what it owes is never more than what it could do.
//! **Not here:** who is ended or paused when (`faults`).

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::contact::{Place, Shape, Turn};
use crate::record::Record;
use crate::ways::{address, namespace, run};

/// Octets of a member's disk: it keeps several logs of 64 MiB.
const MEMBER_DISK: &str = "size=512m";
/// Octets of a node's disk.
const NODE_DISK: &str = "size=96m";
/// How long anything may take that should take a moment: machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All processes; they are killed when it goes out of scope.
pub struct Cast {
    pub shape: Shape,
    pub record: Arc<Record>,
    dirs: PathBuf,
    /// The library by which clocks are stepped, if it could be built.
    clocks: Option<PathBuf>,
    /// What edges follow, by place.
    tickets: Vec<String>,
    processes: Vec<Option<Child>>,
    /// Processes that were ended, and are to be started again by the test alone.
    down: Vec<bool>,
    /// Nodes that ended by themselves.
    pub died: Vec<String>,
}

impl Cast {
    /// Prepares disks and clocks; nobody runs yet.
    pub fn new(shape: Shape, record: Arc<Record>, dirs: &Path) -> Self {
        for place in 0..shape.places() {
            let disk = dirs.join(format!("p{place}"));
            std::fs::create_dir(&disk).expect("a directory");
            let size = if shape.is_member(place) { MEMBER_DISK } else { NODE_DISK };
            run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", &disk.to_string_lossy()]);
            std::fs::write(dirs.join(format!("clock{place}")), [0; 8]).expect("a file");
        }
        std::fs::write(dirs.join("seal-key"), "0123456789abcdef".repeat(4)).expect("a file");
        let library = dirs.join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        let is_built = compiler.stderr(Stdio::null()).status().is_ok_and(|it| it.success());
        Self {
            shape,
            record,
            dirs: dirs.to_owned(),
            clocks: is_built.then_some(library),
            tickets: vec![String::new(); shape.places()],
            processes: (0..shape.places()).map(|_| None).collect(),
            down: vec![true; shape.places()],
            died: Vec::new(),
        }
    }

    pub fn can_step_clocks(&self) -> bool {
        self.clocks.is_some()
    }

    /// What a process is called.
    pub fn name(&self, place: Place) -> String {
        match place {
            _ if self.shape.is_member(place) => format!("etcd{place}"),
            _ if self.shape.is_authority(place) => format!("authority{place}"),
            _ => format!("edge{place}"),
        }
    }

    pub fn disk(&self, place: Place) -> PathBuf {
        self.dirs.join(format!("p{place}"))
    }

    pub fn log(&self, place: Place) -> PathBuf {
        self.dirs.join(format!("{}.log", self.name(place)))
    }

    /// Says what an edge follows.
    pub fn set_ticket(&mut self, place: Place, ticket: String) {
        self.tickets[place] = ticket;
    }

    /// The key of a node's API.
    pub fn api_key(&self, place: Place) -> String {
        let key = std::fs::read_to_string(self.disk(place).join("data/api-key"));
        key.expect("a key").trim().to_owned()
    }

    /// Starts a process; it is said to run once it is ready.
    pub fn start(&mut self, place: Place) {
        assert!(self.processes[place].is_none(), "{} runs", self.name(place));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace(place)]);
        match self.shape.is_member(place) {
            true => self.member(&mut command, place),
            false => self.node(&mut command, place),
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(place));
        command.stderr(log.expect("a log")).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (record, is_member) = (Arc::clone(&self.record), self.shape.is_member(place));
        let life = record.begin_life(place);
        std::thread::spawn(move || {
            let is_ready = if is_member {
                drop(stdout);
                wait_for_port(place, 2379)
            } else {
                let mut line = String::new();
                let _ = BufReader::new(stdout).read_line(&mut line);
                line.starts_with("ready ")
            };
            if is_ready {
                record.note_ready(place, life);
            }
        });
        self.processes[place] = Some(child);
        self.down[place] = false;
    }

    /// A member of etcd.
    fn member(&self, command: &mut Command, place: Place) {
        let url = |place: Place, port: u16| format!("http://{}:{port}", address(place));
        let cluster = (0..self.shape.members).map(|at| format!("etcd{at}={}", url(at, 2380)));
        command.args(["etcd", "--name", &self.name(place), "--data-dir"]);
        command.arg(self.disk(place).join("data"));
        command.args(["--listen-client-urls", &url(place, 2379)]);
        command.args(["--advertise-client-urls", &url(place, 2379)]);
        command.args(["--listen-peer-urls", &url(place, 2380)]);
        command.args(["--initial-advertise-peer-urls", &url(place, 2380)]);
        command.args(["--initial-cluster", &cluster.collect::<Vec<_>>().join(",")]);
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        command.args(["--log-level", "error"]);
    }

    /// An authority or an edge.
    fn node(&self, command: &mut Command, place: Place) {
        let at = |port: u16| format!("{}:{port}", address(place));
        command.arg(env!("CARGO_BIN_EXE_aspen-node"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASPEN_")) {
            command.env_remove(name);
        }
        command.args(["--dns-listen", &at(5300), "--api-listen", &at(8053)]);
        command.args(["--iroh-listen", &at(4433), "--udp-workers", "1"]);
        command.args(["--log", "error,aspen_dns=info", "--allow-transfer", "198.18.0.0/15"]);
        command.arg("--data-dir").arg(self.disk(place).join("data"));
        if self.shape.is_authority(place) {
            let members = (0..self.shape.members).map(|at| format!("http://{}:2379", address(at)));
            let store = format!("etcd={}", members.collect::<Vec<_>>().join(","));
            command.args(["--role", "authority", "--store", &store, "--seal-key-file"]);
            command.arg(self.dirs.join("seal-key"));
        } else {
            command.args(["--role", "edge", "--edge-name", &self.name(place)]);
            command.args(["--ticket", &self.tickets[place]]);
        }
        if let Some(library) = &self.clocks {
            command.env("LD_PRELOAD", library);
            command.env("FLEET_CLOCK", self.dirs.join(format!("clock{place}")));
        }
    }

    /// Kills a process.
    pub fn kill(&mut self, place: Place) {
        self.record.end_life(place);
        self.down[place] = true;
        if let Some(mut child) = self.processes[place].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Pauses a process, or lets it go on.
    pub fn pause(&mut self, place: Place, is_paused: bool) {
        let Some(child) = &self.processes[place] else { return };
        let id = child.id().to_string();
        if is_paused {
            self.record.note_paused(place, true);
        }
        run("kill", &[if is_paused { "-STOP" } else { "-CONT" }, &id]);
        if !is_paused {
            self.record.note_paused(place, false);
        }
    }

    /// Leaves no room on a process's disk, or gives it back.
    pub fn fill(&mut self, place: Place, is_full: bool) {
        let filler = self.disk(place).join("filler");
        if is_full {
            self.record.note(Turn::HasRoom(place, false));
            let file = std::fs::File::create(&filler).expect("a file");
            let block = vec![0x55; 1 << 16];
            let mut at = 0;
            while file.write_all_at(&block, at).is_ok() {
                at += block.len() as u64;
            }
        } else {
            std::fs::remove_file(&filler).expect("it is there");
            self.record.note(Turn::HasRoom(place, true));
        }
    }

    /// Sets a process's clock ahead, or back.
    pub fn step_clock(&self, place: Place, by_s: i64) {
        let path = self.dirs.join(format!("clock{place}"));
        let file = std::fs::File::options().write(true).open(path).expect("a clock");
        let nanoseconds = by_s.saturating_mul(1_000_000_000);
        file.write_all_at(&nanoseconds.to_ne_bytes(), 0).expect("a step");
    }

    /// Starts those again that ended by themselves, as a supervisor does; notes nodes that did.
    pub fn tend(&mut self) {
        for place in 0..self.shape.places() {
            let Some(child) = &mut self.processes[place] else { continue };
            let Some(status) = child.try_wait().expect("a status") else { continue };
            self.processes[place] = None;
            let was_ready = self.record.end_life(place);
            if was_ready && !self.shape.is_member(place) {
                self.died.push(format!("{} ended by itself: {status}", self.name(place)));
            }
            println!("{:>9} {} ended: {status}", self.record.now() / 1_000, self.name(place));
            self.start(place);
        }
    }

    /// Starts everybody whom the test has ended.
    pub fn start_all(&mut self) {
        (0..self.shape.places())
            .filter(|place| self.down[*place])
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|place| self.start(place));
    }

    /// Waits until everybody is ready.
    pub fn wait_ready(&mut self, places: std::ops::Range<Place>) {
        let began = Instant::now();
        while !places.clone().all(|place| self.record.is_ready(place)) {
            assert!(began.elapsed() < PATIENCE, "not ready: {}", self.said(places.clone()));
            self.tend();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of the logs of those who are not ready.
    fn said(&self, places: std::ops::Range<Place>) -> String {
        let silent = places.filter(|place| !self.record.is_ready(*place));
        let lines = silent.map(|place| {
            let log = std::fs::read_to_string(self.log(place)).unwrap_or_default();
            let from = log.lines().count().saturating_sub(5);
            let last: Vec<&str> = log.lines().skip(from).collect();
            format!("{}:\n{}\n", self.name(place), last.join("\n"))
        });
        lines.collect()
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let Some(kept) = std::env::var_os("FLEET_KEEP").map(PathBuf::from) else { return };
        let _ = std::fs::create_dir_all(&kept);
        for place in 0..self.shape.places() {
            let log = self.log(place);
            let _ = std::fs::copy(&log, kept.join(log.file_name().expect("a name")));
        }
    }
}

/// Waits until somebody listens at a port of a process.
fn wait_for_port(place: Place, port: u16) -> bool {
    let until = Instant::now() + PATIENCE;
    let at = (address(place), port).into();
    while Instant::now() < until {
        if std::net::TcpStream::connect_timeout(&at, Duration::from_millis(200)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
