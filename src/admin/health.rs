//! Whether requests can be served, for probes and for those who have to know.

use http::StatusCode;

use super::{Handles, Page, text};
use crate::error::Error;
use crate::rt::liveness::LivenessProbe;

/// What keeps requests from being served, and what to do about it.
#[derive(Clone, Debug)]
pub(super) enum NotReady {
    /// The process is about to end.
    Draining,
    /// There is no token; what a request is told for it.
    Token(&'static str, &'static str),
}

impl NotReady {
    /// What is in the way at the moment.
    pub(super) fn of(handles: &Handles) -> Option<Self> {
        if *handles.draining.borrow() {
            return Some(NotReady::Draining);
        }
        let why = handles
            .tokens
            .current()
            .is_none()
            .then(|| handles.tokens.error())?;
        Some(match why {
            Error::ClientRefused { .. } => NotReady::Token(
                "the token endpoint refuses the credentials of this proxy",
                "check client id, secret and the role of the API client; `gbg-proxy doctor` says more",
            ),
            _ => NotReady::Token(
                "there is no access token at the moment",
                "wait, and see the log or `gbg-proxy doctor` for what the token endpoint answers",
            ),
        })
    }

    /// In a word.
    pub(super) fn state(&self) -> &'static str {
        match self {
            NotReady::Draining => "draining",
            NotReady::Token(..) => "no_token",
        }
    }

    /// What is the matter.
    pub(super) fn what(&self) -> &'static str {
        match self {
            NotReady::Draining => "the process is about to end",
            NotReady::Token(what, _) => what,
        }
    }

    /// What to do about it.
    pub(super) fn fix(&self) -> &'static str {
        match self {
            NotReady::Draining => "send requests to another instance",
            NotReady::Token(_, fix) => fix,
        }
    }
}

/// Alive is a process whose threads turn, whatever they are told by GBG: the others are to be
/// started anew.
pub(super) async fn live(handles: &Handles) -> Page {
    match LivenessProbe::all_respond(&handles.workers).await {
        true => text(StatusCode::OK, "ok\n"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "a worker does not turn\n"),
    }
}

/// Ready is who has a usable token and is not about to end. The reason why not is given if
/// `says_why`.
pub(super) fn ready(handles: &Handles, says_why: bool) -> Page {
    match NotReady::of(handles) {
        None => text(StatusCode::OK, "ready\n"),
        Some(_) if !says_why => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        Some(trouble) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", trouble.what()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::metrics::Metrics;
    use crate::rt::liveness;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_is_told_to_whoever_would_end_the_process() {
        let (pulse, heart) = liveness::channel();
        let (_publisher, tokens) = crate::token::channel(Duration::from_secs(1), Arc::default());
        let handles = Handles {
            metrics: Arc::new(Metrics::new(1)),
            tokens,
            draining: watch::channel(false).1,
            quit: Arc::new(Notify::new()),
            limits: watch::channel(Vec::new()).1,
            workers: vec![pulse],
        };
        assert_eq!(
            live(&handles).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        tokio::spawn(heart.respond());
        assert_eq!(live(&handles).await.status(), StatusCode::OK);
    }
}
