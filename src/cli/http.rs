//! HTTP/1 client of the commands: one request per connection, over any transport.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::Address;

/// A transport: TCP, TLS or a Unix socket.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

pub(super) type BoxTransport = Box<dyn ByteStream>;

/// Connects to a listener of this machine; a wildcard address is reached by loopback.
pub(super) async fn connect(address: &Address) -> io::Result<BoxTransport> {
    match address {
        Address::Tcp(addr) => Ok(Box::new(TcpStream::connect(reachable(*addr)).await?)),
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn reachable(addr: SocketAddr) -> SocketAddr {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Sends `request`, and returns the response when its head has arrived.
pub(super) async fn send(
    transport: BoxTransport,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::Builder::new()
        // As the proxy does.
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(TokioIo::new(transport))
        .await?;
    // The sender gets the error of the connection.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Reads a body until it ends or has `limit` bytes.
pub(super) async fn read_text(mut body: Incoming, limit: usize) -> hyper::Result<String> {
    let mut text = Vec::new();
    while text.len() < limit
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data);
        }
    }
    text.truncate(limit);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
