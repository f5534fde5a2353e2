//! `gbg-proxy run`: the proxy, until a signal ends it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::pin::pin;

use clap::Args;

use super::reload::{Reload, Why, stamp};
use super::{ConfigArguments, Failure, block_on, load, log_settings, raise_open_files, shut_down};
use crate::app::signals::{self, Signals};
use crate::app::systemd;
use crate::app::{App, StartError};
use crate::config::{Config, Log};
use crate::downstream::Socket;
use crate::error::chain;
use crate::telemetry::throttle::LogThrottle;
use crate::telemetry::{self, Reopener};

/// Run the proxy
///
/// With GBG_CLIENT_ID and GBG_CLIENT_SECRET set and nothing else, it forwards http://127.0.0.1:8080
/// to EU production. SIGHUP reloads the configuration, as a change of the file does, and reopens
/// log.file; SIGUSR1 only reopens log.file. SIGTERM, SIGINT and SIGQUIT drain.
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
        let handed = systemd::inherited_socket().map_err(|error| {
            Failure::Failed(format!("{}\n  fix: {}", chain(&error), error.fix()))
        })?;
        if let Some(socket) = &handed {
            // Its address in the place of what is written, so that the same is asked of it.
            let address = socket.address().map_err(|error| Failure::failed(&error))?;
            self.config.set.push(format!("listen.address={address}"));
        }
        block_on(self.start(handed, unprotected))
    }

    async fn start(self, handed: Option<Socket>, unprotected: Vec<String>) -> Result<(), Failure> {
        // First: the SIGUSR1 of a log rotation must not end a process that still reads its
        // configuration.
        let stray = Signals::stray();
        let rotation = Signals::rotation().map_err(|error| Failure::failed(&error))?;
        let hangup = Signals::reload().map_err(|error| Failure::failed(&error))?;
        let sources = self.config.sources()?;
        let stamp = stamp(&sources);
        let (loaded, file) = load(&sources)?;
        let log = &loaded.config.log;
        let settings = log_settings(log);
        let log_level = settings.level.clone();
        let logging = telemetry::init(settings).map_err(|error| cannot_log(log, &error))?;
        for warning in unprotected.iter().chain(&loaded.warnings) {
            tracing::warn!("{warning}");
        }
        let mut config = loaded.config;
        if let Some(limit) = raise_open_files() {
            divide_open_files(&mut config, limit);
        }
        let reload = Reload::new(sources, loaded.effective, stamp, log_level, hangup);
        let reopener = logging.reopener();
        let signals = tokio::spawn(reopen_at_signals(rotation, reopener.clone()));
        let stray = tokio::spawn(report_stray(stray));
        let served = serve(
            Started {
                config,
                file,
                reload,
                reopener,
            },
            handed,
        )
        .await;
        signals.abort();
        stray.abort();
        served
    }
}

/// What the process was started with.
struct Started {
    config: Config,
    file: String,
    reload: Reload,
    reopener: Option<Reopener>,
}

async fn serve(started: Started, handed: Option<Socket>) -> Result<(), Failure> {
    let Started {
        config,
        file,
        mut reload,
        reopener,
    } = started;
    // First, so that a signal drains from the moment that there is something to drain.
    let signalled = signals::signalled().map_err(|error| Failure::failed(&error))?;
    let is_handed = handed.is_some();
    let mut app = App::start_on(&config, handed)
        .await
        .map_err(|error| cannot_start(&error))?;
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
        systemd::notify_until_dropped(|| health.line(), || health.is_alive()).await;
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
            systemd::notify_reloading().await;
        }
        if why == Why::Hangup
            && let Some(reopener) = &reopener
        {
            // Before the reload is reported as done: the caller of it may compress the old file
            // next.
            reopener.reopen().await;
        }
        tokio::select! {
            signal = &mut signalled => break signal,
            () = &mut quit => break "POST /quit",
            () = reload.apply(&mut app, why) => {}
        }
        if why.is_news() {
            systemd::notify_ready().await;
        }
    };
    tracing::info!(signal, timeout = ?app.drain_timeout(), "draining: no new connections, requests in flight finish");
    systemd::notify_stopping().await;
    shut_down(app).await;
    attended.abort();
    Ok(())
}

/// Reopens the log file at each signal that asks for it, also during a reload and during the drain.
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

async fn report_stray(mut stray: Signals) {
    let mut throttles = BTreeMap::<_, LogThrottle>::new();
    loop {
        let signal = stray.next().await;
        // The log file reports its own failures.
        if signal != signals::FILE_SIZE_SIGNAL
            && let Some(suppressed) = throttles.entry(signal).or_default().due()
        {
            tracing::info!(signal, suppressed, "ignored a signal");
        }
    }
}

/// Divides `limit` open files: a reserve for all that must go on whatever callers do, and of the
/// rest half for callers' connections, as long as `listen.max_connections` does not want less, and
/// what is left for connections to the API. Callers of HTTP/2 need more of those than they have
/// connections.
fn divide_open_files(config: &mut Config, limit: u64) {
    /// Standard streams, the control runtime, the token endpoint, files that are read again, the
    /// log, and the connections of the admin listener that are being evicted.
    const RESERVED: u64 = 32;
    /// A worker's runtime and listener, look-ups of the API's name, and one accepted connection
    /// that waits for its turn.
    const RESERVED_BY_WORKER: u64 = 8;
    /// Connections of the admin listener: as many where there are files enough, and at least twice
    /// as many as are admitted in one turn.
    const ADMIN_CONNECTIONS: u32 = 64;
    const MIN_ADMIN_CONNECTIONS: u32 = 8;
    let admin = u32::try_from(limit / 8)
        .unwrap_or(u32::MAX)
        .clamp(MIN_ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
    config.admin.max_connections = Some(admin);
    let workers = config.listen.workers.get() as u64;
    let reserved = RESERVED + u64::from(admin) + workers * RESERVED_BY_WORKER;
    let rest = limit.saturating_sub(reserved);
    let half = rest.saturating_sub(workers * u64::from(config.upstream.min_idle)) / 2;
    let most = NonZeroU32::new(u32::try_from(half).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    if config.listen.max_connections > most {
        tracing::info!(
            open_files = limit,
            max_connections = most,
            "listen.max_connections is lowered to what the limit of open files is enough for"
        );
        config.listen.max_connections = most;
    }
    let upstream = rest
        .saturating_sub(u64::from(config.listen.max_connections.get()))
        .max(workers);
    config.upstream.max_connections = Some(u32::try_from(upstream).unwrap_or(u32::MAX));
}

fn cannot_log(log: &Log, error: &std::io::Error) -> Failure {
    let path = log
        .file
        .as_deref()
        .unwrap_or_else(|| Path::new(""))
        .display();
    Failure::Usage(format!(
        "log.file: cannot open {path} to append to it: {error}\n  \
         fix: name a file in a directory that is there and that the proxy's user may write to, or leave log.file out"
    ))
}

fn cannot_start(error: &StartError) -> Failure {
    let fix = error
        .fix()
        .map(|fix| format!("\n  fix: {fix}"))
        .unwrap_or_default();
    Failure::Failed(chain(error) + &fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// The configuration of a process with two workers and so many open files.
    fn config(limit: u64, set: &str) -> Config {
        let set = [
            "upstream.base_url=http://127.0.0.1:1",
            "listen.workers=2",
            set,
        ]
        .map(str::to_owned)
        .into();
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let mut config = crate::config::load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config;
        divide_open_files(&mut config, limit);
        config
    }

    /// What callers and the API get of them.
    fn divided(limit: u64, set: &str) -> (u32, u32) {
        let config = config(limit, set);
        (
            config.listen.max_connections.get(),
            config.upstream.max_connections.unwrap(),
        )
    }

    #[test]
    fn a_reserve_is_kept_of_the_open_files() {
        assert_eq!(divided(256, "upstream.min_idle=0"), (88, 88));
        assert_eq!(divided(256, "upstream.min_idle=10"), (78, 98));
        assert_eq!(divided(256, "listen.max_connections=20"), (20, 156));
        assert_eq!(divided(65_536, "upstream.min_idle=0"), (10_000, 55_424));
        assert_eq!(divided(16, "upstream.min_idle=0"), (1, 2));
    }

    #[test]
    fn the_admin_listener_is_bounded_by_its_reserve() {
        for (limit, expected) in [(16, 8), (256, 32), (65_536, 64)] {
            assert_eq!(
                config(limit, "upstream.min_idle=0").admin.max_connections,
                Some(expected),
                "{limit}"
            );
        }
    }
}
