//! Reading the configuration again while the proxy runs: at SIGHUP, and when its file has become another one.
//!
//! It is read and checked as a whole first. A bad one is told, and the last good one stays. What cannot be changed without a
//! restart is named.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::app::App;
use crate::config::{self, Effective, Loaded, Sources, is_live};
use crate::shutdown::Hangup;
use crate::stamp::Stamp;

/// How often it is looked whether the file is another one.
const PERIOD: Duration = Duration::from_secs(1);

/// Waits for reasons to read the configuration again, and does.
pub(super) struct Reload {
    sources: Sources,
    effective: Vec<Effective>,
    hangup: Hangup,
    /// The file as it was when it was read.
    read: Option<Stamp>,
}

impl Reload {
    /// Begins to wait; `effective` is what `sources` came to at the start.
    ///
    /// # Errors
    /// When the runtime cannot listen for signals.
    pub(super) fn new(sources: Sources, effective: Vec<Effective>) -> io::Result<Self> {
        let read = sources.file.as_deref().and_then(Stamp::of);
        Ok(Reload { sources, effective, hangup: Hangup::listen()?, read })
    }

    /// Waits for a reason, and gives it.
    pub(super) async fn due(&mut self) -> &'static str {
        let Reload { sources, hangup, read, .. } = self;
        tokio::select! {
            () = hangup.heard() => "SIGHUP",
            stamp = changed(sources.file.clone(), *read) => {
                *read = stamp;
                "the file has changed"
            }
        }
    }

    /// Reads the configuration, and puts it in force in `app` as far as it can be.
    pub(super) async fn apply(&mut self, app: &mut App, why: &'static str) {
        let sources = self.sources.clone();
        let loaded = match spawn_blocking(move || config::load(&sources)).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return refuse(app, why, &error.to_string()),
            Err(error) => return refuse(app, why, &error.to_string()),
        };
        let Loaded { config, warnings, effective } = loaded;
        let changed = changes(&self.effective, &effective);
        let (live, fixed): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| is_live(key));
        // Who may call depends on where is listened: neither is changed without the other.
        if let Some(key) = fixed.iter().find(|key| key.starts_with("listen.")) {
            let problem =
                format!("{key} is another one, which needs a restart; until then nothing is changed");
            return refuse(app, why, &problem);
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        app.renew(&config);
        match live.is_empty() {
            true => tracing::info!(why, "the configuration is read again, and says the same"),
            false => tracing::info!(why, changed = live.join(", "), "the configuration is put in force"),
        }
        if !fixed.is_empty() {
            tracing::warn!(
                keys = fixed.join(", "),
                "what else has changed in the configuration needs a restart"
            );
        }
        // What needs a restart stays a difference, and is named at each time.
        let of = |key: &str| self.effective.iter().find(|old| old.key == key).cloned();
        self.effective = effective
            .into_iter()
            .map(|new| match is_live(&new.key) {
                true => new,
                false => of(&new.key).unwrap_or(new),
            })
            .collect();
    }
}

fn refuse(app: &App, why: &'static str, problem: &str) {
    tracing::error!(why, error = problem, "the configuration is not used; the last good one stays in force");
    app.note_refused(problem.to_owned());
}

/// The keys that come to something else.
fn changes(old: &[Effective], new: &[Effective]) -> Vec<String> {
    let value = |all: &[Effective], key: &str| all.iter().find(|one| one.key == key).map(Effective::identity);
    let mut keys: Vec<_> = new.iter().chain(old).map(|one| one.key.clone()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| value(old, key) != value(new, key));
    keys
}

/// Waits until `file` is another one than `read`, and has been so for a while: it may be written piece by piece.
async fn changed(file: Option<PathBuf>, read: Option<Stamp>) -> Option<Stamp> {
    let Some(file) = file else { return std::future::pending().await };
    let mut before = read;
    loop {
        sleep(PERIOD).await;
        let path = file.clone();
        // Aside: a file system that hangs holds one thread, and not this one.
        let Ok(now) = spawn_blocking(move || Stamp::of(&path)).await else { continue };
        if now.is_some() && now != read && now == before {
            return now;
        }
        before = now;
    }
}
