//! Bytes in, the bytes that the API saw, bytes out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::caller::PATIENCE;
use super::server::scripted;
use super::{Proxy, TestProxy};

/// How long nothing must come before a connection counts as kept open.
const SILENCE: Duration = Duration::from_millis(400);

/// An API that notes the bytes of each request, and gives each the same bytes as its answer.
pub struct Api {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Api {
    /// Answers with `answer`, and then closes the connection if `answer` says so, or is of
    /// HTTP/1.0.
    pub async fn answering(answer: impl AsRef<[u8]>) -> Api {
        Api::answering_at(answer, end_of_request).await
    }

    /// Answers each request as soon as its head is there, and takes what follows for the next one.
    pub async fn reading_no_body(answer: impl AsRef<[u8]>) -> Api {
        Api::answering_at(answer, |arrived| end_of(b"\r\n\r\n", arrived, 0)).await
    }

    async fn answering_at(answer: impl AsRef<[u8]>, end: fn(&[u8]) -> Option<usize>) -> Api {
        let answer = answer.as_ref().to_vec();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let notes = Arc::clone(&seen);
        let addr = scripted(move |mut stream| {
            let (answer, notes) = (answer.clone(), Arc::clone(&notes));
            async move {
                let mut arrived = Vec::new();
                while let Some(end) = next_request(&mut stream, &mut arrived, end).await {
                    notes.lock().unwrap().push(arrived.drain(..end).collect());
                    let text = String::from_utf8_lossy(&answer).to_lowercase();
                    if stream.write_all(&answer).await.is_err()
                        || text.contains("connection: close")
                        || text.starts_with("http/1.0")
                    {
                        return;
                    }
                }
            }
        })
        .await;
        Api { addr, seen }
    }

    /// One that is content with everything.
    pub async fn content() -> Api {
        Api::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    /// The requests that came, each as its bytes; those that are no UTF-8 as Latin-1.
    pub fn seen(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|bytes| text(bytes))
            .collect()
    }

    pub async fn proxy(&self, set: &[&str]) -> Proxy {
        TestProxy::before_server(&format!("http://{}", self.addr))
            .set(set)
            .start()
            .await
    }
}

/// Reads on until `arrived` begins with a whole request, as `end` says; where that ends.
async fn next_request(
    stream: &mut TcpStream,
    arrived: &mut Vec<u8>,
    end: fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = end(arrived) {
            return Some(end);
        }
        if stream.read_buf(arrived).await.ok()? == 0 {
            return None;
        }
    }
}

/// Where `what` ends in `arrived`, looked for from `from` on.
fn end_of(what: &[u8], arrived: &[u8], from: usize) -> Option<usize> {
    arrived[from..]
        .windows(what.len())
        .position(|part| part == what)
        .map(|at| from + at + what.len())
}

fn end_of_request(arrived: &[u8]) -> Option<usize> {
    let find = |what: &[u8], from: usize| end_of(what, arrived, from);
    let head = find(b"\r\n\r\n", 0)?;
    let fields = text(&arrived[..head]).to_lowercase();
    if fields.contains("transfer-encoding: chunked") {
        // The last chunk, and the trailers to their empty line.
        let last = if arrived[head..].starts_with(b"0\r\n") {
            head + 3
        } else {
            find(b"\r\n0\r\n", head)?
        };
        return if arrived[last..].starts_with(b"\r\n") {
            Some(last + 2)
        } else {
            find(b"\r\n\r\n", last)
        };
    }
    let length = fields
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let end = head + length.map_or(0, |length| length.parse().unwrap());
    (arrived.len() >= end).then_some(end)
}

/// A request, after which its caller closes.
pub const GET: &str = "GET /v2/captain/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The answer that comes of what the API answers to a GET, to a caller that closes then.
pub async fn answered(answer: &str, request: &str) -> String {
    let api = Api::answering(answer).await;
    let proxy = api.proxy(&[]).await;
    exchange(&proxy, request).await.0
}

/// What came back, and whether the connection was closed then.
pub async fn exchange(proxy: &Proxy, bytes: impl AsRef<[u8]>) -> (String, bool) {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    let mut patience = PATIENCE;
    loop {
        match timeout(patience, stream.read_buf(&mut answer)).await {
            Ok(Ok(0)) | Ok(Err(_)) => return (text(&answer), true),
            Ok(Ok(_)) => patience = SILENCE,
            Err(_) => return (text(&answer), false),
        }
    }
}

/// The status of the first answer in `answer`.
pub fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
