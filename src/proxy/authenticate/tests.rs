//! By what a caller is known, and in which order.

use http::Method;

use super::*;
use crate::config;
use crate::proxy::tests::config as configuration;

fn callers(list: Vec<config::Caller>) -> Callers {
    let mut config = configuration();
    config.callers = list;
    let shares = CallerQuotas::new(&config, &crate::metrics::Metrics::new(1), None);
    Callers::new(&config, &shares, Arc::new(AuthFailureThrottle::new()))
}

fn caller(name: &str) -> config::Caller {
    config::Caller {
        name: name.to_owned(),
        keys: Vec::new(),
        certificate: None,
        uid: None,
        expires: None,
        rate: None,
        max_in_flight: None,
        allow: None,
        methods: None,
    }
}

/// A caller with a key of its own, and the key.
fn keyed(name: &str) -> (config::Caller, String) {
    let key = config::new_key().unwrap().expose().to_owned();
    let digest = key_digest(key.as_bytes()).unwrap();
    (
        config::Caller {
            keys: vec![digest],
            ..caller(name)
        },
        key,
    )
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("anyone:{password}")))
}

fn named(
    callers: &Callers,
    fields: &[(&str, String)],
    connected: Option<&Arc<Known>>,
) -> Result<String, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    callers
        .identify(&headers, connected, false)
        .map(|known| known.name().unwrap_or("anyone").to_owned())
}

#[test]
fn without_callers_anyone_calls_whatever_it_shows() {
    let open = callers(Vec::new());
    assert_eq!(
        named(&open, &[("authorization", "Bearer x".into())], None).unwrap(),
        "anyone"
    );
}

#[test]
fn a_key_is_known_in_each_of_its_three_places() {
    let (crm, key) = keyed("crm");
    let (web, other) = keyed("web");
    let known = callers(vec![crm, web]);
    for field in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("bEARER  {key}")),
        ("authorization", basic(&key)),
    ] {
        assert_eq!(
            named(&known, std::slice::from_ref(&field), None).unwrap(),
            "crm",
            "{field:?}"
        );
    }
    let both = [
        ("authorization", format!("Bearer {other}")),
        ("x-api-key", key.clone()),
    ];
    assert_eq!(
        named(&known, &both, None).unwrap(),
        "crm",
        "X-Api-Key comes first"
    );
    let foreign = [
        ("x-api-key", "theirs".into()),
        ("authorization", format!("Bearer {other}")),
    ];
    assert_eq!(named(&known, &foreign, None).unwrap(), "web");
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
            matches!(named(&known, &fields, None), Err(Error::CallerUnknown(_))),
            "{fields:?}"
        );
    }
}

#[test]
fn a_certificate_counts_before_a_user_and_a_user_before_a_key() {
    let (crm, key) = keyed("crm");
    let certified = config::Caller {
        certificate: CertificateName::parse("a.example").ok(),
        ..caller("certified")
    };
    let local = config::Caller {
        uid: Some(7),
        ..caller("local")
    };
    let known = callers(vec![crm, certified, local]);
    let names = ["x.example", "A.example"].map(CertificateName::dns);
    let of = |names: &[CertificateName], uid| known.of_connection(names, uid);
    let name = |found: Option<Arc<Known>>| found.and_then(|known| known.name().map(str::to_owned));
    assert_eq!(name(of(&names, Some(7))).as_deref(), Some("certified"));
    assert_eq!(name(of(&names[..1], Some(7))).as_deref(), Some("local"));
    assert_eq!(name(of(&names[..1], Some(8))), None);
    let fields = [("x-api-key", key)];
    assert_eq!(
        named(&known, &fields, of(&[], Some(7)).as_ref()).unwrap(),
        "local"
    );
    assert_eq!(named(&known, &fields, None).unwrap(), "crm");
}

/// A host's name is the same in any case; a path is not.
#[test]
fn a_uri_in_a_certificate_is_compared_as_it_stands() {
    let workload = config::Caller {
        certificate: CertificateName::parse("spiffe://corp/Crm").ok(),
        ..caller("crm")
    };
    let known = callers(vec![workload]);
    let of = |name: &str| {
        known
            .of_connection(&[CertificateName::Uri(name.to_owned())], None)
            .is_some()
    };
    assert!(of("spiffe://corp/Crm") && !of("spiffe://corp/crm"));
}

#[test]
fn nobody_calls_where_no_caller_can_be_known() {
    assert!(named(&callers(vec![caller("nameless")]), &[], None).is_err());
}

#[test]
fn a_caller_that_has_expired_is_not_known_any_more() {
    let (crm, key) = keyed("crm");
    let at = |expires| {
        callers(vec![config::Caller {
            expires: Some(expires),
            ..crm.clone()
        }])
    };
    let (now, hour) = (
        std::time::SystemTime::now(),
        std::time::Duration::from_secs(3600),
    );
    let fields = [("x-api-key", key)];
    assert!(named(&at(now + hour), &fields, None).is_ok());
    let local = callers(vec![config::Caller {
        uid: Some(7),
        expires: Some(now - hour),
        ..caller("local")
    }]);
    assert!(named(&local, &[], local.of_connection(&[], Some(7)).as_ref()).is_err());
    let error = named(&at(now - hour), &fields, None).unwrap_err();
    assert!(
        matches!(error, Error::CallerUnknown("this caller has expired")),
        "{error:?}"
    );
}

#[test]
fn a_caller_may_call_what_is_its_own() {
    let (crm, key) = keyed("crm");
    let prefix = config::PathPrefix::try_from("/v2/captain/journey/state/".to_owned()).unwrap();
    let crm = config::Caller {
        allow: Some(vec![prefix]),
        methods: Some(vec![Method::POST]),
        ..crm
    };
    let known = callers(vec![crm]).of_key(key.as_bytes()).unwrap();
    assert!(
        known
            .check(&Method::POST, "/v2/captain/journey/state/fetch")
            .is_ok()
    );
    assert!(matches!(
        known.check(&Method::POST, "/v2/captain/journey/start"),
        Err(Error::PathNotAllowed)
    ));
    let refused = known.check(&Method::GET, "/v2/captain/journey/state/fetch");
    assert!(matches!(refused, Err(Error::MethodNotAllowed { allow }) if allow == "POST"));
}

#[test]
fn a_key_does_not_go_where_the_callers_bearer_does() {
    let key = config::new_key().unwrap().expose().to_owned();
    let shows = |values: &[String]| {
        let values = values
            .iter()
            .map(|value| (AUTHORIZATION, value.parse().unwrap()));
        shows_key(&HeaderMap::from_iter(values))
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
        "the second is not looked at"
    );
}
