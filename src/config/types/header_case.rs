//! Case of field names over HTTP/1.

use crate::config::source::setting::choice;

/// Case of the field names of an HTTP/1 response; it has no meaning (RFC 9110 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderCase {
    /// Lower case.
    Lower,
    /// As the API spelt them, and our own with capitals.
    Preserve,
}

choice!(HeaderCase, "header case", { "lower" => HeaderCase::Lower, "preserve" => HeaderCase::Preserve });
