//! Facts about a caller's connection, known before its first request.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use super::authenticate::caller::Caller;
use crate::config::{CertificateName, Hosts};
use crate::error::Error;

/// A client certificate that may lose its validity while its connection is open.
pub trait CheckCertificate: Debug + Send + Sync {
    /// Checks that the certificate is still accepted; called for each request.
    ///
    /// # Errors
    /// The reason why it is not, and what its caller can do.
    fn check(&self) -> Result<(), &'static str>;
}

/// Facts that the listener learns of a connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo<'a> {
    /// Address of the caller; `None` on a Unix socket.
    pub addr: Option<SocketAddr>,
    /// Address that the caller connected to; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The names in the listener's certificate.
    pub server_names: Option<Arc<Hosts>>,
    /// Subject alternative names of the client certificate.
    pub names: &'a [CertificateName],
    /// The client certificate.
    pub certificate: Option<Arc<dyn CheckCertificate>>,
    /// User id of the calling process, on a Unix socket.
    pub uid: Option<u32>,
}

/// Identity of a connection: its addresses, and the caller if certificate or user id name one.
#[derive(Clone, Debug, Default)]
pub struct ConnectionIdentity {
    /// `None` on a Unix socket.
    pub(super) addr: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) is_tls: bool,
    pub(super) server_names: Option<Arc<Hosts>>,
    pub(super) certificate: Option<Arc<dyn CheckCertificate>>,
    pub(super) caller: Option<Arc<Caller>>,
}

impl ConnectionIdentity {
    pub(super) fn new(connection: ConnectionInfo<'_>, caller: Option<Arc<Caller>>) -> Self {
        ConnectionIdentity {
            addr: connection.addr,
            local: connection.local,
            is_tls: connection.is_tls,
            server_names: connection.server_names,
            certificate: connection.certificate,
            caller,
        }
    }

    /// Whether the listener's certificate names `host`.
    pub(super) fn is_named(&self, host: &[u8]) -> bool {
        let names = self.server_names.as_ref();
        names.is_some_and(|names| names.has(host, self.local))
    }

    /// Checks the certificate that the connection was opened with, if any.
    pub(super) fn check_certificate(&self) -> Result<(), Error> {
        match &self.certificate {
            Some(certificate) => certificate.check().map_err(Error::CertificateEnded),
            None => Ok(()),
        }
    }
}
