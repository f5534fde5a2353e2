//! Advice for a failed connection: DNS, TCP, the egress proxy, TLS and the clock.

use std::io;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::Advice;
use crate::cli::doctor::target::Target;
use crate::cli::doctor::tls::{PeerCertificate, TlsErrorKind};
use crate::upstream::TunnelError;

/// A certificate that expires sooner gets a note.
const MIN_VALID_DAYS: i64 = 14;

const DAY_SECONDS: i64 = 86_400;

/// About the lifetime of an assertion that a client signs: beyond it the clock is wrong.
const CLOCK_TOLERANCE_SECONDS: i64 = 30;

pub(in crate::cli::doctor) const SLOW_LOOKUP_NOTE: &str = "the name lookup is slow, and so is each new connection: mostly the first nameserver of \
     /etc/resolv.conf does not answer";

pub(in crate::cli::doctor) fn no_address(target: &Target) -> Advice {
    let host = &target.first_hop().host;
    let advice = Advice::new(format!(
        "there is no such host as {host}, or this machine's DNS does not know it"
    ))
    .fix(format!("check the spelling in {}", target.first_hop_keys()))
    .fix(format!(
        "try `getent hosts {host}`; if that fails as well, fix the DNS of this machine"
    ));
    with_proxy_hint(target, advice)
}

/// For a lookup that no name server answered.
pub(in crate::cli::doctor) fn no_name_server(target: &Target) -> Advice {
    let host = &target.first_hop().host;
    Advice::new(format!(
        "no name server of /etc/resolv.conf has answered; whether {host} exists is not known"
    ))
    .fix(check_name_servers(host))
}

/// For a lookup that ended too late or never.
pub(in crate::cli::doctor) fn slow_lookup(target: &Target) -> Advice {
    Advice::new(
        "the name lookup is slow: mostly a nameserver of /etc/resolv.conf does not answer, and the \
         resolver waits 5 s before it asks the next",
    )
    .fix(check_name_servers(&target.first_hop().host))
    .fix(format!(
        "or have the resolver wait less: write \"options timeout:1\" into /etc/resolv.conf; or raise {}",
        target.connect
    ))
}

fn check_name_servers(host: &str) -> String {
    format!(
        "ask each nameserver of /etc/resolv.conf, such as `dig @ADDRESS {host}`, and replace those \
         that do not answer"
    )
}

/// For an egress proxy that opened no tunnel in time.
pub(in crate::cli::doctor) fn slow_tunnel(target: &Target) -> Advice {
    Advice::new("the egress proxy takes the connection, and does not open the tunnel in time")
        .fix(format!(
            "ask the operator of the egress proxy whether it reaches {}, and why it is slow",
            target.host_and_port()
        ))
        .fix(format!("if it only takes longer, raise {}", target.connect))
}

/// For addresses of which none was connected; `kinds` are their errors.
pub(in crate::cli::doctor) fn no_connection(target: &Target, kinds: &[io::ErrorKind]) -> Advice {
    let first_hop = target.first_hop();
    let host_and_port = format!("{}:{}", first_hop.host, first_hop.port);
    if !kinds.contains(&io::ErrorKind::ConnectionRefused) {
        let advice = Advice::new(
            "nothing answers: mostly a firewall drops what is sent there, or there is no route",
        )
        .fix(format!(
            "let this machine reach {host_and_port} in the firewall"
        ));
        return with_proxy_hint(target, advice);
    }
    let advice = Advice::new(format!(
        "the machine is there, but takes no connections on port {}",
        first_hop.port
    ))
    .fix(format!(
        "check host and port in {}",
        target.first_hop_keys()
    ));
    if target.is_local() {
        return advice.fix("start what should listen there");
    }
    let advice = advice.fix(format!(
        "a firewall may refuse in its place: let this machine reach {host_and_port}"
    ));
    with_proxy_hint(target, advice)
}

/// For an egress proxy that accepted the connection, and opened no tunnel.
pub(in crate::cli::doctor) fn no_tunnel(target: &Target, error: &TunnelError) -> Advice {
    let ask = |question: &str| {
        format!(
            "ask the operator of the egress proxy {question} {}",
            target.host_and_port()
        )
    };
    match error {
        TunnelError::Refused {
            status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            authorized: false,
        } => Advice::new("the egress proxy wants user and password").fix(
            "keep the whole URL with user and password in a variable or a file, and write \
             upstream.egress_proxy = \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
        ),
        TunnelError::Refused {
            status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            authorized: true,
        } => Advice::new(
            "user or password is wrong, or the egress proxy takes no Basic (RFC 7617), the one way there is",
        )
        .fix(
            "check the URL that upstream.egress_proxy refers to (in user and password, @ is %40, / is %2F)",
        ),
        TunnelError::Refused { status, .. } if status.is_server_error() => {
            Advice::new("the egress proxy cannot reach the host, or does not know its name")
                .fix(format!("check the spelling in {}", target.keys))
                .fix(ask("whether it reaches"))
        }
        TunnelError::Refused { .. } => {
            Advice::new("the egress proxy does not let this machine through to the host")
                .fix(ask("to allow CONNECT to"))
                .fix("if this machine has a way of its own to the host, write it into upstream.no_proxy")
        }
        _ => Advice::new("what listens there is no HTTP proxy, or it is out of order")
            .fix("check host and port in upstream.egress_proxy")
            .fix(ask("to let through")),
    }
}

/// For a failed TLS handshake.
pub(in crate::cli::doctor) fn no_tls(
    target: &Target,
    kind: TlsErrorKind,
    certificate: Option<&PeerCertificate>,
    now: SystemTime,
) -> Advice {
    let Target { ca_key, keys, .. } = target;
    let host = &target.origin.host;
    let anchor = certificate.map_or("its issuer", |shown| shown.anchor.as_str());
    let ask = format!("check {keys}, and ask the operator of {host}");
    match kind {
        TlsErrorKind::UnknownIssuer => Advice::new(
            "none of the trusted roots signed the certificate: a corporate proxy opens TLS on the way, or the \
             server has a certificate of a private CA, or it does not send its intermediate certificate",
        )
        .fix(format!(
            "if {anchor:?} is one that you trust, write its root certificate into a PEM file, and the path of \
             that into {ca_key}"
        ))
        .fix(format!("if nobody knows {anchor:?}, do not trust it: somebody is in between")),
        TlsErrorKind::OtherKey => Advice::new(format!(
            "a trusted root is named {anchor:?}, but another key signed the certificate"
        ))
        .fix("if the CA was not replaced, do not trust the server: somebody uses its name")
        .fix(format!("if it was, write its present root certificate into the file of {ca_key}")),
        TlsErrorKind::Expired(at) => outside_validity(host, "ended", at, now),
        TlsErrorKind::NotYetValid(at) => outside_validity(host, "begins", at, now),
        TlsErrorKind::WrongName => {
            Advice::new("another server answers than the one that was asked for")
                .fix("check what this machine's DNS and /etc/hosts say of the host")
                .fix(format!("check the host in {keys}: it must be a name that the certificate has"))
        }
        TlsErrorKind::CaAsServer => {
            Advice::new("the server presents the certificate of a CA as its own").fix(format!(
                "have it present one that the CA signed (CA:FALSE); the CA's own belongs into {ca_key}"
            ))
        }
        TlsErrorKind::NotTls => Advice::new("what answers there does not speak TLS").fix(format!(
            "check scheme and port in {keys}; a captive portal may answer in its place"
        )),
        TlsErrorKind::Alert => Advice::new(
            "the server broke the handshake off: there is no common version or cipher, or it wants a client \
             certificate, or it does not know the name",
        )
        .fix(
            "if it wants a certificate, write upstream.client_cert and client_key (token.… for the token endpoint)",
        )
        .fix(ask),
        TlsErrorKind::Closed | TlsErrorKind::TimedOut => {
            let mut advice =
                Advice::new("TCP works and TLS does not: mostly a firewall that reads the server's name")
                    .fix(format!("let this machine reach {host} with TLS in the firewall"));
            if kind == TlsErrorKind::TimedOut {
                advice = advice.fix(format!("if the server is only slow, raise {}", target.connect));
            }
            with_proxy_hint(target, advice)
        }
        TlsErrorKind::Other => Advice::new("TLS with this server is not possible").fix(ask),
    }
}

/// For a certificate that is not valid now: its validity `verb` at another time.
fn outside_validity(host: &str, verb: &str, at: Option<i64>, now: SystemTime) -> Advice {
    let at = at.map_or("another time".to_owned(), date);
    let now = httpdate::fmt_http_date(now);
    Advice::new(format!(
        "the certificate {verb} at {at}, and this machine says that it is {now}"
    ))
    .fix("if this machine's time is wrong, set its clock (NTP)")
    .fix(format!(
        "if it is right, the operator of {host} has to renew the certificate"
    ))
}

/// Describes a valid certificate, with a note if it expires soon.
pub(in crate::cli::doctor) fn describe_certificate(
    certificate: &PeerCertificate,
    now: SystemTime,
) -> (String, Option<String>) {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let seconds_left = certificate.not_after - i64::try_from(now).unwrap_or(i64::MAX);
    let days_left = seconds_left / DAY_SECONDS;
    let description = format!(
        "{}, issued by {:?}, ends in {days_left} days",
        certificate.version, certificate.issuer
    );
    let note = (days_left < MIN_VALID_DAYS).then(|| {
        format!(
            "the certificate ends at {}: ask the operator of the server to renew it",
            date(certificate.not_after)
        )
    });
    (description, note)
}

/// Describes the difference to the clock of `server`, with advice if it is too large.
pub(in crate::cli::doctor) fn compare_clocks(
    seconds_ahead: i64,
    server: &str,
) -> (String, Option<Advice>) {
    let description = match seconds_ahead {
        -1..=1 => format!("agrees with the {server}"),
        2.. => format!("{seconds_ahead} s ahead of the {server}"),
        _ => format!("{} s behind the {server}", -seconds_ahead),
    };
    let advice = (seconds_ahead.abs() > CLOCK_TOLERANCE_SECONDS).then(|| {
        Advice::new(
            "tokens end too early or too late, and what a client signs with its time may be refused",
        )
        .fix("set the clock of this machine (NTP)")
    });
    (description, advice)
}

/// Adds a hint at a corporate proxy, without which a direct connection may be impossible.
fn with_proxy_hint(target: &Target, advice: Advice) -> Advice {
    if target.is_local() || target.egress.is_some() {
        return advice;
    }
    match target.ignored_proxy {
        Some(name) => advice.fix(format!(
            "{name} is set, and ignored: gbg-proxy goes straight to {}; write upstream.egress_proxy = \"env:{name}\" to \
             have it used",
            target.origin.host
        )),
        None => advice.fix(
            "gbg-proxy goes straight there; a corporate proxy (HTTPS_PROXY and its like) is used only if \
             upstream.egress_proxy names it",
        ),
    }
}

fn date(seconds: i64) -> String {
    /// The last second of the year 9999, beyond which an HTTP date cannot be written.
    const LAST_SECOND: u64 = 253_402_300_799;
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests;
