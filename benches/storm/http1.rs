//! HTTP/1.1 codec: messages as bytes that can be cut anywhere, and a reader that distinguishes
//! complete messages from broken ones.

use std::io;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::plan::{CutAt, Framing, Message};

const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 64;

/// Most writes of one message.
const MAX_WRITES: usize = 5;

/// The trailer field of a message with trailers.
pub(crate) const TRAILER: &str = "x-storm-end";

/// A message as bytes.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Offset of the body.
    body: usize,
    /// Ranges of the chunk lines.
    lines: Vec<Range<usize>>,
    /// Offset of the last bytes.
    tail: usize,
}

/// Encodes a message of `start`, which is a start line and fields that end in CRLF, and `body`.
pub(crate) fn encode(start: &str, message: Message, body: &[u8], rng: &mut Rng) -> Encoded {
    let has_trailers = message.has_trailers && message.framing == Framing::Unknown;
    let mut bytes = start.as_bytes().to_vec();
    match message.framing {
        Framing::Length => bytes.extend(format!("content-length: {}\r\n", body.len()).as_bytes()),
        Framing::Unknown => bytes.extend(b"transfer-encoding: chunked\r\n"),
        Framing::Close => bytes.extend(b"connection: close\r\n"),
    }
    if has_trailers {
        bytes.extend(format!("trailer: {TRAILER}\r\n").as_bytes());
    }
    bytes.extend(b"\r\n");
    let head = bytes.len();
    let mut lines = Vec::new();
    if message.framing != Framing::Unknown {
        bytes.extend(body);
        let tail = bytes.len() - body.len().min(3);
        return Encoded {
            bytes,
            body: head,
            lines,
            tail,
        };
    }
    let mut rest = body;
    let largest = (body.len() / 2).max(1);
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(rng.usize(1..=largest).min(rest.len()));
        rest = later;
        let line = bytes.len();
        bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        lines.push(line..bytes.len());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    let tail = bytes.len();
    lines.push(tail..tail + 3);
    bytes.extend(b"0\r\n");
    if has_trailers {
        bytes.extend(format!("{TRAILER}: yes\r\n").as_bytes());
    }
    bytes.extend(b"\r\n");
    Encoded {
        bytes,
        body: head,
        lines,
        tail: tail.saturating_sub(2),
    }
}

impl Encoded {
    /// The number of bytes before a random cut in the part `at`; less than all.
    pub(crate) fn cut(&self, at: CutAt, rng: &mut Rng) -> usize {
        let end = self.bytes.len();
        let line = self
            .lines
            .get(rng.usize(..self.lines.len().max(1)))
            .cloned();
        match (at, line) {
            (CutAt::Head, _) => rng.usize(1..self.body),
            (CutAt::Body, _) => rng.usize(self.body..end),
            (CutAt::ChunkLine, Some(line)) => rng.usize(line.start..line.end),
            (CutAt::Tail | CutAt::ChunkLine, _) => rng.usize(self.tail.min(end - 1)..end),
        }
    }
}

/// Sends `bytes` in random pieces. Calls `before_last` before the last one.
pub(crate) async fn write_pieces<W: AsyncWrite + Unpin>(
    io: &mut W,
    bytes: &[u8],
    rng: &mut Rng,
    before_last: impl FnOnce(),
) -> io::Result<()> {
    // Below the length: the last piece is never empty.
    let mut cuts: Vec<_> = (1..rng.usize(1..=MAX_WRITES))
        .map(|_| rng.usize(..bytes.len().max(1)))
        .collect();
    cuts.sort_unstable();
    let mut from = 0;
    for to in cuts {
        io.write_all(&bytes[from..to]).await?;
        from = to;
        pause(rng).await;
    }
    before_last();
    io.write_all(&bytes[from..]).await
}

/// Pauses randomly: not at all, for a turn of the scheduler, or for 1 or 2 ms.
pub(crate) async fn pause(rng: &mut Rng) {
    match rng.u32(..8) {
        0 => sleep(Duration::from_millis(rng.u64(1..3))).await,
        1..=4 => yield_now().await,
        _ => {}
    }
}

/// Makes dropping the socket send RST.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // Fails only for a socket that has ended.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The end of a body, or of waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Complete by its framing.
    Whole,
    /// The connection ended, or the bytes are not HTTP.
    Broken,
    /// HTTP/2: reset with this code.
    Reset(u32),
}

/// The used parts of a message head.
pub(crate) struct Head {
    /// 0 for a request.
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
}

pub(crate) struct Reader<R> {
    pub(crate) io: R,
    held: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(io: R) -> Self {
        Reader {
            io,
            held: Vec::new(),
        }
    }

    /// Reads more bytes; `None` at the end.
    async fn fill(&mut self) -> Option<()> {
        let read = self.io.read_buf(&mut self.held).await.ok()?;
        (read > 0).then_some(())
    }

    /// Reads the next head, without interim responses; `None` if the connection ends before, or the
    /// bytes are not a head.
    pub(crate) async fn head(&mut self, is_response: bool) -> Option<Head> {
        loop {
            if let Some((length, head)) = parse(&self.held, is_response)? {
                self.held.drain(..length);
                if !(100..200).contains(&head.status) {
                    return Some(head);
                }
                continue;
            }
            if self.held.len() > MAX_HEAD_BYTES {
                return None;
            }
            self.fill().await?;
        }
    }

    /// Reads the body after a head with `fields`, as far as it arrives.
    pub(crate) async fn body(&mut self, fields: &HeaderMap, is_response: bool) -> (Vec<u8>, Ended) {
        let mut body = Vec::new();
        let whole = if fields.contains_key(TRANSFER_ENCODING) {
            self.chunks(&mut body).await
        } else if let Some(length) = fields.get(CONTENT_LENGTH) {
            match length.to_str().ok().and_then(|length| length.parse().ok()) {
                Some(length) => self.take(length, &mut body).await,
                None => None,
            }
        } else if is_response {
            self.until_end(&mut body).await
        } else {
            Some(())
        };
        (
            body,
            if whole.is_some() {
                Ended::Whole
            } else {
                Ended::Broken
            },
        )
    }

    async fn until_end(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            body.append(&mut self.held);
            if self.io.read_buf(&mut self.held).await.ok()? == 0 {
                return Some(());
            }
        }
    }

    async fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Option<()> {
        let mut left = length;
        loop {
            let taken = left.min(self.held.len());
            into.extend(self.held.drain(..taken));
            left -= taken;
            if left == 0 {
                return Some(());
            }
            self.fill().await?;
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.held.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.held.drain(..end + 2).take(end).collect();
                return Some(line);
            }
            if self.held.len() > MAX_HEAD_BYTES {
                return None;
            }
            self.fill().await?;
        }
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line = String::from_utf8(self.line().await?).ok()?;
            let length = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if length == 0 {
                break;
            }
            self.take(length, body).await?;
            if !self.line().await?.is_empty() {
                return None;
            }
        }
        while !self.line().await?.is_empty() {}
        Some(())
    }
}

/// A head, and the offset of its end.
type ParsedHead = (usize, Head);

/// `Some(None)` if more bytes are needed, `None` if the bytes are not a head.
fn parse(bytes: &[u8], is_response: bool) -> Option<Option<ParsedHead>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (parsed, status) = if is_response {
        let mut response = httparse::Response::new(&mut fields);
        (response.parse(bytes).ok()?, response.code.unwrap_or(0))
    } else {
        (httparse::Request::new(&mut fields).parse(bytes).ok()?, 0)
    };
    let httparse::Status::Complete(end) = parsed else {
        return Some(None);
    };
    let mut map = HeaderMap::new();
    for field in fields.iter().take_while(|field| !field.name.is_empty()) {
        map.append(
            HeaderName::from_bytes(field.name.as_bytes()).ok()?,
            HeaderValue::from_bytes(field.value).ok()?,
        );
    }
    Some(Some((
        end,
        Head {
            status,
            fields: map,
        },
    )))
}
