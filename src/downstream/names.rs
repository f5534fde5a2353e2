//! By which names a caller's certificate knows it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The subject alternative names of `certificate` (RFC 5280 section 4.2.1.6), as they stand there: DNS names, URIs, e-mail
/// addresses and IP addresses. The subject itself is no name (RFC 9525 section 2).
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(text).collect()
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names_of(subject_alt_names: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "no name");
        params.subject_alt_names = subject_alt_names;
        names(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn all_names_that_can_be_written_are_given_as_text() {
        let given = names_of(vec![
            SanType::DnsName("crm.example".try_into().unwrap()),
            SanType::URI("spiffe://example/ns/crm".try_into().unwrap()),
            SanType::Rfc822Name("crm@example.com".try_into().unwrap()),
            SanType::IpAddress(IpAddr::from([192, 0, 2, 7])),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::OtherName((vec![1, 2, 3], "other".into())),
        ]);
        let expected =
            ["crm.example", "spiffe://example/ns/crm", "crm@example.com", "192.0.2.7", "2001:db8::7"];
        assert_eq!(given, expected);
    }

    #[test]
    fn a_certificate_without_names_or_that_is_none_gives_none() {
        assert!(names_of(Vec::new()).is_empty());
        assert!(names(&CertificateDer::from(&b"no certificate"[..])).is_empty());
    }
}
