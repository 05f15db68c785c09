//! A node in a process of its own: this program again, told by its environment what to be.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Plan;
use crate::bed::cpu;

/// A running node; it is killed when it goes out of scope.
pub struct Process {
    /// The process.
    child: Child,
    /// What it says.
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a node that works in `dir`.
    pub fn start(role: &str, dir: &Path, plan: &Plan, ticket: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env("ASPEN_BENCH_ROLE", role)
            .env("ASPEN_BENCH_DIR", dir)
            .env("ASPEN_BENCH_PLAN", plan.to_text())
            .env("ASPEN_BENCH_TICKET", ticket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// Waits for a line that begins with `word` and returns the rest.
    pub fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("lines") > 0, "no line {word}");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: impl Display) {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{line}").expect("it listens");
    }

    /// Reads a time in microseconds for each of `count` changes, the first of which is `first`.
    pub fn times(&mut self, first: u64, count: u64) -> Vec<i64> {
        let mut times = vec![0; usize::try_from(count).expect("few")];
        for _ in 0..count {
            let line = self.line("at");
            let (index, time) = line.split_once(' ').expect("two numbers");
            let index: u64 = index.parse().expect("a number");
            times[usize::try_from(index - first).expect("few")] = time.parse().expect("a number");
        }
        times
    }

    /// Returns the CPU time that it has used.
    pub fn cpu(&self) -> Duration {
        cpu::whole_time(self.child.id()).expect("it runs")
    }

    /// Returns the memory that it has, in MiB.
    pub fn memory_mib(&self) -> f64 {
        cpu::tree_memory(self.child.id()).expect("it runs") as f64 / f64::from(1 << 20)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what the parent has set.
pub fn variable(name: &str) -> String {
    std::env::var(format!("ASPEN_BENCH_{name}")).expect("set by the parent")
}

/// Returns where this node works.
pub fn dir() -> PathBuf {
    PathBuf::from(variable("DIR"))
}
