//! One token request over HTTP/1.1, on a connection of its own: one that was kept would be dead
//! before the next token is due, and the client's certificate may be another by then.

use std::future::pending;

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

use super::client_auth::form;
use super::endpoint::FetchError;
use crate::config::{Credentials, Origin, Token};
use crate::error::BoxError;
use crate::headers::via;
use crate::upstream::{ConnectDeadline, ConnectStep, DialError, Dialer};

/// No token response is longer: a real one has 1 to 3 KB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Sends one token request, within `token.timeout`.
///
/// # Errors
/// When there is no whole response.
pub(super) async fn post(
    dialer: &Dialer,
    config: &Token,
    credentials: &Credentials,
) -> Result<Response<Zeroizing<Vec<u8>>>, FetchError> {
    let deadline = ConnectDeadline::after(config.timeout, "token.timeout");
    let origin = config.endpoint.origin().ok_or("token.endpoint has no host");
    let origin = origin.map_err(|error| FetchError::Credentials(error.into()))?;
    let tls = tls(config, credentials).map_err(FetchError::Credentials)?;
    let tcp = dialer.dial(&deadline).await.map_err(|error| match error {
        DialError::Timeout(late) => FetchError::Timeout(late),
        other => FetchError::Unreachable(other.into()),
    })?;
    // Made when it can be sent: what a client signs is good for a minute.
    let request = || request(config, &origin, credentials).map_err(FetchError::Credentials);
    let Some((tls, name)) = tls else {
        return exchange(tcp, request()?, &origin, &deadline).await;
    };
    let handshake = deadline
        .limit(ConnectStep::Tls, &origin.host, tls.connect(name, tcp))
        .await?;
    let stream = handshake.map_err(|error| FetchError::Unreachable(error.into()))?;
    exchange(stream, request()?, &origin, &deadline).await
}

/// TLS as the endpoint is spoken to, and the name that its certificate must have; `None` for
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
            let (chain, key) = identity(pem.expose().as_bytes())?;
            tls.with_client_auth_cert(chain, key)?
        }
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some((
        TlsConnector::from(std::sync::Arc::new(tls)),
        ServerName::try_from(origin.host)?,
    )))
}

/// The chain and the key in `pem`. No error quotes it.
fn identity(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), &'static str> {
    const UNREADABLE: &str = "token.client_cert or token.client_key is not a PEM file";
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(pem);
    Ok((chain.map_err(|_| UNREADABLE)?, key.map_err(|_| UNREADABLE)?))
}

fn request(
    config: &Token,
    origin: &Origin,
    credentials: &Credentials,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let form = form(config, credentials)?;
    let mut request =
        Request::post(&config.endpoint.url()[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &origin.authority)
            .header(USER_AGENT, concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")))
            // So that a token request that comes back to this proxy is recognized.
            .header(VIA, via::header_value(Version::HTTP_11))
            .header(ACCEPT, "application/json")
            // Without it any coding is acceptable (RFC 9110 section 12.5.3), and none is decoded
            // here.
            .header(ACCEPT_ENCODING, "identity")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = Full::new(form.body());
    if let Some(authorization) = form.basic {
        request = request.header(AUTHORIZATION, authorization);
    }
    Ok(request.body(body)?)
}

async fn exchange<IO>(
    io: IO,
    request: Request<Full<Bytes>>,
    origin: &Origin,
    deadline: &ConnectDeadline,
) -> Result<Response<Zeroizing<Vec<u8>>>, FetchError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| FetchError::Broken(error.into());
    let exchange = async {
        let (mut sender, connection) = http1::Builder::new()
            // An error of the sender that a client can live with (RFC 9112 section 5.1).
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
            // Room for all of it from the start: growing would leave pieces behind that are not
            // zeroed.
            let mut whole = Zeroizing::new(Vec::with_capacity(MAX_BODY_BYTES));
            while let Some(frame) = body.frame().await {
                let Ok(part) = frame.map_err(broken)?.into_data() else {
                    continue;
                };
                if whole.len() + part.len() > MAX_BODY_BYTES {
                    return Err(FetchError::Answer("the answer is longer than 64 KiB"));
                }
                whole.extend_from_slice(&part);
            }
            Ok(Response::from_parts(head, whole))
        };
        let connection = async {
            // Its error is the response's as well.
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            response = response => response,
            never = connection => never,
        }
    };
    deadline
        .limit(ConnectStep::Response, &origin.host, exchange)
        .await?
}
