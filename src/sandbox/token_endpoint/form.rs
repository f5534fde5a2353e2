//! Form of a token request.

use std::borrow::Cow;
use std::collections::HashMap;

use url::form_urlencoded;

use super::error::TokenEndpointError;

/// The fields of a form. An empty field counts as missing (RFC 6749 section 3.2).
pub(super) struct TokenForm<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> TokenForm<'a> {
    /// # Errors
    /// When a field is repeated (RFC 6749 section 3.2). The error text is invented.
    pub(super) fn parse(form: &'a [u8]) -> Result<Self, TokenEndpointError> {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if fields.contains_key(&name) {
                return Err(TokenEndpointError::bad_request(
                    "invalid_request",
                    format!("{name} is repeated"),
                ));
            }
            if !value.is_empty() {
                fields.insert(name, value);
            }
        }
        Ok(TokenForm(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Cow::as_ref)
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, TokenEndpointError> {
        self.get(name).ok_or_else(|| {
            TokenEndpointError::bad_request("invalid_request", format!("{name} is required"))
        })
    }
}

/// Decodes one form value. Unencoded `&` and `=` stand for themselves: not every client encodes
/// them.
pub(super) fn decode_value(text: &str) -> String {
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, _)| name)
        .collect()
}
