//! RawResponse calls over TCP: each byte of the response is visible.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) const FORM: &str = "grant_type=client_credentials&scope=gbg.token&client_id=sandbox-client&client_secret=sandbox-secret";
pub(super) const VERSION: &str = "/v2/captain/version";

/// The time to wait for bytes that must not come.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// The time to wait for bytes that must come, on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(30);

pub(super) async fn with_faults(texts: &[&str]) -> Sandbox {
    let faults = texts.iter().map(|text| text.parse().unwrap()).collect();
    Sandbox::start(SandboxOptions {
        tls: false,
        faults,
        ..SandboxOptions::default()
    })
    .await
    .unwrap()
}

/// The bytes that a connection received until it closed.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl RawResponse {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }
}

pub(super) async fn open(
    sandbox: &Sandbox,
    method: &str,
    path: &str,
    more: &str,
    body: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    let length = body.len();
    let req = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(req.as_bytes()).await.unwrap();
    stream
}

pub(super) async fn read(mut stream: TcpStream) -> RawResponse {
    let mut all = Vec::new();
    // An error is a reset; the bytes before it count.
    let _ = stream.read_to_end(&mut all).await;
    let end = all
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(0, |at| at + 4);
    let body = all.split_off(end);
    RawResponse {
        head: String::from_utf8(all).unwrap(),
        body,
    }
}

pub(super) async fn open_token(sandbox: &Sandbox) -> TcpStream {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    open(sandbox, "POST", token_endpoint::PATH, form, FORM).await
}

pub(super) async fn ask_token(sandbox: &Sandbox) -> RawResponse {
    read(open_token(sandbox).await).await
}

pub(super) async fn call(sandbox: &Sandbox, path: &str) -> RawResponse {
    read(open(sandbox, "GET", path, "", "").await).await
}

pub(super) async fn call_with(sandbox: &Sandbox, token: &str, path: &str) -> RawResponse {
    let authorization = format!("Authorization: Bearer {token}\r\n");
    read(open(sandbox, "GET", path, &authorization, "").await).await
}

/// Reads the first `limit` bytes, or those that came within `time`.
pub(super) async fn read_start(stream: &mut TcpStream, limit: usize, time: Duration) -> Vec<u8> {
    let mut all = vec![0; limit];
    let mut length = 0;
    let _ = timeout(time, async {
        while length < limit {
            match stream.read(&mut all[length..]).await.unwrap() {
                0 => panic!("it ended"),
                more => length += more,
            }
        }
    })
    .await;
    all.truncate(length);
    all
}

pub(super) fn is_good(text: &str) -> bool {
    let json: Value = serde_json::from_str(text).unwrap();
    json["access_token"].as_str().unwrap().len() > 900
        && json["token_type"] == "Bearer"
        && json["expires_in"] == 3600
}
