//! Self-signed certificate that a sandbox makes at its start, and that clients trust as their root.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::{Identity, unix_seconds};

const DAY: Duration = Duration::from_secs(86_400);
/// A sandbox makes another at each start.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// A certificate with its key, and in the two forms in which a client trusts it.
pub(super) struct SandboxCertificate {
    pub(super) identity: Identity,
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
}

impl SandboxCertificate {
    /// Makes a certificate for `localhost`, the loopback addresses and `addr`.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) fn generate(addr: IpAddr) -> io::Result<Self> {
        let mut names = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
        if !addr.is_unspecified() && !names.contains(&addr.to_string()) {
            names.push(addr.to_string());
        }
        let signing_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        let now = Duration::from_secs(unix_seconds());
        // A clock that is a little slow must not reject it.
        params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = date_time_ymd(1970, 1, 1) + now + LIFETIME;
        let cert = params.self_signed(&signing_key).map_err(io::Error::other)?;
        let der = cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let identity = Identity {
            chain: vec![der.clone()],
            key: Arc::new(key.into()),
        };
        Ok(SandboxCertificate {
            identity,
            der,
            pem: cert.pem(),
        })
    }
}
