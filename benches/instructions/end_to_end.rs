//! The proxy itself as a process that is counted, between a caller and an API that are not.
//!
//! There is one connection, and both sides wait until the proxy sleeps before they send it
//! anything: it does the same for each request, however slowly it is run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::callgrind;
use super::setting::Setting;

/// After which the proxy sleeps.
const PAUSE: Duration = Duration::from_millis(1);

/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(120);

/// The API's side, with a token endpoint that is spoken to in plain.
pub struct Api {
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Api {
    /// Begins to answer, with a certificate whose CA goes to `directory`.
    pub fn start(directory: &Path) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(ca_file(directory), made.cert.pem()).expect("a file");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a TLS server");
        let config = Arc::new(config);
        let tls = listen(move |stream| {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            answer_all(StreamOwned::new(session, stream));
        });
        Api {
            plain: listen(answer_all),
            tls,
        }
    }

    /// Its origin.
    fn base_url(&self, tls: bool) -> String {
        match tls {
            true => format!("https://localhost:{}", self.tls.port()),
            false => format!("http://{}", self.plain),
        }
    }
}

/// How many instructions the proxy takes from its start to its end, with `count` requests in
/// between.
pub fn count(
    api: &Api,
    name: &str,
    tls: bool,
    setting: Setting,
    count: u32,
    directory: &Path,
) -> u64 {
    let out = directory.join(format!("{}-{name}.out", setting.name()));
    let log = directory.join("proxy.log");
    // What a run before has left.
    let _ = std::fs::remove_file(&log);
    let mut values = setting.values(
        &api.base_url(tls),
        &format!("http://{}/token", api.plain),
        &log,
    );
    if tls {
        values.push(format!("upstream.ca_file={}", ca_file(directory).display()));
    }
    let mut command = callgrind::counted(Path::new(env!("CARGO_BIN_EXE_gbg-proxy")), &out);
    command
        .arg("run")
        .arg("--config")
        .arg(setting.file(directory));
    command.args(values.iter().flat_map(|value| ["--set", value]));
    let proxy = Proxy(
        command
            .env("GBG_CLIENT_SECRET", "bench")
            .spawn()
            .expect("a process"),
    );
    let caller = TcpStream::connect(address(&log)).expect("a connection");
    caller.set_nodelay(true).expect("a TCP option");
    let mut caller = BufReader::new(caller);
    for _ in 0..count {
        sleep(PAUSE);
        caller
            .get_mut()
            .write_all(request(setting).as_bytes())
            .expect("a connection that is kept");
        let (head, _) = message(&mut caller).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    drop(caller);
    proxy.end();
    callgrind::count(&out)
}

fn ca_file(directory: &Path) -> std::path::PathBuf {
    directory.join("ca.pem")
}

/// A proxy that runs; it does not outlive this.
struct Proxy(Child);

impl Proxy {
    /// Has it end as a service manager does.
    fn end(mut self) {
        let killed = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(killed.is_ok_and(|status| status.success()), "no SIGTERM");
        let ended = self.0.wait().expect("its end");
        assert!(ended.success(), "the proxy failed: {ended}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the proxy listens, as its log says.
fn address(log: &Path) -> SocketAddr {
    let began = Instant::now();
    while began.elapsed() < BEGIN {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let found = text
            .split_once(" address=")
            .and_then(|(_, rest)| rest.split_once(' '));
        if let Some((address, _)) = found {
            return address.parse().expect("an address");
        }
        sleep(Duration::from_millis(20));
    }
    panic!("the proxy does not begin; see {}", log.display());
}

fn request(setting: Setting) -> String {
    let key = setting
        .key()
        .map(|key| format!("X-Api-Key: {key}\r\n"))
        .unwrap_or_default();
    format!(
        "POST /v2/captain/journey/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 1024\r\nAccept: application/json\r\nUser-Agent: legacy-client/1.0\r\n{key}\r\n{}",
        "x".repeat(1024)
    )
}

/// Serves each connection in a thread of its own, for as long as this process lives.
fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || {
                stream.set_nodelay(true).expect("a TCP option");
                serve(stream);
            });
        }
    });
    address
}

/// Grants a token, or answers like `journey/start`, until the connection ends.
fn answer_all(stream: impl Read + Write) {
    let mut stream = BufReader::new(stream);
    while let Some((head, _)) = message(&mut stream) {
        let body = match head.starts_with("POST /token ") {
            true => {
                format!(
                    r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}"#,
                    "a".repeat(900)
                )
            }
            false => format!(
                r#"{{"instanceId":"k3J_w1xQe7ZpT0aBvYcD9s","message":"{}"}}"#,
                "x".repeat(200)
            ),
        };
        let fields = "Content-Type: application/json\r\nX-Request-ID: gbg-1";
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        sleep(PAUSE);
        let sent = stream
            .get_mut()
            .write_all(answer.as_bytes())
            .and_then(|()| stream.get_mut().flush());
        if sent.is_err() {
            return;
        }
    }
}

/// The head of the next message and its body; `None` where the connection ends.
fn message(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.split_once("\r\n"));
    let mut body = vec![0; length.map_or(0, |(length, _)| length.parse().expect("a length"))];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
