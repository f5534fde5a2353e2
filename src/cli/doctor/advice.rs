//! What a failure of the way or of the clock means, and what to do; pure, so that each can be
//! tested without a network.
//!
//! What the servers answer over that way is judged in `verdict`.

use std::io;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::connect::Way;
use super::tls::{Fault, Shown};
use crate::upstream::TunnelError;

/// A certificate that ends sooner is told of.
const SOON: i64 = 14;

const DAY: i64 = 86_400;

/// Beyond this a clock is wrong: an assertion that a client signs lives for about as long.
const CLOCK_TOLERANCE: i64 = 30;

/// What a failure means, and what can be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) cause: String,
    pub(super) fixes: Vec<String>,
}

impl Advice {
    pub(super) fn new<const N: usize>(cause: impl Into<String>, fixes: [&str; N]) -> Self {
        Advice {
            cause: cause.into(),
            fixes: fixes.map(str::to_owned).into(),
        }
    }

    pub(super) fn and(mut self, fix: String) -> Self {
        self.fixes.push(fix);
        self
    }
}

/// The name has no address.
pub(super) fn no_address(way: &Way) -> Advice {
    let (first, keys) = way.first();
    let host = &first.host;
    let cause = format!("there is no such host as {host}, or this machine's DNS does not know it");
    let advice = Advice::new(cause, []).and(format!("check the spelling in {keys}"));
    direct(
        way,
        advice.and(format!(
            "try `getent hosts {host}`; if that fails as well, fix the DNS of this machine"
        )),
    )
}

/// The name servers could not be asked, or did not answer.
pub(super) fn no_name_server(way: &Way) -> Advice {
    let host = &way.first().0.host;
    Advice::new(
        format!(
            "no name server of /etc/resolv.conf has answered; whether {host} exists is not known"
        ),
        [],
    )
    .and(check_name_servers(host))
}

/// The name was found too late, or never.
pub(super) fn slow_lookup(way: &Way) -> Advice {
    let host = &way.first().0.host;
    let cause = "the name lookup is slow: mostly a nameserver of /etc/resolv.conf does not answer, and the resolver waits 5 s \
                 before it asks the next";
    Advice::new(cause, []).and(check_name_servers(host)).and(format!(
        "or have the resolver wait less: write \"options timeout:1\" into /etc/resolv.conf; or raise {}",
        way.connect
    ))
}

/// What to tell of a lookup that was slow, but in time.
pub(super) fn slow_lookup_note() -> String {
    "the name lookup is slow, and so is each new connection: mostly the first nameserver of /etc/resolv.conf does not answer"
        .to_owned()
}

fn check_name_servers(host: &str) -> String {
    format!(
        "ask each nameserver of /etc/resolv.conf, such as `dig @ADDRESS {host}`, and replace those that do not answer"
    )
}

/// The egress proxy opened no tunnel in time.
pub(super) fn slow_tunnel(way: &Way) -> Advice {
    let there = format!("{}:{}", way.origin.host, way.origin.port);
    Advice::new(
        "the egress proxy takes the connection, and does not open the tunnel in time",
        [],
    )
    .and(format!(
        "ask whoever runs the egress proxy whether it reaches {there}, and why it is slow"
    ))
    .and(format!("if it only takes longer, raise {}", way.connect))
}

/// No address took a connection; `kinds` are the errors.
pub(super) fn no_connection(way: &Way, kinds: &[io::ErrorKind]) -> Advice {
    let (first, keys) = way.first();
    let there = format!("{}:{}", first.host, first.port);
    if kinds.contains(&io::ErrorKind::ConnectionRefused) {
        let cause = format!(
            "the machine is there, but takes no connections on port {}",
            first.port
        );
        let advice = Advice::new(cause, []).and(format!("check host and port in {keys}"));
        if way.is_local() {
            return advice.and("start what should listen there".to_owned());
        }
        let advice = advice.and(format!(
            "a firewall may refuse in its place: let this machine reach {there}"
        ));
        return direct(way, advice);
    }
    let cause = "nothing answers: mostly a firewall drops what is sent there, or there is no route";
    direct(
        way,
        Advice::new(cause, []).and(format!("let this machine reach {there} in the firewall")),
    )
}

/// The egress proxy took the connection, and opened no tunnel.
pub(super) fn no_tunnel(way: &Way, error: &TunnelError) -> Advice {
    const NO_PROXY: &str =
        "if this machine has a way of its own to the host, write it into upstream.no_proxy";
    const KEY: &str = "check host and port in upstream.egress_proxy";
    let there = format!("{}:{}", way.origin.host, way.origin.port);
    let ask = |what: &str| format!("ask whoever runs the egress proxy {what} {there}");
    match error {
        TunnelError::Refused {
            status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            authorized,
        } => {
            let reference = "keep the whole URL with user and password in a variable or a file, and write \
                             upstream.egress_proxy = \"env:NAME\", \"file:PATH\" or \"credential:NAME\"";
            match authorized {
                false => Advice::new("the egress proxy wants user and password", [reference]),
                true => Advice::new(
                    "user or password is wrong, or the egress proxy takes no Basic (RFC 7617), the one way there is",
                    [
                        "check the URL that upstream.egress_proxy refers to (in user and password, @ is %40, / is %2F)",
                    ],
                ),
            }
        }
        TunnelError::Refused { status, .. } if status.is_server_error() => Advice::new(
            "the egress proxy cannot reach the host, or does not know its name",
            [],
        )
        .and(format!("check the spelling in {}", way.keys))
        .and(ask("whether it reaches")),
        TunnelError::Refused { .. } => Advice::new(
            "the egress proxy does not let this machine through to the host",
            [],
        )
        .and(ask("to allow CONNECT to"))
        .and(NO_PROXY.to_owned()),
        _ => Advice::new(
            "what listens there is no HTTP proxy, or it is out of order",
            [KEY],
        )
        .and(ask("to let through")),
    }
}

/// The handshake failed.
pub(super) fn no_tls(way: &Way, fault: Fault, shown: Option<&Shown>, now: SystemTime) -> Advice {
    let Way {
        ca_key,
        keys,
        origin,
        ..
    } = way;
    let host = &origin.host;
    let anchor = shown.map_or("its issuer", |shown| shown.anchor.as_str());
    let ask = format!("check {keys}, and ask whoever runs {host}");
    match fault {
        Fault::UnknownIssuer => Advice::new(
            "none of the trusted roots signed the certificate: a corporate proxy opens TLS on the way, or the \
             server has a certificate of a private CA, or it does not send its intermediate certificate",
            [],
        )
        .and(format!(
            "if {anchor:?} is one that you trust, write its root certificate into a PEM file, and the path of \
             that into {ca_key}"
        ))
        .and(format!("if nobody knows {anchor:?}, do not trust it: somebody is in between")),
        Fault::OtherKey => {
            let cause = format!("a trusted root is named {anchor:?}, but another key signed the certificate");
            Advice::new(cause, ["if the CA was not made anew, do not trust the server: somebody uses its name"])
                .and(format!("if it was, write its present root certificate into the file of {ca_key}"))
        }
        Fault::Expired(at) => on_time(host, "ended", at, now),
        Fault::NotYetValid(at) => on_time(host, "begins", at, now),
        Fault::WrongName => Advice::new(
            "another server answers than the one that was asked for",
            ["check what this machine's DNS and /etc/hosts say of the host"],
        )
        .and(format!("check the host in {keys}: it must be a name that the certificate has")),
        Fault::OwnCa => {
            let fix = "have it present one that the CA signed (CA:FALSE); the CA's own belongs into";
            Advice::new("the server presents the certificate of a CA as its own", [])
                .and(format!("{fix} {ca_key}"))
        }
        Fault::NoTls => Advice::new("what answers there does not speak TLS", [])
            .and(format!("check scheme and port in {keys}; a captive portal may answer in its place")),
        Fault::Alert => Advice::new(
            "the server broke the handshake off: there is no common version or cipher, or it wants a client \
             certificate, or it does not know the name",
            ["if it wants a certificate, write upstream.client_cert and client_key (token.… for the token endpoint)"],
        )
        .and(ask),
        Fault::Closed | Fault::TimedOut => {
            let cause = "TCP works and TLS does not: mostly a firewall that reads the server's name";
            let fix = format!("let this machine reach {host} with TLS in the firewall");
            let advice = Advice::new(cause, []).and(fix);
            let advice = match fault {
                Fault::TimedOut => advice.and(format!("if the server is only slow, raise {}", way.connect)),
                _ => advice,
            };
            direct(way, advice)
        }
        Fault::Other => Advice::new("TLS with this server is not possible", []).and(ask),
    }
}

/// A certificate of `host`'s chain that `verb` at another time than now.
fn on_time(host: &str, verb: &str, at: Option<i64>, now: SystemTime) -> Advice {
    let at = at.map_or("another time".to_owned(), date);
    let now = httpdate::fmt_http_date(now);
    Advice::new(
        format!("the certificate {verb} at {at}, and this machine says that it is {now}"),
        ["if this machine's time is wrong, set its clock (NTP)"],
    )
    .and(format!(
        "if it is right, whoever runs {host} has to renew the certificate"
    ))
}

/// What is to be told of a certificate that is good.
pub(super) fn certificate(shown: &Shown, now: SystemTime) -> (String, Option<String>) {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let days = (shown.ends - i64::try_from(now).unwrap_or(i64::MAX)) / DAY;
    let what = format!(
        "{}, issued by {:?}, ends in {days} days",
        shown.version, shown.issuer
    );
    let note = format!(
        "the certificate ends at {}: ask whoever runs the server to renew it",
        date(shown.ends)
    );
    (what, Some(note).filter(|_| days < SOON))
}

/// The clock: in words, and advice where it is wrong.
pub(super) fn clock(seconds_ahead: i64, of: &str) -> (String, Option<Advice>) {
    let what = match seconds_ahead {
        -1..=1 => format!("agrees with the {of}"),
        2.. => format!("{seconds_ahead} s ahead of the {of}"),
        _ => format!("{} s behind the {of}", -seconds_ahead),
    };
    let cause =
        "tokens end too early or too late, and what a client signs with its time may be refused";
    let advice = Advice::new(cause, ["set the clock of this machine (NTP)"]);
    (
        what,
        Some(advice).filter(|_| seconds_ahead.abs() > CLOCK_TOLERANCE),
    )
}

/// A proxy of the environment may be why the direct way is closed.
fn direct(way: &Way, advice: Advice) -> Advice {
    match way.ignored {
        _ if way.is_local() || way.egress.is_some() => advice,
        Some(name) => advice.and(format!(
            "{name} is set, and ignored: gbg-proxy goes straight to {}; write upstream.egress_proxy = \"env:{name}\" to \
             have it used",
            way.origin.host
        )),
        None => advice.and(
            "gbg-proxy goes straight there; a corporate proxy (HTTPS_PROXY and its like) is used only if \
             upstream.egress_proxy names it"
                .to_owned(),
        ),
    }
}

fn date(seconds: i64) -> String {
    /// The last second of the year 9999: beyond it the date has no form.
    const LAST: u64 = 253_402_300_799;
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests;
