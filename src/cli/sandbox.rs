//! `gbg-proxy sandbox`: a GBG GO of our own on its own, to point a proxy at.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;

use super::{Failure, block_on, raise_open_files};
use crate::app::signals;
use crate::config::parse_duration;
use crate::sandbox::{Authorization, Fault, Options, Sandbox, Seen};

/// Run a stand-in for GBG GO: token endpoint and API, v1 and v2
///
/// It answers in the shapes that GBG documents, checks the token of each call, and shows what
/// arrived. It keeps nothing of what is sent to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy sandbox
  gbg-proxy sandbox --address 127.0.0.1:9443 --ca-out sandbox.pem
  gbg-proxy sandbox --token-life 10s --v1-start-time 9s
  gbg-proxy sandbox --fault token-delay=2s --fault api-status=503*3

While it runs, on the same address:
  GET     /sandbox/faults   what goes wrong
  PUT     /sandbox/faults   what is to go wrong from now on: a list such as [\"api-status=503*3\"]
  DELETE  /sandbox/faults   nothing goes wrong any more
  POST    /sandbox/revoke   every access token ends, and calls with one get 401
  GET     /sandbox/calls    how many calls came, by endpoint and status, and how many tokens were issued")]
pub(super) struct SandboxCommand {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    address: SocketAddr,
    /// Speak TLS, with a certificate made now, and write the certificate to this file
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// How long an access token lives
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    token_life: Duration,
    /// How long a synchronous v1 start takes; the real one takes about 9 s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    v1_start_time: Duration,
    /// The client id that gets a token
    #[arg(long, default_value = "sandbox-client")]
    client_id: String,
    /// The client's secret; a stand-in's secret is no secret
    #[arg(long, default_value = "sandbox-secret")]
    client_secret: String,
    /// Whom the password grant knows
    #[arg(long, default_value = "sandbox-user")]
    username: String,
    /// Their password
    #[arg(long, default_value = "sandbox-password")]
    password: String,
    /// What goes wrong on purpose; may be repeated
    #[arg(long = "fault", value_name = "FAULT[*CALLS]", long_help = fault_help())]
    faults: Vec<Fault>,
    /// Show no calls
    #[arg(long)]
    quiet: bool,
}

impl SandboxCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        raise_open_files();
        block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let options = Options {
            address: self.address,
            tls: self.ca_out.is_some(),
            client_id: self.client_id,
            client_secret: self.client_secret,
            token_life: self.token_life,
            v1_start_time: self.v1_start_time,
            username: self.username,
            password: self.password,
            faults: self.faults,
        };
        let signalled = signals::signalled().map_err(|error| Failure::failed(&error))?;
        let (id, secret) = (options.client_id.clone(), options.client_secret.clone());
        let sandbox = Sandbox::start(options).await.map_err(|error| {
            Failure::Failed(format!("cannot listen on {}: {error}", self.address))
        })?;
        let (mut ca, mut curl_ca) = (String::new(), String::new());
        if let (Some(path), Some(pem)) = (&self.ca_out, sandbox.ca_pem()) {
            std::fs::write(path, pem).map_err(|error| {
                Failure::Failed(format!("cannot write {}: {error}", path.display()))
            })?;
            ca = format!(" --set upstream.ca_file={}", path.display());
            curl_ca = format!(" --cacert {}", path.display());
        }
        say(&format!(
            "the sandbox listens on {url}; a proxy before it:\n\n  \
             GBG_CLIENT_ID={id} GBG_CLIENT_SECRET={secret} gbg-proxy run \\\n    \
             --set upstream.base_url={url}{ca} \\\n    --set token.endpoint={token}\n\n\
             what is to go wrong from now on, for how many calls (--help lists it):\n\n  \
             curl{curl_ca} -X PUT {url}/sandbox/faults -d '[\"api-status=503*3\"]'\n",
            url = sandbox.base_url(),
            token = sandbox.token_endpoint(),
        ))?;
        tokio::select! {
            shown = show_calls(sandbox.subscribe()), if !self.quiet => shown,
            _ = signalled => Ok(()),
        }
    }
}

fn fault_help() -> String {
    format!(
        "What goes wrong on purpose; may be repeated. With *N at the end for the next N calls that it applies to:\n\n{}",
        Fault::manual()
    )
}

/// Shows each of `calls`, without end. In a thread of its own: whoever reads standard output may
/// stop to.
pub(super) async fn show_calls(mut calls: broadcast::Receiver<Seen>) -> Result<(), Failure> {
    let shown = spawn_blocking(move || {
        loop {
            match calls.blocking_recv() {
                Ok(seen) => say(&describe(&seen))?,
                Err(RecvError::Lagged(lost)) => say(&format!("({lost} more calls)"))?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    });
    shown
        .await
        .unwrap_or_else(|error| Err(Failure::failed(&error)))
}

fn describe(seen: &Seen) -> String {
    let Seen {
        method,
        path,
        status,
        body_bytes,
        ..
    } = seen;
    let path = path.split('?').next().unwrap_or_default();
    format!(
        "{:<6} {path:<44} {:>3}  {body_bytes:>9} bytes  {}",
        method.as_str(),
        status.as_u16(),
        who(&seen.authorization)
    )
}

/// What a call was authorized with; never the token.
pub(super) fn who(authorization: &Authorization) -> String {
    match authorization {
        Authorization::None => "no Authorization".to_owned(),
        Authorization::Bearer {
            generation,
            current: true,
        } => format!("Bearer … (token {generation})"),
        Authorization::Bearer {
            generation,
            current: false,
        } => {
            format!("Bearer … (token {generation}, replaced)")
        }
        Authorization::ConnectToken => "Bearer … (connect token)".to_owned(),
        Authorization::EndUserToken => "Bearer … (end-user token)".to_owned(),
        Authorization::Unknown => "Bearer … (unknown or expired)".to_owned(),
        Authorization::OtherScheme(scheme) => format!("{scheme} …"),
        Authorization::Several(count) => format!("{count} Authorization fields"),
    }
}

/// A line on standard output.
pub(super) fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::failed(&error))
}
