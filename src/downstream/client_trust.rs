//! Trust in callers' certificates: which certificates they may be signed by, and which TLS sessions
//! may be resumed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use crate::config::{Validity, unix_seconds};
use crate::error::BoxError;

/// TLS sessions that one acceptor keeps; as many as rustls keeps by default.
const MAX_SESSIONS: usize = 256;

/// The certificates that callers' may be signed by, each with its validity: rustls does not look at
/// that of a root.
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

    /// Those that are valid in the second `now`.
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

/// Verifies callers' certificates. A caller without a certificate is let through: it may have a key
/// instead.
///
/// # Errors
/// When a root cannot be used.
pub(super) fn verifier(
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

/// When the first certificate of `chain`, which was verified in the second `now`, ends; `now`
/// itself where one cannot be read.
pub(super) fn first_end(chain: &[CertificateDer<'_>], now: u64) -> u64 {
    let mut first = u64::MAX;
    for certificate in chain {
        match Validity::of(certificate) {
            Some(validity) if validity.end() > now => first = first.min(validity.end()),
            // It is not on the path that was verified.
            Some(_) => {}
            None => return now,
        }
    }
    first
}

/// TLS sessions of one acceptor. A session holds the certificate of its caller, and rustls resumes
/// it without a look at that: when the first of these certificates ends, all sessions are
/// forgotten.
#[derive(Debug)]
pub(super) struct Sessions {
    kept: Mutex<Arc<ServerSessionMemoryCache>>,
    /// When the first certificate of a session ends.
    first_end: AtomicU64,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            kept: Mutex::new(ServerSessionMemoryCache::new(MAX_SESSIONS)),
            first_end: AtomicU64::new(u64::MAX),
        }
    }
}

impl Sessions {
    fn note_end(&self, end: u64) {
        self.first_end.fetch_min(end, Relaxed);
    }

    /// Forgets all sessions.
    pub(super) fn forget(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.first_end.store(u64::MAX, Relaxed);
        *kept = ServerSessionMemoryCache::new(MAX_SESSIONS);
    }

    fn current(&self, now: u64) -> Arc<ServerSessionMemoryCache> {
        if self.first_end.load(Relaxed) <= now {
            self.forget();
        }
        Arc::clone(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StoresServerSessions for Sessions {
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

/// A verifier that notes when the certificates end that sessions are kept of.
#[derive(Debug)]
pub(super) struct NotingVerifier {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) sessions: Arc<Sessions>,
}

impl ClientCertVerifier for NotingVerifier {
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
            .note_end(first_end(std::slice::from_ref(end_entity), now));
        self.sessions.note_end(first_end(intermediates, now));
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
    fn sessions_are_forgotten_when_a_certificate_ends() {
        let sessions = Sessions::default();
        let kept = |now| sessions.current(now).get(b"id").is_some();
        sessions.current(0).put(b"id".to_vec(), Vec::new());
        sessions.note_end(200);
        sessions.note_end(100);
        assert!(kept(99));
        assert!(!kept(100));
        sessions.current(100).put(b"id".to_vec(), Vec::new());
        assert!(kept(150), "those that came later are kept");
    }
}
