//! `gbg-proxy sandbox`: runs a simulated GBG GO, for a proxy in front of it.

use std::path::PathBuf;

use clap::Args;

use super::calls_view::print_calls;
use super::error::CommandError;
use super::open_files;
use super::output::print_line;
use super::runtime::block_on;
use crate::app::signals;
use crate::sandbox::{Sandbox, SandboxOptions};

/// Run a simulated GBG GO: token endpoint and API, v1 and v2
///
/// Serves API v1, and every call of v2 that the proxy knows. Responds in the formats that GBG
/// documents, checks the token of each call, and prints the calls. Stores no submitted data but
/// scenarios; a file of more than 10 MiB gets 422.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy sandbox
  gbg-proxy sandbox --address 127.0.0.1:9443 --ca-out sandbox.pem
  gbg-proxy sandbox --token-lifetime 10s --v1-start-time 9s
  gbg-proxy sandbox --fault token-delay=2s --fault api-status=503*3
  gbg-proxy sandbox --fault api-instance-rate=2/10s

While it runs, on the same address:
  GET     /sandbox/faults   list the active faults
  PUT     /sandbox/faults   replace them by a JSON list, such as [\"api-status=503*3\"]
  DELETE  /sandbox/faults   remove all faults
  POST    /sandbox/revoke   revoke all access tokens: calls with one get 401
  GET     /sandbox/calls    count the calls by endpoint and status, and the issued tokens")]
pub(super) struct SandboxCommand {
    #[command(flatten)]
    options: SandboxOptions,
    /// Serve TLS with a self-signed certificate, and write the certificate to this file
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Do not print calls
    #[arg(long)]
    quiet: bool,
}

impl SandboxCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        open_files::raise_limit();
        block_on(self.serve())
    }

    async fn serve(self) -> Result<(), CommandError> {
        let mut options = self.options;
        options.tls = self.ca_out.is_some();
        let signalled = signals::signalled()?;
        let (id, secret) = (options.client_id.clone(), options.client_secret.clone());
        let address = options.address;
        let sandbox = Sandbox::start(options).await.map_err(|error| {
            CommandError::Failed(format!("cannot listen on {address}: {error}"))
        })?;
        let (mut ca, mut curl_ca) = (String::new(), String::new());
        if let (Some(path), Some(pem)) = (&self.ca_out, sandbox.ca_pem()) {
            std::fs::write(path, pem).map_err(|error| {
                CommandError::Failed(format!("cannot write {}: {error}", path.display()))
            })?;
            ca = format!(" --set upstream.ca_file={}", path.display());
            curl_ca = format!(" --cacert {}", path.display());
        }
        print_line(&format!(
            "the sandbox is listening on {url}; to run a proxy in front of it:\n\n  \
             GBG_CLIENT_ID={id} GBG_CLIENT_SECRET={secret} gbg-proxy run \\\n    \
             --set upstream.base_url={url}{ca} \\\n    --set token.endpoint={token}\n\n\
             to inject a fault into the next three calls (--help lists all faults):\n\n  \
             curl{curl_ca} -X PUT {url}/sandbox/faults -d '[\"api-status=503*3\"]'\n",
            url = sandbox.base_url(),
            token = sandbox.token_endpoint(),
        ))?;
        tokio::select! {
            printed = print_calls(sandbox.subscribe()), if !self.quiet => printed,
            _ = signalled => Ok(()),
        }
    }
}
