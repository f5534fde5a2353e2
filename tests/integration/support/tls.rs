//! A proxy that serves with TLS, and callers that trust it.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wiremock::MockServer;

use super::{Proxy, TestProxy};

/// A proxy that serves with TLS before `api`, and the roots that its callers trust.
pub async fn serving_tls(api: &MockServer) -> (Proxy, RootCertStore) {
    let identity = Identity::new();
    (
        TestProxy::before(api).set(&identity.set()).start().await,
        identity.roots,
    )
}

/// The files of a certificate; they go when this does, and are read by then.
pub struct Identity {
    directory: TempDir,
    set: [String; 2],
    pub roots: RootCertStore,
}

impl Identity {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut identity = Identity {
            directory,
            set: [String::new(), String::new()],
            roots: RootCertStore::empty(),
        };
        identity.set = [
            format!("listen.tls.cert={}", identity.path("cert.pem").display()),
            format!("listen.tls.key={}", identity.path("key.pem").display()),
        ];
        identity.renew();
        identity
    }

    /// An identity whose certificate expired long ago.
    pub fn expired() -> Self {
        let identity = Identity::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(identity.path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(identity.path("key.pem"), key.serialize_pem()).unwrap();
        identity
    }

    /// What makes a proxy serve with it.
    pub fn set(&self) -> [&str; 2] {
        [&self.set[0], &self.set[1]]
    }

    /// Another certificate in the same files, and the roots for it.
    pub fn renew(&mut self) {
        let certified =
            rcgen::generate_simple_self_signed(["localhost", "gbg.example"].map(str::to_owned))
                .unwrap();
        std::fs::write(self.path("cert.pem"), certified.cert.pem()).unwrap();
        std::fs::write(self.path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(self.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
        self.roots = RootCertStore::empty();
        self.roots.add(certified.cert.der().clone()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A certification authority for callers.
pub struct ClientCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl ClientCa {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        ClientCa { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.as_ref().pem()
    }

    /// A certificate for `name`, with its key.
    pub fn certify(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        self.certify_with(CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A certificate for a name of one type.
    pub fn certify_name(&self, name: SanType) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        self.certify_with(params)
    }

    /// A certificate as `params` say, with its key.
    pub fn certify_with(
        &self,
        params: CertificateParams,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }
}

/// A caller of `proxy` that offers the protocols `alpn`.
pub async fn connect_tls(
    proxy: &Proxy,
    roots: RootCertStore,
    alpn: &[&[u8]],
) -> TlsStream<TcpStream> {
    let mut tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    handshake(proxy.addr(), tls).await.unwrap()
}

/// A caller of `addr` that trusts `roots` and shows no certificate.
pub async fn try_connect_tls(
    addr: SocketAddr,
    roots: RootCertStore,
) -> io::Result<TlsStream<TcpStream>> {
    handshake(
        addr,
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
    .await
}

/// A caller of `addr` that shows a certificate, over a version of TLS.
pub async fn connect_with(
    addr: SocketAddr,
    roots: RootCertStore,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    version: &'static SupportedProtocolVersion,
) -> io::Result<TlsStream<TcpStream>> {
    let tls =
        ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    handshake(
        addr,
        tls.with_client_auth_cert(vec![certificate], key).unwrap(),
    )
    .await
}

async fn handshake(addr: SocketAddr, tls: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
}
