//! What the fuzz targets reach of this room: an answer without the endpoint that sends it, which
//! costs a connection.

use super::{Grant, response};

/// Reads a 200 answer.
///
/// # Errors
/// One sentence on what is wrong with it.
pub fn parse_grant(body: &[u8]) -> Result<Grant, &'static str> {
    response::parse_grant(body)
}

/// The code of an error answer.
pub fn parse_error(body: &[u8]) -> Option<&'static str> {
    response::parse_error(body)
}
