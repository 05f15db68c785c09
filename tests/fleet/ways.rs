//! The network between the processes: a namespace for each, and a router between them that loses and delays.
//!
//! The test itself is the router and so reaches everybody at all times. All of it is within namespaces of its own,
//! which end with the test's process: nothing of it is seen from outside, or left.
//!
//! **Invariant:** what is cut is cut for what passes between two processes, never for the test's own questions.
//! **Not here:** what is cut when (`faults`).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::contact::Place;

/// How long a packet takes on a way that is slow, one way.
const SLOW: Duration = Duration::from_millis(60);
/// Of a hundred packets, those that are lost on a way that loses some. At 15, what etcd's members say to each other
/// stands still for seconds, in TCP: whoever asks the one that hears nothing is answered, but nothing new.
const LOST_OF_100: u32 = 5;
/// Where packets of slow ways are looked up.
const SLOW_TABLE: &str = "100";

/// The network; it ends with the process.
#[derive(Debug)]
pub struct Ways {
    /// Whether packets can be delayed.
    pub can_be_slow: bool,
}

/// Starts this program again in namespaces of its own, as root there; none where that is not permitted.
pub fn within(test: &str) -> Option<Command> {
    let flags =
        ["--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // Who is root keeps all of its rights, which devices need.
    let flags = if is_root() { &flags[1..] } else { &flags[..] };
    let mut probe = Command::new("unshare");
    probe.args(flags).args(["ip", "link", "set", "lo", "up"]);
    let is_permitted = probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_permitted || !run_quietly("nft", &["--version"]) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(flags).arg(std::env::current_exe().expect("a program"));
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    Some(command)
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

/// The address of a process.
pub fn address(place: Place) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, u8::try_from(place).expect("some places"), 2)
}

/// The namespace of a process.
pub fn namespace(place: Place) -> String {
    format!("n{place}")
}

impl Ways {
    /// Makes the network, in namespaces that are this process's own.
    pub fn make(places: usize) -> Self {
        // What is mounted here is seen by nobody else.
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        run("ip", &["link", "set", "lo", "up"]);
        for place in 0..places {
            let (outer, name) = (format!("v{place}"), namespace(place));
            let at = |last: u8| format!("198.18.{place}.{last}/24");
            run("ip", &["netns", "add", &name]);
            run(
                "ip",
                &["link", "add", &outer, "type", "veth", "peer", "name", "e0", "netns", &name],
            );
            run("ip", &["addr", "add", &at(1), "dev", &outer]);
            run("ip", &["link", "set", &outer, "up"]);
            run("ip", &["-n", &name, "addr", "add", &at(2), "dev", "e0"]);
            run("ip", &["-n", &name, "link", "set", "lo", "up"]);
            run("ip", &["-n", &name, "link", "set", "e0", "up"]);
            let router = format!("198.18.{place}.1");
            run("ip", &["-n", &name, "route", "add", "default", "via", &router]);
        }
        for (switch, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0")] {
            std::fs::write(format!("/proc/sys/net/ipv4/{switch}"), value).expect("a switch");
        }
        let rules = format!(
            "table ip fleet {{
               set cut {{ type ipv4_addr . ipv4_addr; }}
               set lossy {{ type ipv4_addr . ipv4_addr; }}
               chain forward {{
                 type filter hook forward priority 0; policy accept;
                 ip saddr . ip daddr @cut drop
                 ip saddr . ip daddr @lossy numgen random mod 100 < {LOST_OF_100} drop
               }}
             }}"
        );
        run("nft", &[&rules]);
        Self { can_be_slow: delay_packets().is_ok() }
    }

    /// Cuts the way from one process to another, or mends it.
    pub fn cut(&self, from: Place, to: Place, is_cut: bool) {
        self.change("cut", from, to, is_cut);
    }

    /// Has the way from one process to another lose packets, or no more.
    pub fn lose(&self, from: Place, to: Place, is_lossy: bool) {
        self.change("lossy", from, to, is_lossy);
    }

    fn change(&self, set: &str, from: Place, to: Place, is_in: bool) {
        let verb = if is_in { "add" } else { "delete" };
        let element = format!("{{ {} . {} }}", address(from), address(to));
        run("nft", &[verb, "element", "ip", "fleet", set, &element]);
    }

    /// Delays what goes from one process to another, or no more.
    pub fn slow(&self, from: Place, to: Place, is_slow: bool) {
        let verb = if is_slow { "add" } else { "del" };
        let (source, target) = (address(from).to_string(), address(to).to_string());
        let came_in = format!("v{from}");
        let rule = ["from", &source, "to", &target, "iif", &came_in, "lookup", SLOW_TABLE];
        run("ip", &[&["rule", verb][..], &rule].concat());
    }
}

/// Takes the packets of slow ways from the router and gives them back later.
fn delay_packets() -> std::io::Result<()> {
    if !run_quietly("ip", &["tuntap", "add", "dev", "slow", "mode", "tun"]) {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let device = open_tunnel(c"slow")?;
    run("ip", &["link", "set", "slow", "up"]);
    std::fs::write("/proc/sys/net/ipv4/conf/slow/rp_filter", "0")?;
    run("ip", &["route", "add", "default", "dev", "slow", "table", SLOW_TABLE]);
    let (mut read, mut write) = (device.try_clone()?, device);
    let (sender, packets) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut packet = vec![0; 65_536];
        while let Ok(len) = read.read(&mut packet) {
            if sender.send((Instant::now() + SLOW, packet[..len].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, packet) in packets {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // One that the router does not take is lost, as on any way.
            let _ = write.write(&packet);
        }
    });
    Ok(())
}

/// Opens the packets' end of a tunnel.
#[allow(unsafe_code, reason = "a device is chosen by a call that the kernel alone has")]
fn open_tunnel(name: &std::ffi::CStr) -> std::io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..name.count_bytes()].copy_from_slice(name.to_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: `request` is as large as the `ifreq` that the kernel reads and writes, and lives until it has.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    if result == 0 { Ok(file) } else { Err(std::io::Error::last_os_error()) }
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = command(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Runs a program; returns whether it succeeded.
fn run_quietly(program: &str, arguments: &[&str]) -> bool {
    command(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Returns a command of one of the system's programs.
fn command(program: &str) -> Command {
    let folders = ["/usr/sbin", "/sbin"].map(|folder| std::path::Path::new(folder).join(program));
    let found = folders.into_iter().find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| program.into()))
}
