//! Images of submissions: random base64, made once and shared by all requests.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use bytesize::ByteSize;

/// Number of different lengths.
const LENGTH_COUNT: usize = 6;

/// The lengths of images, such as `100KB..5MB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    least: u64,
    most: u64,
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (
            least.parse::<ByteSize>()?.as_u64(),
            most.parse::<ByteSize>()?.as_u64(),
        );
        match 0 < least && least <= most {
            true => Ok(Lengths { least, most }),
            false => Err("write a length, or the least and the most like 100KB..5MB".to_owned()),
        }
    }
}

/// Images of six lengths in geometric progression.
pub(crate) struct Images {
    images: Vec<Bytes>,
    turn: AtomicUsize,
}

impl Images {
    pub(crate) fn new(lengths: Lengths) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut random = fastrand::Rng::with_seed(1);
        let longest: Bytes = (0..lengths.most)
            .map(|_| ALPHABET[random.usize(..64)])
            .collect();
        let growth = lengths.most as f64 / lengths.least as f64;
        let length = |index: usize| {
            let share = index as f64 / (LENGTH_COUNT - 1) as f64;
            ((lengths.least as f64 * growth.powf(share)) as usize).clamp(1, longest.len())
        };
        let images = (0..LENGTH_COUNT)
            .map(|index| longest.slice(..length(index)))
            .collect();
        Images {
            images,
            turn: AtomicUsize::new(0),
        }
    }

    /// The next image, in turn.
    pub(crate) fn next(&self) -> Bytes {
        self.images[self.turn.fetch_add(1, Relaxed) % LENGTH_COUNT].clone()
    }
}
