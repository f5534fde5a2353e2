//! Errors of API calls, with the two formats in which the API versions send them.

use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::response::{SandboxResponse, json, with_header};
use crate::gbg::ApiVersion;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The body broke off, or is not JSON.
    Malformed(String),
    /// A field is missing or of another type: its path, and the expected type.
    Field(&'static str, &'static str),
    /// The token is missing, expired, or of the wrong kind.
    Unauthorized,
    /// The named thing does not exist: a path, an instance or a task.
    NotFound(&'static str),
    /// The path only takes this method.
    Method(Method),
    TooLarge,
    /// An injected fault asks for this status.
    Injected(StatusCode),
}

impl ApiError {
    /// Returns the response in the format of `version`; outside both versions, in that of v1.
    pub(super) fn response(&self, version: Option<ApiVersion>) -> SandboxResponse {
        let body = match version {
            Some(ApiVersion::V2) => self.v2_body(),
            Some(ApiVersion::V1) | None => self.v1_body(),
        };
        let response = json(self.status(), &body);
        match self {
            // RFC 6750 section 3; GBG does not document it.
            ApiError::Unauthorized | ApiError::Injected(StatusCode::UNAUTHORIZED) => {
                with_header(response, WWW_AUTHENTICATE, "Bearer")
            }
            ApiError::Method(Method::GET) => with_header(response, ALLOW, "GET"),
            ApiError::Method(_) => with_header(response, ALLOW, "POST"),
            _ => response,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::Malformed(_) | ApiError::Field(..) => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::Injected(status) => *status,
        }
    }

    fn problem(&self) -> String {
        match self {
            ApiError::Malformed(problem) => problem.clone(),
            ApiError::Field(path, expected) => format!("{path}: expected {expected}"),
            ApiError::Unauthorized => "Authentication required".to_owned(),
            ApiError::NotFound(what) => format!("There is no such {what}"),
            ApiError::Method(method) => format!("This path only accepts {method}"),
            ApiError::TooLarge => "The body is too large".to_owned(),
            ApiError::Injected(status) => {
                format!("The sandbox was asked to respond with {}", status.as_u16())
            }
        }
    }

    /// Code 4002 is documented; the other codes and names, and all actions, are invented.
    fn v2_body(&self) -> Value {
        let code = match self {
            ApiError::Field(..) => "4002".to_owned(),
            _ => format!("{}0", self.status().as_u16()),
        };
        let (name, location, action) = match self {
            ApiError::Malformed(_) => ("SANDBOX_MALFORMED", "Body", "Send well-formed JSON"),
            ApiError::Field(..) => ("MISSING_FIELD", "Body", "Correct the request body"),
            ApiError::Unauthorized => (
                "SANDBOX_UNAUTHORIZED",
                "Authorization",
                "Send a valid bearer token",
            ),
            ApiError::NotFound(_) => (
                "SANDBOX_NOT_FOUND",
                "Body",
                "Start a journey and use its ids",
            ),
            ApiError::Method(_) => (
                "SANDBOX_METHOD_NOT_ALLOWED",
                "Path",
                "Use the documented method",
            ),
            ApiError::TooLarge => ("SANDBOX_TOO_LARGE", "Body", "Send less"),
            ApiError::Injected(_) => ("SANDBOX_FAULT", "Sandbox", "Clear the sandbox's faults"),
        };
        json!({"errors": [
            {"code": code, "name": name, "location": location, "problem": self.problem(), "action": action},
        ]})
    }

    /// The values of `error` are invented, after the `forbidden-error` of a service in GBG's
    /// family.
    fn v1_body(&self) -> Value {
        let status = self.status();
        let error = match self {
            ApiError::Injected(_) => "sandbox-fault",
            _ => status.canonical_reason().unwrap_or_default(),
        };
        let error = error.to_lowercase().replace(' ', "-") + "-error";
        json!({"status": status.as_u16(), "message": self.problem(), "error": error})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v2_body_lists_errors() {
        assert_eq!(
            ApiError::Field("context.config", "object").v2_body(),
            json!({"errors": [{
                "code": "4002", "name": "MISSING_FIELD", "location": "Body",
                "problem": "context.config: expected object", "action": "Correct the request body",
            }]})
        );
    }

    #[test]
    fn a_v1_body_has_status_message_and_error() {
        assert_eq!(
            ApiError::NotFound("path").v1_body(),
            json!({"status": 404, "message": "There is no such path", "error": "not-found-error"})
        );
    }

    #[test]
    fn a_response_names_the_scheme_or_method() {
        let response = ApiError::Unauthorized.response(Some(ApiVersion::V2));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        let response = ApiError::Method(Method::POST).response(Some(ApiVersion::V1));
        assert_eq!(response.headers()[ALLOW], "POST");
    }
}
