//! What a start does before any part works: it binds the addresses and closes the data directory.
//!
//! **Invariant:** below the data directory nothing is anybody's but its owner's before anything in it
//! is opened.
//! **Not here:** the parts (`node::parts`).

use std::io::ErrorKind;
use std::sync::Arc;

use super::api::auth::ApiKey;
use super::api::{self, BoundApi};
use super::config::{Config, DnsConfig, Plan};
use super::error::RunError;
use crate::durable;
use crate::publish::Reader;
use crate::responder::Responder;
use crate::serve::DnsProtocolServer;

/// Binds the DNS addresses; nothing is answered yet.
///
/// # Errors
/// [`RunError::Dns`].
pub(super) fn bind_dns(dns: &DnsConfig, reader: Reader) -> Result<DnsProtocolServer, RunError> {
    let responder = Arc::new(Responder::new(dns.responder.clone()));
    let mut builder = DnsProtocolServer::builder(reader).responder(responder);
    for address in &dns.addresses {
        builder = builder.udp_tcp(*address);
    }
    if let Some(workers) = dns.workers {
        builder = builder.workers(usize::from(workers));
    }
    Ok(builder.pin_to_cpus(dns.cpus.clone()).udp_steering(dns.steering).bind()?)
}

/// Binds the API's address, if it is to listen.
///
/// # Errors
/// [`RunError::Api`].
pub(super) async fn bind_api(config: &Config) -> Result<Option<BoundApi>, RunError> {
    let Some(wanted) = config.api else { return Ok(None) };
    let address = wanted.address;
    match api::bind(address).await {
        Ok(api) => Ok(Some(api)),
        // Nobody asked for the API: a server of plain zone files can do without.
        Err(error) if !wanted.is_asked_for && config.plan == Plan::Static => {
            tracing::warn!(%address, %error, "there is no API");
            Ok(None)
        }
        Err(source) => Err(RunError::Api { address, source }),
    }
}

/// Makes the data directory and all below it its owner's alone; returns the API's key, made at the
/// first start, if there is an API.
///
/// A server of plain zone files keeps nothing that it could not do without.
///
/// # Errors
/// [`RunError::File`].
pub(super) fn prepare_data_dir(config: &Config, has_api: bool) -> Result<Option<ApiKey>, RunError> {
    let dir = &config.data_dir;
    let is_static = config.plan == Plan::Static;
    if !is_static || has_api {
        match durable::create_dir(dir) {
            Err(source) if !is_static => return Err(RunError::File { path: dir.clone(), source }),
            _ => {}
        }
    }
    let key = match has_api.then(|| ApiKey::load_or_create(dir)).transpose() {
        Err(error) if is_static && error.kind() != ErrorKind::InvalidData => {
            tracing::warn!(dir = %dir.display(), %error, "the API's key cannot be kept");
            Some(ApiKey::random())
        }
        key => key.map_err(|source| RunError::File { path: dir.join("api-key"), source })?,
    };
    match durable::make_private(dir) {
        Err(source) if !is_static => return Err(RunError::File { path: dir.clone(), source }),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "others may read what is kept there");
        }
        Ok(()) => {}
    }
    Ok(key)
}
