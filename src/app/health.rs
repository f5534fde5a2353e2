//! Health of a running proxy, for the watchdog and the status line of systemd.

use std::time::SystemTime;

use tokio::sync::watch;

use crate::rt::liveness::LivenessProbe;
use crate::token::TokenReader;

/// Health of a proxy, also during its shutdown.
#[derive(Debug)]
pub struct ProcessHealth {
    /// One for each account.
    tokens: Vec<TokenReader>,
    draining: watch::Receiver<bool>,
    probes: Vec<LivenessProbe>,
}

impl ProcessHealth {
    pub(super) fn new(
        tokens: Vec<TokenReader>,
        draining: watch::Receiver<bool>,
        probes: Vec<LivenessProbe>,
    ) -> Self {
        ProcessHealth {
            tokens,
            draining,
            probes,
        }
    }

    /// The state in one line; with several accounts that of the first one without a token.
    pub fn line(&self) -> String {
        if *self.draining.borrow() {
            return "draining".to_owned();
        }
        let mut line = String::new();
        for tokens in &self.tokens {
            let Some(bearer) = tokens.current() else {
                return format!("no token: {}", tokens.error());
            };
            let until = SystemTime::now() + bearer.usable_until.remaining();
            let until = humantime::format_rfc3339_seconds(until).to_string();
            // To the minute: `now + remaining` varies by a second from call to call.
            let minute = until.get(..16).unwrap_or(&until);
            line = format!("serving, with token {} until {minute}Z", bearer.generation);
        }
        line
    }

    /// Whether every worker responds.
    pub async fn is_alive(&self) -> bool {
        LivenessProbe::all_respond(&self.probes).await
    }
}
