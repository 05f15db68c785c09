//! Binds the endpoint of a node, and says with which QUIC settings.
//!
//! **Invariant:** a peer that is gone is noticed within [`QUIC_IDLE_MS`].
//! **Not here:** what runs over it (`mesh`), its secret key (`mesh::secret`).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use iroh::endpoint::{QuicTransportConfig, QuicTransportConfigBuilder, VarInt, presets};
use iroh::{Endpoint, RelayMode};

use super::{MeshConfig, MeshError, RelayChoice, error_chain};
use crate::limits::{
    MESH_CONNECTION_WINDOW, MESH_SEND_WINDOW, MESH_STREAM_WINDOW, MESH_STREAMS_MAX, QUIC_IDLE_MS,
    QUIC_KEEP_ALIVE_MS,
};

/// Binds the endpoint; where any port will do, the one of the last run, so that peers find a
/// restarted node where their tickets say.
pub(super) async fn bind(
    config: &MeshConfig,
    secret_key: iroh::SecretKey,
) -> Result<Endpoint, MeshError> {
    let port_file = config.dir.as_deref().map(|dir| dir.join("port"));
    let last = port_file.as_deref().and_then(last_port);
    if let Some(port) = last.filter(|_| config.listen.port() == 0) {
        let listen = SocketAddr::new(config.listen.ip(), port);
        if let Ok(endpoint) = bind_to(config, listen, secret_key.clone()).await {
            return Ok(endpoint);
        }
        tracing::warn!(%listen, "the port of the last run is taken: tickets made then lead nowhere");
    }
    let endpoint = bind_to(config, config.listen, secret_key).await?;
    let port = endpoint.bound_sockets().first().map(SocketAddr::port);
    if let (Some(path), Some(port)) = (port_file, port)
        && last != Some(port)
        && let Err(error) = crate::durable::write(&path, format!("{port}\n").as_bytes())
    {
        // A disk that is full keeps nobody from answering.
        tracing::warn!(file = %path.display(), %error,
            "the port of this run cannot be kept: tickets made now may lead nowhere after a restart");
    }
    Ok(endpoint)
}

/// Reads the port of the last run, if there was one.
fn last_port(path: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|port| *port != 0)
}

/// Binds the endpoint to one address.
async fn bind_to(
    config: &MeshConfig,
    listen: SocketAddr,
    secret_key: iroh::SecretKey,
) -> Result<Endpoint, MeshError> {
    let failed = |reason: String| MeshError::Bind { address: listen, reason };
    Endpoint::builder(presets::Minimal)
        .relay_mode(relay_mode(&config.relay))
        .clear_ip_transports()
        .bind_addr(listen)
        .map_err(|error| failed(error.to_string()))?
        .secret_key(secret_key)
        .transport_config(transport_config())
        .bind()
        .await
        .map_err(|error| failed(error_chain(&error)))
}

/// Returns the transport's word for our choice of relays.
fn relay_mode(choice: &RelayChoice) -> RelayMode {
    match choice {
        RelayChoice::Off => RelayMode::Disabled,
        RelayChoice::Default => RelayMode::Default,
        RelayChoice::Url(url) => RelayMode::custom([url.clone()]),
    }
}

/// Returns the QUIC settings of every connection: short idle times, so that a peer that was
/// killed is noticed in seconds, not in half a minute.
///
/// The windows bound what a stranger can make this node hold before a word was understood; whoever
/// downloads from others dials with wider ones.
pub(super) fn transport_config() -> QuicTransportConfig {
    transport(QUIC_IDLE_MS, QUIC_KEEP_ALIVE_MS, MESH_STREAMS_MAX)
        .stream_receive_window(VarInt::from_u32(MESH_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(MESH_CONNECTION_WINDOW))
        .send_window(MESH_SEND_WINDOW)
        .build()
}

/// Begins the QUIC settings of a connection over which nothing is heard for `idle_ms` at most, and on which
/// the peer may open `streams_max` streams in each way. No protocol of ours has datagrams.
pub(crate) fn transport(
    idle_ms: u32,
    keep_alive_ms: u64,
    streams_max: u32,
) -> QuicTransportConfigBuilder {
    let keep_alive = Duration::from_millis(keep_alive_ms);
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(VarInt::from_u32(idle_ms).into()))
        .keep_alive_interval(keep_alive)
        .default_path_keep_alive_interval(keep_alive)
        .default_path_max_idle_timeout(Duration::from_millis(u64::from(idle_ms)))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(streams_max))
        .datagram_receive_buffer_size(None)
}
