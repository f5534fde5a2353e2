//! `gbg-proxy demo`: the main job, on an embedded sandbox, with a caller that has no credentials.

mod caller;
mod journeys;

use std::net::SocketAddr;

use clap::Args;

use self::journeys::{walk_v1, walk_v2};
use super::sandbox::{say, show_calls};
use super::{Failure, block_on, raise_open_files, shut_down};
use crate::app::signals;
use crate::app::{App, StartError};
use crate::config::{self, Address, Config, HttpUrl, Origin, Sources};
use crate::sandbox::{Options, Sandbox};
use crate::telemetry;

/// The ports to try; then any free one.
const PORTS: std::ops::RangeInclusive<u16> = 8080..=8089;

/// See it work: a legacy caller without credentials on its way through the proxy to an embedded
/// sandbox
///
/// Starts the sandbox (TLS, a free port) and the proxy before it (port 8080, or the next free one),
/// and walks through a journey of each API version. Then it stays, for you to try; ctrl-c ends it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy demo
  gbg-proxy demo --once    end after the walk: exit code 0, or 1 if a step was not as it must be")]
pub(super) struct Demo {
    /// End after the walk
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let level = tracing::level_filters::LevelFilter::WARN;
        let level = telemetry::LogLevel::new(level);
        let settings = telemetry::LogSettings {
            level,
            json: false,
            file: None,
        };
        let _flush = telemetry::init(settings).map_err(|error| Failure::failed(&error))?;
        raise_open_files();
        block_on(self.play())
    }

    async fn play(self) -> Result<(), Failure> {
        let sandbox = Sandbox::start(Options::default())
            .await
            .map_err(|error| Failure::failed(&error))?;
        let (app, addr) = start_proxy(&sandbox).await?;
        say(&format!(
            "sandbox     {} (a stand-in for GBG GO, with a certificate made now)\n\
             gbg-proxy   http://{addr}\n\
             the caller  speaks HTTP/1.0 and has no credentials\n",
            sandbox.base_url()
        ))?;
        walk_v2(addr, &sandbox).await?;
        walk_v1(addr, &sandbox).await?;
        say(&format!(
            "all as it must be: the caller sent no Authorization, and each call arrived with the current token\n\
             (token requests: {})",
            sandbox.token_calls()
        ))?;
        if !self.once {
            let signalled = signals::signalled().map_err(|error| Failure::failed(&error))?;
            say(&invitation(addr))?;
            tokio::select! {
                shown = show_calls(sandbox.subscribe()) => shown?,
                _ = signalled => {}
            }
        }
        shut_down(app).await;
        Ok(())
    }
}

async fn start_proxy(sandbox: &Sandbox) -> Result<(App, SocketAddr), Failure> {
    let mut config = configuration(sandbox)?;
    for port in PORTS.chain([0]) {
        config.listen.address = Address::Tcp(([127, 0, 0, 1], port).into());
        // A second demo, or a proxy beside it, has the port.
        config.admin.address = None;
        match App::start(&config).await {
            Err(StartError::Listen { .. }) if port != 0 => {}
            Err(error) => return Err(Failure::failed(&error)),
            Ok(app) => match *app.address() {
                Address::Tcp(addr) => return Ok((app, addr)),
                Address::Unix(_) => break,
            },
        }
    }
    Err(Failure::Failed(
        "there is no free port on 127.0.0.1".to_owned(),
    ))
}

/// What an operator would write in a file, but for the certificate, which is in no file.
fn configuration(sandbox: &Sandbox) -> Result<Config, Failure> {
    let options = Options::default();
    let env = [
        ("GBG_CLIENT_ID", options.client_id),
        ("GBG_CLIENT_SECRET", options.client_secret),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    // Plain at first, so that the certificates of this machine, which may have none, are not asked
    // for.
    let set = [
        "upstream.base_url=http://localhost",
        "token.endpoint=http://localhost",
        "log.access=false",
    ];
    let sources = Sources {
        set: set.map(str::to_owned).into(),
        env,
        file: None,
    };
    let mut config = config::load(&sources)
        .map_err(|error| Failure::Usage(error.to_string()))?
        .config;
    let url =
        |text: String| HttpUrl::try_from(text).map_err(|error| Failure::Failed(error.to_owned()));
    let origin = Origin::of(&url(sandbox.base_url())?);
    config.upstream.origin =
        origin.ok_or_else(|| Failure::Failed("the sandbox has no origin".to_owned()))?;
    config.token.endpoint = url(sandbox.token_endpoint())?;
    config.upstream.roots = sandbox.ca().into_iter().collect();
    config.token.roots = config.upstream.roots.clone();
    Ok(config)
}

fn invitation(addr: SocketAddr) -> String {
    format!(
        "\ntry it (ctrl-c ends the demo):\n\n  \
         curl -i http://{addr}/v2/captain/journey/start -H 'Content-Type: application/json' \\\n    \
         -d '{{\"resourceId\":\"demo@latest\",\"context\":{{\"config\":{{\"delivery\":\"api\"}},\"subject\":{{}}}}}}'\n\n\
         what reaches the sandbox from now on:"
    )
}
