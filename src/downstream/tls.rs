//! TLS of a listener: HTTP/2 and HTTP/1.1 by ALPN, client certificates, and reload of the server
//! certificate while connections are open.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::certificate_names::parse_names;
use super::client_trust::{ClientRoots, RecordingVerifier, SessionCache, build_verifier};
use crate::config::{Hosts, Identity, ListenTls, Validity, certificate_end, unix_seconds};
use crate::error::{BoxError, chain};
use crate::fs::watcher::{FileWatcher, POLL_INTERVAL};
use crate::metrics::{CertificateUse, Expiries};
use crate::rt::blocking::SerialBlocking;

/// The TLS configuration of new connections.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) acceptor: TlsAcceptor,
    /// `None` if the listener requests no client certificates.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    client_roots: Arc<[CertificateDer<'static>]>,
    sessions: Arc<SessionCache>,
    /// The names in the certificate.
    names: Arc<Hosts>,
    /// Counts the changes of the valid roots.
    generation: u64,
    newest_generation: Arc<AtomicU64>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// TLS 1.2 and 1.3 with `identity`. With `client_roots` the listener requests a certificate
    /// that one of them has signed: it refuses callers with another certificate, but not callers
    /// without.
    ///
    /// # Errors
    /// When certificate and key do not match, or a root is unusable.
    pub(crate) fn new(
        identity: &Identity,
        client_roots: &[CertificateDer<'static>],
    ) -> Result<Self, BoxError> {
        ServerTls::with_generation(0, Arc::default(), identity, client_roots)
    }

    fn with_generation(
        generation: u64,
        newest_generation: Arc<AtomicU64>,
        identity: &Identity,
        client_roots: &[CertificateDer<'static>],
    ) -> Result<Self, BoxError> {
        // Only this acceptor resumes its sessions: none survives a change of certificate or roots.
        let sessions = Arc::new(SessionCache::default());
        let verifier = if client_roots.is_empty() {
            None
        } else {
            Some(build_verifier(client_roots)?)
        };
        let config = ServerConfig::builder();
        let config = match verifier.clone() {
            None => config.with_no_client_auth(),
            Some(inner) => {
                let sessions = Arc::clone(&sessions);
                config.with_client_cert_verifier(Arc::new(RecordingVerifier { inner, sessions }))
            }
        };
        let mut config =
            config.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
        config.session_storage = sessions.clone();
        // TLS refuses a caller that offers only other protocols, so HTTP/1.0 is included.
        config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"]
            .map(<[u8]>::to_vec)
            .into();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let client_roots = client_roots.into();
        let names = identity.chain.first().map(parse_names).unwrap_or_default();
        Ok(ServerTls {
            acceptor,
            verifier,
            client_roots,
            sessions,
            names: Arc::new(Hosts::of_certificate(&names)),
            generation,
            newest_generation,
        })
    }

    pub(super) fn verifier(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.verifier.as_ref()
    }

    pub(super) fn names(&self) -> Arc<Hosts> {
        Arc::clone(&self.names)
    }

    pub(super) fn forget_sessions(&self) {
        self.sessions.forget_all();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation of the current roots, updated on reload.
    pub(super) fn newest_generation(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.newest_generation)
    }
}

/// Creates a channel with the current configuration of `tls`.
///
/// # Errors
/// Those of [`ServerTls::new`].
pub(crate) fn tls_channel(
    tls: &ListenTls,
) -> Result<(watch::Sender<ServerTls>, watch::Receiver<ServerTls>), BoxError> {
    let valid = ClientRoots::new(&tls.client_roots).valid_at(unix_seconds());
    Ok(watch::channel(ServerTls::new(&tls.identity, &valid)?))
}

/// Watches the files of `tls` and the expiry of its roots, for as long as it is polled. Publishes a
/// change for new connections and for the client certificates of open ones. Logs unusable files,
/// and keeps the previous configuration. Keeps the ends of the certificates in `expiries`.
pub(crate) async fn reload_tls_on_change(
    tls: ListenTls,
    publisher: watch::Sender<ServerTls>,
    expiries: Arc<Expiries>,
) {
    let watcher = FileWatcher::unseen(tls.files());
    let blocking = SerialBlocking::default();
    let mut must_retry = false;
    let mut served = PublishedTls::new(tls, publisher, expiries);
    loop {
        sleep(POLL_INTERVAL).await;
        let has_changed = watcher.poll().await;
        if has_changed || must_retry {
            must_retry = match served.reload(&blocking).await {
                Ok(()) => false,
                // Files that are written one after the other do not fit together for a moment:
                // read them once more before reporting the error.
                Err(_) if has_changed => true,
                Err(error) => {
                    tracing::warn!(
                        error = chain(error.as_ref()),
                        "the files of listen.tls cannot be used; the certificate that was read before stays"
                    );
                    false
                }
            };
        }
        served.publish_if_roots_changed();
    }
}

/// The last published configuration.
struct PublishedTls {
    tls: ListenTls,
    roots: ClientRoots,
    valid: Vec<CertificateDer<'static>>,
    newest_generation: Arc<AtomicU64>,
    publisher: watch::Sender<ServerTls>,
    expiries: Arc<Expiries>,
}

impl PublishedTls {
    fn new(tls: ListenTls, publisher: watch::Sender<ServerTls>, expiries: Arc<Expiries>) -> Self {
        record_ends(&tls, &expiries);
        let roots = ClientRoots::new(&tls.client_roots);
        let ServerTls {
            client_roots,
            newest_generation,
            ..
        } = publisher.borrow().clone();
        let valid = client_roots.to_vec();
        PublishedTls {
            tls,
            roots,
            valid,
            newest_generation,
            publisher,
            expiries,
        }
    }

    /// Reads the files again and publishes what they hold, if it has changed.
    async fn reload(&mut self, blocking: &SerialBlocking) -> Result<(), BoxError> {
        let used = self.tls.clone();
        // `None` is a panic; the next change of the files tries again.
        let Some(next) = blocking.run(move || used.read_again()).await else {
            return Ok(());
        };
        if self.publish(next?)? {
            tracing::info!(
                "new connections are served with the certificate that the files of listen.tls hold now"
            );
        }
        Ok(())
    }

    /// Publishes `next`. Returns whether it differs from what was published before.
    fn publish(&mut self, next: ListenTls) -> Result<bool, BoxError> {
        let is_same = next.identity.chain == self.tls.identity.chain
            && next.identity.key == self.tls.identity.key
            && next.client_roots == self.tls.client_roots;
        if is_same {
            return Ok(false);
        }
        let roots = ClientRoots::new(&next.client_roots);
        let valid = roots.valid_at(unix_seconds());
        self.send(&next.identity, valid)?;
        record_ends(&next, &self.expiries);
        (self.tls, self.roots) = (next, roots);
        Ok(true)
    }

    /// Publishes again if a root has expired or become valid.
    fn publish_if_roots_changed(&mut self) {
        let valid = self.roots.valid_at(unix_seconds());
        if valid == self.valid {
            return;
        }
        let (count, all) = (valid.len(), self.tls.client_roots.len());
        let identity = self.tls.identity.clone();
        match self.send(&identity, valid) {
            Ok(()) if count == 0 => tracing::error!(
                "no certificate of listen.tls.client_ca is valid any more; callers' certificates are not accepted"
            ),
            Ok(()) => tracing::warn!(
                valid = count,
                all,
                "a certificate of listen.tls.client_ca began or ended; callers' certificates are accepted by the valid ones"
            ),
            Err(error) => tracing::error!(
                error = chain(error.as_ref()),
                "cannot leave out an expired certificate of listen.tls.client_ca"
            ),
        }
    }

    fn send(
        &mut self,
        identity: &Identity,
        valid: Vec<CertificateDer<'static>>,
    ) -> Result<(), BoxError> {
        let before = self.newest_generation.load(Relaxed);
        let generation = if valid == self.valid {
            before
        } else {
            before + 1
        };
        let newest = Arc::clone(&self.newest_generation);
        let tls = ServerTls::with_generation(generation, newest, identity, &valid)?;
        self.publisher.send_replace(tls);
        // After publishing: a reader of the new generation finds the new roots.
        self.newest_generation.store(generation, Release);
        self.valid = valid;
        Ok(())
    }
}

fn record_ends(tls: &ListenTls, expiries: &Expiries) {
    let own = certificate_end(&tls.identity.chain);
    expiries.set_certificate(CertificateUse::Listener, "", own);
    // Until then callers' certificates can be accepted.
    let last = tls.client_roots.iter().filter_map(Validity::of);
    let last = last.map(|validity| validity.end()).max();
    expiries.set_certificate(CertificateUse::ListenerClientCa, "", last);
}
