//! Scanner for DATA frames (RFC 9113 section 6.1) in the bytes of an HTTP/2 connection: only their
//! data is progress. PING, WINDOW_UPDATE, SETTINGS, PRIORITY, padding and frames of unknown types
//! are not.

const HEAD_BYTES: usize = 9;

const PREFACE_BYTES: usize = 24;

const DATA: u8 = 0;

const PADDED: u8 = 8;

/// Scans one direction of a connection, from its first byte on.
#[derive(Debug, Default)]
pub(super) struct DataFrameScanner {
    /// The received part of the next frame head.
    head: [u8; HEAD_BYTES],
    head_length: usize,
    /// Payload bytes of the current frame that are still to arrive.
    left: usize,
    /// Data bytes among those; padding follows them.
    data_left: usize,
    /// Whether the next byte is the length of the padding.
    is_padded: bool,
}

impl DataFrameScanner {
    /// Scans what a client sends, after its preface.
    pub(super) fn client() -> Self {
        DataFrameScanner {
            left: PREFACE_BYTES,
            ..DataFrameScanner::default()
        }
    }

    /// Scans what a server sends.
    pub(super) fn server() -> Self {
        DataFrameScanner::default()
    }

    /// Returns whether `bytes`, the next of the connection, contain data.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = false;
        while let Some(&first) = bytes.first() {
            let length = match self.left {
                0 => self.read_head(bytes),
                _ if self.is_padded => {
                    self.is_padded = false;
                    self.left -= 1;
                    self.data_left = self.left.saturating_sub(usize::from(first));
                    1
                }
                left => {
                    let length = left.min(bytes.len());
                    has_data |= self.data_left > 0;
                    self.data_left = self.data_left.saturating_sub(length);
                    self.left -= length;
                    length
                }
            };
            bytes = &bytes[length..];
        }
        has_data
    }

    /// Reads a part of a frame head. Returns its length.
    fn read_head(&mut self, bytes: &[u8]) -> usize {
        let length = (HEAD_BYTES - self.head_length).min(bytes.len());
        self.head[self.head_length..][..length].copy_from_slice(&bytes[..length]);
        self.head_length += length;
        if self.head_length == HEAD_BYTES {
            let [a, b, c, kind, flags, ..] = self.head;
            self.head_length = 0;
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            self.is_padded = kind == DATA && flags & PADDED != 0;
            self.data_left = if kind == DATA && !self.is_padded {
                self.left
            } else {
                0
            };
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn only_data_is_found() {
        let ping = frame(6, 0, &[0; 8]);
        let mut frames = DataFrameScanner::server();
        for nothing in [
            &ping,
            &frame(8, 0, &[0; 4]),
            &frame(4, 0, &[]),
            &frame(0x42, PADDED, b"abc"),
            &frame(DATA, 0, b""),
            &frame(DATA, PADDED, &[3, 0, 0, 0]),
            &frame(DATA, PADDED, &[200, 0, 0, 0]),
        ] {
            assert!(!frames.scan(nothing), "{nothing:?}");
        }
        assert!(frames.scan(&[&ping[..], &frame(DATA, 0, b"a"), &ping].concat()));
        assert!(frames.scan(&frame(DATA, PADDED, &[2, b'a', 0, 0])));
        assert!(!frames.scan(&ping));
    }

    #[test]
    fn frames_may_arrive_byte_by_byte() {
        let settings = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, &[0; 6]),
        ]
        .concat();
        let data = frame(DATA, PADDED, &[3, b'a', b'b', 0, 0, 0]);
        let bytes = [&settings[..], &data, &frame(1, 0, &[0; 5])].concat();
        let mut frames = DataFrameScanner::client();
        let counted: Vec<_> = bytes.iter().map(|byte| frames.scan(&[*byte])).collect();
        let first = settings.len() + HEAD_BYTES + 1;
        let expected: Vec<_> = (0..bytes.len())
            .map(|at| at == first || at == first + 1)
            .collect();
        assert_eq!(counted, expected);
    }
}
