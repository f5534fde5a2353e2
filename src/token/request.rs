//! One token request over HTTP/1.1 on a new connection: an idle one would be closed before the next
//! request, and the client's certificate may have changed by then.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT, VIA};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use url::Position;
use zeroize::Zeroizing;

use super::client_auth::TokenRequestForm;
use super::failure::FetchError;
use crate::config::{Credentials, Origin, Token, certificate_end as end_of_chain};
use crate::error::BoxError;
use crate::headers::via;
use crate::upstream::{ConnectDeadline, ConnectStep, DialError, Dialed, Dialer, Peer, PeerError};

/// Limit for the body of a response; real ones have 1 to 3 KB.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Sends one token request, within `token.timeout`.
///
/// # Errors
/// When there is no complete response.
pub(super) async fn send(
    dialer: &Dialer,
    config: &Token,
    credentials: &Credentials,
) -> Result<Response<Zeroizing<Vec<u8>>>, FetchError> {
    let deadline = ConnectDeadline::after(config.timeout, "token.timeout");
    let origin = config.endpoint.origin().ok_or("token.endpoint has no host");
    let origin = origin.map_err(|error| FetchError::Credentials(error.into()))?;
    let tls = tls(config, credentials).map_err(FetchError::Credentials)?;
    let dialed = dialer.dial(&deadline).await;
    let Dialed { tcp, addr } = dialed.map_err(|error| match error {
        DialError::Timeout(late) => FetchError::Timeout(late),
        other => FetchError::Unreachable(other.into()),
    })?;
    let addrs = [addr];
    let peer = dialer.peer(&addrs);
    // Built once it can be sent: an assertion expires after a minute.
    let request = || build_request(config, &origin, credentials).map_err(FetchError::Credentials);
    let Some((tls, name)) = tls else {
        return exchange_on(tcp, request()?, peer, &deadline).await;
    };
    let handshake = deadline
        .limit(ConnectStep::Tls, peer, tls.connect(name, tcp))
        .await?;
    let stream =
        handshake.map_err(|error| FetchError::Unreachable(PeerError::new(peer, error).into()))?;
    exchange_on(stream, request()?, peer, &deadline).await
}

/// The TLS connector for the endpoint, and the name that its certificate must have; `None` for
/// `http://`.
///
/// # Errors
/// When a root or the client's certificate cannot be used.
pub(super) fn tls(
    config: &Token,
    credentials: &Credentials,
) -> Result<Option<(TlsConnector, ServerName<'static>)>, BoxError> {
    let Some(origin) = config.endpoint.origin().filter(|origin| origin.tls) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for root in &config.roots {
        roots.add(root.clone())?;
    }
    let tls = ClientConfig::builder().with_root_certificates(roots);
    let mut tls = match &credentials.certificate {
        Some(pem) => {
            let (chain, key) = parse_identity(pem.expose().as_bytes())?;
            tls.with_client_auth_cert(chain, key)?
        }
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some((
        TlsConnector::from(Arc::new(tls)),
        ServerName::try_from(origin.host)?,
    )))
}

/// The end of the client's certificate, as a Unix time.
pub(super) fn certificate_end(credentials: &Credentials) -> Option<u64> {
    let pem = credentials.certificate.as_ref()?;
    let mut chain = CertificateDer::pem_slice_iter(pem.expose().as_bytes());
    end_of_chain(&[chain.next()?.ok()?])
}

/// The chain and the key in `pem`. The error contains no part of it.
fn parse_identity(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), &'static str> {
    const UNREADABLE: &str = "token.client_cert or token.client_key is not a PEM file";
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(pem);
    Ok((chain.map_err(|_| UNREADABLE)?, key.map_err(|_| UNREADABLE)?))
}

fn build_request(
    config: &Token,
    origin: &Origin,
    credentials: &Credentials,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let form = TokenRequestForm::new(config, credentials)?;
    let mut request =
        Request::post(&config.endpoint.url()[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &origin.authority)
            .header(USER_AGENT, concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")))
            // Lets this proxy detect a token request that is routed back to it.
            .header(VIA, via::header_value(Version::HTTP_11))
            .header(ACCEPT, "application/json")
            // Without it any coding is acceptable (RFC 9110 section 12.5.3); none is decoded here.
            .header(ACCEPT_ENCODING, "identity")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = Full::new(form.body());
    if let Some(authorization) = form.basic {
        request = request.header(AUTHORIZATION, authorization);
    }
    Ok(request.body(body)?)
}

async fn exchange_on<IO>(
    io: IO,
    request: Request<Full<Bytes>>,
    peer: Peer<'_>,
    deadline: &ConnectDeadline,
) -> Result<Response<Zeroizing<Vec<u8>>>, FetchError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| FetchError::Broken(PeerError::new(peer, error).into());
    let exchange = async {
        let (mut sender, connection) = http1::Builder::new()
            // A server's syntax error that is safe to accept (RFC 9112 section 5.1).
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        let response = async {
            let (head, mut body) = sender
                .send_request(request)
                .await
                .map_err(broken)?
                .into_parts();
            // Allocated once: a reallocation would leave copies that are not zeroed.
            let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_RESPONSE_BYTES));
            while let Some(frame) = body.frame().await {
                let Ok(part) = frame.map_err(broken)?.into_data() else {
                    continue;
                };
                if bytes.len() + part.len() > MAX_RESPONSE_BYTES {
                    return Err(FetchError::Response("the body is longer than 64 KiB"));
                }
                bytes.extend_from_slice(&part);
            }
            Ok(Response::from_parts(head, bytes))
        };
        let connection = async {
            // The sender reports the same error.
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            response = response => response,
            never = connection => never,
        }
    };
    deadline
        .limit(ConnectStep::Response, peer, exchange)
        .await?
}
