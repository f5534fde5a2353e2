//! Errors of API calls, with the two formats in which the API versions send them.

use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::response::{SandboxResponse, json};
use crate::gbg::ApiVersion;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The body broke off, or is not JSON.
    Malformed(String),
    /// A field is missing or of another type: its path, and the expected type.
    Field(&'static str, &'static str),
    /// This header field is missing.
    Header(&'static str),
    /// The token is missing, expired, of the wrong kind, or bound to another instance.
    Unauthorized,
    /// The token is valid, but not allowed to make the call: the reason.
    Forbidden(&'static str),
    /// The named thing does not exist: a path, an instance, a task, an address or a scenario.
    NotFound(&'static str),
    /// The path only takes these methods, as the Allow field lists them.
    Method(&'static str),
    /// A field does not fit the state of the journey: its path, and the reason.
    Outdated(&'static str, &'static str),
    /// The journey has ended.
    NotActive,
    /// The call conflicts with another one: the reason.
    Conflict(&'static str),
    TooLarge,
    /// The call is well-formed and cannot be served: the reason.
    Unprocessable(&'static str),
    /// The journey has had too many calls; it takes the next one after so many seconds.
    TooManyRequests(u64),
    /// The store of scenarios is full.
    Full,
    /// An injected fault asks for this status.
    Injected(StatusCode),
}

impl ApiError {
    /// Returns the response in the format of `version`; outside both versions, in that of v1.
    pub(super) fn response(&self, version: Option<ApiVersion>) -> SandboxResponse {
        let parts = self.describe();
        let body = match version {
            Some(ApiVersion::V2) => self.v2_body(&parts),
            Some(ApiVersion::V1) | None => self.v1_body(&parts),
        };
        let mut response = json(parts.status, &body);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            // RFC 6750 section 3; GBG does not document it.
            ApiError::Unauthorized | ApiError::Injected(StatusCode::UNAUTHORIZED) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            ApiError::Method(allow) => Some((ALLOW, HeaderValue::from_static(allow))),
            ApiError::TooManyRequests(seconds) => Some((RETRY_AFTER, HeaderValue::from(*seconds))),
            _ => None,
        }
    }

    /// The names MISSING_FIELD, INVALID_FIELD and JOURNEY_NOT_ACTIVE are documented; the other names,
    /// and all actions, are invented.
    #[rustfmt::skip]
    fn describe(&self) -> ErrorParts {
        use ErrorParts as P;
        match self {
            ApiError::Malformed(problem) => P::new(400, "SANDBOX_MALFORMED", "Body", problem, "Send well-formed JSON"),
            ApiError::Field(path, expected) => {
                P::new(400, "MISSING_FIELD", "Body", format!("{path}: expected {expected}"), "Correct the request body")
            }
            ApiError::Header(name) => {
                P::new(400, "MISSING_FIELD", "Header", format!("{name}: expected a header field"), "Add the header field")
            }
            ApiError::Unauthorized => {
                P::new(401, "SANDBOX_UNAUTHORIZED", "Authorization", "Authentication required", "Send a valid bearer token")
            }
            ApiError::Forbidden(problem) => P::new(403, "SANDBOX_FORBIDDEN", "Authorization", *problem, "Send another token"),
            ApiError::NotFound(what) => {
                P::new(404, "SANDBOX_NOT_FOUND", "Body", format!("There is no such {what}"), "Start a journey and use its ids")
            }
            ApiError::Method(allow) => {
                P::new(405, "SANDBOX_METHOD_NOT_ALLOWED", "Path", format!("This path only accepts {allow}"), "Use the documented method")
            }
            ApiError::Outdated(path, problem) => {
                P::new(409, "INVALID_FIELD", "Body", format!("{path}: {problem}"), "Fetch the interaction again")
            }
            ApiError::NotActive => P::new(409, "JOURNEY_NOT_ACTIVE", "Flow", "The journey is not active", "Start a new journey"),
            ApiError::Conflict(problem) => P::new(409, "SANDBOX_CONFLICT", "Request", *problem, "Read the current state first"),
            ApiError::TooLarge => P::new(413, "SANDBOX_TOO_LARGE", "Body", "The body is too large", "Send less"),
            ApiError::Unprocessable(problem) => P::new(422, "SANDBOX_UNPROCESSABLE", "Request", *problem, "Correct the request"),
            ApiError::TooManyRequests(_) => {
                P::new(429, "SANDBOX_TOO_MANY_REQUESTS", "Service", "The journey has had too many calls", "Wait for the time in Retry-After")
            }
            ApiError::Full => P::new(503, "SANDBOX_FULL", "Service", "The sandbox stores no more scenarios", "Delete a scenario"),
            ApiError::Injected(status) => {
                let status = status.as_u16();
                let problem = format!("The sandbox was asked to respond with {status}");
                P::new(status, "SANDBOX_FAULT", "Service", problem, "Clear the sandbox's faults")
            }
        }
    }

    /// Codes other than 4002, 4003 and 4009 are invented.
    fn v2_body(&self, parts: &ErrorParts) -> Value {
        let code = match self {
            ApiError::Field(..) | ApiError::Header(_) => "4002".to_owned(),
            ApiError::Outdated(..) => "4003".to_owned(),
            ApiError::NotActive => "4009".to_owned(),
            _ => format!("{}0", parts.status.as_u16()),
        };
        json!({"errors": [{
            "code": code, "name": parts.name, "location": parts.location,
            "problem": parts.problem, "action": parts.action,
        }]})
    }

    /// The values of `error` are invented, after the `forbidden-error` of a service in GBG's
    /// family.
    fn v1_body(&self, parts: &ErrorParts) -> Value {
        let status = parts.status;
        let error = match self {
            ApiError::Injected(_) => "sandbox-fault",
            _ => status.canonical_reason().unwrap_or_default(),
        };
        let error = error.to_lowercase().replace(' ', "-") + "-error";
        json!({"status": status.as_u16(), "message": parts.problem, "error": error})
    }
}

/// The parts of an error, as v2 lists them.
struct ErrorParts {
    status: StatusCode,
    name: &'static str,
    location: &'static str,
    problem: String,
    action: &'static str,
}

impl ErrorParts {
    fn new(
        status: u16,
        name: &'static str,
        location: &'static str,
        problem: impl Into<String>,
        action: &'static str,
    ) -> Self {
        ErrorParts {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            name,
            location,
            problem: problem.into(),
            action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn v2(error: ApiError) -> (u16, Value) {
        use http_body_util::BodyExt;
        let response = error.response(Some(ApiVersion::V2));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_v2_body_lists_errors() {
        assert_eq!(
            v2(ApiError::Field("context.config", "object")).await,
            (
                400,
                json!({"errors": [{
                    "code": "4002", "name": "MISSING_FIELD", "location": "Body",
                    "problem": "context.config: expected object", "action": "Correct the request body",
                }]})
            )
        );
    }

    #[tokio::test]
    async fn documented_codes_are_distinct() {
        for (error, status, code, name) in [
            (
                ApiError::Header("X-Instance-Id"),
                400,
                "4002",
                "MISSING_FIELD",
            ),
            (ApiError::Outdated("a", "b"), 409, "4003", "INVALID_FIELD"),
            (ApiError::NotActive, 409, "4009", "JOURNEY_NOT_ACTIVE"),
            (ApiError::Conflict("a"), 409, "4090", "SANDBOX_CONFLICT"),
        ] {
            let (got, body) = v2(error).await;
            let body = &body["errors"][0];
            assert_eq!(
                (got, &body["code"], &body["name"]),
                (status, &json!(code), &json!(name))
            );
        }
    }

    #[test]
    fn a_v1_body_has_status_message_and_error() {
        let error = ApiError::NotFound("path");
        assert_eq!(
            error.v1_body(&error.describe()),
            json!({"status": 404, "message": "There is no such path", "error": "not-found-error"})
        );
    }

    #[test]
    fn a_response_has_the_field_of_its_status() {
        for (error, status, name, value) in [
            (ApiError::Unauthorized, 401, WWW_AUTHENTICATE, "Bearer"),
            (ApiError::Method("GET, POST"), 405, ALLOW, "GET, POST"),
            (ApiError::TooManyRequests(7), 429, RETRY_AFTER, "7"),
        ] {
            let response = error.response(Some(ApiVersion::V2));
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[name], value);
        }
    }
}
