//! Advice for a failed connection: DNS, TCP, the egress proxy, TLS and the clock.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::Advice;
use crate::cli::doctor::requests::unix_seconds;
use crate::cli::doctor::target::Target;
use crate::cli::doctor::tls::{PeerCertificate, TlsErrorKind};
use crate::upstream::TunnelFailure;

/// A certificate that expires sooner gets a note.
const MIN_VALID_DAYS: i64 = 14;

const DAY_SECONDS: i64 = 86_400;

/// About the lifetime of an assertion that a client signs: beyond it the clock is wrong.
const CLOCK_TOLERANCE_SECONDS: i64 = 30;

pub(in crate::cli::doctor) const SLOW_LOOKUP_NOTE: &str = "the name lookup is slow, which delays each new connection: usually the first nameserver in \
     /etc/resolv.conf does not respond";

pub(in crate::cli::doctor) fn no_address(target: &Target) -> Advice {
    let host = &target.first_hop().host;
    let advice = Advice::new(format!(
        "no such host {host}, or this machine's DNS does not know it"
    ))
    .fix(format!("check the spelling in {}", target.first_hop_keys()))
    .fix(format!(
        "run `getent hosts {host}`; if it fails too, fix the DNS of this machine"
    ));
    with_proxy_hint(target, advice)
}

/// For a lookup to which no name server responded.
pub(in crate::cli::doctor) fn no_name_server(target: &Target) -> Advice {
    let host = &target.first_hop().host;
    Advice::new(format!(
        "no nameserver in /etc/resolv.conf responded, so {host} may or may not exist"
    ))
    .fix(check_name_servers(host))
}

/// For a lookup that ended too late or never.
pub(in crate::cli::doctor) fn slow_lookup(target: &Target) -> Advice {
    Advice::new(
        "the name lookup is slow: usually a nameserver in /etc/resolv.conf does not respond, and the \
         resolver waits 5 s before it queries the next",
    )
    .fix(check_name_servers(&target.first_hop().host))
    .fix(format!(
        "or shorten the wait: add \"options timeout:1\" to /etc/resolv.conf, or raise {}",
        target.connect
    ))
}

fn check_name_servers(host: &str) -> String {
    format!(
        "query each nameserver in /etc/resolv.conf, for example `dig @ADDRESS {host}`, and replace \
         those that do not respond"
    )
}

/// For an egress proxy that opened no tunnel in time.
pub(in crate::cli::doctor) fn slow_tunnel(target: &Target) -> Advice {
    Advice::new("the egress proxy accepts the connection but does not open the tunnel in time")
        .fix(format!(
            "ask the operator of the egress proxy whether it can reach {}, and why it is slow",
            target.peer()
        ))
        .fix(format!(
            "if it only needs more time, raise {}",
            target.connect
        ))
}

/// For addresses of which none was connected.
pub(in crate::cli::doctor) fn no_connection(
    target: &Target,
    failed: &[(SocketAddr, io::Error)],
) -> Advice {
    let mut kinds = failed.iter().map(|(_, error)| error.kind());
    let first_hop = target.first_hop();
    let peer = target.first_hop_peer();
    if !kinds.any(|kind| kind == io::ErrorKind::ConnectionRefused) {
        let advice =
            Advice::new("no response: usually a firewall drops the packets, or there is no route")
                .fix(format!(
                    "allow this machine to reach {peer} in the firewall"
                ));
        return with_proxy_hint(target, advice);
    }
    let advice = Advice::new(format!("nothing listens on port {}", first_hop.port)).fix(format!(
        "check the host and port in {}",
        target.first_hop_keys()
    ));
    if target.is_local() {
        return advice.fix("start the service that should listen there");
    }
    let advice = advice.fix(format!(
        "a firewall may also refuse connections: allow this machine to reach {peer}"
    ));
    with_proxy_hint(target, advice)
}

/// For an egress proxy that accepted the connection, and opened no tunnel.
pub(in crate::cli::doctor) fn no_tunnel(target: &Target, error: &TunnelFailure) -> Advice {
    let ask = |question: &str| {
        format!(
            "ask the operator of the egress proxy {question} {}",
            target.peer()
        )
    };
    match error {
        TunnelFailure::Refused {
            status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            authorized: false,
        } => Advice::new("the egress proxy requires a user and a password").fix(
            "store the whole URL, with user and password, in a variable or a file, and set \
             upstream.egress_proxy = \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
        ),
        TunnelFailure::Refused {
            status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            authorized: true,
        } => Advice::new(
            "the user or password is wrong, or the egress proxy does not accept Basic (RFC 7617), \
             the only supported scheme",
        )
        .fix(
            "check the URL that upstream.egress_proxy refers to (in the user and password, write @ as \
             %40 and / as %2F)",
        ),
        TunnelFailure::Refused { status, .. } if status.is_server_error() => {
            Advice::new("the egress proxy cannot reach the host or resolve its name")
                .fix(format!("check the spelling in {}", target.keys))
                .fix(ask("whether it can reach"))
        }
        TunnelFailure::Refused { .. } => {
            Advice::new("the egress proxy does not allow this machine to connect to the host")
                .fix(ask("to allow CONNECT to"))
                .fix("if this machine can reach the host directly, add it to upstream.no_proxy")
        }
        _ => Advice::new("the server is not an HTTP proxy, or it is out of order")
            .fix("check the host and port in upstream.egress_proxy")
            .fix(ask("to allow CONNECT to")),
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
    let trusted = target.trusted();
    let host = &target.origin.host;
    let anchor = certificate.map_or("its issuer", |certificate| certificate.anchor.as_str());
    let ask = format!("check {keys}, and ask the operator of {host}");
    match kind {
        TlsErrorKind::UnknownIssuer => Advice::new(format!(
            "the certificate is not signed by {trusted}: a corporate proxy intercepts TLS, the server uses \
             a private CA, or it does not send its intermediate certificate"
        ))
        .fix(format!(
            "if you trust {anchor:?}, {}", target.trust_its_root()
        ))
        .fix(format!(
            "if nobody knows {anchor:?}, do not trust it: someone may be intercepting the connection"
        )),
        TlsErrorKind::OtherKey => Advice::new(format!(
            "the certificate is not signed by {trusted}: a certificate there has the issuer's name \
             {anchor:?}, but a different key"
        ))
        .fix("if the CA was not replaced, do not trust the server: someone may be impersonating it")
        .fix(format!(
            "if the CA was replaced: {}", target.trust_its_root()
        )),
        TlsErrorKind::Expired(at) => outside_validity(host, "expired at", at, now),
        TlsErrorKind::NotYetValid(at) => outside_validity(host, "is not valid before", at, now),
        TlsErrorKind::WrongName => {
            Advice::new("another server responded: its certificate is for a different name")
                .fix("check what this machine's DNS and /etc/hosts return for the host")
                .fix(format!(
                    "check the host in {keys}: the certificate must contain that name"
                ))
        }
        TlsErrorKind::CaAsServer => {
            Advice::new("the server presents the certificate of a CA as its own").fix(format!(
                "configure the server to present a certificate that the CA signed (CA:FALSE), and add \
                 the CA's own to {ca_key}"
            ))
        }
        TlsErrorKind::NotTls => Advice::new("the server does not speak TLS on this port").fix(format!(
            "check the scheme and port in {keys}; a captive portal may be intercepting the connection"
        )),
        TlsErrorKind::Alert => Advice::new(
            "the server aborted the handshake: no common version or cipher, a missing client \
             certificate, or an unknown server name",
        )
        .fix(
            "if it requires a client certificate, set upstream.client_cert and upstream.client_key \
             (token.client_cert and token.client_key for the token endpoint)",
        )
        .fix(ask),
        TlsErrorKind::Closed | TlsErrorKind::TimedOut => {
            let mut advice = Advice::new(
                "TCP works but TLS does not: usually a firewall that inspects the server name (SNI)",
            )
            .fix(format!(
                "allow TLS from this machine to {host} in the firewall"
            ));
            if kind == TlsErrorKind::TimedOut {
                advice = advice.fix(format!("if the server is only slow, raise {}", target.connect));
            }
            with_proxy_hint(target, advice)
        }
        TlsErrorKind::Other => Advice::new("the TLS handshake with this server failed").fix(ask),
    }
}

/// For a certificate that is not valid now: its validity `verb` another time.
fn outside_validity(host: &str, verb: &str, at: Option<i64>, now: SystemTime) -> Advice {
    let at = at.map_or("another time".to_owned(), date);
    let now = httpdate::fmt_http_date(now);
    Advice::new(format!(
        "the certificate {verb} {at}, and this machine's clock shows {now}"
    ))
    .fix("if this machine's clock is wrong, set it (NTP)")
    .fix(format!(
        "if the clock is right, ask the operator of {host} to renew the certificate"
    ))
}

/// Describes a valid certificate, with a note if it expires soon.
pub(in crate::cli::doctor) fn describe_certificate(
    certificate: &PeerCertificate,
    now: SystemTime,
) -> (String, Option<String>) {
    let now = unix_seconds(now).unwrap_or_default();
    let days_left = (certificate.not_after - now) / DAY_SECONDS;
    let description = format!(
        "{}, issued by {:?}, expires in {days_left} days",
        certificate.version, certificate.issuer
    );
    let note = (days_left < MIN_VALID_DAYS).then(|| {
        format!(
            "the certificate expires at {}: ask the operator of the server to renew it",
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
            "tokens expire too early or too late, and signed client assertions may be rejected",
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
            "{name} is set but ignored: gbg-proxy connects directly to {}; set \
             upstream.egress_proxy = \"env:{name}\" to use it",
            target.origin.host
        )),
        None => advice.fix(
            "gbg-proxy connects directly: to use a corporate proxy (HTTPS_PROXY and similar), set \
             upstream.egress_proxy",
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
