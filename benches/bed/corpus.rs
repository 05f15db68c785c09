//! The zones that all servers serve, as master files in one directory: `APEX.zone`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

/// Which zones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `example.com` with so many addresses, and delegations, aliases, a wildcard.
    One(u32),
    /// The same, signed with ECDSA P-256, denying with NSEC or with NSEC3 (no salt, no iterations).
    Signed(u32, Denial),
    /// So many zones of five records.
    Many(u32),
}

/// How a signed zone denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// RFC 4034.
    Nsec,
    /// RFC 5155, as RFC 9276 recommends it.
    Nsec3,
}

impl Kind {
    /// Reads `--names`, `--zones` and `--signed nsec|nsec3`.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let names = super::flag(arguments, "--names", "100000").parse()?;
        let zones = super::flag(arguments, "--zones", "");
        if !zones.is_empty() {
            return Ok(Self::Many(zones.parse()?));
        }
        match super::flag(arguments, "--signed", "").as_str() {
            "" => Ok(Self::One(names)),
            "nsec" => Ok(Self::Signed(names, Denial::Nsec)),
            "nsec3" => Ok(Self::Signed(names, Denial::Nsec3)),
            other => Err(format!("{other}: nsec or nsec3").into()),
        }
    }

    /// Returns how many names with an address, or zones, there are to ask for.
    pub fn count(self) -> u32 {
        match self {
            Self::One(count) | Self::Signed(count, _) | Self::Many(count) => count,
        }
    }

    /// Whether DNSSEC records are wanted.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Signed(..))
    }

    /// Returns how many owner names have records, signatures and denials apart.
    pub fn owner_count(self) -> u64 {
        match self {
            Self::One(names) | Self::Signed(names, _) => {
                u64::from(names) + 3 * u64::from(DELEGATIONS) + u64::from(ALIASES) + 4
            }
            Self::Many(zones) => 3 * u64::from(zones),
        }
    }

    /// Returns the apex of a zone, without the last dot.
    pub fn apex(self, number: u32) -> String {
        match self {
            Self::One(_) | Self::Signed(..) => "example.com".to_owned(),
            Self::Many(_) => format!("z{number}.example"),
        }
    }

    /// Returns the apexes of all zones.
    pub fn apexes(self) -> impl Iterator<Item = String> {
        let zones = if let Self::Many(zones) = self { zones } else { 1 };
        (0..zones).map(move |number| self.apex(number))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(names) => write!(f, "{names} names"),
            Self::Signed(names, denial) => write!(f, "{names} names, signed with {denial:?}"),
            Self::Many(zones) => write!(f, "{zones} zones of 5 records"),
        }
    }
}

/// The files.
#[derive(Debug)]
pub struct Corpus {
    /// Which zones.
    pub kind: Kind,
    /// Where their files are.
    pub directory: PathBuf,
}

impl Corpus {
    /// Writes the files of a corpus below `parent`.
    pub fn write(kind: Kind, parent: &Path) -> Result<Self> {
        let directory = parent.join("zones");
        fs::create_dir_all(&directory)?;
        let corpus = Self { kind, directory };
        match kind {
            Kind::One(names) => write_one(&corpus.file("example.com"), names)?,
            Kind::Signed(names, denial) => {
                let plain = parent.join("plain.zone");
                write_one(&plain, names)?;
                sign(&plain, &corpus.file("example.com"), denial)?;
            }
            Kind::Many(zones) => {
                for number in 0..zones {
                    fs::write(corpus.file(&kind.apex(number)), small_zone(number))?;
                }
            }
        }
        Ok(corpus)
    }

    /// Returns the file of a zone.
    pub fn file(&self, apex: &str) -> PathBuf {
        self.directory.join(format!("{apex}.zone"))
    }
}

/// Writes `example.com`.
fn write_one(file: &Path, names: u32) -> Result<()> {
    let mut out = std::io::BufWriter::new(fs::File::create(file)?);
    writeln!(out, "$ORIGIN example.com.\n$TTL 300")?;
    writeln!(out, "@ SOA ns1 hostmaster 1 3600 600 604800 300\n@ NS ns1\n@ NS ns2")?;
    writeln!(out, "ns1 A 192.0.2.1\nns2 A 192.0.2.2\n*.wild A 192.0.2.3")?;
    for number in 0..DELEGATIONS {
        writeln!(out, "d{number} NS ns1.d{number}\nd{number} NS ns2.d{number}")?;
        writeln!(out, "ns1.d{number} A 192.0.2.4\nns2.d{number} A 192.0.2.5")?;
    }
    for number in 0..ALIASES {
        writeln!(out, "c{number} CNAME n{}", number % names.max(1))?;
    }
    for number in 0..names {
        let [a, b, c, d] = address(number);
        writeln!(out, "n{number} A {a}.{b}.{c}.{d}")?;
    }
    Ok(out.flush()?)
}

/// Writes a zone of five records.
fn small_zone(number: u32) -> String {
    let [a, b, c, d] = address(number);
    format!(
        "$ORIGIN z{number}.example.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 604800 300\n\
         @ NS ns1\nns1 A 192.0.2.1\n@ MX 10 www\nwww A {a}.{b}.{c}.{d}\n"
    )
}

/// Returns the address of a name, or of a zone's `www`.
pub fn address(number: u32) -> [u8; 4] {
    let [_, a, b, c] = number.to_be_bytes();
    [10, a, b, c]
}

/// Signs `example.com` with BIND's tools.
fn sign(plain: &Path, signed: &Path, denial: Denial) -> Result<()> {
    let parent = plain.parent().ok_or("a directory")?;
    for key in [&["-f", "KSK"][..], &[]] {
        let mut keygen = Command::new("dnssec-keygen");
        keygen.args(["-q", "-a", "ECDSAP256SHA256"]).args(key).arg("example.com");
        run(keygen.current_dir(parent))?;
    }
    let mut signer = Command::new("dnssec-signzone");
    signer.args(["-S", "-P", "-O", "full", "-o", "example.com", "-f"]).arg(signed);
    if denial == Denial::Nsec3 {
        signer.args(["-3", "-", "-H", "0"]);
    }
    run(signer.arg(plain).current_dir(parent))
}

/// Runs a command to its end, silently unless it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Zone cuts in `example.com`.
pub const DELEGATIONS: u32 = 1_000;
/// CNAME records in `example.com`.
pub const ALIASES: u32 = 1_000;
