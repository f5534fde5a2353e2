//! URLs, and the origins that they begin with.

use std::fmt;
use std::net::IpAddr;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

/// An absolute `https://` or `http://` URL without user, password and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Url);

impl HttpUrl {
    /// A URL that is a constant of this crate.
    #[expect(
        clippy::expect_used,
        reason = "only constants of `gbg` come here, and a test parses them all"
    )]
    pub(crate) fn known(text: &'static str) -> Self {
        HttpUrl(Url::parse(text).expect("a constant URL"))
    }

    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns true if it is `https`.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> Option<Origin> {
        let host = self.0.host_str()?;
        let authority = match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Some(Origin {
            tls: self.is_tls(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: self.0.port_or_known_default()?,
            authority: HeaderValue::from_str(&authority).ok()?,
        })
    }

    /// Returns true if the host is this machine, by its name or address.
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(addr)) => addr.is_loopback(),
            Some(Host::Ipv6(addr)) => IpAddr::from(addr).to_canonical().is_loopback(),
            None => false,
        }
    }
}

/// Returns true if `text` is an optional scheme, a host, an optional port and a plain path: nothing
/// in it can be a password or a key.
fn is_plain(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    host.bytes().all(is_host)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !rest.contains(['@', '?', '#', '%'])
}

impl TextSetting for HttpUrl {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        parse_url(text).map_err(|error| {
            if is_plain(text) {
                error
            } else {
                error.without_value()
            }
        })
    }

    fn to_text(&self) -> String {
        // The file has the origin without the slash that a URL has.
        let text = self.0.as_str();
        let is_origin = self.0.path() == "/" && self.0.query().is_none();
        let text = if is_origin {
            text.trim_end_matches('/')
        } else {
            text
        };
        text.to_owned()
    }
}

fn parse_url(text: &str) -> Result<HttpUrl, Invalid> {
    let invalid = |reason| {
        let fix = "write a URL such as \"https://host.example\"";
        Invalid::new("URL", reason, fix)
    };
    // A password may contain a slash, and the rest would pass for a path.
    if text.contains('@') {
        return Err(invalid("user and password are not allowed in a URL"));
    }
    let has_scheme = text.contains("://");
    if !has_scheme
        && ["http:", "https:"]
            .iter()
            .any(|begin| text.starts_with(begin))
    {
        return Err(invalid("\"//\" is missing behind the scheme"));
    }
    if !has_scheme {
        let starts_as_host = text.starts_with(|first: char| first.is_alphanumeric());
        let meant = starts_as_host.then(|| format!("https://{text}"));
        return Err(invalid("https:// is missing").suggest(meant));
    }
    let url = Url::parse(text).map_err(|_| invalid("the host or the port is invalid"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(invalid("it must begin with https://"));
    }
    let host = url.host_str().unwrap_or_default();
    if ServerName::try_from(host.trim_matches(['[', ']'])).is_err() {
        return Err(invalid("the host is neither a name nor an address"));
    }
    if url.fragment().is_some() {
        return Err(invalid("a fragment (#…) is never sent"));
    }
    Ok(HttpUrl(url))
}

/// Without the query, which may hold a key.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        match text.split_once('?') {
            Some((text, _)) => write!(f, "{text}?…"),
            None => f.write_str(text),
        }
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Scheme, host and port of the API (RFC 6454 section 4), and the Host field that goes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `https` rather than `http`.
    pub tls: bool,
    /// The host without brackets: what is resolved, and what the certificate must be for.
    pub host: String,
    /// The port, the scheme's own where none is written.
    pub port: u16,
    /// The value of the Host field: the port only where it is not the scheme's own (RFC 9110
    /// section 7.2).
    pub authority: HeaderValue,
}

impl Origin {
    /// The origin of `url`; `None` where a path or query follows it.
    pub fn of(url: &HttpUrl) -> Option<Self> {
        let is_bare = url.url().path() == "/" && url.url().query().is_none();
        url.origin().filter(|_| is_bare)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(
            f,
            "{scheme}://{}",
            self.authority.to_str().unwrap_or_default()
        )
    }
}

/// The origin of web pages, as browsers write it (RFC 6454 section 6.2): scheme, host, and the port
/// unless it is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageOrigin(pub(crate) HeaderValue);

impl TextSetting for PageOrigin {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let fix = "write scheme and host as a browser does, such as \"https://crm.example\"";
            Invalid::new("origin", "", fix)
        };
        let url = Url::parse(text).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(invalid());
        }
        let origin = url.origin().ascii_serialization();
        if origin != text {
            return Err(invalid().suggest([origin]));
        }
        HeaderValue::from_str(text)
            .map(PageOrigin)
            .map_err(|_| invalid())
    }

    fn to_text(&self) -> String {
        self.0.to_str().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse_text(text).unwrap()
    }

    #[test]
    fn an_origin_omits_path_and_default_port() {
        let origin = Origin::of(&url("https://EU.example:443")).unwrap();
        assert_eq!(
            (
                origin.host.as_str(),
                origin.port,
                origin.authority.as_bytes()
            ),
            ("eu.example", 443, &b"eu.example"[..])
        );
        assert_eq!(
            Origin::of(&url("http://[::1]:8080/")).unwrap().to_string(),
            "http://[::1]:8080"
        );
        assert_eq!(Origin::of(&url("https://x/v2")), None);
        assert_eq!(Origin::of(&url("https://x/?a")), None);
    }

    #[test]
    fn loopback_is_recognized_by_name_and_address() {
        for text in [
            "http://localhost:1",
            "http://127.9.9.9",
            "http://[::1]",
            "http://a.localhost",
        ] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in [
            "http://10.0.0.1",
            "http://localhost.example",
            "http://0.0.0.0",
        ] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        let of = |text| format!("{0} {0:?}", url(text));
        assert_eq!(
            of("https://a.example/x"),
            "https://a.example/x https://a.example/x"
        );
        assert_eq!(
            of("https://a.example/x?key=hunter2"),
            "https://a.example/x?… https://a.example/x?…"
        );
    }

    #[test]
    fn page_origins_match_the_form_of_browsers() {
        assert!(
            PageOrigin::parse_text("https://crm.example").is_ok()
                && PageOrigin::parse_text("http://localhost:3000").is_ok()
        );
        for bad in [
            "https://crm.example/",
            "https://CRM.example",
            "https://crm.example:443",
            "crm.example",
            "*",
            "null",
        ] {
            assert!(PageOrigin::parse_text(bad).is_err(), "{bad}");
        }
    }
}
