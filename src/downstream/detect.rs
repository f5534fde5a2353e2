//! Tells HTTP/2 with prior knowledge from HTTP/1 by the first bytes of a connection (RFC 9113
//! section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::DownstreamIo;
use crate::rt::readiness::Readable;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads from `io` until it is clear which HTTP it speaks; true for HTTP/2. What was read is read
/// again from the stream that comes back.
pub(super) async fn is_http2<IO>(mut io: IO) -> io::Result<(bool, Rewound<IO>)>
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
        Rewound {
            first: Bytes::copy_from_slice(&first[..length]),
            io,
        },
    ))
}

/// Reads the first byte of `io`, which is read again from the stream that comes back; `None` at its
/// end.
pub(super) async fn first_byte<IO>(mut io: IO) -> io::Result<(Option<u8>, Rewound<IO>)>
where
    IO: AsyncRead + Unpin,
{
    let mut first = [0];
    let length = io.read(&mut first).await?;
    let first = &first[..length];
    Ok((
        first.first().copied(),
        Rewound {
            first: Bytes::copy_from_slice(first),
            io,
        },
    ))
}

/// A stream whose first bytes are read once more.
pub(super) struct Rewound<IO> {
    first: Bytes,
    io: IO,
}

impl<IO> Rewound<IO> {
    /// Whether a TLS handshake record begins with what was read (RFC 8446 section 5.1): no HTTP
    /// does.
    pub(super) fn begins_with_tls(&self) -> bool {
        matches!(*self.first, [0x16] | [0x16, 0x03, ..])
    }

    /// Gives `first` back, all of what was read and not used.
    pub(super) fn rewind(&mut self, first: Bytes) {
        self.first = first;
    }
}

impl<IO: Readable> Readable for Rewound<IO> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.first.is_empty() {
            true => self.io.poll_readable(cx),
            false => Poll::Ready(()),
        }
    }
}

impl<IO: DownstreamIo> DownstreamIo for Rewound<IO> {
    fn reset_on_drop(&self) {
        self.io.reset_on_drop();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
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

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
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

    async fn told(parts: &[&[u8]]) -> (bool, Vec<u8>) {
        let mut stream = in_parts(parts);
        let (http2, mut rewound) = is_http2(&mut stream).await.unwrap();
        let mut all = Vec::new();
        rewound.read_to_end(&mut all).await.unwrap();
        (http2, all)
    }

    /// A stream that gives one part a read.
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
    async fn the_preface_is_known_in_pieces_and_nothing_is_lost() {
        assert_eq!(
            told(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"more"]).await,
            (true, [&PREFACE[..], b"more"].concat())
        );
        assert_eq!(
            told(&[b"PR", b"OPFIND / HTTP/1.1\r\n"]).await,
            (false, b"PROPFIND / HTTP/1.1\r\n".to_vec())
        );
        assert_eq!(
            told(&[b"PRI * HTTP/2"]).await,
            (false, b"PRI * HTTP/2".to_vec())
        );
        assert_eq!(told(&[]).await, (false, Vec::new()));
    }
}
