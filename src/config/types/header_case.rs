//! Case of field names over HTTP/1.

use serde::Deserialize;

/// How the field names of an HTTP/1 answer are spelt; they mean the same in any case (RFC 9110
/// section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderCase {
    /// In lower case.
    Lower,
    /// As the API spelt them, and those of our own with capitals.
    Preserve,
}
