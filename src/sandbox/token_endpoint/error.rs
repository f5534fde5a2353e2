//! Error responses of the token endpoint (RFC 6749 section 5.2).

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde::Serialize;

use super::super::response::{SandboxResponse, json_text, with_header};

/// The fields are in PingFederate's order: the description comes first.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct TokenEndpointError {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
    pub(super) error: &'static str,
    #[serde(skip)]
    status: StatusCode,
    /// True for a client that used Basic: the response repeats the scheme.
    #[serde(skip)]
    challenge: bool,
}

impl TokenEndpointError {
    pub(super) fn bad_request(error: &'static str, description: impl Into<String>) -> Self {
        TokenEndpointError {
            error_description: Some(description.into()),
            error,
            status: StatusCode::BAD_REQUEST,
            challenge: false,
        }
    }

    pub(super) fn unsupported_grant_type() -> Self {
        TokenEndpointError {
            error_description: None,
            ..TokenEndpointError::bad_request("unsupported_grant_type", "")
        }
    }

    pub(super) fn invalid_client(challenge: bool) -> Self {
        TokenEndpointError {
            status: StatusCode::UNAUTHORIZED,
            challenge,
            ..TokenEndpointError::bad_request(
                "invalid_client",
                "Invalid client or client credentials",
            )
        }
    }

    /// The body, with a line end after it as PingFederate sends it.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\r\n"
    }

    pub(super) fn response(&self) -> SandboxResponse {
        let response = json_text(self.status, self.text());
        if self.challenge {
            with_header(response, WWW_AUTHENTICATE, r#"Basic realm="sandbox""#)
        } else {
            response
        }
    }
}
