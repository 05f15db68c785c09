//! A network namespace behind a pair of virtual Ethernet devices, for loads that loopback is not
//! enough for: kxdpgun needs a device with AF_XDP and an address of the link layer.
//!
//! It needs root and iproute2. Dropped, it is taken away again.

use std::net::Ipv4Addr;
use std::process::Command;

use super::Result;

/// The namespace with its link.
#[derive(Debug)]
pub struct Veth {
    /// The namespace's name, which is also the start of the devices' names.
    pub name: String,
}

impl Veth {
    /// Makes the namespace.
    pub fn new() -> Result<Self> {
        let veth = Self { name: format!("asp{}", std::process::id()) };
        let Self { name } = &veth;
        let (near, far) = (veth.device(), format!("{name}b"));
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {near} type veth peer name {far}"))?;
        ip(&format!("link set {far} netns {name}"))?;
        ip(&format!("addr add {NEAR}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {name} addr add {FAR}/30 dev {far}"))?;
        ip(&format!("-n {name} link set {far} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(veth)
    }

    /// Returns the device on the side of the load.
    pub fn device(&self) -> String {
        format!("{}a", self.name)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.device()));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// The address on the side of the load.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 1);
/// The address on the side of the servers.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 2);
