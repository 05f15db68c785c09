//! Who may transfer zones, as the flag spells it.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::FlagError;

/// Networks whose addresses may transfer zones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransferNetworks(pub Vec<IpNet>);

impl FromStr for TransferNetworks {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        if text == "off" {
            return Ok(Self(Vec::new()));
        }
        // An address alone is a network of one.
        let network = |part: &str| part.parse().or_else(|_| part.parse().map(IpAddr::into));
        let networks: Result<Vec<IpNet>, _> = text.split(',').map(network).collect();
        networks.map(Self).map_err(|_| FlagError::Transfer)
    }
}
