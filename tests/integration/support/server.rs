//! Servers that do what no well-behaved one does: stream slowly, break off, say nothing.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::Connection;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A server that hands each connection to `serve`; it ends with the test's runtime.
pub async fn scripted<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    addr
}

/// A server that reads, and never writes.
pub async fn silent() -> SocketAddr {
    scripted(|mut stream: TcpStream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// An HTTP/1.1 server that answers with `answer`.
pub async fn http<F, R, B>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    scripted(move |stream| {
        let answer = answer.clone();
        async move {
            let service = hyper::service::service_fn(move |req| {
                let answered = answer(req);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            // A connection that the proxy closes is part of many tests.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// A token endpoint that requires the client certificate `client`; returns its URL and its own
/// certificate (PEM).
pub async fn token_endpoint_for(
    client: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> (String, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(client.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_protocol_versions(&[version])
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.cert.der().clone()], key);
    let tls = TlsAcceptor::from(Arc::new(tls.unwrap()));
    let addr = scripted(move |stream| {
        let tls = tls.clone();
        async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = hyper::service::service_fn(async |req: Request<Incoming>| {
                let form = req.into_body().collect().await.unwrap().to_bytes();
                // RFC 8705 section 2: the certificate does not say which client it is.
                let body = match form.starts_with(b"grant_type=")
                    && !form.ends_with(b"client_id=test-client")
                {
                    true => r#"{"error":"invalid_client"}"#,
                    false => r#"{"access_token":"a","token_type":"Bearer","expires_in":60}"#,
                };
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (
        format!("https://localhost:{}/token", addr.port()),
        server.cert.pem(),
    )
}

/// A server that hands each HTTP/2 connection, spoken with prior knowledge, to `serve`, with its
/// number from 1 on, and allows so many streams on each.
pub async fn http2<F, R>(streams: u32, serve: F) -> SocketAddr
where
    F: Fn(usize, Connection<TcpStream, Bytes>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let opened = Arc::new(AtomicUsize::new(0));
    scripted(move |stream| {
        let (serve, number) = (serve.clone(), opened.fetch_add(1, Ordering::SeqCst) + 1);
        async move {
            let mut builder = h2::server::Builder::new();
            builder
                .max_concurrent_streams(streams)
                .initial_window_size(256 << 10);
            if let Ok(connection) = builder.handshake(stream).await {
                serve(number, connection).await;
            }
        }
    })
    .await
}

/// A TLS server for `localhost` that hands each connection to `serve` and speaks the protocols
/// `alpn`; returns the settings of its proxy.
pub async fn tls<F, R>(alpn: &[&str], serve: F) -> Secured
where
    F: Fn(TlsStream<TcpStream>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let mut tls = tls
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tls = TlsAcceptor::from(Arc::new(tls));
    let addr = scripted(move |stream| {
        let (tls, serve) = (tls.clone(), serve.clone());
        async move {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await;
    Secured {
        base_url: format!("https://localhost:{}", addr.port()),
        ca_file: format!("upstream.ca_file={}", ca_file.display()),
        _directory: directory,
    }
}

/// Where a TLS server is, and what it is trusted by.
pub struct Secured {
    pub base_url: String,
    pub ca_file: String,
    _directory: tempfile::TempDir,
}
