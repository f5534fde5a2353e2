//! Credentials of the client as the token endpoint gets them: signed assertions, certificates,
//! Basic, users and further fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gbg_proxy::config::{self, Sources};
use gbg_proxy::token::{Client, FetchError, ReloadableClient, TokenSource};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tempfile::TempDir;
use wiremock::MockServer;

use crate::support::server::token_endpoint_for;
use crate::support::{RSA_KEY, api, environment, token_endpoint};

/// The token endpoint of `api` as `set` has it, without a proxy.
pub(crate) fn endpoint(url: &str, set: &[String]) -> Result<ReloadableClient, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut all = vec![
        "upstream.base_url=http://localhost".to_owned(),
        format!("token.endpoint={url}"),
    ];
    all.extend_from_slice(set);
    let loaded = config::load(&Sources {
        set: all,
        env: environment(),
        file: None,
    });
    let config = loaded.map_err(|error| error.to_string())?.config;
    Client::new("default", &config.token)
        .map(ReloadableClient::new)
        .map_err(|error| error.to_string())
}

/// A file that holds `text` as the client's secret, the directory that it lives as long as, and
/// what a configuration says of it.
pub(crate) fn secret_file(text: &str) -> (TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, text).unwrap();
    let kept = format!("token.client_secret=file:{}", secret.display());
    (directory, secret, kept)
}

/// The forms that `api` was sent, oldest first.
pub(crate) async fn forms(api: &MockServer) -> Vec<BTreeMap<String, String>> {
    let all = api.received_requests().await.unwrap();
    all.iter()
        .map(|req| {
            url::form_urlencoded::parse(&req.body)
                .into_owned()
                .collect()
        })
        .collect()
}

/// The parts of a signed assertion: header, claims, and whether `key` signed it.
fn read_assertion(
    jwt: &str,
    alg: &'static dyn VerificationAlgorithm,
    key: &[u8],
) -> (Value, Value) {
    let [header, claims, signature]: [&str; 3] =
        jwt.split('.').collect::<Vec<_>>().try_into().unwrap();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let signed = &jwt[..header.len() + 1 + claims.len()];
    UnparsedPublicKey::new(alg, key)
        .verify(signed.as_bytes(), &decode(signature))
        .expect("a good signature");
    let json = |part: &str| serde_json::from_slice(&decode(part)).unwrap();
    (json(header), json(claims))
}

#[tokio::test]
async fn each_request_has_a_fresh_client_assertion() {
    let directory = tempfile::tempdir().unwrap();
    let ec_key = rcgen::KeyPair::generate().unwrap();
    let ec_file = directory.path().join("ec.pem");
    fs::write(&ec_file, ec_key.serialize_pem()).unwrap();
    let random = ring::rand::SystemRandom::new();
    let signing = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = EcdsaKeyPair::from_pkcs8(signing, ec_key.serialized_der(), &random).unwrap();
    let rsa = PrivateKeyDer::from_pem_file(RSA_KEY).unwrap();
    let rsa = RsaKeyPair::from_pkcs8(rsa.secret_der()).unwrap();
    let rsa_file = Path::new(RSA_KEY);
    let cases: [(_, _, &'static dyn VerificationAlgorithm, &[u8]); 3] = [
        (
            "RS256",
            rsa_file,
            &RSA_PKCS1_2048_8192_SHA256,
            rsa.public_key().as_ref(),
        ),
        (
            "PS256",
            rsa_file,
            &RSA_PSS_2048_8192_SHA256,
            rsa.public_key().as_ref(),
        ),
        (
            "ES256",
            &ec_file,
            &ECDSA_P256_SHA256_FIXED,
            ec.public_key().as_ref(),
        ),
    ];
    for (alg, file, verification, public_key) in cases {
        let api = api().await;
        let set = [
            "token.client_auth=private_key_jwt".to_owned(),
            format!("token.jwt_key=file:{}", file.display()),
            format!("token.jwt_alg={alg}"),
            "token.jwt_kid=key-1".to_owned(),
        ];
        let endpoint = endpoint(&token_endpoint(&api), &set).unwrap();
        endpoint.fetch().await.unwrap();
        endpoint.fetch().await.unwrap();

        let forms = forms(&api).await;
        let mut ids = Vec::new();
        for form in &forms {
            assert!(!form.contains_key("client_secret"), "{form:?}");
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            assert_eq!(
                (form["grant_type"].as_str(), form["client_id"].as_str()),
                ("client_credentials", "test-client")
            );
            let (header, claims) =
                read_assertion(&form["client_assertion"], verification, public_key);
            assert_eq!(
                (&header["alg"], &header["kid"]),
                (&alg.into(), &"key-1".into())
            );
            assert_eq!(
                (&claims["iss"], &claims["sub"]),
                (&"test-client".into(), &"test-client".into())
            );
            assert_eq!(claims["aud"], token_endpoint(&api));
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs();
            let (iat, exp) = (
                claims["iat"].as_u64().unwrap(),
                claims["exp"].as_u64().unwrap(),
            );
            assert_eq!(exp - iat, 60);
            assert!((now - 20..=now).contains(&iat), "{iat} at {now}");
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1]);
    }
}

#[tokio::test]
async fn a_client_certificate_authenticates_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let written = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let client = rcgen::generate_simple_self_signed(["the-client".to_owned()]).unwrap();
    let (url, ca) = token_endpoint_for(client.cert.der(), &rustls::version::TLS13).await;
    let ca = format!("token.ca_file={}", written("ca.pem", ca));
    let mut set = vec![
        ca.clone(),
        "token.client_auth=tls".to_owned(),
        format!(
            "token.client_cert={}",
            written("client.pem", client.cert.pem())
        ),
        format!(
            "token.client_key={}",
            written("client.key", client.signing_key.serialize_pem())
        ),
    ];
    assert_eq!(
        endpoint(&url, &set).unwrap().fetch().await.unwrap().header,
        "Bearer a"
    );

    let without = endpoint(&url, &[ca]).unwrap().fetch().await;
    assert!(
        matches!(
            without,
            Err(FetchError::Broken(_) | FetchError::Unreachable(_))
        ),
        "{without:?}"
    );
    let other = rcgen::KeyPair::generate().unwrap();
    set[3] = format!(
        "token.client_key={}",
        written("other.key", other.serialize_pem())
    );
    let error = endpoint(&url, &set).map(drop).unwrap_err();
    assert!(
        error.contains("token.client_key") && error.contains("cannot be used together"),
        "{error}"
    );
}

#[tokio::test]
async fn basic_encodes_id_and_secret_before_joining() {
    let (_directory, _, kept) = secret_file("s:e c+r%t");
    let api = api().await;
    let set = [
        "token.client_auth=basic".to_owned(),
        "token.client_id=a:b c".to_owned(),
        kept,
    ];
    endpoint(&token_endpoint(&api), &set)
        .unwrap()
        .fetch()
        .await
        .unwrap();
    let all = api.received_requests().await.unwrap();
    let basic = all[0].headers["authorization"]
        .to_str()
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    assert_eq!(STANDARD.decode(basic).unwrap(), b"a%3Ab+c:s%3Ae+c%2Br%25t");
}

#[tokio::test]
async fn password_grant_and_params_are_sent_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "p&ss wörd\n").unwrap();
    let api = api().await;
    let set = [
        "token.grant=password".to_owned(),
        "token.username=ada@example".to_owned(),
        format!("token.password=file:{}", password.display()),
        "token.params={ audience = \"https://api.example/\", resource = \"a b\" }".to_owned(),
    ];
    endpoint(&token_endpoint(&api), &set)
        .unwrap()
        .fetch()
        .await
        .unwrap();
    let expected = [
        ("audience", "https://api.example/"),
        ("client_id", "test-client"),
        ("client_secret", "test-secret-7c1f"),
        ("grant_type", "password"),
        ("password", "p&ss wörd"),
        ("resource", "a b"),
        ("username", "ada@example"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(forms(&api).await, [BTreeMap::from(expected)]);
}
