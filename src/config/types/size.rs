//! Sizes: a number of bytes and its unit, such as `"64KiB"`, and the bounds that some keys have.

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error as _};

/// A number of bytes, such as `"64KiB"`.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let bytes = match &value {
        toml::Value::Integer(0) => Some(0),
        // 64 may mean bytes, or be a slip: the unit is to be written.
        toml::Value::String(text)
            if text == "0" || !text.ends_with(|last: char| last.is_ascii_digit()) =>
        {
            text.parse::<ByteSize>().ok().map(|size| size.as_u64())
        }
        _ => None,
    };
    bytes.ok_or_else(|| {
        D::Error::custom("no size; write a number and its unit, such as \"64KiB\" or \"5MiB\"")
    })
}

/// A size of all header fields together: with the request line they fit into what is held of a
/// connection.
pub(crate) fn header_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match bytes(deserializer)? {
        bytes @ 1..=MAX_HEADER_BYTES => Ok(bytes),
        _ => Err(D::Error::custom(
            "the header fields must be given from 1B to 96KiB",
        )),
    }
}

/// A size of a target.
pub(crate) fn target_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match bytes(deserializer)? {
        bytes @ 1..=MAX_TARGET_BYTES => Ok(bytes),
        _ => Err(D::Error::custom(
            "the target must be given from 1B to 24KiB",
        )),
    }
}

/// Together they are a head, of which no more than 128 KiB is held.
const MAX_HEADER_BYTES: u64 = 96 << 10;
const MAX_TARGET_BYTES: u64 = 24 << 10;

/// A number of header fields, as far as the parser takes them.
pub(crate) fn field_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=100 => Ok(count),
        _ => Err(D::Error::custom(
            "the number of fields must be from 1 to 100",
        )),
    }
}
