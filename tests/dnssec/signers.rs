//! Zones signed by other implementations: BIND's dnssec-signzone, Knot's kzonesign, ldns-signzone.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Who signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signer {
    /// dnssec-signzone.
    Bind,
    /// kzonesign.
    Knot,
    /// ldns-signzone.
    Ldns,
}

/// How the zone denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denial {
    /// NSEC.
    Nsec,
    /// NSEC3, no further iterations, no salt.
    Nsec3,
    /// NSEC3 with the opt-out flag.
    OptOut,
}

/// Signs the master file `text` of `apex` in a directory of its own below `dir`; returns the file.
pub(crate) fn sign(signer: Signer, denial: Denial, dir: &Path, apex: &str, text: &str) -> PathBuf {
    let dir = dir.join(apex);
    std::fs::create_dir(&dir).unwrap();
    let plain = dir.join("plain");
    std::fs::write(&plain, format!("$ORIGIN {apex}.\n{text}")).unwrap();
    match signer {
        Signer::Bind => sign_bind(denial, &dir, apex),
        Signer::Knot => sign_knot(denial, &dir, apex),
        Signer::Ldns => sign_ldns(denial, &dir, apex),
    }
}

/// Makes the DS records of a signed zone, as lines of a master file.
pub(crate) fn ds(signed: &Path, apex: &str) -> String {
    let mut command = Command::new("dnssec-dsfromkey");
    run(command.args(["-2", "-f"]).arg(signed).arg(apex))
}

/// Two ECDSA keys; NSEC3 by `-3 -`, opt-out by `-A`.
fn sign_bind(denial: Denial, dir: &Path, apex: &str) -> PathBuf {
    for flags in [&["-f", "KSK"][..], &[]] {
        let mut command = Command::new("dnssec-keygen");
        run(command.current_dir(dir).args(["-q", "-a", "ECDSAP256SHA256"]).args(flags).arg(apex));
    }
    let mut command = Command::new("dnssec-signzone");
    command.current_dir(dir).args(["-q", "-S", "-H", "0", "-o", apex, "-f", "signed"]);
    command.args(match denial {
        Denial::Nsec => &[][..],
        Denial::Nsec3 => &["-3", "-"],
        Denial::OptOut => &["-3", "-", "-A"],
    });
    run(command.arg("plain"));
    dir.join("signed")
}

/// Two Ed25519 keys of Knot's own making.
fn sign_knot(denial: Denial, dir: &Path, apex: &str) -> PathBuf {
    let (nsec3, opt_out) = (denial != Denial::Nsec, denial == Denial::OptOut);
    let switch = |is_on| if is_on { "on" } else { "off" };
    let conf = format!(
        "database:\n  storage: {storage}\npolicy:\n  - id: p\n    algorithm: ED25519\n    \
         nsec3: {}\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n    nsec3-opt-out: {}\n\
         zone:\n  - domain: {apex}\n    file: {storage}/plain\n    dnssec-signing: on\n    \
         dnssec-policy: p\n    zonefile-load: whole\n",
        switch(nsec3),
        switch(opt_out),
        storage = dir.display(),
    );
    std::fs::write(dir.join("knot.conf"), conf).unwrap();
    let out = dir.join("out");
    std::fs::create_dir(&out).unwrap();
    let mut command = Command::new("kzonesign");
    run(command.arg("-c").arg(dir.join("knot.conf")).arg("-o").arg(&out).arg(apex));
    out.join("plain")
}

/// Two RSA keys; the signed zone has a digest of itself (ZONEMD).
fn sign_ldns(denial: Denial, dir: &Path, apex: &str) -> PathBuf {
    let mut keys = Vec::new();
    for flags in [&["-k"][..], &[]] {
        let mut command = Command::new("ldns-keygen");
        command.current_dir(dir).args(["-a", "RSASHA256", "-b", "2048"]).args(flags);
        keys.push(run(command.arg(apex)).trim().to_owned());
    }
    let mut command = Command::new("ldns-signzone");
    command
        .current_dir(dir)
        .args(["-o", apex, "-f", "signed", "-z", "simple:sha384", "-z", "simple:sha512"])
        .args(match denial {
            Denial::Nsec => &[][..],
            Denial::Nsec3 => &["-n", "-t", "0"],
            Denial::OptOut => &["-n", "-t", "0", "-p"],
        });
    run(command.arg("plain").args(keys));
    dir.join("signed")
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
