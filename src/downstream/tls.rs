//! The TLS side of a listener: HTTP/2 and HTTP/1.1 by ALPN.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::config::Identity;

/// The acceptor that serves with `identity`, TLS 1.2 and 1.3.
///
/// # Errors
/// When certificate and key do not fit together.
pub fn acceptor(identity: &Identity) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    // A caller that offers protocols, and none of ours, would be refused: the oldest is among them.
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}
