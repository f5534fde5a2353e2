//! Form of a token request: the grant, and the client authentication (RFC 6749 section 2.3, RFC
//! 7523, RFC 8705).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::jwt;
use super::sensitive_header::sensitive_header;
use crate::config::{Credentials, Proof, Token};
use crate::error::BoxError;

/// The fields of a token request, and its `Authorization`.
pub(super) struct TokenRequestForm<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
    /// `Authorization` for HTTP Basic: client id and secret, both form-encoded (RFC 6749 section
    /// 2.3.1).
    pub(super) basic: Option<HeaderValue>,
}

impl<'a> TokenRequestForm<'a> {
    /// The form for the grant `client_credentials` (RFC 6749 section 4.4.2), or `password` if there
    /// is a user (section 4.3.2).
    ///
    /// # Errors
    /// When the client's key cannot sign.
    pub(super) fn new(config: &'a Token, credentials: &'a Credentials) -> Result<Self, BoxError> {
        let id = &credentials.client_id;
        let mut fields: Vec<(&str, Cow<'_, str>)> = Vec::new();
        match &credentials.user {
            None => fields.push(("grant_type", "client_credentials".into())),
            Some((name, password)) => fields.extend([
                ("grant_type", "password".into()),
                ("username", name.into()),
                ("password", password.expose().into()),
            ]),
        }
        if !config.scope.is_empty() {
            fields.push(("scope", (&config.scope).into()));
        }
        fields.extend(
            config
                .params
                .iter()
                .map(|(name, value)| (name.as_str(), value.expose().into())),
        );
        let mut basic = None;
        match &credentials.proof {
            Proof::Post(secret) => {
                fields.extend([
                    ("client_id", id.into()),
                    ("client_secret", secret.expose().into()),
                ]);
            }
            Proof::Basic(secret) => {
                let pair = Zeroizing::new(format!(
                    "{}:{}",
                    *form_encode(id),
                    *form_encode(secret.expose())
                ));
                let pair = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                basic = Some(
                    sensitive_header(["Basic ", &pair])
                        .ok_or("id and secret cannot be a header field")?,
                );
            }
            Proof::Assertion(key) => fields.extend([
                ("client_id", id.into()),
                ("client_assertion_type", jwt::ASSERTION_TYPE.into()),
                (
                    "client_assertion",
                    jwt::sign(key, id, config.endpoint.url().as_str())?.into(),
                ),
            ]),
            Proof::Certificate => fields.push(("client_id", id.into())),
        }
        Ok(TokenRequestForm { fields, basic })
    }

    /// The fields as `application/x-www-form-urlencoded`, in memory that is zeroed on drop.
    pub(super) fn body(&self) -> Bytes {
        // An encoded byte has at most three characters; each field adds "=" and "&".
        let capacity = self
            .fields
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut body = form_urlencoded::Serializer::new(String::with_capacity(capacity));
        body.extend_pairs(&self.fields);
        Bytes::from_owner(Zeroizing::new(body.finish().into_bytes()))
    }
}

fn form_encode(text: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded() {
        assert_eq!(*form_encode("a b+c:d/é"), "a+b%2Bc%3Ad%2F%C3%A9");
    }
}
