//! Configuration reload at SIGHUP, and when the file changes.
//!
//! A configuration is loaded and checked as a whole: an invalid one is logged, and the last valid one
//! stays. Changed keys that need a restart are logged too.

mod certificates;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::certificates::CertificateFiles;
use super::logging::log_level;
use crate::app::App;
use crate::app::signals::Signals;
use crate::config::{self, ConfigErrors, Effective, Loaded, Sources, is_reloadable};
use crate::error::chain;
use crate::fs::watcher::FileWatcher;
use crate::rt::blocking::SerialBlocking;
use crate::telemetry;

/// A rejected configuration is tried again: its problem may pass, such as a missing file.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The files of a configuration may be on a network.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

const LOAD_TIMED_OUT: &str = "timed out reading the configuration file, or a file that it names";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadReason {
    Hangup,
    FileChanged,
    CertificateChanged,
    Retry,
}

impl ReloadReason {
    /// Returns false for a retry, which a service manager need not know of.
    pub(super) fn is_external(self) -> bool {
        self != ReloadReason::Retry
    }

    fn text(self) -> &'static str {
        match self {
            ReloadReason::Hangup => "SIGHUP",
            ReloadReason::FileChanged => "the file changed",
            ReloadReason::CertificateChanged => "a certificate file changed",
            ReloadReason::Retry => "retry",
        }
    }
}

/// Waits for reasons to reload the configuration, and reloads it.
pub(super) struct Reloader {
    /// Shared with the loading thread, since it holds the whole environment.
    sources: Arc<Sources>,
    effective: Vec<Effective>,
    hangup: Signals,
    log_level: telemetry::LogLevel,
    watcher: FileWatcher,
    certificates: CertificateFiles,
    /// The error of the last load.
    problem: Option<String>,
    /// Reads files off the runtime.
    blocking: SerialBlocking,
}

impl Reloader {
    /// Creates a reloader for a configuration of `sources` that was loaded as `effective`. `watcher`
    /// and `certificates` watch its files since before that. A reload sets `log_level`.
    pub(super) fn new(
        sources: Sources,
        effective: Vec<Effective>,
        watcher: FileWatcher,
        certificates: CertificateFiles,
        log_level: telemetry::LogLevel,
        hangup: Signals,
    ) -> Self {
        let sources = Arc::new(sources);
        Reloader {
            sources,
            effective,
            hangup,
            log_level,
            watcher,
            certificates,
            problem: None,
            blocking: SerialBlocking::default(),
        }
    }

    /// Waits for the next reason to reload.
    pub(super) async fn next_reason(&mut self) -> ReloadReason {
        let Reloader {
            hangup,
            watcher,
            certificates,
            problem,
            ..
        } = self;
        tokio::select! {
            _ = hangup.next() => {
                // An operator who asks gets the error again, even if it was logged before.
                *problem = None;
                ReloadReason::Hangup
            }
            () = sleep(RETRY_INTERVAL), if problem.is_some() => ReloadReason::Retry,
            () = watcher.settled() => ReloadReason::FileChanged,
            () = certificates.changed() => ReloadReason::CertificateChanged,
        }
    }

    /// Loads the configuration, and applies all keys to `app` that need no restart.
    pub(super) async fn reload(&mut self, app: &mut App, reason: ReloadReason) {
        let (problem, restart_keys) = match self.try_reload(app, reason).await {
            Ok(restart_keys) => (None, restart_keys),
            Err(rejection) => (Some(rejection.problem), rejection.restart_keys),
        };
        app.record_restart_keys(restart_keys);
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            tracing::error!(
                why = reason.text(),
                error = problem,
                "configuration rejected; the previous one stays active"
            );
            app.record_rejected_config(problem.clone());
        }
        self.problem = problem;
    }

    /// Returns the changed keys that need a restart.
    async fn try_reload(
        &mut self,
        app: &mut App,
        reason: ReloadReason,
    ) -> Result<Vec<String>, Rejection> {
        let sources = Arc::clone(&self.sources);
        let load = async {
            // Before the load, so that a write during it causes another one.
            self.watcher.poll().await;
            let effective = self.effective.clone();
            let load = move || load_watched(&sources, &effective);
            self.blocking.run(load).await
        };
        let Ok(Some((certificates, loaded))) = timeout(LOAD_TIMEOUT, load).await else {
            return Err(LOAD_TIMED_OUT.to_owned().into());
        };
        let loaded = loaded.map_err(|error| error.to_string())?;
        let remarks: Vec<_> = loaded.remarks().collect();
        let Loaded {
            config, effective, ..
        } = loaded;
        // A file that was truncated by mistake has no callers either.
        if config.callers.is_empty()
            && self
                .effective
                .iter()
                .any(|one| one.key.starts_with("caller "))
        {
            let problem = "no [[caller]] is left, so anyone could call; this needs a restart";
            return Err(Rejection {
                problem: problem.to_owned(),
                restart_keys: vec!["caller".to_owned()],
            });
        }
        let why = reason.text();
        let changed = changed_keys(&self.effective, &effective);
        let (mut live, fixed): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| is_reloadable(key));
        // Callers depend on the listener's address, and credentials on the API: neither changes
        // without the other.
        if let Some(key) = fixed.iter().find(|key| blocks_reload(key)) {
            let problem = format!("{key} changed, which needs a restart; nothing was applied");
            return Err(Rejection {
                problem,
                restart_keys: fixed,
            });
        }
        match timeout(LOAD_TIMEOUT, app.reload(&config)).await {
            Ok(renewed) => renewed.map_err(|error| chain(&error))?,
            Err(_) => return Err(LOAD_TIMED_OUT.to_owned().into()),
        }
        live.append(&mut certificates.changed_since(&self.certificates));
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        self.log_level.set(log_level(&config.log));
        match (live.is_empty(), fixed.is_empty()) {
            (true, true) => {
                tracing::info!(why, "configuration reloaded; no changes")
            }
            (true, false) => {}
            (false, _) => tracing::info!(why, changed = live.join(", "), "configuration reloaded"),
        }
        if !fixed.is_empty() {
            tracing::warn!(keys = fixed.join(", "), why, "changed keys need a restart");
        }
        // Keys that need a restart keep their old values, so that each reload logs them again.
        let old: HashMap<String, Effective> = std::mem::take(&mut self.effective)
            .into_iter()
            .filter(|old| !is_reloadable(&old.key))
            .map(|old| (old.key.clone(), old))
            .collect();
        self.effective = effective
            .into_iter()
            .map(|new| old.get(&new.key).cloned().unwrap_or(new))
            .collect();
        self.certificates = certificates;
        Ok(fixed)
    }
}

/// Loads the configuration of `sources`, and watches its certificate files since before that; those
/// of `effective`, if they are still the same.
pub(super) fn load_watched(
    sources: &Sources,
    effective: &[Effective],
) -> (CertificateFiles, Result<Loaded, ConfigErrors>) {
    let certificates = CertificateFiles::new(effective);
    let loaded = config::load(sources);
    let Ok(first) = &loaded else {
        return (certificates, loaded);
    };
    let named = CertificateFiles::new(&first.effective);
    if named.has_files_of(&certificates) {
        return (certificates, loaded);
    }
    // Again: the files were read before they were watched.
    (named, config::load(sources))
}

/// A configuration that is not applied.
struct Rejection {
    problem: String,
    /// Changed keys that need a restart, if that is the problem.
    restart_keys: Vec<String>,
}

impl From<String> for Rejection {
    fn from(problem: String) -> Self {
        Rejection {
            problem,
            restart_keys: Vec::new(),
        }
    }
}

/// Returns true for a key of the listener's exposure, or of the destination of requests and
/// credentials: a changed one rejects the whole configuration until a restart.
fn blocks_reload(key: &str) -> bool {
    const KEYS: [&str; 6] = [
        "listen.address",
        "listen.allow_anonymous",
        "listen.allow_plaintext_keys",
        "token.endpoint",
        "upstream.base_url",
        "upstream.region",
    ];
    KEYS.contains(&key) || key.starts_with("listen.tls.")
}

/// Returns the keys with another effective value.
fn changed_keys(old: &[Effective], new: &[Effective]) -> Vec<String> {
    let old: HashMap<&str, &Effective> = old.iter().map(|one| (one.key.as_str(), one)).collect();
    let new: HashMap<&str, &Effective> = new.iter().map(|one| (one.key.as_str(), one)).collect();
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let is_same = |key: &&str| match (old.get(key), new.get(key)) {
        (Some(old), Some(new)) => old.has_value_of(new),
        _ => false,
    };
    keys.into_iter()
        .filter(|key| !is_same(key))
        .map(str::to_owned)
        .collect()
}
