//! Proxy that breaks every rule now and then: a storm against it proves that each verdict can fail.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::plan::Http;
use crate::tokens::Tokens;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type CompleteResponse = Response<Bytes>;

/// One request in this many has each defect.
const DEFECT_INTERVAL: u64 = 4;

/// Attempts of a refused request.
const MAX_ATTEMPTS: usize = 4;

const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);

/// A way to break the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// A broken message is passed on as complete.
    EndsCleanly,
    /// The request is sent twice.
    SendsTwice,
    /// The response is that of the previous request.
    Mixes,
    /// The response breaks off with NO_ERROR, or without a reason.
    BreaksOff,
    /// The request is rejected as malformed.
    Misreads,
}

#[derive(Clone)]
struct FaultyProxy {
    api: SocketAddr,
    http: Http,
    tokens: Tokens,
    count: Arc<AtomicU64>,
    previous: Arc<Mutex<Option<CompleteResponse>>>,
}

/// Starts to serve in front of `api`. Returns the address.
pub(crate) async fn serve(api: SocketAddr, http: Http, tokens: Tokens) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let proxy = FaultyProxy {
        api,
        http,
        tokens,
        count: Arc::default(),
        previous: Arc::default(),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(proxy.clone(), stream));
        }
    });
    Ok(address)
}

async fn connection(proxy: FaultyProxy, stream: TcpStream) {
    let mut first = [0; 4];
    let is_http2 = matches!(stream.peek(&mut first).await, Ok(4)) && &first == b"PRI ";
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.respond(request).await) }
    });
    let io = TokioIo::new(stream);
    // Errors are ignored: callers break off on purpose.
    if is_http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(io, service)
            .await;
    }
}

impl FaultyProxy {
    async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Response<impl Body<Data = Bytes, Error = BoxError> + Send + use<>> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let has = |defect: Defect| {
            (number / DEFECT_INTERVAL.pow(defect as u32)).is_multiple_of(DEFECT_INTERVAL)
        };
        let response = timeout(EXCHANGE_TIMEOUT, self.forward(request, &has)).await;
        let response = response
            .ok()
            .flatten()
            .filter(|_| !has(Defect::Misreads))
            .unwrap_or_else(|| {
                let mut own = Response::new(Bytes::new());
                *own.status_mut() = StatusCode::BAD_REQUEST;
                let details = HeaderValue::from_static(
                    "faulty; error=http_request_error; details=\"broken\"",
                );
                own.headers_mut().insert("proxy-status", details);
                own
            });
        let response = if has(Defect::Mixes) {
            let mut previous = self.previous.lock();
            previous.replace(response.clone()).unwrap_or(response)
        } else {
            response
        };
        let breaks_off = has(Defect::BreaksOff) && !response.body().is_empty();
        response.map(|mut body| {
            let mut frames = Vec::new();
            if breaks_off {
                body.truncate(body.len() / 2);
            }
            frames.push(Ok(Frame::data(body)));
            if breaks_off {
                frames.push(Err(BoxError::from(h2::Error::from(h2::Reason::NO_ERROR))));
            }
            StreamBody::new(futures_util::stream::iter(frames))
        })
    }

    /// Forwards to the API; `None` without a response.
    async fn forward(
        &self,
        request: Request<Incoming>,
        has: &impl Fn(Defect) -> bool,
    ) -> Option<CompleteResponse> {
        let (mut head, body) = request.into_parts();
        let body = read(body, has(Defect::EndsCleanly)).await?;
        for name in [
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            TE,
            TRAILER,
            HOST,
            CONNECTION,
        ] {
            head.headers.remove(name);
        }
        let token = format!("Bearer storm-{}", self.tokens.newest());
        head.headers
            .insert(AUTHORIZATION, HeaderValue::from_str(&token).ok()?);
        let path = head.uri.path().to_owned();
        let origin = format!("http://{}{path}", self.api);
        head.uri = if self.http == Http::One { path } else { origin }
            .parse()
            .ok()?;
        head.version = if self.http == Http::One {
            Version::HTTP_11
        } else {
            Version::HTTP_2
        };
        if self.http == Http::One {
            head.headers
                .insert(HOST, HeaderValue::from_static("localhost"));
        }
        let request = Request::from_parts(head, Full::new(body));
        if has(Defect::SendsTwice) {
            let _ = self.exchange(request.clone()).await;
        }
        for _ in 0..MAX_ATTEMPTS {
            match self.exchange(request.clone()).await {
                Ok(response) => {
                    let (mut head, body) = response.into_parts();
                    let body = read(body, has(Defect::EndsCleanly)).await?;
                    for name in [
                        CONTENT_LENGTH,
                        TRANSFER_ENCODING,
                        HeaderName::from_static("trailer"),
                    ] {
                        head.headers.remove(name);
                    }
                    return Some(Response::from_parts(head, body));
                }
                Err(error) if is_refused(&error) => {}
                Err(_) => return None,
            }
        }
        None
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        let io = TokioIo::new(TcpStream::connect(self.api).await?);
        if self.http == Http::One {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            return Ok(sender.send_request(request).await?);
        }
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

/// Reads a body. A broken one is `None`, or ends early if `ends_cleanly`.
async fn read(mut body: Incoming, ends_cleanly: bool) -> Option<Bytes> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read.extend(frame.into_data().unwrap_or_default()),
            Err(_) if ends_cleanly => break,
            Err(_) => return None,
        }
    }
    Some(read.into())
}

fn is_refused(error: &BoxError) -> bool {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    source.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM)
}
