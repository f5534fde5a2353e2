//! `[admin]`: the listener of health, metrics and the status page.

use super::listen::Listen;
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::TextSetting;
use crate::config::types::address::Address;
use crate::config::types::hosts::{HostPattern, Hosts};

/// `[admin]` as it is used.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen; `None` for nowhere.
    pub address: Option<Address>,
    /// The hosts by which it may be called.
    pub hosts: Hosts,
    /// Whether `POST /quit` stops the process.
    pub quit: bool,
    /// Maximum number of open connections; `None` for any number. Derived from the limit of open
    /// files; not configurable.
    pub max_connections: Option<u32>,
}

/// An address, or `off`.
struct AdminAddress(Option<Address>);

impl TextSetting for AdminAddress {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let fix =
            "write an IP address and a port, such as \"127.0.0.1:8081\", \"unix:/PATH\" or \"off\"";
        match text {
            "off" => Ok(AdminAddress(None)),
            _ => Address::parse(text, fix).map(|address| AdminAddress(Some(address))),
        }
    }

    fn to_text(&self) -> String {
        let AdminAddress(address) = self;
        address
            .as_ref()
            .map_or("off".to_owned(), Address::to_string)
    }
}

/// The address alone; `None` for nowhere.
pub(crate) fn read_address(section: &Section<'_, '_>) -> Option<Address> {
    let default = Address::Tcp(([127, 0, 0, 1], 8081).into());
    let AdminAddress(address) = section.get("address", AdminAddress(Some(default)));
    address
}

impl Admin {
    pub(crate) fn read(section: &Section<'_, '_>, listen: &Listen) -> Self {
        let address = read_address(section);
        let allow_anonymous = section.get("allow_anonymous", false);
        let hosts: Vec<HostPattern> = section.get("hosts", Vec::new());
        let quit = section.get("quit", false);
        if section.is_sound()
            && let Some(address) = &address
        {
            if let Some((message, fix)) = address.socket_fault() {
                section.reject("address", message, fix);
            }
            if !address.is_local() && !allow_anonymous {
                section.reject(
                    "address",
                    format!("{address} is open to the network: anyone there could see which callers use the proxy, and how much"),
                    "listen on a loopback address, or write admin.allow_anonymous = true, as probes and scrapes from \
                     another machine need it",
                );
            }
            if *address == listen.address
                && !section.is_broken("listen.address")
                && !matches!(address, Address::Tcp(addr) if addr.port() == 0)
            {
                section.reject(
                    "address",
                    format!("{address} is listen.address as well"),
                    "write another port: health and metrics are not served to callers",
                );
            }
        }
        let own = address.clone().unwrap_or_else(|| listen.address.clone());
        Admin {
            hosts: Hosts::new(&own, hosts.into_iter().map(|HostPattern(host)| host)),
            address,
            quit,
            max_connections: None,
        }
    }
}
