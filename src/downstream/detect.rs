//! Detection of HTTP/2 with prior knowledge by the first bytes of a connection (RFC 9113 section
//! 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::io::DownstreamIo;
use crate::rt::readiness::Readable;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads from `io` until the HTTP version is clear; true for HTTP/2. The returned stream yields the
/// same bytes again.
pub(super) async fn detect_http2<IO>(mut io: IO) -> io::Result<(bool, RewoundIo<IO>)>
where
    IO: AsyncRead + Unpin,
{
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && first[..length] == PREFACE[..length] {
        match io.read(&mut first[length..]).await? {
            0 => break,
            more => length += more,
        }
    }
    Ok((
        first == *PREFACE,
        RewoundIo {
            first: Bytes::copy_from_slice(&first[..length]),
            io,
        },
    ))
}

/// Reads the first byte of `io`; `None` at the end. The returned stream yields the byte again.
pub(super) async fn read_first_byte<IO>(mut io: IO) -> io::Result<(Option<u8>, RewoundIo<IO>)>
where
    IO: AsyncRead + Unpin,
{
    let mut first = [0];
    let length = io.read(&mut first).await?;
    let first = &first[..length];
    Ok((
        first.first().copied(),
        RewoundIo {
            first: Bytes::copy_from_slice(first),
            io,
        },
    ))
}

/// A stream that yields its first bytes again.
pub(super) struct RewoundIo<IO> {
    first: Bytes,
    io: IO,
}

impl<IO> RewoundIo<IO> {
    /// Whether the first bytes begin a TLS handshake record (RFC 8446 section 5.1), and not HTTP.
    pub(super) fn begins_with_tls(&self) -> bool {
        matches!(*self.first, [0x16] | [0x16, 0x03, ..])
    }

    /// Puts back `first`, all bytes that were read and not used.
    pub(super) fn rewind(&mut self, first: Bytes) {
        self.first = first;
    }
}

impl<IO: Readable> Readable for RewoundIo<IO> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.first.is_empty() {
            self.io.poll_readable(cx)
        } else {
            Poll::Ready(())
        }
    }
}

impl<IO: DownstreamIo> DownstreamIo for RewoundIo<IO> {
    fn reset_on_drop(&self) {
        self.io.reset_on_drop();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for RewoundIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let length = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for RewoundIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn detect(parts: &[&[u8]]) -> (bool, Vec<u8>) {
        let mut stream = in_parts(parts);
        let (http2, mut rewound) = detect_http2(&mut stream).await.unwrap();
        let mut all = Vec::new();
        rewound.read_to_end(&mut all).await.unwrap();
        (http2, all)
    }

    /// A stream that yields one part per read.
    fn in_parts<'a>(parts: &'a [&'a [u8]]) -> impl AsyncRead + Unpin + 'a {
        struct Parts<'a>(std::slice::Iter<'a, &'a [u8]>);
        impl AsyncRead for Parts<'_> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if let Some(part) = self.0.next() {
                    buf.put_slice(part);
                }
                Poll::Ready(Ok(()))
            }
        }
        Parts(parts.iter())
    }

    #[tokio::test]
    async fn the_preface_is_detected_in_parts() {
        assert_eq!(
            detect(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"more"]).await,
            (true, [&PREFACE[..], b"more"].concat())
        );
        assert_eq!(
            detect(&[b"PR", b"OPFIND / HTTP/1.1\r\n"]).await,
            (false, b"PROPFIND / HTTP/1.1\r\n".to_vec())
        );
        assert_eq!(
            detect(&[b"PRI * HTTP/2"]).await,
            (false, b"PRI * HTTP/2".to_vec())
        );
        assert_eq!(detect(&[]).await, (false, Vec::new()));
    }
}
