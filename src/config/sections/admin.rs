//! `[admin]`: the listener of health, metrics and the status page.

use serde::Deserialize;

use super::listen::Listen;
use crate::config::error::Problem;
use crate::config::types::address::Address;
use crate::config::types::hosts::{self, Hosts};

/// `[admin]` as it is used.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen; `None` for nowhere.
    pub address: Option<Address>,
    /// The hosts by which it may be called.
    pub hosts: Hosts,
    /// Whether `POST /quit` ends the process.
    pub quit: bool,
    /// How many connections may be open at once; no key, but what the limit of open files leaves.
    /// `None` for no such limit.
    pub max_connections: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAdmin {
    address: AdminAddress,
    allow_anonymous: bool,
    #[serde(deserialize_with = "hosts::list")]
    hosts: Vec<String>,
    quit: bool,
}

/// An address, or `off`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct AdminAddress(Option<Address>);

impl TryFrom<String> for AdminAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "off" => Ok(AdminAddress(None)),
            _ => Address::try_from(text).map(|address| AdminAddress(Some(address))).map_err(|_| {
                "no address; write an IP address and a port (\"127.0.0.1:8081\"), \"unix:PATH\", or \"off\""
            }),
        }
    }
}

impl Default for RawAdmin {
    fn default() -> Self {
        RawAdmin {
            address: AdminAddress(Some(Address::Tcp(([127, 0, 0, 1], 8081).into()))),
            allow_anonymous: false,
            hosts: Vec::new(),
            quit: false,
        }
    }
}

impl RawAdmin {
    /// Where to listen; `None` for nowhere.
    pub(crate) fn address(self) -> Option<Address> {
        self.address.0
    }

    pub(crate) fn resolve(self, listen: &Listen) -> Result<Admin, Problem> {
        const KEY: &str = "admin.address";
        let AdminAddress(address) = self.address;
        if let Some(address) = &address {
            if !address.is_local() && !self.allow_anonymous {
                return Err(Problem::new(
                    KEY,
                    format!(
                        "{address} is open to the network, and shows anyone who calls and how much"
                    ),
                    "listen on a loopback address, or write admin.allow_anonymous = true, as probes and scrapes from \
                     another machine need it",
                ));
            }
            if *address == listen.address
                && !matches!(address, Address::Tcp(addr) if addr.port() == 0)
            {
                return Err(Problem::new(
                    KEY,
                    format!("{address} is listen.address as well"),
                    "write another port: health and metrics are not served to callers",
                ));
            }
        }
        let own = address.clone().unwrap_or_else(|| listen.address.clone());
        Ok(Admin {
            hosts: Hosts::new(&own, self.hosts),
            address,
            quit: self.quit,
            max_connections: None,
        })
    }
}
