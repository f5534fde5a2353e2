//! Subject alternative names of callers' certificates, each with its type: a URI that reads like a
//! DNS name is not one.

use std::net::IpAddr;

use super::caller_key;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

fn invalid(reason: &'static str) -> Invalid {
    Invalid::new(
        "subject alternative name",
        reason,
        "write one as it is in the certificate: a DNS name (\"crm.corp.example\"), a URI (\"spiffe://corp.example/crm\"), \
         an address (\"10.0.0.5\") or an e-mail address (\"crm@corp.example\")",
    )
}

/// A subject alternative name (RFC 5280 section 4.2.1.6). Two are equal if they have the same type
/// and the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name, in lower case: case means nothing in it (RFC 5280 section 7.2).
    Dns(String),
    /// A URI, compared byte for byte.
    Uri(String),
    /// An e-mail address, its host in lower case: case may mean something before that (section
    /// 7.5).
    Email(String),
    /// An IP address.
    Address(IpAddr),
}

impl CertificateName {
    /// The DNS name `name`.
    pub fn dns(name: &str) -> Self {
        CertificateName::Dns(name.to_ascii_lowercase())
    }

    /// The e-mail address `address`.
    pub fn email(address: &str) -> Self {
        CertificateName::Email(match address.rsplit_once('@') {
            Some((local, host)) => format!("{local}@{}", host.to_ascii_lowercase()),
            None => address.to_owned(),
        })
    }

    /// Reads a name as an operator writes it, and decides its type: an IP address if it can be read
    /// as one, a URI if it has a scheme, an e-mail address if it has an `@`, else a DNS name.
    ///
    /// # Errors
    /// When the text is not a name, with how to write one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const KINDS: [&str; 5] = ["DNS:", "URI:", "IP:", "EMAIL:", "OTHERNAME:"];
        let capitals = text.to_ascii_uppercase();
        if caller_key::may_be_in(text) {
            return Err(invalid("this looks like a caller's key"));
        }
        if capitals.starts_with("CN=") || capitals.contains(",CN=") || capitals.contains("/CN=") {
            return Err(invalid("this is a subject"));
        }
        if KINDS.iter().any(|kind| capitals.starts_with(kind)) {
            let bare = text.split_once(':').map(|(_, name)| name);
            return Err(invalid("a name is written without its kind").suggest(bare));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(""));
        }
        if let Ok(address) = text.parse() {
            return Ok(CertificateName::Address(address));
        }
        let begins_with_address = text
            .split(['%', '/'])
            .next()
            .is_some_and(|part| part.parse::<IpAddr>().is_ok());
        if begins_with_address {
            return Err(invalid(
                "an address is written without a zone and without a prefix length",
            ));
        }
        if let Some((scheme, rest)) = text.split_once(':') {
            return Self::parse_uri(text, scheme, rest);
        }
        match text.rsplit_once('@') {
            Some((local, host)) if !local.is_empty() && is_dns_name(host) => {
                Ok(CertificateName::email(text))
            }
            None if is_dns_name(text) => Ok(CertificateName::dns(text)),
            _ => Err(invalid("")),
        }
    }

    fn parse_uri(text: &str, scheme: &str, rest: &str) -> Result<Self, Invalid> {
        // RFC 3986 section 3.1.
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("names in certificates have no port").suggest([scheme]));
        }
        if is_scheme {
            Ok(CertificateName::Uri(text.to_owned()))
        } else {
            Err(invalid(""))
        }
    }
}

impl TextSetting for CertificateName {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        CertificateName::parse(text)
    }

    fn to_text(&self) -> String {
        match self {
            CertificateName::Dns(text)
            | CertificateName::Uri(text)
            | CertificateName::Email(text) => text.clone(),
            CertificateName::Address(address) => address.to_string(),
        }
    }
}

/// Returns true if a certificate may have `text` as a DNS name, a wildcard included.
fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| !label.is_empty())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_name_has_one_type() {
        let dns = |name: &str| CertificateName::Dns(name.to_owned());
        let uri = |name: &str| CertificateName::Uri(name.to_owned());
        let email = |name: &str| CertificateName::Email(name.to_owned());
        let address = |name: &str| CertificateName::Address(name.parse().unwrap());
        for (written, name) in [
            ("crm.corp.example", dns("crm.corp.example")),
            ("CRM.Corp.Example", dns("crm.corp.example")),
            ("*.corp.example", dns("*.corp.example")),
            ("crm", dns("crm")),
            ("crm_1", dns("crm_1")),
            ("1.2.3", dns("1.2.3")),
            ("spiffe://Corp/Crm", uri("spiffe://Corp/Crm")),
            (
                "https://crm@corp.example:443/x",
                uri("https://crm@corp.example:443/x"),
            ),
            (
                "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            ),
            ("mailto:crm@corp.example", uri("mailto:crm@corp.example")),
            ("Crm@Corp.Example", email("Crm@corp.example")),
            ("192.0.2.7", address("192.0.2.7")),
            ("2001:DB8:0:0:0:0:0:7", address("2001:db8::7")),
        ] {
            assert_eq!(CertificateName::parse(written).unwrap(), name, "{written}");
        }
    }

    #[test]
    fn names_that_no_certificate_has_are_rejected() {
        for (bad, problem) in [
            ("", "invalid subject alternative name; write"),
            ("crm corp", "invalid subject alternative name; write"),
            ("bücher.example", "invalid subject alternative name; write"),
            ("crm..example", "invalid subject alternative name; write"),
            ("crm.example.", "invalid subject alternative name; write"),
            ("crm/corp", "invalid subject alternative name; write"),
            ("@corp.example", "invalid subject alternative name; write"),
            ("crm@", "invalid subject alternative name; write"),
            ("a@b@", "invalid subject alternative name; write"),
            ("[2001:db8::7]", "invalid subject alternative name; write"),
            ("1:a", "invalid subject alternative name; write"),
            ("crm.example:443", "have no port"),
            ("10.0.0.0/8", "an address is written without"),
            ("fd00::/8", "an address is written without"),
            ("fe80::1%eth0", "an address is written without"),
            ("CN=crm", "this is a subject"),
            ("O=Corp,CN=crm", "this is a subject"),
            ("URI:spiffe://corp/crm", "without its kind"),
        ] {
            let error = CertificateName::parse(bad).unwrap_err().to_string();
            assert!(error.contains(problem), "{bad}: {error}");
        }
    }
}
