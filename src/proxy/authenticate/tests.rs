//! Credentials of callers, and their order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::*;
use crate::config;
use crate::proxy::tests::config as configuration;

fn authenticator(list: Vec<config::CallerConfig>) -> Authenticator {
    let mut config = configuration();
    config.callers = list;
    let quotas = CallerQuotas::new(&config, &crate::metrics::Metrics::new(1), None);
    let throttle = Arc::new(AuthFailureThrottle::new());
    Authenticator::new(&config, &quotas, throttle, &Arc::default())
}

fn caller(name: &str) -> config::CallerConfig {
    config::CallerConfig {
        name: name.to_owned(),
        keys: Vec::new(),
        certificate: None,
        uid: None,
        expires: None,
        rate: None,
        max_in_flight: None,
        allow: None,
        methods: None,
        deny_headers: Vec::new(),
    }
}

/// A caller with a key of its own, and the key.
fn keyed(name: &str) -> (config::CallerConfig, String) {
    let key = config::new_key().unwrap().expose().to_owned();
    let digest = key_digest(key.as_bytes()).unwrap();
    (
        config::CallerConfig {
            keys: vec![digest],
            ..caller(name)
        },
        key,
    )
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("anyone:{password}")))
}

fn authenticated(
    authenticator: &Authenticator,
    fields: &[(&str, String)],
    connected: Option<&Arc<Caller>>,
) -> Result<String, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    authenticator
        .find(&headers, connected, BearerOwner::Proxy)
        .and_then(|caller| caller.check_expiry().map(|()| caller))
        .map(|caller| caller.name().unwrap_or("anyone").to_owned())
}

#[test]
fn without_callers_every_request_is_anonymous() {
    let open = authenticator(Vec::new());
    assert_eq!(
        authenticated(&open, &[("authorization", "Bearer x".into())], None).unwrap(),
        "anyone"
    );
}

#[test]
fn a_key_is_accepted_in_three_fields() {
    let (crm, key) = keyed("crm");
    let (web, other) = keyed("web");
    let known = authenticator(vec![crm, web]);
    for field in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("bEARER  {key}")),
        ("authorization", basic(&key)),
    ] {
        assert_eq!(
            authenticated(&known, std::slice::from_ref(&field), None).unwrap(),
            "crm",
            "{field:?}"
        );
    }
    let both = [
        ("authorization", format!("Bearer {other}")),
        ("x-api-key", key.clone()),
    ];
    assert_eq!(
        authenticated(&known, &both, None).unwrap(),
        "crm",
        "X-Api-Key comes first"
    );
    let foreign = [
        ("x-api-key", "theirs".into()),
        ("authorization", format!("Bearer {other}")),
    ];
    assert_eq!(authenticated(&known, &foreign, None).unwrap(), "web");
    for fields in [
        vec![],
        vec![("authorization", key.clone())],
        vec![("authorization", format!("Digest {key}"))],
        vec![("authorization", format!("Bearer {key}x"))],
        vec![(
            "authorization",
            format!("Bearer {}", config::new_key().unwrap().expose()),
        )],
        vec![("authorization", "Basic !".into())],
        vec![("x-api-key", key.to_lowercase())],
        vec![("x-api-key", key.clone()), ("x-api-key", key.clone())],
        vec![
            ("authorization", format!("Bearer {key}")),
            ("authorization", format!("Bearer {key}")),
        ],
        vec![("cookie", key.clone())],
    ] {
        assert!(
            matches!(
                authenticated(&known, &fields, None),
                Err(Error::CallerUnknown(_))
            ),
            "{fields:?}"
        );
    }
}

#[test]
fn a_repeated_credential_is_named() {
    let (crm, key) = keyed("crm");
    let known = authenticator(vec![crm]);
    for (name, detail) in [
        ("x-api-key", "the request has more than one X-Api-Key field"),
        (
            "authorization",
            "the request has more than one Authorization field",
        ),
        ("cookie", "no caller key came with the request"),
    ] {
        let value = format!("Bearer {key}");
        let fields = [(name, value.clone()), (name, value)];
        let error = authenticated(&known, &fields, None).unwrap_err();
        assert_eq!(error.to_string(), detail);
    }
}

#[test]
fn a_certificate_precedes_a_uid_precedes_a_key() {
    let (crm, key) = keyed("crm");
    let certified = config::CallerConfig {
        certificate: CertificateName::parse("a.example").ok(),
        ..caller("certified")
    };
    let local = config::CallerConfig {
        uid: Some(7),
        ..caller("local")
    };
    let known = authenticator(vec![crm, certified, local]);
    let names = ["x.example", "A.example"].map(CertificateName::dns);
    let of = |names: &[CertificateName], uid| known.caller_of_connection(names, uid);
    let name =
        |found: Option<Arc<Caller>>| found.and_then(|caller| caller.name().map(str::to_owned));
    assert_eq!(name(of(&names, Some(7))).as_deref(), Some("certified"));
    assert_eq!(name(of(&names[..1], Some(7))).as_deref(), Some("local"));
    assert_eq!(name(of(&names[..1], Some(8))), None);
    let fields = [("x-api-key", key)];
    assert_eq!(
        authenticated(&known, &fields, of(&[], Some(7)).as_ref()).unwrap(),
        "local"
    );
    assert_eq!(authenticated(&known, &fields, None).unwrap(), "crm");
}

/// Host names are case-insensitive, paths are not.
#[test]
fn a_certificate_uri_is_compared_exactly() {
    let workload = config::CallerConfig {
        certificate: CertificateName::parse("spiffe://corp/Crm").ok(),
        ..caller("crm")
    };
    let known = authenticator(vec![workload]);
    let of = |name: &str| {
        known
            .caller_of_connection(&[CertificateName::Uri(name.to_owned())], None)
            .is_some()
    };
    assert!(of("spiffe://corp/Crm") && !of("spiffe://corp/crm"));
}

#[test]
fn callers_without_credentials_match_no_request() {
    assert!(authenticated(&authenticator(vec![caller("nameless")]), &[], None).is_err());
}

#[test]
fn an_expired_caller_is_rejected() {
    let (crm, key) = keyed("crm");
    let at = |expires| {
        authenticator(vec![config::CallerConfig {
            expires: Some(expires),
            ..crm.clone()
        }])
    };
    let (now, hour) = (
        std::time::SystemTime::now(),
        std::time::Duration::from_secs(3600),
    );
    let fields = [("x-api-key", key)];
    assert!(authenticated(&at(now + hour), &fields, None).is_ok());
    let local = authenticator(vec![config::CallerConfig {
        uid: Some(7),
        expires: Some(now - hour),
        ..caller("local")
    }]);
    assert!(
        authenticated(
            &local,
            &[],
            local.caller_of_connection(&[], Some(7)).as_ref()
        )
        .is_err()
    );
    let error = authenticated(&at(now - hour), &fields, None).unwrap_err();
    let Error::CallerExpired { caller, ended } = error else {
        panic!("{error:?}")
    };
    assert_eq!((&*caller, ended), ("crm", now - hour));
}

#[test]
fn a_caller_may_only_make_its_own_calls() {
    let (crm, key) = keyed("crm");
    let prefix = "/v2/captain/journey/state/".parse().unwrap();
    let crm = config::CallerConfig {
        allow: Some(vec![prefix]),
        methods: Some(vec![Method::POST]),
        deny_headers: vec![HeaderName::from_static("x-gbg-scenario")],
        ..crm
    };
    let known = authenticator(vec![crm])
        .caller_of_key(key.as_bytes())
        .unwrap();
    let check = |method: &Method, path: &str, field: &str| {
        let req = Request::builder().method(method).uri(path);
        known.check_call(&req.header(field, "1").body(()).unwrap())
    };
    let state = "/v2/captain/journey/state/fetch";
    assert!(check(&Method::POST, state, "x").is_ok());
    assert!(matches!(
        check(&Method::POST, "/v2/captain/journey/start", "x"),
        Err(Error::PathNotAllowed { allow }) if allow == "/v2/captain/journey/state/"
    ));
    let refused = check(&Method::GET, state, "x");
    assert!(matches!(refused, Err(Error::MethodNotAllowed { allow }) if allow == "POST"));
    for name in ["X-GBG-Scenario", "x_gbg-scenario"] {
        let refused = check(&Method::POST, state, name).unwrap_err();
        assert_eq!(refused.reason().name, "header_not_allowed");
        assert!(
            refused.to_string().contains(&name.to_lowercase()),
            "{refused}"
        );
    }
}

#[test]
fn a_caller_key_never_passes_as_bearer() {
    let key = config::new_key().unwrap().expose().to_owned();
    let shows = |values: &[String]| {
        let values = values
            .iter()
            .map(|value| (AUTHORIZATION, value.parse().unwrap()));
        has_caller_key(&HeaderMap::from_iter(values))
    };
    for value in [
        format!("Bearer {key}"),
        basic(&key),
        format!("Bearer \"{key}\""),
        format!("Bearer {}", &key[..40]),
    ] {
        assert!(shows(std::slice::from_ref(&value)), "{value}");
    }
    let theirs = "Bearer eyJ.connect.token".to_owned();
    assert!(!shows(std::slice::from_ref(&theirs)));
    assert!(
        shows(&[theirs, format!("Bearer {key}")]),
        "the second field is ignored"
    );
}
