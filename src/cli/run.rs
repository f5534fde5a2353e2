//! `gbg-proxy run`: runs the proxy until a signal ends it.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;

use clap::Args;

use super::config_arguments::{ConfigArguments, describe_file};
use super::error::{CommandError, with_fix};
use super::logging::log_settings;
use super::open_files;
use super::reload::{ReloadReason, Reloader, load_watched};
use super::runtime::{block_on, shut_down};
use crate::app::signals::{self, Signals};
use crate::app::systemd;
use crate::app::{App, StartError};
use crate::config::{Config, Log};
use crate::downstream::Socket;
use crate::error::chain;
use crate::fs::watcher::FileWatcher;
use crate::telemetry::throttle::LogThrottle;
use crate::telemetry::{self, Reopener};

/// Run the proxy
///
/// With only GBG_CLIENT_ID and GBG_CLIENT_SECRET set, it forwards http://127.0.0.1:8080 to EU
/// production. A change of the file reloads the configuration; SIGHUP does so too, and reopens
/// log.file. SIGUSR1 only reopens log.file. SIGTERM, SIGINT and SIGQUIT drain the proxy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  GBG_CLIENT_ID=… GBG_CLIENT_SECRET=… gbg-proxy run
  gbg-proxy run --config /etc/gbg-proxy/proxy.toml
  gbg-proxy run --set upstream.region=au --set listen.address=unix:/run/gbg-proxy/proxy.sock
  GBG_PROXY_LOG_FORMAT=json gbg-proxy run")]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigArguments,
}

impl Run {
    pub(super) fn run(mut self, unprotected: Vec<String>) -> Result<(), CommandError> {
        let inherited = systemd::inherited_socket()
            .map_err(|error| CommandError::Failed(with_fix(chain(&error), error.fix())))?;
        if let Some(socket) = &inherited {
            // Its address replaces the configured one, so that the same checks apply to it.
            let address = socket.address()?;
            self.config.set.push(format!("listen.address={address}"));
        }
        block_on(self.start(inherited, unprotected))
    }

    async fn start(
        self,
        inherited: Option<Socket>,
        unprotected: Vec<String>,
    ) -> Result<(), CommandError> {
        // First: SIGUSR1 of a log rotation must not end a process that still loads its
        // configuration.
        let ignored = Signals::stray();
        let rotation = Signals::rotation()?;
        let hangup = Signals::reload()?;
        let sources = self.config.sources()?;
        let watcher = FileWatcher::new(sources.file.iter().cloned().collect());
        let (certificates, loaded) = load_watched(&sources, &[]);
        let loaded = loaded.map_err(CommandError::Config)?;
        let file = describe_file(&sources);
        let log = &loaded.config.log;
        let settings = log_settings(log);
        let log_level = settings.level.clone();
        let logging = telemetry::init(settings).map_err(|error| cannot_log(log, &error))?;
        for warning in unprotected.into_iter().chain(loaded.remarks()) {
            tracing::warn!("{warning}");
        }
        let mut config = loaded.config;
        if let Some(limit) = open_files::raise_limit() {
            open_files::divide(&mut config, limit);
        }
        let effective = loaded.effective;
        let reloader = Reloader::new(sources, effective, watcher, certificates, log_level, hangup);
        let reopener = logging.reopener();
        let signals = tokio::spawn(reopen_at_signals(rotation, reopener.clone()));
        let ignored = tokio::spawn(report_ignored(ignored));
        let served = serve(&config, file, reloader, reopener, inherited).await;
        signals.abort();
        ignored.abort();
        served
    }
}

async fn serve(
    config: &Config,
    file: String,
    mut reloader: Reloader,
    reopener: Option<Reopener>,
    inherited: Option<Socket>,
) -> Result<(), CommandError> {
    // Before the start, so that a signal can drain the proxy from its first connection on.
    let signalled = signals::signalled()?;
    let is_inherited = inherited.is_some();
    let mut app = App::start_on(config, inherited)
        .await
        .map_err(|error| cannot_start(&error))?;
    tracing::info!(
        version = env!("GBG_PROXY_VERSION"),
        address = %app.address(),
        admin = app.admin_address().map(tracing::field::display),
        upstream = %config.upstream.origin,
        token_endpoint = %config.token.endpoint,
        workers = config.listen.workers,
        handed_over = is_inherited.then_some(true),
        config = file,
        "gbg-proxy is listening"
    );
    let health = app.health();
    let watchdog = tokio::spawn(async move {
        systemd::notify_until_dropped(|| health.line(), || health.is_alive()).await;
    });
    let mut signalled = pin!(signalled);
    let mut quit = pin!(app.quit());
    let signal = loop {
        let reason = tokio::select! {
            signal = &mut signalled => break signal,
            () = &mut quit => break "POST /quit",
            error = app.failed() => return Err(CommandError::Failed(chain(error.as_ref()))),
            reason = reloader.next_reason() => reason,
        };
        if reason.is_external() {
            systemd::notify_reloading().await;
        }
        if reason == ReloadReason::Hangup
            && let Some(reopener) = &reopener
        {
            // Before the reload is reported as done: the sender of the signal may compress the old
            // file next.
            reopener.reopen().await;
        }
        tokio::select! {
            signal = &mut signalled => break signal,
            () = &mut quit => break "POST /quit",
            () = reloader.reload(&mut app, reason) => {}
        }
        if reason.is_external() {
            systemd::notify_ready().await;
        }
    };
    tracing::info!(signal, timeout = ?app.drain_timeout(), "draining: closed the listeners, finishing requests in flight");
    systemd::notify_stopping().await;
    shut_down(app).await;
    watchdog.abort();
    Ok(())
}

/// Reopens the log file at each signal for it, even during a reload or the drain.
async fn reopen_at_signals(mut rotation: Signals, reopener: Option<Reopener>) {
    loop {
        let signal = rotation.next().await;
        let Some(reopener) = &reopener else {
            if signal == "SIGUSR1" {
                tracing::info!(signal, "ignored a signal: log.file is not set");
            }
            continue;
        };
        // If it fails, standard error says why.
        if reopener.reopen().await {
            tracing::info!(signal, "reopened log.file");
        }
    }
}

async fn report_ignored(mut ignored: Signals) {
    let mut throttles = BTreeMap::<_, LogThrottle>::new();
    loop {
        let signal = ignored.next().await;
        // The log file reports its own failures.
        if signal != signals::FILE_SIZE_SIGNAL
            && let Some(suppressed) = throttles.entry(signal).or_default().due()
        {
            tracing::info!(signal, suppressed, "ignored a signal");
        }
    }
}

fn cannot_log(log: &Log, error: &std::io::Error) -> CommandError {
    let path = log
        .file
        .as_deref()
        .unwrap_or_else(|| Path::new(""))
        .display();
    CommandError::Usage(with_fix(
        format!("log.file: cannot open {path} to append to it: {error}"),
        "name a file in an existing directory that the proxy's user may write to, or remove log.file",
    ))
}

fn cannot_start(error: &StartError) -> CommandError {
    let problem = chain(error);
    CommandError::Failed(match error.fix() {
        Some(fix) => with_fix(problem, fix),
        None => problem,
    })
}
