//! Flat copy of a body, so that what is held is what is charged.
//!
//! A chunk that hyper hands out is a slice of a read buffer of 8 to 128 KiB: to keep the slice
//! keeps that buffer. A caller that sends one byte a chunk would have 64 KiB of kept chunks hold 3
//! MB.

/// The bytes of a body, up to a limit.
#[derive(Debug, Default)]
pub(super) struct BodyBuffer {
    bytes: Vec<u8>,
    limit: usize,
}

/// The body is longer than its buffer may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl BodyBuffer {
    /// An empty buffer that holds at most `limit` bytes. It allocates as bytes come.
    pub(super) fn new(limit: usize) -> Self {
        BodyBuffer {
            bytes: Vec::new(),
            limit,
        }
    }

    /// Appends `chunk`.
    ///
    /// # Errors
    /// `TooLong` when the limit would be exceeded; then nothing is appended.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        let length = self.bytes.len().checked_add(chunk.len()).ok_or(TooLong)?;
        if length > self.limit {
            return Err(TooLong);
        }
        if length > self.bytes.capacity() {
            // Twice as much, so that single bytes are not copied each time; never more than the
            // limit.
            let capacity = (self.bytes.capacity() * 2).clamp(length, self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// The bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without their limit.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_hold_what_they_charge() {
        let mut buffer = BodyBuffer::new(64 << 10);
        for byte in 0..64 << 10 {
            buffer.push(&[byte as u8]).unwrap();
        }
        assert_eq!(
            (buffer.bytes.len(), buffer.bytes.capacity()),
            (64 << 10, 64 << 10)
        );
        assert_eq!(buffer.push(b"x"), Err(TooLong));
        assert_eq!(buffer.bytes().len(), 64 << 10);
    }

    #[test]
    fn one_chunk_takes_one_allocation_of_its_size() {
        let mut buffer = BodyBuffer::new(64 << 10);
        buffer.push(&[]).unwrap();
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.push(&[7; 1000]).unwrap();
        assert_eq!(buffer.bytes.capacity(), 1000);
        buffer.push(&[7; 100]).unwrap();
        assert_eq!(buffer.bytes.capacity(), 2000);
    }

    #[test]
    fn capacity_never_exceeds_the_limit() {
        let mut buffer = BodyBuffer::new(10);
        for chunk in [&b"0123456"[..], b"7"] {
            buffer.push(chunk).unwrap();
        }
        assert_eq!(buffer.bytes.capacity(), 10);
        assert_eq!(BodyBuffer::new(0).push(b"x"), Err(TooLong));
    }
}
