//! Health of a running proxy, for a watchdog and for the line that systemd shows.

use std::time::SystemTime;

use tokio::sync::watch;

use crate::rt::liveness::LivenessProbe;
use crate::token::Reader;

/// How a proxy is, also while it is shut down.
#[derive(Debug)]
pub struct Health {
    pub(super) tokens: Reader,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) pulses: Vec<LivenessProbe>,
}

impl Health {
    /// What it does, in a line.
    pub fn line(&self) -> String {
        if *self.draining.borrow() {
            return "draining".to_owned();
        }
        match self.tokens.current() {
            Some(bearer) => {
                let until =
                    humantime::format_rfc3339_seconds(SystemTime::now() + bearer.stop.left());
                // To the minute: the second would be another one at each look.
                let until = until.to_string();
                format!(
                    "serving, with token {} until {}Z",
                    bearer.generation,
                    until.get(..16).unwrap_or(&until)
                )
            }
            None => format!("no token: {}", self.tokens.error()),
        }
    }

    /// Whether each worker turns.
    pub async fn is_alive(&self) -> bool {
        LivenessProbe::all_respond(&self.pulses).await
    }
}
