//! A corporate network: an egress proxy that notes what it sees, and TLS servers under names that
//! only it knows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::caller::read_until;
use super::server::scripted;

pub const OPENED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// An egress proxy, and what it has seen.
pub struct Egress {
    pub addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Egress {
    /// One that leads to `server`, whatever host it is asked for.
    pub async fn to(server: SocketAddr) -> Egress {
        let (heads, bytes) = (Arc::default(), Arc::default());
        let addr = scripted({
            let (heads, bytes) = (Arc::clone(&heads), Arc::clone(&bytes));
            move |stream| carry(stream, server, Arc::clone(&heads), Arc::clone(&bytes))
        });
        Egress {
            addr: addr.await,
            heads,
            bytes,
        }
    }

    /// The heads of all requests, oldest first, in small letters.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// How often a tunnel to `target` was asked for.
    pub fn count(&self, target: &str) -> usize {
        let begin = format!("connect {target} http/1.1\r\nhost: {target}\r\n");
        self.heads()
            .iter()
            .filter(|head| head.starts_with(&begin))
            .count()
    }

    /// What went to the servers, as the egress proxy can read it.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// The set that has it used.
    pub fn set(&self) -> String {
        format!("upstream.egress_proxy=http://{}", self.addr)
    }

    /// As `set`, with user and password, by way of a file in `directory`.
    pub fn set_with(&self, user_info: &str, directory: &Path) -> String {
        let path = directory.join("egress");
        std::fs::write(&path, format!("http://{user_info}@{}\n", self.addr)).unwrap();
        format!("upstream.egress_proxy=file:{}", path.display())
    }
}

async fn carry(
    mut stream: TcpStream,
    server: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
) {
    let head = read_until(&mut stream, "\r\n\r\n").await;
    heads.lock().unwrap().push(head.to_lowercase());
    stream.write_all(OPENED.as_bytes()).await.unwrap();
    let (mut from, mut back) = stream.into_split();
    let (mut answers, mut to) = TcpStream::connect(server).await.unwrap().into_split();
    let there = async {
        let mut part = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut part).await {
            bytes.lock().unwrap().extend_from_slice(&part[..length]);
            if to.write_all(&part[..length]).await.is_err() {
                break;
            }
        }
    };
    // Whichever side ends first ends it.
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut answers, &mut back) => {}
    }
}

/// An egress proxy that answers each request with `parts`, one every 50 ms, and then is silent
/// until it is left.
pub async fn answering(parts: &'static [&'static str]) -> SocketAddr {
    scripted(move |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        for part in parts {
            if stream.write_all(part.as_bytes()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// TLS under `names` before the server at `plain`, and the certificate (PEM). `client`, if there is
/// one, is the certificate that it demands.
pub async fn tls_before(
    plain: SocketAddr,
    names: &[&str],
    client: Option<CertificateDer<'static>>,
) -> (SocketAddr, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let server = rcgen::generate_simple_self_signed(names).unwrap();
    let tls = match client {
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
        None => ServerConfig::builder().with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
    let tls = TlsAcceptor::from(Arc::new(
        tls.with_single_cert(vec![server.cert.der().clone()], key)
            .unwrap(),
    ));
    let addr = scripted(move |stream| {
        let tls = tls.clone();
        async move {
            // A caller that shows no certificate is part of the tests.
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            let mut plain = TcpStream::connect(plain).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut plain).await;
        }
    });
    (addr.await, server.cert.pem())
}
