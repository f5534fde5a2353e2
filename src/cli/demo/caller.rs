//! A legacy caller: HTTP/1.0, a connection a request, and not a word about OAuth.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer as the caller sees it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) took: Duration,
    /// Whether there was an Authorization among the bytes that the caller sent.
    pub(super) authorized: bool,
}

/// Posts `body` to `path` of the proxy at `addr`.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn post(addr: SocketAddr, path: &str, body: &Value) -> Result<Answer, String> {
    let body = body.to_string();
    let fields = [
        ("Content-Type", "application/json".to_owned()),
        ("Content-Length", body.len().to_string()),
    ];
    let mut request = format!("POST {path} HTTP/1.0\r\n");
    for (name, value) in &fields {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("\r\n{body}");
    let began = Instant::now();
    let text = exchange(addr, &request)
        .await
        .map_err(|error| format!("the proxy at {addr}: {error}"))?;
    let took = began.elapsed();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or("the answer has no end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or("the answer has no status")?,
        body: serde_json::from_str(body)
            .map_err(|error| format!("the answer is no JSON: {error}"))?,
        took,
        authorized: request.to_ascii_lowercase().contains("\r\nauthorization:"),
    })
}

/// With HTTP/1.0 the answer ends where the connection does.
async fn exchange(addr: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
