//! `gbg-proxy doctor`: makes every step of a token request and an API call, and reports the first
//! that fails, with cause and fix.
//!
//! ```text
//! configuration ─▶ credentials ─┬─▶ token endpoint: DNS ─▶ TCP ─▶ TLS ─▶ clock ─▶ token request ─┐
//!                               └─▶ API:            DNS ─▶ TCP ─▶ TLS ───────────────────────────┴─▶ API: call
//! ```
//!
//! With an egress proxy, DNS and TCP lead to it, and CONNECT comes between TCP and TLS.
//!
//! A step that depends on a failed one is skipped; the two servers are checked independently. Without
//! credentials the token request and the API call are skipped. Every step has its time limit of `run`,
//! so the whole run is bounded.

mod advice;
mod connect;
mod connection_steps;
mod credentials;
mod report;
mod requests;
mod target;
mod tls;

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use clap::Args;
use http::HeaderValue;

use self::advice::connection::compare_clocks;
use self::advice::response::{advise_on_fetch_error, judge_api_response, no_response};
use self::connection_steps::TargetConnection;
use self::report::{Report, timed};
use self::target::Target;
use super::config_arguments::{ConfigArguments, describe_file};
use super::error::CommandError;
use super::output::is_colored;
use super::runtime::block_on;
use crate::config::{self, Config, ConfigError, CredentialSources, MissingSecret, Sources};
use crate::error::chain;
use crate::token::Client;

/// Diagnose the connection to GBG GO, step by step
///
/// Checks the configuration, DNS, TCP and TLS to the token endpoint and the API (through the egress
/// proxy if one is set), the clock, a token request, and an API call that changes nothing. Prints
/// the cause and the fix below each step that fails, and never the secret or the token.
///
/// Without the credentials of the service it makes all steps but the last two, and prints the
/// commands that run it where the credentials are.
///
/// Exit code: 0 if all steps pass, 1 if a step fails, 2 if no step fails but the credentials are
/// missing, 64 if the configuration is invalid.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy doctor
  gbg-proxy doctor --config /etc/gbg-proxy/proxy.toml
  gbg-proxy doctor --set upstream.region=us")]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigArguments,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), CommandError> {
        block_on(diagnose(self.config))
    }
}

async fn diagnose(arguments: ConfigArguments) -> Result<(), CommandError> {
    let mut report = Report::new(is_colored());
    let sources = arguments.sources()?;
    let (config, missing) = load(&sources, &mut report)?;
    report_credentials(&config.token.credentials, &missing, &mut report)?;
    // With a missing certificate TLS is tried without one.
    let identity = match config.token.credentials.identity() {
        Err(_) if !missing.is_empty() => None,
        identity => identity?,
    };
    let ignored_proxy = ignored_proxy();
    let token_endpoint = Target::token_endpoint(&config.token, identity, ignored_proxy)
        .map_err(|error| CommandError::Failed(chain(error.as_ref())))?;
    let api = Target::api(&config.upstream, ignored_proxy);

    let to_token_endpoint = connection_steps::connect(&token_endpoint, &mut report).await?;
    let to_api = connection_steps::connect(&api, &mut report).await?;
    let token_endpoint_is_reached = to_token_endpoint.is_some();
    let api_addr = to_api.as_ref().map(|connection| connection.addr);

    let token_path = config.token.endpoint.url().path();
    match (to_token_endpoint, to_api) {
        (Some(connection), _) => {
            check_clock(&token_endpoint, token_path, connection, &mut report).await?;
        }
        (None, Some(connection)) => check_clock(&api, "/", connection, &mut report).await?,
        (None, None) => report.skip(CLOCK_STEP, "neither server was reached")?,
    }
    let bearer = if !token_endpoint_is_reached {
        report.skip(TOKEN_STEP, "the token endpoint was not reached")?;
        None
    } else if !missing.is_empty() {
        report.skip(TOKEN_STEP, "the credentials are missing")?;
        None
    } else {
        request_token(&config, &mut report).await?
    };
    call_api(&api, api_addr, bearer, &config, &mut report).await?;
    let locations = credentials::run_locations(&missing, sources.file.as_deref());
    report.finish(&locations)
}

const CLOCK_STEP: &str = "clock";
const TOKEN_STEP: &str = "token request";
const CALL_STEP: &str = "API: call";

fn load(
    sources: &Sources,
    report: &mut Report,
) -> Result<(Config, Vec<MissingSecret>), CommandError> {
    let began = Instant::now();
    match config::load_for_diagnosis(sources) {
        Ok((loaded, missing)) => {
            report.pass("configuration", began.elapsed(), &describe_file(sources))?;
            let mut remarks = loaded.remarks();
            remarks.try_for_each(|remark| report.note(&remark))?;
            drop(remarks);
            let (missing, unused): (Vec<_>, Vec<_>) = missing
                .into_iter()
                .partition(|missing| missing.error.key.starts_with("token."));
            for MissingSecret { error, .. } in unused {
                let ConfigError { key, message, .. } = error;
                report.note(&format!("{key}: {message}; only `run` needs it"))?;
            }
            Ok((loaded.config, missing))
        }
        Err(errors) => Err(report.fail_configuration(began.elapsed(), errors)?),
    }
}

fn report_credentials(
    sources: &CredentialSources,
    missing: &[MissingSecret],
    report: &mut Report,
) -> Result<(), CommandError> {
    let mut report_place = |key: &str, place: &dyn Display, effect: &str| match missing
        .iter()
        .find(|missing| missing.error.key == key)
    {
        Some(missing) => report.skip(key, &format!("{}{effect}", missing.error.message)),
        None => report.pass(key, None, &format!("found in {place}")),
    };
    for (key, place) in sources.kept() {
        report_place(key, place, "")?;
    }
    for (key, file) in sources.certificate_files() {
        report_place(key, &file.display(), "; TLS is tried without it")?;
    }
    Ok(())
}

/// Compares the clock with the Date of a response on `connection`, which this uses up.
async fn check_clock(
    target: &Target,
    path: &str,
    connection: TargetConnection,
    report: &mut Report,
) -> Result<(), CommandError> {
    let exchange = async {
        let request = requests::get(&target.origin, path)?;
        requests::send(connection.transport, request, target.response).await
    };
    let (response, took) = timed(exchange).await;
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            let error = chain(error.as_ref());
            let what = format!("{}: {error}", target.peer());
            return report.fail(CLOCK_STEP, took, &what, &no_response());
        }
    };
    // The server wrote the Date at some time between request and response.
    let sent_at = SystemTime::now() - took / 2;
    match requests::seconds_ahead(&response.headers, sent_at) {
        Some(seconds) => match compare_clocks(seconds, &target.to_string()) {
            (what, None) => report.pass(CLOCK_STEP, took, &what),
            (what, Some(advice)) => report.fail(CLOCK_STEP, took, &what, &advice),
        },
        None => {
            let reason = format!("the response of the {target} has no Date field");
            report.skip(CLOCK_STEP, &reason)
        }
    }
}

/// Requests a token as the proxy does.
async fn request_token(
    config: &Config,
    report: &mut Report,
) -> Result<Option<HeaderValue>, CommandError> {
    let client = Client::new("default", &config.token)
        .map_err(|error| CommandError::Failed(chain(error.as_ref())))?;
    let endpoint = &config.token.endpoint;
    let (fetched, took) = timed(client.fetch()).await;
    match fetched {
        Ok(grant) => {
            let what = match grant.lifetime {
                Some(lifetime) => {
                    let lifetime = humantime::format_duration(lifetime);
                    format!("a token with a lifetime of {lifetime}")
                }
                None => "a token without a lifetime: token.default_lifetime applies".to_owned(),
            };
            report.pass(TOKEN_STEP, took, &format!("POST {endpoint}: {what}"))?;
            Ok(Some(grant.header))
        }
        Err(error) => {
            let advice = advise_on_fetch_error(&error, config);
            let what = format!("POST {endpoint}: {}", error.cause());
            report.fail(TOKEN_STEP, took, &what, &advice)?;
            Ok(None)
        }
    }
}

/// Makes a call without side effects, on a new connection: the server may have closed the first.
async fn call_api(
    target: &Target,
    addr: Option<SocketAddr>,
    bearer: Option<HeaderValue>,
    config: &Config,
    report: &mut Report,
) -> Result<(), CommandError> {
    let Some(addr) = addr else {
        return report.skip(CALL_STEP, "the API was not reached");
    };
    let Some(bearer) = bearer else {
        return report.skip(CALL_STEP, "there is no token");
    };
    let Some(path) = requests::read_only_path(&config.forward.allow) else {
        let reason = "upstream.allow forwards no call that changes nothing";
        return report.skip(CALL_STEP, reason);
    };
    let call = async {
        let request = requests::read_only_call(&target.origin, &path, bearer)?;
        let transport = connect::reconnect(target, addr).await?;
        requests::send(transport, request, target.response).await
    };
    let (response, took) = timed(call).await;
    match response {
        Ok(response) => {
            let what = format!("POST {}{path}: {}", target.origin, response.status);
            let is_html = requests::is_html(&response.headers);
            match judge_api_response(response.status, is_html, config) {
                Ok(verdict) => report.pass(CALL_STEP, took, &format!("{what}: {verdict}")),
                Err(advice) => report.fail(CALL_STEP, took, &what, &advice),
            }
        }
        Err(error) => {
            let what = format!("POST {}{path}: {}", target.origin, chain(error.as_ref()));
            report.fail(CALL_STEP, took, &what, &no_response())
        }
    }
}

/// Returns the name of an environment variable that sets a proxy for other programs. Its value may
/// hold a password, and is not used.
fn ignored_proxy() -> Option<&'static str> {
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ];
    names
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
