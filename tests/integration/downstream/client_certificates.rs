//! Callers' certificates that end, or whose authority is removed, while connections are open and
//! sessions are kept.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{PATIENCE, until};
use crate::support::tls::{ClientCa, Identity};
use crate::support::{Proxy, TestProxy, answer, api, forwarded};

const NAME: &str = "crm.corp.example";
const TABLE: &str = "[[caller]]\nname = \"crm\"\ncertificate = \"crm.corp.example\"\n";
const REMOVED: &str = "is not signed by a certificate of listen.tls.client_ca any more";
const EXPIRED: &str = "has expired";

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A proxy that lets in a caller by its certificate.
struct Listener {
    api: MockServer,
    identity: Identity,
    proxy: Proxy,
}

impl Listener {
    /// One that trusts the authorities in `pem`.
    async fn trusting(pem: &str) -> Listener {
        let api = api().await;
        answer(&api, ResponseTemplate::new(200)).await;
        let identity = Identity::new();
        fs::write(identity.path("client_ca.pem"), pem).unwrap();
        let client_ca = format!(
            "listen.tls.client_ca={}",
            identity.path("client_ca.pem").display()
        );
        let [cert, key] = identity.set();
        let proxy = TestProxy::before(&api)
            .callers(&[TABLE.to_owned()])
            .set(&[cert, key, &client_ca])
            .start()
            .await;
        Listener {
            api,
            identity,
            proxy,
        }
    }

    fn client_ca(&self) -> PathBuf {
        self.identity.path("client_ca.pem")
    }

    /// What a caller with this certificate connects with; it keeps sessions.
    fn tls(
        &self,
        (chain, key): Chain,
        alpn: &[u8],
        version: &'static SupportedProtocolVersion,
    ) -> TlsConnector {
        let tls = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(self.identity.roots.clone());
        let mut tls = tls.with_client_auth_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        TlsConnector::from(Arc::new(tls))
    }

    async fn connect(&self, tls: &TlsConnector) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.proxy.addr()).await.unwrap();
        tls.connect(ServerName::try_from("localhost").unwrap(), tcp)
            .await
            .unwrap()
    }

    /// Whether a new caller with this certificate gets an answer of the API.
    async fn lets_in(&self, chain: &Chain) -> bool {
        let tls = self.tls((chain.0.clone(), chain.1.clone_key()), b"http/1.1", &TLS13);
        matches!(once(self, &tls).await, (_, Some(StatusCode::OK)))
    }
}

/// A connection over which requests are sent one after the other.
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

struct Caller {
    sender: Sender,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Caller {
    async fn http1(stream: TlsStream<TcpStream>) -> Caller {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Caller {
            sender: Sender::Http1(sender),
            connection: tokio::spawn(connection),
        }
    }

    async fn http2(stream: TlsStream<TcpStream>) -> Caller {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        Caller {
            sender: Sender::Http2(sender),
            connection: tokio::spawn(connection),
        }
    }

    /// The status and the whole of an answer; `None` if none comes.
    async fn ask(&mut self) -> Option<(StatusCode, String)> {
        let req = || Request::get("https://localhost/v2/captain/x").header("host", "localhost");
        let answer = async {
            let res: Response<_> = match &mut self.sender {
                Sender::Http1(sender) => {
                    let mut req = req().body(Empty::new()).unwrap();
                    *req.uri_mut() = "/v2/captain/x".parse().unwrap();
                    sender.ready().await.ok()?;
                    sender.send_request(req).await.ok()?
                }
                Sender::Http2(sender) => sender
                    .send_request(req().body(Empty::new()).unwrap())
                    .await
                    .ok()?,
            };
            let (head, body) = res.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some((
                head.status,
                format!("{:?} {}", head.headers, String::from_utf8_lossy(&body)),
            ))
        };
        timeout(PATIENCE, answer).await.expect("no answer")
    }

    /// Asks until the answer is another than 200, and sees that this is the last one.
    async fn assert_ends(mut self, detail: &str) {
        let ended = async {
            loop {
                match self.ask().await.expect("the connection broke") {
                    (StatusCode::OK, _) => tokio::time::sleep(Duration::from_millis(50)).await,
                    refused => break refused,
                }
            }
        };
        let (status, response) = timeout(PATIENCE, ended).await.expect("it does not end");
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{response}");
        assert!(
            response.contains("\"reason\":\"caller_unknown\"") && response.contains(detail),
            "{response}"
        );
        assert_eq!(
            response.contains("\"connection\": \"close\""),
            matches!(self.sender, Sender::Http1(_)),
            "{response}"
        );
        timeout(PATIENCE, self.connection)
            .await
            .expect("it stays open")
            .unwrap()
            .unwrap();
    }
}

/// A certificate that ends in `seconds`.
fn params_until(seconds: u64) -> CertificateParams {
    let end = SystemTime::now() + Duration::from_secs(seconds);
    let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since.as_secs());
    params
}

fn ca_until(seconds: u64) -> CertificateParams {
    let mut params = params_until(seconds);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn alone((certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>)) -> Chain {
    (vec![certificate], key)
}

#[tokio::test]
async fn a_removed_ca_ends_open_connections() {
    let (first, second) = (ClientCa::new(), ClientCa::new());
    let listener = Listener::trusting(&first.pem()).await;
    let (old, new) = (alone(first.certify(NAME)), alone(second.certify(NAME)));
    let tls = |alpn: &[u8]| listener.tls((old.0.clone(), old.1.clone_key()), alpn, &TLS13);
    let mut http1 = Caller::http1(listener.connect(&tls(b"http/1.1")).await).await;
    let mut http2 = Caller::http2(listener.connect(&tls(b"h2")).await).await;
    let mut kept = Caller::http1(listener.connect(&tls(b"http/1.1")).await).await;
    for caller in [&mut http1, &mut http2, &mut kept] {
        assert_eq!(caller.ask().await.unwrap().0, StatusCode::OK);
    }

    // One that is added ends nothing.
    fs::write(listener.client_ca(), first.pem() + &second.pem()).unwrap();
    until(async || listener.lets_in(&new).await).await;
    assert_eq!(kept.ask().await.unwrap().0, StatusCode::OK);

    fs::write(listener.client_ca(), second.pem()).unwrap();
    until(async || !listener.lets_in(&old).await).await;
    let before = forwarded(&listener.api).await.len();
    for caller in [http1, http2, kept] {
        caller.assert_ends(REMOVED).await;
    }
    assert_eq!(
        forwarded(&listener.api).await.len(),
        before,
        "a refused request was forwarded"
    );
    assert!(listener.lets_in(&new).await);
}

#[tokio::test]
async fn an_expired_certificate_ends_open_connections() {
    let ca = ClientCa::new();
    let listener = Listener::trusting(&ca.pem()).await;
    let shown = alone(ca.certify_with(params_until(12)));
    let tls = |alpn: &[u8]| listener.tls((shown.0.clone(), shown.1.clone_key()), alpn, &TLS13);
    let mut http1 = Caller::http1(listener.connect(&tls(b"http/1.1")).await).await;
    let mut http2 = Caller::http2(listener.connect(&tls(b"h2")).await).await;
    for caller in [&mut http1, &mut http2] {
        assert_eq!(caller.ask().await.unwrap().0, StatusCode::OK);
    }
    tokio::join!(http1.assert_ends(EXPIRED), http2.assert_ends(EXPIRED));
}

#[tokio::test]
async fn an_expired_intermediate_ends_open_connections() {
    let key = || KeyPair::generate().unwrap();
    let root = CertifiedIssuer::self_signed(ca_until(3600), key()).unwrap();
    let listener = Listener::trusting(&root.as_ref().pem()).await;
    let intermediate = CertifiedIssuer::signed_by(ca_until(12), key(), &root).unwrap();
    let leaf_key = key();
    let leaf = params_until(3600)
        .signed_by(&leaf_key, &intermediate)
        .unwrap();
    let chain = vec![leaf.der().clone(), intermediate.as_ref().der().clone()];
    let shown = (
        chain,
        PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap(),
    );
    let mut caller = Caller::http1(
        listener
            .connect(&listener.tls(shown, b"http/1.1", &TLS13))
            .await,
    )
    .await;
    assert_eq!(caller.ask().await.unwrap().0, StatusCode::OK);
    caller.assert_ends(EXPIRED).await;
}

#[tokio::test]
async fn an_expired_root_ends_what_it_signed() {
    let key = || KeyPair::generate().unwrap();
    let (short, long) = (
        CertifiedIssuer::self_signed(ca_until(12), key()).unwrap(),
        CertifiedIssuer::self_signed(ca_until(3600), key()).unwrap(),
    );
    let listener = Listener::trusting(&(short.as_ref().pem() + &long.as_ref().pem())).await;
    let signed_by = |issuer: &CertifiedIssuer<'static, KeyPair>| {
        let key = key();
        let leaf = params_until(3600).signed_by(&key, issuer).unwrap();
        (
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    };
    let (by_short, by_long) = (signed_by(&short), signed_by(&long));
    let tls =
        |shown: &Chain| listener.tls((shown.0.clone(), shown.1.clone_key()), b"http/1.1", &TLS13);
    let mut ends = Caller::http1(listener.connect(&tls(&by_short)).await).await;
    let mut stays = Caller::http1(listener.connect(&tls(&by_long)).await).await;
    for caller in [&mut ends, &mut stays] {
        assert_eq!(caller.ask().await.unwrap().0, StatusCode::OK);
    }
    ends.assert_ends(REMOVED).await;
    assert!(
        !listener.lets_in(&by_short).await,
        "a new connection is let in"
    );
    assert_eq!(stays.ask().await.unwrap().0, StatusCode::OK);
}

/// Connects and asks once; how the handshake went, and the status.
async fn once(
    listener: &Listener,
    tls: &TlsConnector,
) -> (Option<HandshakeKind>, Option<StatusCode>) {
    let tcp = TcpStream::connect(listener.proxy.addr()).await.unwrap();
    let Ok(stream) = tls
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
    else {
        return (None, None);
    };
    let kind = stream.get_ref().1.handshake_kind();
    let mut caller = Caller::http1(stream).await;
    (kind, caller.ask().await.map(|(status, _)| status))
}

#[tokio::test]
async fn no_session_is_resumed_across_other_roots() {
    for version in [&TLS13, &TLS12] {
        let (first, second) = (ClientCa::new(), ClientCa::new());
        let listener = Listener::trusting(&first.pem()).await;
        let (old, new) = (alone(first.certify(NAME)), alone(second.certify(NAME)));
        let tls = listener.tls(old, b"http/1.1", version);
        let ok = Some(StatusCode::OK);
        assert_eq!(once(&listener, &tls).await, (Some(HandshakeKind::Full), ok));
        assert_eq!(
            once(&listener, &tls).await,
            (Some(HandshakeKind::Resumed), ok)
        );
        fs::write(listener.client_ca(), second.pem()).unwrap();
        until(async || listener.lets_in(&new).await).await;
        let (kind, status) = once(&listener, &tls).await;
        assert!(
            kind != Some(HandshakeKind::Resumed) && status.is_none(),
            "{kind:?} {status:?}"
        );
    }
}

#[tokio::test]
async fn no_session_of_an_expired_certificate_is_resumed() {
    for version in [&TLS13, &TLS12] {
        let ca = ClientCa::new();
        let listener = Listener::trusting(&ca.pem()).await;
        let tls = listener.tls(
            alone(ca.certify_with(params_until(12))),
            b"http/1.1",
            version,
        );
        let ok = Some(StatusCode::OK);
        assert_eq!(once(&listener, &tls).await, (Some(HandshakeKind::Full), ok));
        assert_eq!(
            once(&listener, &tls).await,
            (Some(HandshakeKind::Resumed), ok)
        );
        let ended = async {
            while let (_, Some(StatusCode::OK)) = once(&listener, &tls).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("it does not end");
        // The certificate may have expired between the handshake and the request of the last
        // connection, not of this one. With TLS 1.3 the client finishes its handshake before the
        // server checks the certificate: the rejection is an alert in place of a response.
        let (kind, status) = once(&listener, &tls).await;
        assert!(
            kind != Some(HandshakeKind::Resumed) && status.is_none(),
            "{kind:?} {status:?}"
        );
    }
}
