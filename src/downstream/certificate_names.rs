//! Names in a certificate, of a caller or of the listener.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::CertificateName;

/// Parses the subject alternative names of `certificate` (RFC 5280 section 4.2.1.6): DNS names,
/// URIs, e-mail addresses and IP addresses. The subject itself is not a name (RFC 9525 section 2).
pub(super) fn parse_names(certificate: &CertificateDer<'_>) -> Vec<CertificateName> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(parse_name)
        .collect()
}

fn parse_name(name: &GeneralName<'_>) -> Option<CertificateName> {
    match name {
        GeneralName::DNSName(name) => Some(CertificateName::dns(name)),
        GeneralName::URI(uri) => Some(CertificateName::Uri((*uri).to_owned())),
        GeneralName::RFC822Name(address) => Some(CertificateName::email(address)),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            let address = v4
                .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from))
                .ok()?;
            Some(CertificateName::Address(address))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names_of(subject_alt_names: Vec<SanType>) -> Vec<CertificateName> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "no name");
        params.subject_alt_names = subject_alt_names;
        parse_names(
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .der(),
        )
    }

    #[test]
    fn names_keep_their_types() {
        let given = names_of(vec![
            SanType::DnsName("CRM.example".try_into().unwrap()),
            SanType::URI("spiffe://example/ns/Crm".try_into().unwrap()),
            SanType::Rfc822Name("Crm@Example.com".try_into().unwrap()),
            SanType::IpAddress(IpAddr::from([192, 0, 2, 7])),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::OtherName((vec![1, 2, 3], "other".into())),
        ]);
        let expected = [
            CertificateName::Dns("crm.example".to_owned()),
            CertificateName::Uri("spiffe://example/ns/Crm".to_owned()),
            CertificateName::Email("Crm@example.com".to_owned()),
            CertificateName::Address(IpAddr::from([192, 0, 2, 7])),
            CertificateName::Address("2001:db8::7".parse().unwrap()),
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn a_name_never_matches_another_type() {
        let given = names_of(vec![
            SanType::URI("crm.example".try_into().unwrap()),
            SanType::Rfc822Name("crm.example".try_into().unwrap()),
            SanType::DnsName("192.0.2.7".try_into().unwrap()),
            SanType::URI("192.0.2.7".try_into().unwrap()),
            SanType::DnsName("crm@corp.example".try_into().unwrap()),
            SanType::DnsName("spiffe://example/crm".try_into().unwrap()),
        ]);
        assert_eq!(given.len(), 6);
        for written in [
            "crm.example",
            "192.0.2.7",
            "crm@corp.example",
            "spiffe://example/crm",
        ] {
            assert!(
                !given.contains(&CertificateName::parse(written).unwrap()),
                "{written}"
            );
        }
    }

    #[test]
    fn an_invalid_certificate_has_no_names() {
        assert!(names_of(Vec::new()).is_empty());
        assert!(parse_names(&CertificateDer::from(&b"no certificate"[..])).is_empty());
    }
}
