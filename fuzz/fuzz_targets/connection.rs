//! Any bytes as what a caller sends on a connection: it ends, and brings no more requests than it
//! has whole heads.
//!
//! The first byte picks what the service does with a body, whether the caller shuts its side in the
//! end, and how the bytes are cut. Time is paused: where nothing else is left to do, the next
//! deadline comes at once.

#![no_main]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gbg_proxy::downstream::{CallerBody, RefusalLog, ServerOptions, Timeouts, fuzz};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::service_fn;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longer than all deadlines together, for every byte that may come late.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What is in the pipe each way. A caller that does not read is one more case.
const PIPE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let [flags, sent @ ..] = data else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let requests = runtime.block_on(converse(Flags(*flags), sent));
    let most = match sent.strip_prefix(PREFACE) {
        Some(frames) => heads_of_http2(frames),
        None => heads_of_http1(sent),
    };
    assert!(requests <= most, "{requests} requests of {most} heads");
});

#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    fn service_reads(self) -> bool {
        self.0 & 1 != 0
    }

    fn caller_shuts(self) -> bool {
        self.0 & 2 != 0
    }

    fn caller_reads(self) -> bool {
        self.0 & 4 == 0
    }

    fn drains(self) -> bool {
        self.0 & 8 != 0
    }

    /// The length of the pieces that the bytes come in.
    fn piece(self) -> usize {
        match self.0 >> 4 {
            0 => usize::MAX,
            length => usize::from(length),
        }
    }
}

/// Sends all of it, and counts the requests that the service saw until the connection ended.
async fn converse(flags: Flags, sent: &[u8]) -> usize {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let service = service_fn(move |req: Request<CallerBody>| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            if flags.service_reads() {
                let _ = req.into_body().collect().await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let (tell, drain) = watch::channel(false);
    let (ours, theirs) = duplex(PIPE);
    let options = options();
    let served = fuzz::serve(ours, &options, service, drain);
    let called = async {
        call(theirs, flags, sent).await;
        if flags.drains() {
            tell.send_replace(true);
        }
        // Dropped, it would be a worker that is gone, and drain as well.
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            () = served => {}
            () = called => {}
        }
    };
    timeout(FOR_EVER, ended)
        .await
        .expect("the connection hangs");
    seen.load(Ordering::Relaxed)
}

async fn call(stream: DuplexStream, flags: Flags, sent: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        if flags.caller_reads() {
            let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        }
    };
    let write = async {
        for piece in sent.chunks(flags.piece()) {
            if writer.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if flags.caller_shuts() {
            let _ = writer.shutdown().await;
        }
    };
    if flags.drains() {
        // Drains in the middle: whatever the server is at.
        tokio::select! {
            () = write => {}
            _ = read => {}
        }
        let _ = reader.read(&mut [0]).await;
    } else {
        tokio::join!(read, write);
    }
}

fn options() -> ServerOptions {
    let second = Duration::from_secs(1);
    ServerOptions {
        tls: None,
        timeouts: Timeouts {
            handshake: second,
            header: second,
            keep_alive: second,
            body: second,
            max_age: second * 60,
        }
        .fixed(),
        max_h2_streams: 4,
        title_case_headers: false,
        max_buffer_bytes: 128 << 10,
        connection_permits: Arc::new(Semaphore::new(1)),
        evicting_limit: None,
        connection_metrics: Arc::default(),
        refusal_log: RefusalLog::new("fuzz", Arc::default()),
    }
}

/// The requests that may be read at most: the HEADERS and CONTINUATION frames that end a head (RFC
/// 9113 section 6.2).
fn heads_of_http2(mut frames: &[u8]) -> usize {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END_HEADERS: u8 = 4;
    let mut heads = 0;
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(after) = rest.get(length..) else {
            break;
        };
        if [HEADERS, CONTINUATION].contains(kind) && flags & END_HEADERS != 0 {
            heads += 1;
        }
        frames = after;
    }
    heads
}

/// The requests that may be read at most. Where body and next head are distinct beyond doubt,
/// no byte of a body counts; from the first doubt on, every empty line may end a head.
fn heads_of_http1(mut text: &[u8]) -> usize {
    let mut heads = 0;
    loop {
        while let [b'\r' | b'\n', rest @ ..] = text {
            text = rest;
        }
        let Some(end) = text.windows(4).position(|part| part == b"\r\n\r\n") else {
            return heads + empty_lines(text);
        };
        let head = &text[..end + 4];
        match body_length(head) {
            Some(length) => {
                heads += 1;
                text = text.get(end + 4 + length..).unwrap_or_default();
            }
            None => return heads + empty_lines(text),
        }
    }
}

/// The length of the body behind `head`, if it is given once and in digits, or not at all.
fn body_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let bare_ends = head.matches('\n').count() != head.matches("\r\n").count();
    if bare_ends || head.matches('\r').count() != head.matches("\r\n").count() {
        return None;
    }
    let mut length = None;
    for line in head.trim_end().split("\r\n").skip(1) {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("transfer-encoding") || name.trim() != name {
            return None;
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim_matches([' ', '\t']);
            let declared = value
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| value.parse::<usize>().ok())??;
            if length.replace(declared).is_some() {
                return None;
            }
        }
    }
    Some(length.unwrap_or(0).min(1 << 40))
}

fn empty_lines(text: &[u8]) -> usize {
    let after_line_ends = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| &text[at + 1..]);
    after_line_ends
        .filter(|rest| rest.starts_with(b"\n") || rest.starts_with(b"\r\n"))
        .count()
}
