//! The TLS side of a listener: HTTP/2 and HTTP/1.1 by ALPN, the certificates of callers, and the change of our own while
//! connections come and go.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::{Identity, ListenTls};
use crate::error::{Cause, chain};
use crate::stamp::Stamp;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// The acceptor that serves with `identity`, TLS 1.2 and 1.3. Callers are asked for a certificate that one of
/// `client_roots` has signed, if there are any; one with another certificate is refused, one without is not.
///
/// # Errors
/// When certificate and key do not fit together, or a root is none.
pub fn acceptor(identity: &Identity, client_roots: &[CertificateDer<'static>]) -> Result<TlsAcceptor, Cause> {
    let config = ServerConfig::builder();
    let config = match client_roots {
        [] => config.with_no_client_auth(),
        roots => config.with_client_cert_verifier(verifier(roots)?),
    };
    let mut config = config.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    // A caller that offers protocols, and none of ours, would be refused: the oldest is among them.
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(roots: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, Cause> {
    let mut anchors = RootCertStore::empty();
    for root in roots {
        anchors.add(root.clone())?;
    }
    // Whoever shows none may have a key instead: who must prove what is not known here.
    Ok(WebPkiClientVerifier::builder(Arc::new(anchors)).allow_unauthenticated().build()?)
}

/// The acceptor that `tls` describes, as it is now, and what publishes the next ones.
///
/// # Errors
/// Those of [`acceptor`].
pub fn channel(tls: &ListenTls) -> Result<(watch::Sender<TlsAcceptor>, watch::Receiver<TlsAcceptor>), Cause> {
    Ok(watch::channel(acceptor(&tls.identity, &tls.client_roots)?))
}

/// Looks, for as long as it is polled, whether the files of `tls` hold something else by now, and publishes that for the
/// connections that are accepted from then on. What cannot be used is told, and changes nothing.
pub async fn follow(mut tls: ListenTls, publisher: watch::Sender<TlsAcceptor>) {
    let files = tls.files();
    // Nothing yet: they may have changed since they were read.
    let mut seen = Vec::new();
    let mut untold = false;
    loop {
        sleep(PERIOD).await;
        // Aside, one look at a time: a file system that hangs holds one thread, and not this one.
        let (files, before, used) = (files.clone(), seen.clone(), tls.clone());
        let look = move || {
            let now = Stamp::of_all(&files);
            let read = (now != before || untold).then(|| renewed(&used));
            (now, read)
        };
        let Ok((now, Some(read))) = spawn_blocking(look).await else { continue };
        let has_changed = now != seen;
        seen = now;
        match read {
            Ok(Some((next, acceptor))) => {
                publisher.send_replace(acceptor);
                tls = next;
                untold = false;
                tracing::info!(
                    "new connections are served with the certificate that the files of listen.tls hold now"
                );
            }
            Ok(None) => untold = false,
            // Files that are written one after the other do not fit together for a moment. What they hold still when they
            // are looked at again is told.
            Err(_) if has_changed => untold = true,
            Err(error) => {
                untold = false;
                tracing::warn!(
                    error = chain(error.as_ref()),
                    "the files of listen.tls cannot be used; the certificate that was read before stays"
                );
            }
        }
    }
}

/// What the files of `tls` hold now, with its acceptor; `None` if it is the same.
fn renewed(tls: &ListenTls) -> Result<Option<(ListenTls, TlsAcceptor)>, Cause> {
    let next = tls.read_again()?;
    let is_same = next.identity.chain == tls.identity.chain
        && next.identity.key == tls.identity.key
        && next.client_roots == tls.client_roots;
    if is_same {
        return Ok(None);
    }
    let acceptor = acceptor(&next.identity, &next.client_roots)?;
    Ok(Some((next, acceptor)))
}
