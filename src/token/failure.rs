//! Reasons for failed token requests: one table of names, summaries and fixes that the log, the
//! metrics, the status page and `doctor` share.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::error::{BoxError, chain};
use crate::upstream::DeadlineExceeded;

/// The longest `Retry-After` that is honored.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Kind of a [`FetchError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// 400 or 401 (RFC 6749 section 5.2).
    Refused,
    /// Any other status that is not a success.
    Status,
    /// A success without a usable token.
    Response,
    /// The token expired before the response arrived.
    TooLate,
    /// No complete response within `token.timeout`.
    Timeout,
    /// No connection.
    Unreachable,
    /// The connection ended before the complete response, or carried no HTTP.
    Broken,
    /// The client's key or certificate cannot be used.
    Credentials,
}

struct Description {
    name: &'static str,
    summary: &'static str,
    fix: &'static str,
}

impl FetchErrorKind {
    /// The value of the metric label and of the JSON field `reason`.
    pub fn name(self) -> &'static str {
        self.describe().name
    }

    pub(crate) fn summary(self) -> &'static str {
        self.describe().summary
    }

    pub(crate) fn fix(self) -> &'static str {
        self.describe().fix
    }

    fn describe(self) -> Description {
        const RUN_DOCTOR: &str =
            "run `gbg-proxy doctor` to see which step fails; the log has the cause";
        const ASK_GBG: &str =
            "if it persists, contact GBG support; the log has the details of the response";
        let (name, summary, fix) = match self {
            FetchErrorKind::Refused => (
                "refused",
                "the token endpoint refuses our credentials",
                "check token.client_id, token.client_secret and the role \"Go API Access\" of the API client",
            ),
            FetchErrorKind::Status => (
                "status",
                "the token endpoint returned an error status",
                ASK_GBG,
            ),
            FetchErrorKind::Response => (
                "answer",
                "the token endpoint returned an unusable response",
                ASK_GBG,
            ),
            FetchErrorKind::TooLate => ("too_late", "the token expired before it arrived", ASK_GBG),
            FetchErrorKind::Timeout => (
                "timeout",
                "the token endpoint did not respond in time",
                RUN_DOCTOR,
            ),
            FetchErrorKind::Unreachable => (
                "unreachable",
                "cannot connect to the token endpoint",
                RUN_DOCTOR,
            ),
            FetchErrorKind::Broken => (
                "broken",
                "the connection to the token endpoint was lost",
                RUN_DOCTOR,
            ),
            FetchErrorKind::Credentials => (
                "credentials",
                "the client's key or certificate cannot be used",
                "correct [token] or the files that it names; the log has the cause",
            ),
        };
        Description { name, summary, fix }
    }
}

/// Error of a token request. Contains nothing from the response except its status and an error
/// code of RFC 6749.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// See [`FetchErrorKind::Refused`].
    #[error("{}; {}", self.cause(), fix_for_code(*code))]
    Refused {
        /// The status.
        status: StatusCode,
        /// `error`, if RFC 6749 section 5.2 defines it.
        code: Option<&'static str>,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// See [`FetchErrorKind::Status`].
    #[error("{}: {status}{}", FetchErrorKind::Status.summary(), fix_for_status(*status))]
    Status {
        /// The status.
        status: StatusCode,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// See [`FetchErrorKind::Response`].
    #[error("{summary}: {0}", summary = FetchErrorKind::Response.summary())]
    Response(&'static str),
    /// A success in a content coding that was not requested.
    #[error(
        "{}: Content-Encoding is {coding}, but the request has Accept-Encoding: identity",
        FetchErrorKind::Response.summary()
    )]
    Encoded {
        /// The coding, if it is a registered one.
        coding: &'static str,
    },
    /// See [`FetchErrorKind::TooLate`].
    #[error("{}: its lifetime is {lifetime} s", FetchErrorKind::TooLate.summary())]
    TooLate {
        /// The token's lifetime, in seconds.
        lifetime: u64,
    },
    /// See [`FetchErrorKind::Timeout`].
    #[error("{}", FetchErrorKind::Timeout.summary())]
    Timeout(#[from] DeadlineExceeded),
    /// See [`FetchErrorKind::Unreachable`].
    #[error("{}", FetchErrorKind::Unreachable.summary())]
    Unreachable(#[source] BoxError),
    /// See [`FetchErrorKind::Broken`].
    #[error("{}", FetchErrorKind::Broken.summary())]
    Broken(#[source] BoxError),
    /// See [`FetchErrorKind::Credentials`].
    #[error("{}", FetchErrorKind::Credentials.summary())]
    Credentials(#[source] BoxError),
}

impl FetchError {
    /// The kind, for metrics and status.
    pub fn kind(&self) -> FetchErrorKind {
        match self {
            FetchError::Refused { .. } => FetchErrorKind::Refused,
            FetchError::Status { .. } => FetchErrorKind::Status,
            FetchError::Response(_) | FetchError::Encoded { .. } => FetchErrorKind::Response,
            FetchError::TooLate { .. } => FetchErrorKind::TooLate,
            FetchError::Timeout(_) => FetchErrorKind::Timeout,
            FetchError::Unreachable(_) => FetchErrorKind::Unreachable,
            FetchError::Broken(_) => FetchErrorKind::Broken,
            FetchError::Credentials(_) => FetchErrorKind::Credentials,
        }
    }

    /// The whole cause, without the advice that follows it in some messages.
    pub(crate) fn cause(&self) -> String {
        match self {
            FetchError::Refused { status, code, .. } => {
                let code = code.unwrap_or("no known error code");
                format!("{}: {status}, {code}", self.kind().summary())
            }
            other => chain(other),
        }
    }

    /// Whether a retry fails until a person changes the credentials or the API client.
    pub(super) fn is_refusal(&self) -> bool {
        self.kind() == FetchErrorKind::Refused
    }

    /// Whether the endpoint limits our requests: more of them may lock the client out.
    pub(super) fn is_limited(&self) -> bool {
        matches!(
            self,
            FetchError::Status {
                status: StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS,
                ..
            }
        )
    }

    /// `Retry-After` of the response, at most five minutes. Zero counts as absent.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let retry_after = match self {
            FetchError::Refused { retry_after, .. } | FetchError::Status { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        };
        retry_after
            .filter(|wait| !wait.is_zero())
            .map(|wait| wait.min(MAX_RETRY_AFTER))
    }
}

/// A token request that brought no token.
#[derive(Clone, Debug)]
pub(crate) struct FetchFailure {
    pub(crate) kind: FetchErrorKind,
    /// The error and its sources, without the fix.
    pub(crate) cause: Arc<str>,
    pub(crate) fix: &'static str,
}

impl From<&FetchError> for FetchFailure {
    fn from(error: &FetchError) -> Self {
        let fix = match error {
            FetchError::Refused { code, .. } => fix_for_code(*code),
            _ => error.kind().fix(),
        };
        FetchFailure {
            kind: error.kind(),
            cause: error.cause().into(),
            fix,
        }
    }
}

/// The fix for a status that this proxy itself returns (`loop_detected`).
fn fix_for_status(status: StatusCode) -> &'static str {
    if status == StatusCode::LOOP_DETECTED {
        ": token.endpoint leads back to this proxy; write the address of GBG's token endpoint"
    } else {
        ""
    }
}

/// The first thing to check for an error code of RFC 6749 section 5.2.
fn fix_for_code(code: Option<&'static str>) -> &'static str {
    match code {
        Some("invalid_client") => {
            "check token.client_id and token.client_secret (a regenerated secret ends the old one at once) \
             and token.client_auth"
        }
        Some("unauthorized_client") => "check that the API client has the role \"Go API Access\"",
        Some("invalid_scope") => "check token.scope",
        _ => "check [token]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_at_most_five_minutes() {
        let retry_after = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            FetchError::Status {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after,
            }
            .retry_after()
        };
        assert_eq!(retry_after(7), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(86_400), Some(MAX_RETRY_AFTER));
    }
}
