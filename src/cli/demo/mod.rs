//! `gbg-proxy demo`: runs the proxy before an embedded sandbox, with a client without credentials.

mod client;
mod journeys;

use std::net::SocketAddr;

use clap::Args;

use self::journeys::{run_v1, run_v2};
use super::calls_view::print_calls;
use super::error::CommandError;
use super::open_files;
use super::output::{is_colored, print_line};
use super::runtime::{block_on, shut_down};
use crate::app::signals;
use crate::app::{App, StartError};
use crate::config::{self, Address, Config, Invalid, Origin, Sources};
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::telemetry;

/// Tried in this order, before any free port.
const PORTS: std::ops::RangeInclusive<u16> = 8080..=8089;

/// See it work: a client without credentials calls an embedded sandbox through the proxy
///
/// Starts a sandbox (with TLS, on a free port) and the proxy in front of it (on port 8080, or the
/// next free one; its status page on any free one), and runs a journey of each API version. Then it
/// keeps running so that you can try it; stop it with ctrl-c.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy demo
  gbg-proxy demo --once    exit after the journeys, with 0, or with 1 if a step failed")]
pub(super) struct Demo {
    /// Exit after the journeys
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let level = tracing::level_filters::LevelFilter::WARN;
        let level = telemetry::LogLevel::new(level);
        let settings = telemetry::LogSettings {
            level,
            json: false,
            is_colored: is_colored(),
            file: None,
        };
        let _flush = telemetry::init(settings)?;
        open_files::raise_limit();
        block_on(self.demonstrate())
    }

    async fn demonstrate(self) -> Result<(), CommandError> {
        let sandbox = Sandbox::start(SandboxOptions::default()).await?;
        let (app, addr) = start_proxy(&sandbox).await?;
        let admin = app.admin_address().map(Address::to_string);
        let status_page = format!("http://{}/", admin.unwrap_or_default());
        print_line(&format!(
            "sandbox      {} (simulates GBG GO, with a self-signed certificate)\n\
             gbg-proxy    http://{addr}\n\
             status page  {status_page}\n\
             caller       HTTP/1.0, without credentials\n",
            sandbox.base_url()
        ))?;
        run_v2(addr, &sandbox).await?;
        run_v1(addr, &sandbox).await?;
        print_line(&format!(
            "all steps passed: each call left the caller without Authorization, and reached the sandbox\n\
             with the current token (token requests: {})",
            sandbox.token_calls()
        ))?;
        if !self.once {
            let signalled = signals::signalled()?;
            print_line(&invitation(addr, &status_page))?;
            tokio::select! {
                printed = print_calls(sandbox.subscribe()) => printed?,
                _ = signalled => {}
            }
        }
        shut_down(app).await;
        Ok(())
    }
}

async fn start_proxy(sandbox: &Sandbox) -> Result<(App, SocketAddr), CommandError> {
    let mut config = configuration(sandbox)?;
    for port in PORTS.chain([0]) {
        config.listen.address = Address::Tcp(([127, 0, 0, 1], port).into());
        // Any free port: a proxy on this machine has the default one.
        config.admin.address = Some(Address::Tcp(([127, 0, 0, 1], 0).into()));
        match App::start(&config).await {
            Err(StartError::Listen { .. }) if port != 0 => {}
            Err(error) => return Err(error.into()),
            Ok(app) => match *app.address() {
                Address::Tcp(addr) => return Ok((app, addr)),
                Address::Unix(_) => break,
            },
        }
    }
    Err(CommandError::Failed(
        "no port is free on 127.0.0.1".to_owned(),
    ))
}

/// Returns the configuration that an operator would write, except the sandbox's certificate, which
/// is not in a file.
fn configuration(sandbox: &Sandbox) -> Result<Config, CommandError> {
    let options = SandboxOptions::default();
    let env = [
        ("GBG_CLIENT_ID", options.client_id),
        ("GBG_CLIENT_SECRET", options.client_secret),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    // http:// at first, so that the system roots, which this machine may lack, are not loaded.
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
    let mut config = config::load(&sources).map_err(CommandError::Config)?.config;
    let url = |text: String| {
        text.parse()
            .map_err(|error: Invalid| CommandError::Failed(error.to_string()))
    };
    let origin = Origin::of(&url(sandbox.base_url())?);
    config.upstream.origin =
        origin.ok_or_else(|| CommandError::Failed("the sandbox has no origin".to_owned()))?;
    config.token.endpoint = url(sandbox.token_endpoint())?;
    config.upstream.roots = sandbox.ca().into_iter().collect();
    config.token.roots = config.upstream.roots.clone();
    Ok(config)
}

fn invitation(addr: SocketAddr, status_page: &str) -> String {
    format!(
        "\ntry it (ctrl-c stops the demo):\n\n  \
         curl -i http://{addr}/v2/captain/journey/start -H 'Content-Type: application/json' \\\n    \
         -d '{{\"resourceId\":\"demo@latest\",\"context\":{{\"config\":{{\"delivery\":\"api\"}},\"subject\":{{}}}}}}'\n\n\
         open {status_page} to see the state of the proxy\n\n\
         calls that reach the sandbox:"
    )
}
