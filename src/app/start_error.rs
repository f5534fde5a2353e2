//! Errors that keep the proxy from starting, or a new configuration from being used.

use std::io;

use crate::config::Address;
use crate::error::BoxError;

/// Error of a start or a reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The configuration key of the address.
        key: &'static str,
        /// The address.
        address: Address,
        /// The error of the system.
        source: io::Error,
    },
    /// A section of the configuration cannot be used.
    #[error("[{section}] cannot be used")]
    Section {
        /// The section.
        section: &'static str,
        /// The reason.
        source: BoxError,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// Makes the error of `section`.
    pub(super) fn section(section: &'static str) -> impl Fn(BoxError) -> StartError {
        move |source| StartError::Section { section, source }
    }

    /// Makes the error of the listener at `address`.
    pub(super) fn listener(
        key: &'static str,
        address: &Address,
    ) -> impl Fn(io::Error) -> StartError {
        move |source| StartError::Listen {
            key,
            address: address.clone(),
            source,
        }
    }

    /// The action that fixes it, if one is known.
    pub(crate) fn fix(&self) -> Option<&'static str> {
        let StartError::Listen { source, .. } = self else {
            return None;
        };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "end the process that listens there (ss -ltnp shows it), or write another address",
            ),
            io::ErrorKind::AddrNotAvailable => Some("write an address of this machine"),
            io::ErrorKind::PermissionDenied => Some(
                "a port below 1024 needs CAP_NET_BIND_SERVICE, a Unix socket a directory that may be written to",
            ),
            _ => None,
        }
    }
}
