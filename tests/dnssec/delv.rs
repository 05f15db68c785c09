//! Our answers to questions, as BIND's validator `delv` judges them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any validation takes; a delv that runs so long is stopped and fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A validator with one trust anchor.
#[derive(Debug)]
pub(crate) struct Delv {
    /// The server that it asks for everything.
    addr: SocketAddr,
    /// Its file of trust anchors.
    anchors: PathBuf,
    /// The zone of the trust anchor.
    apex: String,
}

impl Delv {
    /// Prepares a validator that trusts the keys of `apex` whose DS records are lines of `ds`.
    pub(crate) fn new(dir: &Path, addr: SocketAddr, apex: &str, ds: &str) -> Self {
        let mut text = "trust-anchors {\n".to_owned();
        for line in ds.lines() {
            let (_, rdata) = line.split_once(" DS ").expect("a DS record");
            let mut fields = rdata.splitn(4, ' ');
            let mut field = || fields.next().expect("a field of the DS record");
            let (tag, algorithm, digest_type, digest) = (field(), field(), field(), field());
            let digest = digest.replace(' ', "");
            text +=
                &format!("\"{apex}.\" static-ds {tag} {algorithm} {digest_type} \"{digest}\";\n");
        }
        let anchors = dir.join("anchors");
        std::fs::write(&anchors, text + "};\n").unwrap();
        Self { addr, anchors, apex: apex.to_owned() }
    }

    /// Asks a question; returns what the validator says of the answer's parts and of its end.
    pub(crate) fn judge(&self, qname: &str, qtype: &str) -> String {
        let output = self.run(qname, qtype);
        let (mut parts, mut end) = (Vec::new(), String::new());
        for line in output.lines() {
            match line {
                "; fully validated" | "; negative response, fully validated" => {
                    parts.push("secure");
                }
                "; unsigned answer" | "; negative response, unsigned answer" => {
                    parts.push("insecure");
                }
                ";; resolution failed: ncache nxrrset" => end = " NODATA".to_owned(),
                ";; resolution failed: ncache nxdomain" => end = " NXDOMAIN".to_owned(),
                _ => {
                    end += line.strip_prefix(";; resolution failed: ").unwrap_or_default();
                }
            }
        }
        let said = parts.join(" + ") + &end;
        assert!(!said.is_empty(), "{qname} {qtype}: delv gave no verdict: {output}");
        said
    }

    /// Runs the program and returns all that it wrote.
    fn run(&self, qname: &str, qtype: &str) -> String {
        let port = self.addr.port().to_string();
        let mut child = Command::new("delv")
            .arg(format!("@{}", self.addr.ip()))
            .args(["-p", &port, "-a"])
            .arg(&self.anchors)
            .args([&format!("+root={}", self.apex), "+nodlv", "-q", qname, "-t", qtype])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("delv runs");
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{qname} {qtype}: no verdict within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}
