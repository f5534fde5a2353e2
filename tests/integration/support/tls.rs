//! A proxy that serves with TLS, and callers that trust it.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wiremock::MockServer;

use super::Proxy;

/// A proxy that serves with TLS before `api`, and the roots that its callers trust.
pub async fn serving_tls(api: &MockServer) -> (Proxy, RootCertStore) {
    let identity = Identity::new();
    (Proxy::before(api, &identity.set()).await, identity.roots)
}

/// The files of a certificate; they go when this does, and are read by then.
pub struct Identity {
    _directory: TempDir,
    set: [String; 2],
    pub roots: RootCertStore,
}

impl Identity {
    pub fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&cert, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let set =
            [format!("listen.tls.cert={}", cert.display()), format!("listen.tls.key={}", key.display())];
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        Identity { _directory: directory, set, roots }
    }

    /// What makes a proxy serve with it.
    pub fn set(&self) -> [&str; 2] {
        [&self.set[0], &self.set[1]]
    }
}

/// A caller of `proxy` that offers the protocols `alpn`.
pub async fn connect_tls(proxy: &Proxy, roots: RootCertStore, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(proxy.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap()
}
