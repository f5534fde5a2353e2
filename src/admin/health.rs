//! Liveness and readiness probes.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use super::handles::Handles;
use super::response::{AdminResponse, text};
use crate::error::Error;
use crate::rt::liveness::LivenessProbe;
use crate::token::TokenReader;

/// Reason for which the proxy is not ready.
#[derive(Clone, Debug)]
pub(super) enum NotReady {
    /// The process shuts down.
    Draining,
    /// No account has a valid token; cause and fix are those of the first.
    NoToken {
        cause: &'static str,
        fix: &'static str,
        /// The error of the last fetch.
        error: Option<Arc<str>>,
    },
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Draining => f.write_str("the process is shutting down"),
            NotReady::NoToken { cause, error, .. } => match error {
                Some(error) => write!(f, "{cause}: {error}"),
                None => f.write_str(cause),
            },
        }
    }
}

impl NotReady {
    /// The reason; `None` if the proxy is ready.
    pub(super) fn check(handles: &Handles) -> Option<Self> {
        if *handles.draining.borrow() {
            return Some(NotReady::Draining);
        }
        let mut tokens = handles.accounts.iter().map(|account| &account.tokens);
        // One is enough: an account without a token does not keep the requests of others away.
        if tokens.clone().any(|tokens| tokens.current().is_some()) {
            return None;
        }
        let first = tokens.next();
        let fetch = first.and_then(TokenReader::last_fetch);
        let error = fetch
            .and_then(|fetch| fetch.failure)
            .map(|failure| failure.cause);
        Some(match first.map(TokenReader::error) {
            Some(Error::ClientRefused { .. }) => NotReady::NoToken {
                cause: "the token endpoint refuses the credentials of this proxy",
                fix: "check the client ID, the secret and the role of the API client; `gbg-proxy doctor` has details",
                error,
            },
            _ => NotReady::NoToken {
                cause: "there is no access token at the moment",
                fix: "wait; the log has the last error, and `gbg-proxy doctor` shows the step that fails",
                error,
            },
        })
    }

    /// The state in `/status`.
    pub(super) fn state(&self) -> &'static str {
        match self {
            NotReady::Draining => "draining",
            NotReady::NoToken { .. } => "no_token",
        }
    }

    pub(super) fn fix(&self) -> &'static str {
        match self {
            NotReady::Draining => "send requests to another instance",
            NotReady::NoToken { fix, .. } => fix,
        }
    }
}

/// `/livez`: the process is alive while all workers respond, whatever GBG does. A restart fixes
/// only a worker that hangs.
pub(super) async fn live(handles: &Handles) -> AdminResponse {
    if LivenessProbe::all_respond(&handles.workers).await {
        text(StatusCode::OK, "ok\n")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "a worker does not respond\n",
        )
    }
}

/// `/readyz`: the proxy is ready while an account holds a valid token and it does not shut down. The response
/// names the cause only if `with_cause`.
pub(super) fn ready(handles: &Handles, with_cause: bool) -> AdminResponse {
    match NotReady::check(handles) {
        None => text(StatusCode::OK, "ready\n"),
        Some(_) if !with_cause => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        Some(reason) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::super::handles::tests::{handles, without_token};
    use super::*;
    use crate::rt::liveness;
    use crate::token;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_fails_the_liveness_probe() {
        let (pulse, heart) = liveness::channel();
        let handles = handles(vec![("default", without_token())], pulse);
        let response = live(&handles).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "a worker does not respond\n");
        tokio::spawn(heart.respond());
        assert_eq!(live(&handles).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_with_a_token_is_ready() {
        let bearer = HeaderValue::from_static("Bearer test");
        let tokens = token::fixed(bearer, Duration::from_secs(3600)).await;
        for (lending, status) in [
            (tokens.unwrap(), StatusCode::OK),
            (without_token(), StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let accounts = vec![("retail", without_token()), ("lending", lending)];
            let handles = handles(accounts, liveness::channel().0);
            assert_eq!(ready(&handles, true).status(), status);
        }
    }
}
