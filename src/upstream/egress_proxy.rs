//! Tunnel through the egress proxy: CONNECT (RFC 9110 section 9.3.6).
//!
//! hyper-util's `Tunnel` distinguishes no other refusal than 407, and drops bytes after the
//! response head. Here those stay in the socket, so the tunnel is a plain TCP stream.

use std::io;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::connect_deadline::{ConnectDeadline, ConnectStep, DeadlineExceeded};
use super::peer::Peer;
use crate::config::{Egress, Origin};

const MAX_HEAD_BYTES: usize = 8 << 10;
const MAX_HEAD_FIELDS: usize = 100;

/// The error of opening a tunnel.
#[derive(Debug, thiserror::Error)]
#[error("{egress_proxy} opened no tunnel to {target}")]
pub(crate) struct TunnelError {
    egress_proxy: String,
    target: String,
    #[source]
    pub(crate) failure: TunnelFailure,
}

/// The cause of a missing tunnel. Contains nothing from the egress proxy except a status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelFailure {
    #[error("it responded with {status}: {}", explain(*status, *authorized))]
    Refused {
        status: StatusCode,
        /// Whether credentials were sent.
        authorized: bool,
    },
    #[error("its response is not HTTP")]
    NoHttp,
    #[error("the head of its response is longer than 8 KiB")]
    TooLong,
    #[error("it closed the connection before it responded")]
    Closed,
    #[error("the connection to it broke")]
    Broken(#[from] io::Error),
}

fn explain(status: StatusCode, authorized: bool) -> &'static str {
    match status.as_u16() {
        407 if authorized => "it rejects the credentials of upstream.egress_proxy",
        407 => "it requires credentials, and upstream.egress_proxy has none",
        403 => "it does not allow this host and port",
        500.. => "it cannot reach this host",
        _ => "it did not open a tunnel",
    }
}

/// Turns `tcp`, a connection to `egress`, into one to `origin`.
///
/// # Errors
/// When the egress proxy opens no tunnel before `deadline`; `tcp` is then unusable.
pub(crate) async fn open_tunnel(
    tcp: &mut TcpStream,
    egress: &Egress,
    origin: &Origin,
    deadline: &ConnectDeadline,
) -> Result<Result<(), TunnelError>, DeadlineExceeded> {
    let peer = Peer::new(origin).through(&egress.origin);
    let opened = deadline
        .limit(ConnectStep::Tunnel, peer, connect(tcp, egress, origin))
        .await?;
    Ok(opened.map_err(|failure| TunnelError {
        egress_proxy: Peer::egress_proxy(&egress.origin).to_string(),
        target: Peer::new(origin).to_string(),
        failure,
    }))
}

async fn connect(
    tcp: &mut TcpStream,
    egress: &Egress,
    origin: &Origin,
) -> Result<(), TunnelFailure> {
    tcp.write_all(connect_head(egress, origin).as_bytes())
        .await?;
    loop {
        let status = read_head(tcp).await?;
        // Interim responses precede the final one (RFC 9110 section 15.2).
        if status.is_informational() {
            continue;
        }
        let authorized = egress.authorization.is_some();
        return if status.is_success() {
            Ok(())
        } else {
            Err(TunnelFailure::Refused { status, authorized })
        };
    }
}

/// The request head, with field names in title case for old proxies.
fn connect_head(egress: &Egress, origin: &Origin) -> Zeroizing<String> {
    let target = Peer::new(origin);
    let agent = concat!("gbg-proxy/", env!("CARGO_PKG_VERSION"));
    let credentials = egress.authorization.as_ref().map(|value| value.expose());
    let [name, value, end] = match credentials {
        Some(value) => ["Proxy-Authorization: ", value, "\r\n"],
        None => [""; 3],
    };
    Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n{name}{value}{end}\r\n"
    ))
}

/// Reads one response head from `tcp`, and not a byte more: it peeks, and consumes only bytes that
/// belong to the head.
async fn read_head(tcp: &mut TcpStream) -> Result<StatusCode, TunnelFailure> {
    let mut head = vec![0; MAX_HEAD_BYTES];
    let mut taken = 0;
    while taken < MAX_HEAD_BYTES {
        let seen = taken + tcp.peek(&mut head[taken..]).await?;
        if seen == taken {
            return Err(TunnelFailure::Closed);
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEAD_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        // White space before a colon is an error that a client may tolerate (RFC 9112 section 5.1).
        let mut parser = httparse::ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        let parsed = parser
            .parse_response(&mut response, &head[..seen])
            .map_err(|_| TunnelFailure::NoHttp)?;
        let code = response.code;
        let length = if let httparse::Status::Complete(length) = parsed {
            length
        } else {
            seen
        };
        tcp.read_exact(&mut head[taken..length]).await?;
        taken = length;
        if parsed.is_complete() {
            return code
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or(TunnelFailure::NoHttp);
        }
    }
    Err(TunnelFailure::TooLong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{self, Sources};
    use crate::error::chain;

    /// A configuration with `set` and an egress proxy that requires credentials.
    fn config(set: &str) -> config::Upstream {
        let env = [
            ("GBG_CLIENT_ID", "a"),
            ("GBG_CLIENT_SECRET", "b"),
            ("WAY", "http://ada:pass@a.example:1"),
        ];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let set = [
            "upstream.egress_proxy=env:WAY",
            "upstream.allow_http=true",
            set,
        ]
        .map(str::to_owned)
        .into();
        config::load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config
        .upstream
    }

    /// Opens a tunnel through a proxy that sends `parts` one by one. Also returns the bytes left in
    /// the tunnel.
    async fn open_with(parts: &'static [&'static str]) -> (Result<(), TunnelError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        there.set_nodelay(true).unwrap();
        let respond = async {
            for part in parts {
                there.write_all(part.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            there.shutdown().await.unwrap();
        };
        let config = config("upstream.base_url=http://b.example");
        let egress = config.egress.as_ref().unwrap();
        let deadline = ConnectDeadline::after(Duration::from_secs(10), "upstream.connect_timeout");
        let opening = open_tunnel(&mut tcp, egress, &config.origin, &deadline);
        let ((), opened) = tokio::join!(respond, opening);
        let mut rest = String::new();
        tcp.read_to_string(&mut rest).await.unwrap();
        (opened.unwrap(), rest)
    }

    #[test]
    fn the_request_has_target_and_credentials() {
        for (set, target) in [
            ("upstream.base_url=https://b.example", "b.example:443"),
            ("upstream.base_url=http://b.example", "b.example:80"),
            (
                "upstream.base_url=https://[2001:db8::1]:8443",
                "[2001:db8::1]:8443",
            ),
        ] {
            let config = config(set);
            let head = connect_head(config.egress.as_ref().unwrap(), &config.origin);
            let expected =
                format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: gbg-proxy/");
            assert!(head.starts_with(&expected), "{}", *head);
            assert!(
                head.ends_with("\r\nProxy-Authorization: Basic YWRhOnBhc3M=\r\n\r\n"),
                "{}",
                *head
            );
        }
    }

    #[tokio::test]
    async fn bytes_after_the_head_stay_in_the_tunnel() {
        let cases: [&[&str]; 6] = [
            &["HTTP/1.1 201 Created\r\n\r\nhello"],
            &["HTTP/1.1 200 OK\r\nProxy-Agent : Old/1.0\r\n\r\nhello"],
            &["HTTP/1.1 200 OK\r\n\r\nhello"],
            &[
                "HTTP/1.0 200 Connection established\r\nA: b\r",
                "\n\r",
                "\nhel",
                "lo",
            ],
            &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nhello"],
            &["HTTP/1.1 200\r\nContent-Length: 9\r\n\r\n", "hello"],
        ];
        for parts in cases {
            let (opened, rest) = open_with(parts).await;
            assert!(opened.is_ok(), "{parts:?}: {opened:?}");
            assert_eq!(rest, "hello", "{parts:?}");
        }
    }

    #[tokio::test]
    async fn each_refusal_has_its_message() {
        let cases: [(&[&str], &str); 7] = [
            (
                &["HTTP/1.1 407 Give\r\n\r\n"],
                "responded with 407 Proxy Authentication Required: it rejects",
            ),
            (
                &["HTTP/1.1 403 No\r\n\r\n"],
                "responded with 403 Forbidden: it does not allow this host",
            ),
            (
                &["HTTP/1.1 502 No\r\n\r\n"],
                "responded with 502 Bad Gateway: it cannot reach",
            ),
            (
                &["HTTP/1.1 302 Go\r\nLocation: /\r\n\r\n"],
                "responded with 302 Found: it did not open a tunnel",
            ),
            (&["220 mail.example ESMTP\r\n"], "s response is not HTTP"),
            (&["HTTP/1.1 200 OK\r\n"], "closed the connection"),
            (&[], "closed the connection"),
        ];
        for (parts, words) in cases {
            let error = chain(&open_with(parts).await.0.unwrap_err());
            let route = "the egress proxy a.example:1 opened no tunnel to b.example:80: it";
            assert!(
                error.starts_with(route) && error.contains(words),
                "{parts:?}: {error}"
            );
        }
        assert!(explain(StatusCode::PROXY_AUTHENTICATION_REQUIRED, false).contains("has none"));
    }
}
