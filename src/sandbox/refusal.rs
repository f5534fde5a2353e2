//! Why an API call is refused; the two API versions tell it in different forms.

use http::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::json;

use super::response::{Answer, json, with};
use crate::gbg::ApiVersion;

/// Why an API call is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The body did not arrive whole, or is no JSON.
    Malformed(String),
    /// A field is missing, or not of its type: its path, and what it has to be.
    Field(&'static str, &'static str),
    /// No token, none that is alive, or one of the wrong kind.
    Unauthorized,
    /// There is no such thing: a path, an instance, a task.
    NotFound(&'static str),
    /// The path takes this method only.
    Method(Method),
    /// The body is larger than the sandbox takes.
    TooLarge,
    /// The sandbox was told to answer with this status.
    Ordered(StatusCode),
}

impl Refusal {
    /// The answer in the form of `version`; outside both versions, in that of the first.
    pub(super) fn answer(&self, version: Option<ApiVersion>) -> Answer {
        let body = match version {
            Some(ApiVersion::V2) => self.in_v2(),
            Some(ApiVersion::V1) | None => self.in_v1(),
        };
        let answer = json(self.status(), &body);
        match self {
            // RFC 6750 section 3; whether GBG sends it is not documented.
            Refusal::Unauthorized | Refusal::Ordered(StatusCode::UNAUTHORIZED) => {
                with(answer, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Refusal::Method(Method::GET) => with(answer, ALLOW, HeaderValue::from_static("GET")),
            Refusal::Method(_) => with(answer, ALLOW, HeaderValue::from_static("POST")),
            _ => answer,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) | Refusal::Field(..) => StatusCode::BAD_REQUEST,
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Ordered(status) => *status,
        }
    }

    fn problem(&self) -> String {
        match self {
            Refusal::Malformed(problem) => problem.clone(),
            Refusal::Field(path, expected) => format!("{path}: expected {expected}"),
            Refusal::Unauthorized => "Authentication required".to_owned(),
            Refusal::NotFound(what) => format!("There is no such {what}"),
            Refusal::Method(method) => format!("This path takes {method} only"),
            Refusal::TooLarge => "The body is too large".to_owned(),
            Refusal::Ordered(status) => {
                format!("The sandbox was told to answer with {}", status.as_u16())
            }
        }
    }

    /// Only 4002 is documented; the other codes and names, and all actions, are invented.
    fn in_v2(&self) -> serde_json::Value {
        let ordered = format!("{}0", self.status().as_u16());
        let (code, name, location, action) = match self {
            Refusal::Malformed(_) => ("4000", "SANDBOX_MALFORMED", "Body", "Send well-formed JSON"),
            Refusal::Field(..) => ("4002", "MISSING_FIELD", "Body", "Correct the request body"),
            Refusal::Unauthorized => (
                "4010",
                "SANDBOX_UNAUTHORIZED",
                "Authorization",
                "Send a valid bearer token",
            ),
            Refusal::NotFound(_) => (
                "4040",
                "SANDBOX_NOT_FOUND",
                "Body",
                "Start a journey and use its ids",
            ),
            Refusal::Method(_) => (
                "4050",
                "SANDBOX_METHOD_NOT_ALLOWED",
                "Path",
                "Use the documented method",
            ),
            Refusal::TooLarge => ("4130", "SANDBOX_TOO_LARGE", "Body", "Send less"),
            Refusal::Ordered(_) => (
                ordered.as_str(),
                "SANDBOX_FAULT",
                "Sandbox",
                "Clear the sandbox's faults",
            ),
        };
        json!({"errors": [
            {"code": code, "name": name, "location": location, "problem": self.problem(), "action": action},
        ]})
    }

    /// The values of `error` are invented, after the `forbidden-error` of a service in GBG's
    /// family.
    fn in_v1(&self) -> serde_json::Value {
        let error = match self {
            Refusal::Malformed(_) | Refusal::Field(..) => "bad-request-error",
            Refusal::Unauthorized => "unauthorized-error",
            Refusal::NotFound(_) => "not-found-error",
            Refusal::Method(_) => "method-not-allowed-error",
            Refusal::TooLarge => "payload-too-large-error",
            Refusal::Ordered(_) => "sandbox-fault-error",
        };
        json!({"status": self.status().as_u16(), "message": self.problem(), "error": error})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_tells_a_list_of_errors() {
        assert_eq!(
            Refusal::Field("context.config", "object").in_v2(),
            json!({"errors": [{
                "code": "4002", "name": "MISSING_FIELD", "location": "Body",
                "problem": "context.config: expected object", "action": "Correct the request body",
            }]})
        );
    }

    #[test]
    fn v1_tells_status_message_and_error() {
        assert_eq!(
            Refusal::NotFound("path").in_v1(),
            json!({"status": 404, "message": "There is no such path", "error": "not-found-error"})
        );
    }

    #[test]
    fn an_answer_names_the_scheme_or_the_method_to_use() {
        let answer = Refusal::Unauthorized.answer(Some(ApiVersion::V2));
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
        let answer = Refusal::Method(Method::POST).answer(Some(ApiVersion::V1));
        assert_eq!(answer.headers()[ALLOW], "POST");
    }
}
