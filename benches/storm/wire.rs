//! Bodies derived from ids: every byte follows from the id, the attempt and the length, which the
//! first 16 bytes and three fields declare.

use http::HeaderMap;

/// Field with the id of a request and its response.
pub(crate) const ID: &str = "x-storm-id";
/// Field with the length of the complete body, whatever the framing says.
pub(crate) const LENGTH: &str = "x-storm-length";
/// Field with the number of the exchange that a response belongs to.
pub(crate) const ATTEMPT: &str = "x-storm-attempt";

/// Shortest non-empty body: its first bytes declare its tag.
pub(crate) const MIN_LENGTH: usize = 16;

const BLOCK_BYTES: usize = 256;

/// The attempt that a request body declares; responses count from 1.
pub(crate) const REQUEST: u32 = 0;
/// The attempt of a response that no request asked for.
pub(crate) const UNSOLICITED: u32 = u32::MAX;

/// The identity that a message declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) id: u64,
    pub(crate) attempt: u32,
    pub(crate) length: usize,
}

/// The bytes of a body, compared with its tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// A proper prefix of the body.
    #[default]
    Torn,
    /// All of the body.
    Whole,
    /// Bytes of another body.
    Foreign,
}

impl Tag {
    /// Parses the tag of a request.
    pub(crate) fn from_request(fields: &HeaderMap) -> Option<Self> {
        Some(Tag {
            id: number(fields, ID)?,
            attempt: REQUEST,
            length: number(fields, LENGTH)? as usize,
        })
    }

    /// Parses the tag of a response.
    pub(crate) fn from_response(fields: &HeaderMap) -> Option<Self> {
        let attempt = u32::try_from(number(fields, ATTEMPT)?).ok()?;
        Some(Tag {
            attempt,
            ..Tag::from_request(fields)?
        })
    }

    /// The fields that declare the tag.
    pub(crate) fn fields(&self) -> [(&'static str, u64); 3] {
        [
            (ID, self.id),
            (LENGTH, self.length as u64),
            (ATTEMPT, self.attempt.into()),
        ]
    }

    /// The complete body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.length + BLOCK_BYTES);
        if self.length >= MIN_LENGTH {
            body.extend(self.id.to_be_bytes());
            body.extend(self.attempt.to_be_bytes());
            body.extend((self.length as u32).to_be_bytes());
        }
        // Blocks that differ in their first bytes are cheap without optimization too.
        let key = mix(self.id, self.attempt.into());
        let mut block = [0; BLOCK_BYTES];
        for (index, bytes) in (0..).zip(block.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&mix(key, index).to_be_bytes());
        }
        for index in 0.. {
            if body.len() >= self.length {
                break;
            }
            block[..8].copy_from_slice(&mix(!key, index).to_be_bytes());
            body.extend_from_slice(&block);
        }
        body.truncate(self.length);
        body
    }

    /// Compares `bytes` with the complete body.
    pub(crate) fn inspect(&self, bytes: &[u8]) -> Content {
        let whole = self.body();
        match whole.strip_prefix(bytes) {
            Some([]) => Content::Whole,
            Some(_) => Content::Torn,
            None => Content::Foreign,
        }
    }
}

fn number(fields: &HeaderMap, name: &str) -> Option<u64> {
    fields.get(name)?.to_str().ok()?.parse().ok()
}

/// A pseudo-random number that follows from both (SplitMix64).
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed ^ index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
