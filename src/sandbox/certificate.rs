//! The certificate that a sandbox makes for itself at its start: self-signed, so that it is its own
//! trust anchor.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::Identity;

/// A certificate with its key, and the same certificate as a caller trusts it.
pub(super) struct Certificate {
    pub(super) identity: Identity,
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
}

impl Certificate {
    /// Makes a certificate for `localhost`, the loopback addresses and `addr`.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) fn make(addr: IpAddr) -> io::Result<Self> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        if !addr.is_unspecified() && !names.contains(&addr.to_string()) {
            names.push(addr.to_string());
        }
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).map_err(io::Error::other)?;
        let der = cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let identity = Identity {
            chain: vec![der.clone()],
            key: Arc::new(key.into()),
        };
        Ok(Certificate {
            identity,
            der,
            pem: cert.pem(),
        })
    }
}
