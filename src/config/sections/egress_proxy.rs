//! `upstream.egress_proxy` and `upstream.no_proxy`: the corporate proxy on the way out, and the
//! destinations that are reached without it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::error::Problem;
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::TextSetting;
use crate::config::types::secret_ref::{exposure_warning, form_warnings, read};
use crate::config::types::url::{HttpUrl, Origin};
use crate::secret::{Environment, Kept, Secret, Source};

const KEY: &str = "upstream.egress_proxy";

/// A proxy that connections to the outside go through (CONNECT, RFC 9110 section 9.3.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Egress {
    /// Its address.
    pub origin: Origin,
    /// The value of Proxy-Authorization (RFC 7617), if it requires credentials.
    pub authorization: Option<Secret>,
}

impl Egress {
    /// Parses a URL that may hold user and password.
    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| {
            let fix = "write a URL such as \"http://proxy.example:3128\"; in user and password, write each other \
                       character than letters and digits as % and two hexadecimal digits";
            Invalid::new("URL", reason, fix)
        };
        let mut url = Url::parse(text).map_err(|_| invalid(""))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(Invalid::new(
                    "URL",
                    "TLS to the egress proxy itself is not supported",
                    "write its http:// address; what goes through the tunnel has TLS of its own",
                ));
            }
            _ => return Err(invalid("it must begin with http://")),
        }
        let decoded = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        // The first colon ends the user (RFC 7617 section 2).
        if user.contains(&b':') {
            return Err(invalid("the user name contains a colon"));
        }
        // RFC 7617 section 2.
        if user.iter().chain(&password).any(u8::is_ascii_control) {
            let reason = "user or password contains a control character, such as a line end (%0A)";
            return Err(invalid(reason));
        }
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        let authorization = has_credentials.then(|| {
            let pair = STANDARD.encode([&user, &b":"[..], &password].concat());
            Secret::new(format!("Basic {pair}"))
        });
        url.set_password(None)
            .and_then(|()| url.set_username(""))
            .map_err(|()| invalid(""))?;
        let url = HttpUrl::parse_text(url.as_str())?;
        let origin = Origin::of(&url).ok_or_else(|| invalid("a path follows host and port"))?;
        Ok(Egress {
            origin,
            authorization,
        })
    }
}

/// `upstream.egress_proxy` as it is written.
#[derive(Debug)]
enum EgressSource {
    Written(Egress),
    Kept(Source),
}

impl TextSetting for EgressSource {
    // It may hold a password.
    const NEVER_QUOTE: bool = true;

    fn parse_text(text: &str) -> Result<Self, Invalid> {
        if let Some(source) = Source::parse(text) {
            return Ok(EgressSource::Kept(source));
        }
        let egress = Egress::parse(text)?;
        if egress.authorization.is_some() {
            return Err(Invalid::new(
                "URL",
                "user and password do not belong in the configuration",
                "keep the whole URL where secrets are kept, and write \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
            ));
        }
        Ok(EgressSource::Written(egress))
    }

    fn to_text(&self) -> String {
        match self {
            EgressSource::Written(egress) => egress.origin.to_string(),
            EgressSource::Kept(source) => source.to_string(),
        }
    }
}

/// A destination that is reached without the egress proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    Host(String),
    /// With the leading dot.
    Suffix(String),
    Network(IpNet),
}

impl TextSetting for Direct {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let address = text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if let Some(network) = address.map(IpNet::from).ok().or_else(|| text.parse().ok()) {
            return Ok(Direct::Network(network));
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') => Ok(if text.starts_with('.') {
                Direct::Suffix(format!(".{name}"))
            } else {
                Direct::Host(name)
            }),
            _ => Err(Invalid::new(
                "host",
                "",
                "write a name (\"api.example\"), a suffix with its dot (\".example\"), an address or a network \
                 (\"10.0.0.0/8\"), without a port",
            )),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Direct::Host(name) | Direct::Suffix(name) => name.clone(),
            Direct::Network(network) => network.to_string(),
        }
    }
}

impl Direct {
    /// Returns true if it covers `host` as written: no name is looked up.
    fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        match self {
            Direct::Host(name) => host == name,
            Direct::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            Direct::Network(network) => host
                .parse::<IpAddr>()
                .is_ok_and(|addr| network.contains(&addr.to_canonical())),
        }
    }
}

/// Decides, for the API and the token endpoint, whether a host is reached through the egress proxy.
#[derive(Debug)]
pub(crate) struct EgressRules {
    egress: Option<Egress>,
    direct: Vec<Direct>,
}

impl EgressRules {
    pub(crate) fn read(section: &Section<'_, '_>, env: &Environment) -> Self {
        let source: Option<EgressSource> = section.optional("egress_proxy");
        let direct: Vec<Direct> = section.get("no_proxy", Vec::new());
        if section.is_sound() && source.is_none() && !direct.is_empty() {
            section.reject(
                "no_proxy",
                "it has no effect without upstream.egress_proxy",
                "remove it, or write upstream.egress_proxy (HTTPS_PROXY and its like are ignored unless it says so)",
            );
        }
        let egress = source.and_then(|source| match source {
            EgressSource::Written(egress) => Some(egress),
            EgressSource::Kept(source) => {
                let kept = source.locate(env);
                let text = section.accept(read(KEY, &kept))?;
                let egress = section.accept(parse_kept(&kept, &text))?;
                // Blanks around a URL are not a part of it.
                section.warn_all(form_warnings(KEY, text.expose().trim_matches(' ')));
                section.warn_all(kept.file().and_then(|file| exposure_warning(KEY, file)));
                Some(egress)
            }
        });
        EgressRules { egress, direct }
    }

    /// The egress proxy on the way to `url`, if any: this machine is always reached directly.
    pub(crate) fn egress_to(&self, url: &HttpUrl) -> Option<Egress> {
        let host = url
            .url()
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']']);
        let is_direct = url.is_loopback() || self.direct.iter().any(|direct| direct.covers(host));
        self.egress.clone().filter(|_| !is_direct)
    }
}

fn parse_kept(kept: &Kept, text: &Secret) -> Result<Egress, Problem> {
    Egress::parse(text.expose()).map_err(|error| {
        Problem::new(
            KEY,
            format!("{kept} holds no usable URL: {}", error.cause()),
            "write the URL of the egress proxy there, such as http://user:password@proxy.example:3128",
        )
    })
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
    fn an_invalid_proxy_url_is_rejected_unquoted() {
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
            let error = Egress::parse(bad).unwrap_err().to_string();
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
            let direct = direct.map(|text| Direct::parse_text(text).unwrap()).into();
            let egress = Some(Egress::parse("http://proxy.example").unwrap());
            EgressRules { egress, direct }
                .egress_to(&HttpUrl::parse_text(url).unwrap())
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
    fn invalid_no_proxy_entries_are_rejected() {
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
            assert!(Direct::parse_text(bad).is_err(), "{bad}");
        }
    }
}
