//! Where a store is kept, and who this node is to an etcd cluster.
//!
//! **Invariant:** no secret is a flag: who lists processes reads those.
//! **Not here:** reading the files that are named (`origin`).

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{FlagError, PlanError};
use crate::limits::ETCD_PREFIX_OCTETS_MAX;
use crate::node::config::{EtcdCluster, SharingConfig};
use crate::store::lease::LeaseTimes;

/// Which engine keeps the records, as the flag spells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreChoice {
    /// One file below the data directory.
    Redb,
    /// An etcd cluster at these URLs.
    Etcd(Vec<String>),
}

/// The flags of a store in etcd.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct EtcdFlags {
    /// What all keys of this store in etcd begin with; two stores may so share a cluster.
    /// [default: aspen-dns/]
    #[arg(long, env = "ASPEN_ETCD_PREFIX", value_name = "TEXT", value_parser = parse_prefix)]
    pub etcd_prefix: Option<String>,

    /// MiB that a member's database may have, as etcd's `--quota-backend-bytes` says; imports are refused
    /// when 80 % of it are taken. [default: 2048, which is etcd's]
    #[arg(long, env = "ASPEN_ETCD_QUOTA_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub etcd_quota_mib: Option<u32>,

    /// User of the etcd cluster.
    #[arg(long, env = "ASPEN_ETCD_USER", value_name = "NAME")]
    pub etcd_user: Option<String>,

    /// File whose first line is that user's password.
    #[arg(long, env = "ASPEN_ETCD_PASSWORD_FILE", value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,

    /// PEM file of the authorities that vouch for etcd members with https URLs. [default: the
    /// system's]
    #[arg(long, env = "ASPEN_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,

    /// PEM file of the certificate that this node shows to etcd.
    #[arg(long, env = "ASPEN_ETCD_CERT", value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,

    /// PEM file of the key of that certificate.
    #[arg(long, env = "ASPEN_ETCD_KEY", value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,

    /// File of the key, 64 hexadecimal digits, with which the keys of feeds are sealed in the store: the
    /// authorities that have it write the same feeds in turn, and tickets lead to all of them.
    #[arg(long, env = "ASPEN_SEAL_KEY_FILE", value_name = "FILE")]
    pub seal_key_file: Option<PathBuf>,

    /// Milliseconds for which the authority that writes the feeds may be silent until another does.
    /// [default: 1500]
    #[arg(long, env = "ASPEN_LEASE_MS", value_name = "MS", value_parser = parse_lease)]
    pub lease_ms: Option<LeaseTimes>,
}

impl EtcdFlags {
    /// Returns the cluster at these URLs.
    ///
    /// # Errors
    /// [`PlanError::EtcdUserWithoutPassword`], [`PlanError::EtcdCertWithoutKey`] and
    /// [`PlanError::LeaseWithoutSealKey`].
    pub fn cluster(self, endpoints: Vec<String>) -> Result<EtcdCluster, PlanError> {
        let user = match (self.etcd_user, self.etcd_password_file) {
            (Some(user), Some(file)) => Some((user, file)),
            (None, None) => None,
            _ => return Err(PlanError::EtcdUserWithoutPassword),
        };
        let identity = match (self.etcd_cert, self.etcd_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(PlanError::EtcdCertWithoutKey),
        };
        let sharing = match (self.seal_key_file, self.lease_ms) {
            (Some(seal_key_file), lease) => {
                Some(SharingConfig { seal_key_file, lease: lease.unwrap_or_default() })
            }
            (None, Some(_)) => return Err(PlanError::LeaseWithoutSealKey),
            (None, None) => None,
        };
        let (prefix, ca) = (self.etcd_prefix, self.etcd_ca);
        let quota_octets = self.etcd_quota_mib.map(|mib| u64::from(mib) << 20);
        Ok(EtcdCluster { endpoints, prefix, quota_octets, user, ca, identity, sharing })
    }
}

impl FromStr for StoreChoice {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        if text == "redb" {
            return Ok(Self::Redb);
        }
        let urls = text.strip_prefix("etcd=").ok_or(FlagError::Store)?;
        let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
        let is_url = |url: &String| {
            ["http://", "https://"]
                .iter()
                .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        };
        if urls.iter().any(|url| url.contains('@')) {
            return Err(FlagError::StoreUser);
        }
        match urls.iter().all(is_url) {
            true => Ok(Self::Etcd(urls)),
            false => Err(FlagError::Store),
        }
    }
}

/// Reads what keys begin with.
fn parse_prefix(text: &str) -> Result<String, FlagError> {
    match text.len() {
        1..=ETCD_PREFIX_OCTETS_MAX => Ok(text.to_owned()),
        _ => Err(FlagError::EtcdPrefix),
    }
}

/// Reads the time of a lease.
fn parse_lease(text: &str) -> Result<LeaseTimes, FlagError> {
    let ms = text.parse().map_err(|_| FlagError::LeaseMs)?;
    Ok(LeaseTimes::new(ms)?)
}
