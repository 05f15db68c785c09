//! Several sockets on one address, one for each worker of a front end.
//!
//! **Invariant:** a port that another process uses is an error, and is never shared with it.
//! **Not here:** what kind of sockets they are, and with which options (`serve::udp`, `serve::tcp`).

use std::io;
use std::net::SocketAddr;

use socket2::Socket;

/// Binds `count` sockets to one address, port 0 included: then all of them have one same port. `open` makes one.
///
/// The first is bound alone, so that a port which another process uses is an error; then it lets the
/// others join it.
///
/// # Errors
/// What the system says, `AddrInUse` for instance.
pub(super) fn bind_sockets(
    addr: SocketAddr,
    count: usize,
    open: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Vec<Socket>> {
    let first = open(addr)?;
    first.bind(&addr.into())?;
    let bound = first.local_addr()?;
    if count > 1 {
        share_port(&first)?;
    }
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = open(addr)?;
        share_port(&socket)?;
        socket.bind(&bound)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Lets several sockets of this process have one port.
fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
    return Err(io::ErrorKind::Unsupported.into());
    Ok(())
}
