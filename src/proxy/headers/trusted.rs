//! Fields that servers believe from a proxy: another target or method, the address of the client,
//! and its identity. A caller that could send them on would speak in the proxy's name.

/// Kind of a field that servers believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    /// Address, scheme, host and path of the client.
    Origin,
    /// Another target or method, the identity of the client, or facts between the caller and its own
    /// servers.
    Override,
}

/// The kind of the field `name`, in lower case; `None` for all others.
pub(super) fn trusted(name: &str) -> Option<Trusted> {
    match name.strip_prefix("x-") {
        Some(rest) => trusted_extension(rest),
        None => trusted_plain(name),
    }
}

/// The kind of `x-` and `rest`. The first letter decides for nearly all fields.
fn trusted_extension(rest: &str) -> Option<Trusted> {
    let begins = |prefix: &str| rest.starts_with(prefix);
    let is_override = match rest.as_bytes().first()? {
        b'a' => begins("auth-request-") || begins("amzn-oidc-") || rest == "arr-clientcert",
        b'c' => begins("client-cert"),
        b'e' => begins("envoy-"),
        b'f' => rest.strip_prefix("forwarded-").is_some_and(is_identity),
        b'g' => begins("goog-authenticated-user-") || rest == "goog-iap-jwt-assertion",
        b'h' => matches!(
            rest,
            "host" | "http-host-override" | "http-method" | "http-method-override"
        ),
        b'm' => begins("ms-client-principal") || begins("ms-token-") || rest == "method-override",
        // As they are called by IIS, nginx and Envoy: the host, the URI, the URL, the path, the
        // method, the client.
        b'o' => begins("original-"),
        b'r' => begins("rewrite-") || rest == "remote-user",
        b's' => begins("ssl-"),
        _ => false,
    };
    let is_origin = match rest.as_bytes().first()? {
        b'a' => begins("azure-"),
        b'c' => matches!(rest, "client-ip" | "cluster-client-ip"),
        b'f' => begins("forwarded") || rest == "forward-for",
        b'o' => rest == "originating-ip",
        b'r' => matches!(rest, "real-ip" | "remote-addr" | "remote-ip"),
        b's' => rest == "scheme",
        b'u' => rest == "url-scheme",
        _ => false,
    };
    if is_override {
        return Some(Trusted::Override);
    }
    is_origin.then_some(Trusted::Origin)
}

/// Whether `X-Forwarded-` with this end is what an authenticating proxy says of the client (Envoy,
/// oauth2-proxy).
fn is_identity(end: &str) -> bool {
    matches!(
        end,
        "access-token" | "client-cert" | "email" | "groups" | "preferred-username" | "user"
    )
}

fn trusted_plain(name: &str) -> Option<Trusted> {
    let begins = |prefix: &str| name.starts_with(prefix);
    let (is_override, is_origin) = match name.as_bytes().first()? {
        // What the caller's own servers tell each other (W3C Baggage), and the predecessors of
        // that.
        b'b' => (name == "baggage", false),
        b'j' => (name == "jaeger-baggage", false),
        b'o' => (begins("ot-baggage-"), false),
        b'u' => (begins("uberctx-"), false),
        // RFC 9440.
        b'c' => (
            matches!(
                name,
                "cf-access-jwt-assertion"
                    | "client-cert"
                    | "client-cert-chain"
                    | "correlation-context"
            ),
            matches!(
                name,
                "cf-connecting-ip" | "cf-connecting-ipv6" | "client-ip"
            ),
        ),
        // The 100 that it asks for is ours to send (RFC 9110 section 10.1.1).
        b'e' => (name == "expect", false),
        b'f' => (
            false,
            matches!(
                name,
                "fastly-client-ip" | "forwarded" | "forwarded-for" | "front-end-https"
            ),
        ),
        // It belongs to an Upgrade, which ends here (RFC 7540 section 3.2.1).
        b'h' => (name == "http2-settings", false),
        // A CGI program sees it as the variable HTTP_PROXY (CVE-2016-5385).
        b'p' => (name == "proxy", false),
        b'r' => (name == "remote-user", false),
        b's' => (begins("ssl-client-"), false),
        b't' => (false, name == "true-client-ip"),
        _ => (false, false),
    };
    if is_override {
        return Some(Trusted::Override);
    }
    is_origin.then_some(Trusted::Origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERRIDES: [&str; 42] = [
        "baggage",
        "cf-access-jwt-assertion",
        "client-cert",
        "client-cert-chain",
        "correlation-context",
        "expect",
        "http2-settings",
        "jaeger-baggage",
        "ot-baggage-user",
        "proxy",
        "remote-user",
        "ssl-client-cert",
        "uberctx-user",
        "x-amzn-oidc-data",
        "x-arr-clientcert",
        "x-auth-request-user",
        "x-client-cert",
        "x-client-certificate",
        "x-envoy-external-address",
        "x-envoy-original-path",
        "x-forwarded-access-token",
        "x-forwarded-client-cert",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-user",
        "x-goog-authenticated-user-email",
        "x-goog-iap-jwt-assertion",
        "x-host",
        "x-http-host-override",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-ms-client-principal",
        "x-ms-token-aad-access-token",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
        "x-remote-user",
        "x-rewrite-url",
        "x-ssl-client-cert",
    ];

    const ORIGINS: [&str; 20] = [
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "forwarded-for",
        "front-end-https",
        "true-client-ip",
        "x-azure-clientip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forward-for",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-originating-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-scheme",
        "x-url-scheme",
    ];

    #[test]
    fn fields_that_gateways_trust_are_known() {
        for name in OVERRIDES {
            assert_eq!(trusted(name), Some(Trusted::Override), "{name}");
        }
        for name in ORIGINS {
            assert_eq!(trusted(name), Some(Trusted::Origin), "{name}");
        }
        for name in [
            "accept",
            "client-version",
            "content-type",
            "origin",
            "prefer",
            "traceparent",
            "tracestate",
            "x-",
            "x-domain-element-id",
            "x-gbg-scenario",
            "x-gbg-source",
            "x-instance-id",
            "x-interaction-id",
            "x-origin",
            "x-request-id",
        ] {
            assert_eq!(trusted(name), None, "{name}");
        }
    }
}
