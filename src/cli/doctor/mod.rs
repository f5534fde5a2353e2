//! `gbg-proxy doctor`: goes the whole way that a request and its token go, and tells where it
//! breaks.
//!
//! ```text
//! configuration ─▶ credentials ─┬─▶ token endpoint: DNS ─▶ TCP ─▶ TLS ─▶ clock ─▶ token request ─┐
//!                               └─▶ API:            DNS ─▶ TCP ─▶ TLS ───────────────────────────┴─▶ API: call
//! ```
//!
//! Where there is an egress proxy, DNS and TCP are those to it, and CONNECT comes between TCP and
//! TLS.
//!
//! A step whose way there is broken is skipped; the two servers are tried whatever comes of the
//! other. Every step has the time limit that it has in `run`, so the whole is bounded.

mod advice;
mod call;
mod connect;
mod finding;
mod report;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use http::HeaderValue;

use self::connect::{LookedUp, Stream, Way};
use self::report::Report;
use super::{ConfigArguments, Failure, block_on};
use crate::config::{Config, Loaded, Origin};
use crate::error::chain;
use crate::token::Client;
use crate::upstream::DialError;

/// A name lookup that takes so long has waited for a name server that does not answer.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);

/// Go the whole way to GBG GO, and tell where it breaks
///
/// Tries the configuration, DNS, TCP and TLS to the token endpoint and to the API (by way of the
/// egress proxy, where there is one), the clock, a token request, and a call to the API that
/// changes nothing. Under each step that fails it says what that means and what to do. Neither the
/// secret nor the token is shown.
///
/// Exit code 0 if all is well, 1 if a step failed, 64 for a configuration that cannot be used.
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
    pub(super) fn run(self) -> Result<(), Failure> {
        block_on(examine(self.config))
    }
}

async fn examine(arguments: ConfigArguments) -> Result<(), Failure> {
    let mut report = Report::default();
    let config = load(arguments, &mut report)?;
    for (key, place) in config.token.credentials.kept() {
        report.tick(key, None, &format!("found in {place}"))?;
    }
    for (key, file) in config.token.credentials.certificate_files() {
        report.tick(key, None, &format!("found in {}", file.display()))?;
    }
    let ignored = ignored_proxy();
    let to_token = Way::to_token_endpoint(&config.token, ignored)
        .map_err(|error| Failure::failed(error.as_ref()))?;
    let to_api = Way::to_api(&config.upstream, ignored);

    let token_reached = reach(&to_token, &mut report).await?;
    let api_reached = reach(&to_api, &mut report).await?;
    let token_endpoint_is_there = token_reached.is_some();
    let api_addr = api_reached.as_ref().map(|(addr, _)| *addr);

    let token_path = config.token.endpoint.url().path();
    let (clock_of, path) = if token_reached.is_some() {
        (&to_token, token_path)
    } else {
        (&to_api, "/")
    };
    compare_clocks(clock_of, path, token_reached.or(api_reached), &mut report).await?;
    let bearer = if token_endpoint_is_there {
        ask_for_token(&config, &mut report).await?
    } else {
        report.skip("token request", "the token endpoint was not reached")?;
        None
    };
    call_api(&to_api, api_addr, bearer, &config, &mut report).await?;
    report.end()
}

fn load(arguments: ConfigArguments, report: &mut Report) -> Result<Config, Failure> {
    let began = Instant::now();
    match arguments.load() {
        Ok((
            Loaded {
                config, warnings, ..
            },
            file,
        )) => {
            report.tick("configuration", began.elapsed(), &file)?;
            warnings
                .iter()
                .try_for_each(|warning| report.note(warning))?;
            Ok(config)
        }
        Err(Failure::Usage(error)) => Err(report.cross_configuration(began.elapsed(), &error)?),
        Err(other) => Err(other),
    }
}

/// DNS, TCP and TLS: the address that works, and the connection to it.
async fn reach(way: &Way, report: &mut Report) -> Result<Option<(SocketAddr, Stream)>, Failure> {
    let [dns, tcp, tls] = ["DNS", "TCP", "TLS"].map(|step| format!("{}: {step}", way.name));
    let first = way.first().0;
    let host = &first.host;

    let deadline = way.deadline();
    let began = Instant::now();
    let found = connect::find(way).await;
    let took = began.elapsed();
    let addrs = match found {
        LookedUp::Found(addrs) => addrs,
        LookedUp::Slow | LookedUp::Failed(_) => {
            let (what, advice) = match &found {
                LookedUp::Failed(error) if error.is_temporary => {
                    (error.text.clone(), advice::no_name_server(way))
                }
                LookedUp::Failed(error) => (error.text.clone(), advice::no_address(way)),
                _ => (
                    format!("not found within {}", way.connect),
                    advice::slow_lookup(way),
                ),
            };
            report.cross(&dns, took, &format!("{host}: {what}"), &advice)?;
            report.skip(&tcp, "there is no address")?;
            report.skip(&tls, "there is no connection")?;
            return Ok(None);
        }
    };
    let listed: Vec<_> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
    let whose = if way.egress.is_some() {
        "the egress proxy "
    } else {
        ""
    };
    let what = match host.parse::<IpAddr>() {
        Ok(_) => format!("{whose}{host} is an address"),
        Err(_) => format!("{whose}{host} is {}", listed.join(", ")),
    };
    report.tick(&dns, took, &what)?;
    if took >= SLOW_LOOKUP {
        report.note(&advice::slow_lookup_note())?;
    }

    let began = Instant::now();
    let dialled = connect::dial(addrs, &deadline).await;
    let took = began.elapsed();
    let failed: Vec<_> = dialled
        .failed
        .iter()
        .map(|(addr, error)| format!("{addr}: {error}"))
        .collect();
    let Some((addr, mut stream, opened_after)) = dialled.open else {
        let kinds: Vec<_> = dialled
            .failed
            .iter()
            .map(|(_, error)| error.kind())
            .collect();
        report.cross(
            &tcp,
            took,
            &failed.join("; "),
            &advice::no_connection(way, &kinds),
        )?;
        report.skip(&tls, "there is no connection")?;
        return Ok(None);
    };
    // `run` does not wait for the other addresses.
    let deadline = deadline.extended(took.saturating_sub(opened_after));
    report.tick(&tcp, opened_after, &format!("connected to {addr}"))?;
    failed.iter().try_for_each(|failed| report.note(failed))?;

    if let Some(egress) = &way.egress {
        const STEP: &str = "egress proxy: CONNECT";
        let began = Instant::now();
        if let Err(error) = connect::connect_tunnel(way, egress, &mut stream, &deadline).await {
            let advice = match &error {
                DialError::Tunnel(error) => advice::no_tunnel(way, error),
                _ => advice::slow_tunnel(way),
            };
            report.cross(STEP, began.elapsed(), &chain(&error), &advice)?;
            report.skip(&tls, "there is no tunnel")?;
            return Ok(None);
        }
        let Origin { host, port, .. } = &way.origin;
        report.tick(
            STEP,
            began.elapsed(),
            &format!("leads to {host}, port {port}"),
        )?;
    }
    if !way.origin.tls {
        report.skip(&tls, "plain http://, nothing is encrypted")?;
        return Ok(Some((addr, Box::new(stream))));
    }
    let began = Instant::now();
    match connect::secure(way, stream, &deadline).await {
        Ok((stream, shown)) => {
            let (what, note) = advice::certificate(&shown, SystemTime::now());
            report.tick(&tls, began.elapsed(), &what)?;
            note.iter().try_for_each(|note| report.note(note))?;
            Ok(Some((addr, stream)))
        }
        Err(broken) => {
            let issuer = broken
                .shown
                .as_ref()
                .map(|shown| format!("issued by {:?}: ", shown.issuer));
            let what = format!(
                "{}{}",
                issuer.unwrap_or_default(),
                chain(broken.error.as_ref())
            );
            let advice =
                advice::no_tls(way, broken.fault, broken.shown.as_ref(), SystemTime::now());
            report.cross(&tls, began.elapsed(), &what, &advice)?;
            Ok(None)
        }
    }
}

/// Looks at `path` over the connection that `reach` opened, for the time of the answer.
async fn compare_clocks(
    way: &Way,
    path: &str,
    reached: Option<(SocketAddr, Stream)>,
    report: &mut Report,
) -> Result<(), Failure> {
    const STEP: &str = "clock";
    let Some((_, stream)) = reached else {
        return report.skip(STEP, "neither server was reached");
    };
    let began = Instant::now();
    let answer = match call::look(&way.origin, path) {
        Ok(req) => call::send(stream, req, way.response).await,
        Err(error) => Err(error),
    };
    let took = began.elapsed();
    match answer {
        // The answer was dated somewhere on the way there and back.
        Ok(answer) => match call::seconds_ahead(&answer.headers, SystemTime::now() - took / 2) {
            Some(seconds) => match advice::clock(seconds, way.name) {
                (what, None) => report.tick(STEP, took, &what),
                (what, Some(advice)) => report.cross(STEP, took, &what, &advice),
            },
            None => report.skip(STEP, &format!("the answer of the {} has no Date", way.name)),
        },
        Err(error) => {
            let what = format!(
                "the {} does not answer: {}",
                way.name,
                chain(error.as_ref())
            );
            report.cross(STEP, took, &what, &finding::on_no_answer())
        }
    }
}

/// One token request, as the proxy makes it.
async fn ask_for_token(
    config: &Config,
    report: &mut Report,
) -> Result<Option<HeaderValue>, Failure> {
    const STEP: &str = "token request";
    let client =
        Client::new(&config.token).map_err(|error| Failure::Failed(chain(error.as_ref())))?;
    let began = Instant::now();
    let grant = client.fetch().await;
    let took = began.elapsed();
    match grant {
        Ok(grant) => {
            let what = match grant.lifetime {
                Some(lifetime) => {
                    format!(
                        "a token that lives {}",
                        humantime::format_duration(lifetime)
                    )
                }
                None => "a token whose life is not told: token.default_lifetime counts".to_owned(),
            };
            report.tick(STEP, took, &what)?;
            Ok(Some(grant.header))
        }
        Err(error) => {
            report.cross(
                STEP,
                took,
                &finding::no_token(&error),
                &finding::on_no_token(&error, config),
            )?;
            Ok(None)
        }
    }
}

/// A call that changes nothing, with the token, over a connection of its own: the first may have
/// been closed meanwhile.
async fn call_api(
    way: &Way,
    addr: Option<SocketAddr>,
    bearer: Option<HeaderValue>,
    config: &Config,
    report: &mut Report,
) -> Result<(), Failure> {
    const STEP: &str = "API: call";
    let Some(addr) = addr else {
        return report.skip(STEP, "the API was not reached");
    };
    let Some(bearer) = bearer else {
        return report.skip(STEP, "there is no token");
    };
    let Some(path) = call::read_only_path(&config.forward.allow) else {
        return report.skip(STEP, "upstream.allow has no call that changes nothing");
    };
    let began = Instant::now();
    let answer = async {
        let req = call::ask_for_state(&way.origin, &path, bearer)?;
        call::send(connect::open(way, addr).await?, req, way.response).await
    };
    let answer = answer.await;
    let took = began.elapsed();
    match answer {
        Ok(answer) => {
            let what = format!("POST {path}: {}", answer.status);
            match finding::on_call(answer.status, call::is_page(&answer.headers), config) {
                Ok(verdict) => report.tick(STEP, took, &format!("{what}: {verdict}")),
                Err(advice) => report.cross(STEP, took, &what, &advice),
            }
        }
        Err(error) => {
            let what = format!("POST {path}: {}", chain(error.as_ref()));
            report.cross(STEP, took, &what, &finding::on_no_answer())
        }
    }
}

/// A variable that names a proxy for other programs. Its value may hold a password, and is not
/// looked at further.
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
