//! Entry points of the fuzz targets: they parse responses without a connection.

use super::{TokenResponse, response};

/// Parses the body of a success.
///
/// # Errors
/// A fixed text.
pub fn parse_token_response(body: &[u8]) -> Result<TokenResponse, &'static str> {
    response::parse_token_response(body)
}

/// The code of an error response.
pub fn parse_error_code(body: &[u8]) -> Option<&'static str> {
    response::parse_error_code(body)
}
