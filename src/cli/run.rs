//! `gbg-proxy run`: the proxy, until a signal ends it.

use std::num::NonZeroU32;
use std::path::Path;
use std::pin::pin;

use clap::Args;

use super::reload::{Reload, stamp};
use super::{ConfigArguments, Failure, block_on, load, log_settings, raise_open_files, shut_down};
use crate::app::{App, StartError};
use crate::config::{Config, Effective, Log, Sources};
use crate::downstream::Socket;
use crate::error::chain;
use crate::stamp::Stamp;
use crate::{shutdown, systemd, telemetry};

/// Run the proxy
///
/// With GBG_CLIENT_ID and GBG_CLIENT_SECRET set and nothing else, it forwards http://127.0.0.1:8080 to EU production.
/// SIGHUP has it read its configuration again, as a change of the file does.
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
    pub(super) fn run(mut self, unprotected: Vec<String>) -> Result<(), Failure> {
        let handed = systemd::socket()
            .map_err(|error| Failure::Failed(format!("{}\n  mend: {}", chain(&error), error.mend())))?;
        if let Some(socket) = &handed {
            // Its address in the place of what is written, so that the same is asked of it.
            let address = socket.address().map_err(|error| Failure::failed(&error))?;
            self.config.set.push(format!("listen.address={address}"));
        }
        let sources = self.config.sources();
        let stamp = stamp(&sources);
        let (loaded, file) = load(&sources)?;
        let log = &loaded.config.log;
        let settings = log_settings(log);
        let log_level = settings.level.clone();
        let _flush = telemetry::begin(settings).map_err(|error| cannot_log(log, &error))?;
        for warning in unprotected.iter().chain(&loaded.warnings) {
            tracing::warn!("{warning}");
        }
        let mut config = loaded.config;
        if let Some(limit) = raise_open_files() {
            fit_connections(&mut config, limit);
        }
        let started = Started { config, file, sources, stamp, effective: loaded.effective, log_level };
        block_on(serve(started, handed))
    }
}

/// What the process was started with.
struct Started {
    config: Config,
    file: String,
    sources: Sources,
    stamp: Option<Stamp>,
    effective: Vec<Effective>,
    log_level: telemetry::Level,
}

async fn serve(started: Started, handed: Option<Socket>) -> Result<(), Failure> {
    let Started { config, file, sources, stamp, effective, log_level } = started;
    // First, so that a signal drains from the moment that there is something to drain.
    let signalled = shutdown::signalled().map_err(|error| Failure::failed(&error))?;
    let reload = Reload::new(sources, effective, stamp, log_level);
    let mut reload = reload.map_err(|error| Failure::failed(&error))?;
    let is_handed = handed.is_some();
    let mut app = App::start_on(&config, handed).await.map_err(|error| cannot_start(&error))?;
    tracing::info!(
        version = env!("GBG_PROXY_VERSION"),
        address = %app.address(),
        admin = app.admin_address().map(tracing::field::display),
        upstream = %config.upstream.origin,
        token_endpoint = %config.token.endpoint,
        workers = config.listen.workers,
        handed_over = is_handed.then_some(true),
        config = file,
        "gbg-proxy listens"
    );
    let health = app.health();
    let attended = tokio::spawn(async move {
        systemd::attend(|| health.line(), || health.is_alive()).await;
    });
    let mut signalled = pin!(signalled);
    let mut quit = pin!(app.quit());
    let signal = loop {
        let why = tokio::select! {
            signal = &mut signalled => break signal,
            () = &mut quit => break "POST /quit",
            error = app.failed() => return Err(Failure::failed(error.as_ref())),
            why = reload.due() => why,
        };
        if why.is_news() {
            systemd::reloading().await;
        }
        tokio::select! {
            signal = &mut signalled => break signal,
            () = &mut quit => break "POST /quit",
            () = reload.apply(&mut app, why) => {}
        }
        if why.is_news() {
            systemd::ready().await;
        }
    };
    tracing::info!(signal, timeout = ?app.drain_timeout(), "draining: no new connections, requests in flight finish");
    systemd::stopping().await;
    shut_down(app).await;
    attended.abort();
    Ok(())
}

/// Lowers `max_connections` to what `limit` open files are enough for, as long as each caller has one request in flight:
/// it needs one more connection, to the API, and callers that took all files would get 502 and nothing else. Besides, each
/// worker keeps `upstream.warm` connections ready.
fn fit_connections(config: &mut Config, limit: u64) {
    /// Standard streams, runtimes, listeners, look-ups, the token endpoint.
    const RESERVED: u64 = 32;
    let workers = config.listen.workers.get() as u64;
    let most = limit.saturating_sub(RESERVED + workers * (4 + u64::from(config.upstream.warm))) / 2;
    let most = NonZeroU32::new(u32::try_from(most).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    if config.listen.max_connections > most {
        tracing::info!(
            open_files = limit,
            max_connections = most,
            "listen.max_connections is lowered to what the limit of open files is enough for"
        );
        config.listen.max_connections = most;
    }
}

fn cannot_log(log: &Log, error: &std::io::Error) -> Failure {
    let path = log.file.as_deref().unwrap_or_else(|| Path::new("")).display();
    Failure::Usage(format!(
        "log.file: cannot open {path} to append to it: {error}\n  \
         mend: name a file in a directory that is there and that the proxy's user may write to, or leave log.file out"
    ))
}

fn cannot_start(error: &StartError) -> Failure {
    let mend = error.mend().map(|mend| format!("\n  mend: {mend}")).unwrap_or_default();
    Failure::Failed(chain(error) + &mend)
}
