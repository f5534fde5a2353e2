//! Peer of a connection, as the accept loop and the handshake identify it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::caller_certificate::CallerCertificate;
use super::connection_use::ConnectionUse;
use crate::config::Hosts;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerInfo {
    /// The remote address; `None` for a Unix socket.
    pub(crate) addr: Option<SocketAddr>,
    /// The local address; `None` for a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) is_tls: bool,
    /// The names in the listener's certificate; `None` without TLS.
    pub(crate) server_names: Option<Arc<Hosts>>,
    /// The verified client certificate, if the peer has sent one.
    pub(crate) certificate: Option<Arc<CallerCertificate>>,
    /// The user of the peer's process when it connected to a Unix socket.
    pub(crate) uid: Option<u32>,
    /// Set on a listener with an `EvictingLimit`.
    pub(crate) usage: Option<Arc<ConnectionUse>>,
}
