//! Socket whose writes can be held back, so that several HTTP/2 frames leave in one write, and into
//! which frames can be injected that h2 would not send.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::http1::reset_on_close;

/// Most bytes that are held back.
const MAX_HELD_BYTES: usize = 1 << 20;

/// The bytes of the client's connection preface (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// The socket that h2 uses.
pub(crate) struct Corked {
    stream: TcpStream,
    cork: Cork,
}

/// Handle that controls the socket.
#[derive(Clone, Default)]
pub(crate) struct Cork {
    state: Arc<Mutex<CorkState>>,
    written: Arc<Notify>,
}

#[derive(Default)]
struct CorkState {
    /// Number of holds.
    corks: usize,
    held: Vec<u8>,
    /// Complete frames to send after the held bytes.
    injected: Vec<u8>,
    /// The last stream that an injected GOAWAY names.
    injected_last: Option<u32>,
    frames: Frames,
    is_reset_on_close: bool,
    /// The task of the connection.
    waker: Option<Waker>,
}

/// The written frames of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) heads: usize,
    pub(crate) data: usize,
    pub(crate) resets: usize,
}

/// Scanner of the written frames.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    streams: HashMap<u32, Written>,
    /// The last stream that h2's own GOAWAY names, if it is no error of the other side's.
    goaway: Option<u32>,
}

impl Frames {
    fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (FRAME_HEADER - self.header.len()).min(bytes.len());
            self.header.extend(&bytes[..taken]);
            bytes = &bytes[taken..];
            let &[a, b, c, kind, _, s, t, u, v] = &self.header[..] else {
                continue;
            };
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = self
                .streams
                .entry(u32::from_be_bytes([s, t, u, v]))
                .or_default();
            match kind {
                DATA => stream.data += self.left,
                HEADERS => stream.heads += 1,
                RST_STREAM => stream.resets += 1,
                // h2 writes this frame at once.
                GOAWAY => {
                    if let [s, t, u, v, 0, 0, 0, 0, ..] = *bytes {
                        self.goaway = Some(u32::from_be_bytes([s, t, u, v]));
                    }
                }
                _ => {}
            }
            self.header.clear();
        }
    }
}

impl Corked {
    /// Wraps the socket of a client, whose first bytes are not a frame, or of a server.
    pub(crate) fn new(stream: TcpStream, is_client: bool) -> (Self, Cork) {
        let cork = Cork::default();
        if is_client {
            cork.state().frames.left = PREFACE;
        }
        (
            Corked {
                stream,
                cork: cork.clone(),
            },
            cork,
        )
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Corked { stream, cork } = self;
        let mut state = cork.state();
        while !state.held.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &state.held))?;
            state.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl Cork {
    fn state(&self) -> MutexGuard<'_, CorkState> {
        self.state.lock()
    }

    pub(crate) fn hold(&self) {
        self.state().corks += 1;
    }

    /// Sends the held bytes in one write, unless another hold remains.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.corks = state.corks.saturating_sub(1);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Waits until `is_written` returns true for the written frames of `stream`.
    pub(crate) async fn wait(&self, stream: u32, is_written: impl Fn(Written) -> bool) {
        loop {
            let notified = self.written.notified();
            let written = self
                .state()
                .frames
                .streams
                .get(&stream)
                .copied()
                .unwrap_or_default();
            if is_written(written) {
                return;
            }
            notified.await;
        }
    }

    /// Sends GOAWAY between two frames of h2.
    pub(crate) fn inject_goaway(&self, last: u32, code: u32) {
        let mut state = self.state();
        state.injected_last = Some(last);
        state.injected.extend([0, 0, 8, GOAWAY, 0, 0, 0, 0, 0]);
        state.injected.extend(last.to_be_bytes());
        state.injected.extend(code.to_be_bytes());
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Whether h2 has sent a GOAWAY with a later stream than the injected one, which it does not
    /// know: then the other side closes the connection (RFC 9113 section 6.8).
    pub(crate) fn has_false_goaway(&self) -> bool {
        let state = self.state();
        state
            .injected_last
            .is_some_and(|injected| state.frames.goaway.is_some_and(|last| last > injected))
    }

    /// Makes dropping the socket send RST.
    pub(crate) fn reset_on_close(&self) {
        self.state().is_reset_on_close = true;
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cork.state().waker = Some(cx.waker().clone());
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cork.state().held.len() > MAX_HELD_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        let mut state = self.cork.state();
        state.held.extend(bytes);
        state.frames.note(bytes);
        drop(state);
        self.cork.written.notify_waiters();
        Poll::Ready(Ok(bytes.len()))
    }

    /// h2 flushes only between complete frames.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.cork.state();
        state.waker = Some(cx.waker().clone());
        let injected = std::mem::take(&mut state.injected);
        state.held.extend(injected);
        if state.corks > 0 {
            return Poll::Ready(Ok(()));
        }
        drop(state);
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Corked {
    fn drop(&mut self) {
        if self.cork.state().is_reset_on_close {
            reset_on_close(&self.stream);
        }
    }
}
