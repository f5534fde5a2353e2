//! Trust in client certificates: the roots that sign them, and the TLS sessions that resume with
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use crate::config::{Validity, unix_seconds};
use crate::error::BoxError;

/// TLS sessions of one acceptor; rustls's default.
const MAX_SESSIONS: usize = 256;

/// The roots of client certificates, each with its validity: rustls does not check that of a root.
#[derive(Clone, Debug)]
pub(super) struct ClientRoots(Vec<(CertificateDer<'static>, Option<Validity>)>);

impl ClientRoots {
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Self {
        ClientRoots(
            roots
                .iter()
                .map(|root| (root.clone(), Validity::of(root)))
                .collect(),
        )
    }

    /// The roots that are valid at the Unix time `now`.
    pub(super) fn valid_at(&self, now: u64) -> Vec<CertificateDer<'static>> {
        let is_valid =
            |validity: &Option<Validity>| validity.is_none_or(|validity| validity.contains(now));
        self.0
            .iter()
            .filter(|(_, validity)| is_valid(validity))
            .map(|(root, _)| root.clone())
            .collect()
    }
}

/// Builds a verifier of client certificates. It accepts a caller without a certificate, which may
/// have a key instead.
///
/// # Errors
/// When a root is unusable.
pub(super) fn build_verifier(
    roots: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, BoxError> {
    let mut anchors = RootCertStore::empty();
    for root in roots {
        anchors.add(root.clone())?;
    }
    Ok(WebPkiClientVerifier::builder(Arc::new(anchors))
        .allow_unauthenticated()
        .build()?)
}

/// The first expiry in `chain`, which was verified at the Unix time `now`; `now` if a certificate
/// cannot be parsed.
pub(super) fn first_expiry(chain: &[CertificateDer<'_>], now: u64) -> u64 {
    let mut first = u64::MAX;
    for certificate in chain {
        match Validity::of(certificate) {
            Some(validity) if validity.end() > now => first = first.min(validity.end()),
            // An expired certificate is not on the verified path.
            Some(_) => {}
            None => return now,
        }
    }
    first
}

/// The TLS sessions of one acceptor. A session contains the certificate of its caller, which rustls
/// does not verify again when it resumes. So all sessions are forgotten when the first of these
/// certificates expires.
#[derive(Debug)]
pub(super) struct SessionCache {
    cache: Mutex<Arc<ServerSessionMemoryCache>>,
    /// The first expiry of a certificate in a session.
    first_expiry: AtomicU64,
}

impl Default for SessionCache {
    fn default() -> Self {
        SessionCache {
            cache: Mutex::new(ServerSessionMemoryCache::new(MAX_SESSIONS)),
            first_expiry: AtomicU64::new(u64::MAX),
        }
    }
}

impl SessionCache {
    fn record_expiry(&self, expiry: u64) {
        self.first_expiry.fetch_min(expiry, Relaxed);
    }

    pub(super) fn forget_all(&self) {
        let mut cache = self.cache.lock();
        self.first_expiry.store(u64::MAX, Relaxed);
        *cache = ServerSessionMemoryCache::new(MAX_SESSIONS);
    }

    fn current(&self, now: u64) -> Arc<ServerSessionMemoryCache> {
        if self.first_expiry.load(Relaxed) <= now {
            self.forget_all();
        }
        Arc::clone(&self.cache.lock())
    }
}

impl StoresServerSessions for SessionCache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.current(unix_seconds()).put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.current(unix_seconds()).get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.current(unix_seconds()).take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A verifier that records the expiry of certificates in sessions.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) sessions: Arc<SessionCache>,
}

impl ClientCertVerifier for RecordingVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        let now = now.as_secs();
        self.sessions
            .record_expiry(first_expiry(std::slice::from_ref(end_entity), now));
        self.sessions
            .record_expiry(first_expiry(intermediates, now));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_forgotten_when_a_certificate_expires() {
        let sessions = SessionCache::default();
        let kept = |now| sessions.current(now).get(b"id").is_some();
        sessions.current(0).put(b"id".to_vec(), Vec::new());
        sessions.record_expiry(200);
        sessions.record_expiry(100);
        assert!(kept(99));
        assert!(!kept(100));
        sessions.current(100).put(b"id".to_vec(), Vec::new());
        assert!(kept(150), "later sessions are kept");
    }
}
