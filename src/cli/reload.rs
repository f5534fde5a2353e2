//! Reading the configuration again while the proxy runs: at SIGHUP, and when its file has become
//! another one.
//!
//! It is read and checked as a whole first. A bad one is told, and the last good one stays. What
//! cannot be changed without a restart is named.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::log_level;
use crate::app::App;
use crate::app::signals::Signals;
use crate::config::{self, Effective, Loaded, Sources, is_live};
use crate::error::chain;
use crate::fs::fingerprint::Fingerprint;
use crate::rt::blocking::SerialBlocking;
use crate::telemetry;

/// How often it is looked whether the file is another one.
const PERIOD: Duration = Duration::from_secs(1);

/// When a configuration that was not used is tried again: what was in its way may have passed, such
/// as a file that was missing.
const AGAIN: Duration = Duration::from_secs(5);

/// How long reading may take: the files of a configuration may be on a network.
const PATIENCE: Duration = Duration::from_secs(10);

const HANGS: &str = "it cannot be read: a file that it names, or its own, does not answer";

/// Why the configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Hangup,
    Changed,
    Again,
}

impl Why {
    /// Whether somebody has done something for it: a try of our own is no news, to a service
    /// manager either.
    pub(super) fn is_news(self) -> bool {
        self != Why::Again
    }

    fn text(self) -> &'static str {
        match self {
            Why::Hangup => "SIGHUP",
            Why::Changed => "the file has changed",
            Why::Again => "it was not used before",
        }
    }
}

/// Waits for reasons to read the configuration again, and does.
pub(super) struct Reload {
    /// Shared with the thread that reads: it holds the whole environment.
    sources: Arc<Sources>,
    effective: Vec<Effective>,
    hangup: Signals,
    log_level: telemetry::LogLevel,
    /// The file as it was when it was read.
    read: Option<Fingerprint>,
    /// What was wrong with it then.
    problem: Option<String>,
    /// Where files are looked at.
    aside: SerialBlocking,
}

impl Reload {
    /// Begins to wait, also for `hangup`; `effective` is what `sources` came to at the start, when
    /// the file was `read`. It sets `log_level`.
    pub(super) fn new(
        sources: Sources,
        effective: Vec<Effective>,
        read: Option<Fingerprint>,
        log_level: telemetry::LogLevel,
        hangup: Signals,
    ) -> Self {
        let sources = Arc::new(sources);
        Reload {
            sources,
            effective,
            hangup,
            log_level,
            read,
            problem: None,
            aside: SerialBlocking::default(),
        }
    }

    /// Waits for a reason, and gives it.
    pub(super) async fn due(&mut self) -> Why {
        let Reload {
            sources,
            hangup,
            read,
            problem,
            aside,
            ..
        } = self;
        tokio::select! {
            _ = hangup.next() => {
                // Who asks is told, also what he was told before.
                *problem = None;
                Why::Hangup
            }
            () = sleep(AGAIN), if problem.is_some() => Why::Again,
            stamp = changed(sources.file.clone(), *read, aside) => {
                *read = stamp;
                Why::Changed
            }
        }
    }

    /// Reads the configuration, and puts it in force in `app` as far as it can be.
    pub(super) async fn apply(&mut self, app: &mut App, why: Why) {
        let problem = self.try_to_apply(app, why).await.err();
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            tracing::error!(
                why = why.text(),
                error = problem,
                "the configuration is not used; the last good one stays in force"
            );
            app.record_rejected_config(problem.clone());
        }
        self.problem = problem;
    }

    async fn try_to_apply(&mut self, app: &mut App, why: Why) -> Result<(), String> {
        let sources = Arc::clone(&self.sources);
        // The stamp first: what is written while it is read is read again.
        let read = self
            .aside
            .run(move || (stamp(&sources), config::load(&sources)));
        let Ok(Some((stamp, loaded))) = timeout(PATIENCE, read).await else {
            return Err(HANGS.to_owned());
        };
        self.read = stamp.or(self.read);
        let Loaded {
            config,
            warnings,
            effective,
        } = loaded.map_err(|error| error.to_string())?;
        // A file that was emptied or cut off may say nothing of callers, and nobody may have meant
        // that.
        if config.callers.is_empty()
            && self
                .effective
                .iter()
                .any(|one| one.key.starts_with("caller "))
        {
            return Err(
                "no [[caller]] is left, which would let everybody in; that needs a restart"
                    .to_owned(),
            );
        }
        let why = why.text();
        let changed = changes(&self.effective, &effective);
        let (live, fixed): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| is_live(key));
        // Who may call depends on where is listened, and a client's secret and its tokens are for
        // one API: neither is changed without the other.
        if let Some(key) = fixed.iter().find(|key| says_where(key)) {
            return Err(format!(
                "{key} is another one, which needs a restart; until then nothing is changed"
            ));
        }
        match timeout(PATIENCE, app.reload(&config)).await {
            Ok(renewed) => renewed.map_err(|error| chain(&error))?,
            Err(_) => return Err(HANGS.to_owned()),
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        self.log_level.set(log_level(&config.log));
        match (live.is_empty(), fixed.is_empty()) {
            (true, true) => {
                tracing::info!(why, "the configuration is read again, and says the same")
            }
            (true, false) => {}
            (false, _) => tracing::info!(
                why,
                changed = live.join(", "),
                "the configuration is put in force"
            ),
        }
        if !fixed.is_empty() {
            tracing::warn!(
                keys = fixed.join(", "),
                why,
                "what else has changed in the configuration needs a restart"
            );
        }
        // What needs a restart stays a difference, and is named at each time.
        let fixed: HashMap<String, Effective> = std::mem::take(&mut self.effective)
            .into_iter()
            .filter(|old| !is_live(&old.key))
            .map(|old| (old.key.clone(), old))
            .collect();
        self.effective = effective
            .into_iter()
            .map(|new| fixed.get(&new.key).cloned().unwrap_or(new))
            .collect();
        Ok(())
    }
}

/// Whether `key` says where is listened and who reaches that, or where requests and the client's
/// credentials go.
fn says_where(key: &str) -> bool {
    const PLACES: [&str; 6] = [
        "listen.address",
        "listen.allow_anonymous",
        "listen.allow_plaintext_keys",
        "token.endpoint",
        "upstream.base_url",
        "upstream.region",
    ];
    PLACES.contains(&key) || key.starts_with("listen.tls.")
}

/// The file of `sources` as it is now.
pub(super) fn stamp(sources: &Sources) -> Option<Fingerprint> {
    sources.file.as_deref().and_then(Fingerprint::of)
}

/// The keys that come to something else.
fn changes(old: &[Effective], new: &[Effective]) -> Vec<String> {
    let old: HashMap<&str, &Effective> = old.iter().map(|one| (one.key.as_str(), one)).collect();
    let new: HashMap<&str, &Effective> = new.iter().map(|one| (one.key.as_str(), one)).collect();
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let value = |all: &HashMap<&str, &Effective>, key: &str| all.get(key).map(|one| one.identity());
    keys.into_iter()
        .filter(|key| value(&old, key) != value(&new, key))
        .map(str::to_owned)
        .collect()
}

/// Waits until `file` is another one than `read`, and has been so for a while: it may be written
/// piece by piece.
async fn changed(
    file: Option<PathBuf>,
    read: Option<Fingerprint>,
    aside: &SerialBlocking,
) -> Option<Fingerprint> {
    let Some(file) = file else {
        return std::future::pending().await;
    };
    let mut before = read;
    loop {
        sleep(PERIOD).await;
        let path = file.clone();
        let Some(now) = aside.run(move || Fingerprint::of(&path)).await else {
            continue;
        };
        if now.is_some() && now != read && now == before {
            return now;
        }
        before = now;
    }
}
