//! The corporate proxy on the way out, and what is reached without it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, Error as _};
use url::{Host, Url};

use crate::config::error::Problem;
use crate::config::types::secret_ref::{locate, read, warn_of_exposure, warn_of_text};
use crate::config::types::url::{HttpUrl, Origin};
use crate::secret::{Environment, Secret, Source};

const KEY: &str = "upstream.egress_proxy";

const FIX: &str = "put the URL of the egress proxy into this variable or file, such as \
                    http://user:password@proxy.example:3128";

const REFERENCE: &str = "write the whole URL where secrets are kept, and here \"env:NAME\", \"file:PATH\" or \
                         \"credential:NAME\"";

/// A proxy that connections to the outside go through (CONNECT, RFC 9110 section 9.3.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Egress {
    /// Where it listens.
    pub origin: Origin,
    /// The value of Proxy-Authorization (RFC 7617), where it wants credentials.
    pub authorization: Option<Secret>,
}

impl Egress {
    /// Reads a URL that may hold user and password. No error quotes it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const NO_URL: &str = "no URL; write one such as \"http://proxy.example:3128\" (what is no letter or digit in \
                              user and password is written as % and two digits)";
        let mut url = Url::parse(text).map_err(|_| NO_URL)?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(
                    "TLS to the egress proxy itself is not spoken; write its http:// address (what goes \
                            through the tunnel has TLS of its own)",
                );
            }
            _ => return Err("the URL must begin with http://"),
        }
        let decoded = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
        let (user, password) = (
            decoded(url.username()),
            decoded(url.password().unwrap_or_default()),
        );
        let authorization = match url.username().is_empty() && url.password().is_none() {
            true => None,
            // The first colon ends the user (RFC 7617 section 2).
            false if user.contains(&b':') => return Err("the user's name has a colon"),
            // RFC 7617 section 2.
            false if user.iter().chain(&password).any(u8::is_ascii_control) => {
                return Err("user or password has a control character, such as a line end (%0A)");
            }
            false => Some(Secret::new(format!(
                "Basic {}",
                STANDARD.encode([&user, &b":"[..], &password].concat())
            ))),
        };
        url.set_password(None)
            .and_then(|()| url.set_username(""))
            .map_err(|()| NO_URL)?;
        let url = HttpUrl::try_from(String::from(url))?;
        let origin = Origin::of(&url)
            .ok_or("behind host and port of the egress proxy nothing may follow")?;
        Ok(Egress {
            origin,
            authorization,
        })
    }
}

/// `upstream.egress_proxy` as it is written.
#[derive(Debug)]
pub(crate) enum RawEgress {
    Written(Egress),
    Kept(Source),
}

impl<'de> Deserialize<'de> for RawEgress {
    // By way of `Value`, since serde's own type errors quote the value, and this one may hold a
    // password.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let text = value.as_str().unwrap_or_default();
        if let Some(source) = Source::parse(text) {
            return Ok(RawEgress::Kept(source));
        }
        match Egress::parse(text) {
            Ok(Egress {
                authorization: Some(_),
                ..
            }) => Err(D::Error::custom(format!(
                "user and password do not stand in the configuration itself; {REFERENCE}"
            ))),
            Ok(egress) => Ok(RawEgress::Written(egress)),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

/// What is reached without the egress proxy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Direct {
    Host(String),
    /// With the leading dot.
    Below(String),
    Network(IpNet),
}

impl TryFrom<String> for Direct {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if let Some(network) = address.map(IpNet::from).ok().or_else(|| text.parse().ok()) {
            return Ok(Direct::Network(network));
        }
        let name = text.strip_prefix('.').unwrap_or(&text);
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') => Ok(match text.starts_with('.') {
                true => Direct::Below(format!(".{name}")),
                false => Direct::Host(name),
            }),
            _ => Err(
                "no host; write a name (\"api.example\"), a suffix with its dot (\".example\"), an address or a \
                      network (\"10.0.0.0/8\"), without a port",
            ),
        }
    }
}

impl Direct {
    /// Whether it has `host`, as that is written: no name is looked up.
    fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        match self {
            Direct::Host(name) => host == name,
            Direct::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            Direct::Network(network) => host
                .parse::<IpAddr>()
                .is_ok_and(|addr| network.contains(&addr.to_canonical())),
        }
    }
}

/// Which way a host is reached: the one place that decides it, for the API and the token endpoint
/// alike.
#[derive(Debug)]
pub(crate) struct WayOut {
    egress: Option<Egress>,
    direct: Vec<Direct>,
}

impl WayOut {
    pub(crate) fn resolve(
        written: Option<RawEgress>,
        direct: Vec<Direct>,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let egress = match written {
            Some(RawEgress::Written(egress)) => Some(egress),
            Some(RawEgress::Kept(source)) => {
                let kept = locate(KEY, &source, env)?;
                let text = read(KEY, &kept)?;
                // Blanks around a URL are no part of it.
                warn_of_text(KEY, text.expose().trim_matches(' '), warnings);
                if let Some(file) = kept.file() {
                    warn_of_exposure(KEY, file, warnings);
                }
                let bad = |error| {
                    Problem::new(
                        KEY,
                        format!("{source} holds no URL that can be used: {error}"),
                        FIX,
                    )
                };
                Some(Egress::parse(text.expose()).map_err(bad)?)
            }
            None if !direct.is_empty() => {
                return Err(Problem::new(
                    "upstream.no_proxy",
                    "it goes with upstream.egress_proxy, and has no effect without",
                    "remove it, or write upstream.egress_proxy (HTTPS_PROXY and its like are ignored unless it says so)",
                ));
            }
            None => None,
        };
        Ok(WayOut { egress, direct })
    }

    /// The egress proxy on the way to `url`, if there is one: this machine is always reached
    /// directly.
    pub(crate) fn toward(&self, url: &HttpUrl) -> Option<Egress> {
        let host = url
            .url()
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']']);
        let is_direct = url.is_loopback() || self.direct.iter().any(|direct| direct.covers(host));
        self.egress.clone().filter(|_| !is_direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(url: &str) -> Option<String> {
        Egress::parse(url)
            .unwrap()
            .authorization
            .map(|value| value.expose().to_owned())
    }

    #[test]
    fn user_and_password_are_decoded_and_not_printed() {
        assert_eq!(authorization("http://proxy.example:3128"), None);
        assert_eq!(
            authorization("http://ada:p%40ss%2F@proxy.example").unwrap(),
            "Basic YWRhOnBAc3Mv"
        );
        assert_eq!(
            authorization("http://ada@proxy.example").unwrap(),
            "Basic YWRhOg=="
        );
        let egress = Egress::parse("http://ada:hunter2@proxy.example:3128/").unwrap();
        assert_eq!(
            (egress.origin.host.as_str(), egress.origin.port),
            ("proxy.example", 3128)
        );
        let shown = format!("{egress:?}");
        assert!(
            !shown.contains("ada") && !shown.contains("hunter2") && !shown.contains("YWRh"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_http_url_of_a_proxy_is_refused_without_a_quote() {
        for bad in [
            "hunter2",
            "proxy.example:3128",
            "https://ada:hunter2@proxy.example",
            "socks5://ada:hunter2@proxy.example",
            "http://ada:12/hunter2@proxy.example",
            "http://ada:hunter2@proxy.example/path",
            "http://a%3Ada:hunter2@proxy.example",
            "http://ada:hunter2@proxy.example#a",
        ] {
            let error = Egress::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{bad}: {error}");
        }
    }

    #[test]
    fn hosts_suffixes_addresses_and_networks_are_reached_directly() {
        let way = |url: &str| {
            let direct = [
                "api.example",
                ".Corp.example",
                "10.0.0.0/8",
                "192.0.2.7",
                "[2001:db8::1]",
                "fd00::/8",
            ];
            let direct = direct
                .map(|text| Direct::try_from(text.to_owned()).unwrap())
                .into();
            let egress = Some(Egress::parse("http://proxy.example").unwrap());
            WayOut { egress, direct }
                .toward(&HttpUrl::try_from(url.to_owned()).unwrap())
                .is_none()
        };
        for direct in [
            "https://api.example",
            "https://API.example.:8443/x",
            "https://a.b.corp.example",
            "https://10.255.0.1",
            "https://[::ffff:10.0.0.1]",
            "https://192.0.2.7",
            "https://[2001:db8::1]",
            "https://[fd00::5]",
            "http://localhost:1",
            "http://127.0.0.1",
            "http://[::1]",
        ] {
            assert!(way(direct), "{direct}");
        }
        for proxied in [
            "https://x.api.example",
            "https://corp.example",
            "https://evilcorp.example",
            "https://11.0.0.1",
            "https://192.0.2.8",
            "https://[2001:db8::2]",
            "https://10.example",
        ] {
            assert!(!way(proxied), "{proxied}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for bad in [
            "",
            ".",
            "*",
            "*.example",
            "a.example:80",
            "10.0.0.0/33",
            "http://a.example",
            "a b",
        ] {
            assert!(Direct::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
