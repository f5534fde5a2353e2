//! Tells the bytes of bodies from all else that crosses an HTTP/2 connection: only data in DATA
//! frames (RFC 9113 section 6.1) is progress. PING, WINDOW_UPDATE, SETTINGS, PRIORITY, padding and
//! frames of an unknown type are not.

const HEAD_BYTES: usize = 9;

const PREFACE_BYTES: usize = 24;

const DATA: u8 = 0;

const PADDED: u8 = 8;

/// Reads the frames of one direction, from its first byte on.
#[derive(Debug, Default)]
pub(super) struct DataFrames {
    /// The head of the frame that comes next, as far as it has come.
    head: [u8; HEAD_BYTES],
    head_length: usize,
    /// How much of the frame's payload is to come.
    left: usize,
    /// How much data is among that; it comes before the padding.
    data_left: usize,
    /// Whether the length of the padding comes next.
    is_padded: bool,
}

impl DataFrames {
    /// Those that a client sends, after its preface.
    pub(super) fn of_client() -> Self {
        DataFrames {
            left: PREFACE_BYTES,
            ..DataFrames::default()
        }
    }

    /// Those that a server sends.
    pub(super) fn of_server() -> Self {
        DataFrames::default()
    }

    /// Whether `bytes`, which follow those before, hold data.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
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

    /// Reads a part of a frame's head; how much that was.
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
    fn only_data_counts() {
        let ping = frame(6, 0, &[0; 8]);
        let mut frames = DataFrames::of_server();
        for nothing in [
            &ping,
            &frame(8, 0, &[0; 4]),
            &frame(4, 0, &[]),
            &frame(0x42, PADDED, b"abc"),
            &frame(DATA, 0, b""),
            &frame(DATA, PADDED, &[3, 0, 0, 0]),
            &frame(DATA, PADDED, &[200, 0, 0, 0]),
        ] {
            assert!(!frames.read(nothing), "{nothing:?}");
        }
        assert!(frames.read(&[&ping[..], &frame(DATA, 0, b"a"), &ping].concat()));
        assert!(frames.read(&frame(DATA, PADDED, &[2, b'a', 0, 0])));
        assert!(!frames.read(&ping));
    }

    #[test]
    fn frames_are_read_in_whatever_pieces_they_come() {
        let settings = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, &[0; 6]),
        ]
        .concat();
        let data = frame(DATA, PADDED, &[3, b'a', b'b', 0, 0, 0]);
        let bytes = [&settings[..], &data, &frame(1, 0, &[0; 5])].concat();
        let mut frames = DataFrames::of_client();
        let counted: Vec<_> = bytes.iter().map(|byte| frames.read(&[*byte])).collect();
        let first = settings.len() + HEAD_BYTES + 1;
        let expected: Vec<_> = (0..bytes.len())
            .map(|at| at == first || at == first + 1)
            .collect();
        assert_eq!(counted, expected);
    }
}
