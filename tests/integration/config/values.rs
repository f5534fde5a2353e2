//! Values of a configuration: defaults, precedence, and the refusal of those that are wrong, with
//! place and fix.

use gbg_proxy::config::{self, Config, ConfigErrors, Loaded, Sources};

use crate::support::environment;

/// Loads `text` as a file named `proxy.toml`, and `set` over it.
pub(crate) fn load(text: &str, set: &[&str]) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path),
        set: set.iter().map(|&set| set.to_owned()).collect(),
        env: environment(),
    };
    let short = |error: ConfigErrors| {
        error
            .to_string()
            .replace(&format!("{}/", directory.path().display()), "")
    };
    config::load(&sources).map_err(short)
}

pub(crate) fn config(text: &str) -> Config {
    load(text, &[]).unwrap().config
}

#[track_caller]
pub(crate) fn assert_refused(text: &str, place_and_key: &str, fix: &str) {
    let error = load(text, &[]).unwrap_err();
    let mut lines = error
        .lines()
        .skip_while(|line| !line.starts_with(place_and_key));
    assert!(lines.next().is_some(), "{error}");
    let lines: Vec<_> = lines.take_while(|line| line.starts_with(' ')).collect();
    let found = lines.join("\n");
    assert!(
        found.starts_with("  fix: ") && found.contains(fix),
        "{error}"
    );
}

#[test]
fn id_and_secret_alone_select_eu_production() {
    let Loaded {
        config, warnings, ..
    } = config::load(&Sources {
        env: environment(),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(
        config.upstream.origin.to_string(),
        "https://eu.platform.go.gbgplc.com"
    );
    assert_eq!(
        config.token.endpoint.to_string(),
        "https://api.auth.gbgplc.com/as/token.oauth2"
    );
    assert_eq!(config.token.scope, "gbg.token");
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:8080");
    let allow: Vec<_> = config
        .forward
        .allow
        .iter()
        .map(|prefix| prefix.as_str())
        .collect();
    assert_eq!(allow, ["/v2/captain/", "/captain/api/"]);
    assert!(!config.upstream.roots.is_empty() && !config.token.roots.is_empty());
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn set_overrides_environment_which_overrides_file() {
    let file = "[token]\nscope = \"file\"\nclient_id = \"file\"\n[upstream]\nregion = \"us\"";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    std::fs::write(&path, file).unwrap();
    let mut env = environment();
    env.insert("GBG_PROXY_TOKEN_SCOPE".into(), "env".into());
    env.insert("GBG_PROXY_TOKEN_CLIENT_ID".into(), "12345".into());
    env.insert("GBG_PROXY_LISTEN_WORKERS".into(), "3".into());
    env.insert("GBG_PROXY_LISTEN_WORKER".into(), "4".into());
    env.insert("GBG_PROXY_SERVICE_HOST".into(), "10.0.0.1".into());
    env.insert("GBG_PROXY_PORT".into(), "tcp://10.0.0.1:8080".into());
    env.insert("GBG_PROXY_ADMIN_PORT_8081_TCP_PORT".into(), "8081".into());
    let loaded = config::load(&Sources {
        file: Some(path),
        set: vec!["token.scope = set".into()],
        env,
    })
    .unwrap();
    assert_eq!(loaded.config.token.scope, "set");
    assert_eq!(
        loaded.config.token.credentials.read().unwrap().client_id,
        "12345"
    );
    assert_eq!(loaded.config.listen.workers.get(), 3);
    assert_eq!(
        loaded.config.upstream.origin.to_string(),
        "https://us.platform.go.gbgplc.com"
    );
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(
        loaded.warnings[0].contains("did you mean GBG_PROXY_LISTEN_WORKERS?"),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert_refused(
        "[token]\n\nscop = \"a\"",
        "proxy.toml:3:1: token.scop: there is no such key",
        "did you mean token.scope?",
    );
    assert_refused(
        "[tokens]\nscope = \"a\"",
        "proxy.toml:1:2: tokens: there is no such key",
        "did you mean token?",
    );
    assert_refused(
        "[listen.tls]\ncrt = \"a\"",
        "proxy.toml:2:1: listen.tls.crt:",
        "did you mean listen.tls.cert?",
    );
    let error = load("", &["log.levl=debug"]).unwrap_err();
    assert_eq!(
        error,
        "--set: log.levl: there is no such key\n  fix: did you mean log.level?"
    );
    // What is no name is not shown.
    let not_shown = "there is no such key (it is not shown: it may be a secret)";
    for set in ["listen address=a", "listen/address=a"] {
        assert_eq!(
            load("", &[set]).unwrap_err(),
            format!("--set: {not_shown}\n  fix: did you mean listen.address?")
        );
    }
    assert_refused(
        "[[caller]]\nname = \"crm\"\n[[caller]]\n\"key sha256\" = \"a\"",
        &format!("proxy.toml:4:1: caller 2: {not_shown}"),
        "did you mean key_sha256?",
    );
}

#[test]
fn an_invalid_value_names_its_position() {
    assert_refused(
        "[listen]\naddress = \"localhost:80\"",
        "proxy.toml:2:1: listen.address:",
        "",
    );
    assert_refused(
        "[token]\ntimeout = 5",
        "proxy.toml:2:1: token.timeout: invalid duration 5: the unit is missing",
        "write \"5s\" or \"5ms\"",
    );
    assert_refused(
        "[token]\ntimeout = \"0s\"",
        "proxy.toml:2:1: token.timeout: invalid duration \"0s\": it must be more than zero",
        "",
    );
    assert_refused(
        "[upstream]\nregion = \"uk\"",
        "proxy.toml:2:1: upstream.region: invalid region \"uk\"",
        "write \"eu\", \"us\" or \"au\"",
    );
    assert_refused(
        "[upstream]\nallow = [\"/v2/captain\"]",
        "proxy.toml:2:1: upstream.allow:",
        "",
    );
    assert_refused(
        "[upstream]\nhttp_version = 2",
        "proxy.toml:2:1: upstream.http_version: invalid value 2: the quotes are missing",
        "write \"2\"",
    );
    assert_refused(
        "[upstream]\nallow = []",
        "proxy.toml:2:1: upstream.allow:",
        "at least one",
    );
    assert_refused(
        "[listen]\nworkers = 0",
        "proxy.toml:2:1: listen.workers:",
        "",
    );
    assert_refused(
        "[listen]\nmax_connections = 9_000_000_000_000_000_000",
        "proxy.toml:2:1: listen.max_connections:",
        "",
    );
    assert_refused(
        "listen = 1",
        "proxy.toml:1:1: listen: this is a section",
        "[listen]",
    );
    assert_refused(
        "[listen]\ntls = true",
        "proxy.toml:2:1: listen.tls: this is a section",
        "[listen.tls]",
    );
    let error = load("", &["listen.workers=many"]).unwrap_err();
    assert!(
        error.starts_with("--set: listen.workers: invalid number \"many\": it is not a number"),
        "{error}"
    );
}

#[test]
fn invalid_toml_names_its_position() {
    assert_refused(
        "[token]\nscope = gbg.token\n",
        "proxy.toml:2:9: invalid TOML: a string without quotes",
        "double quotes",
    );
}

#[test]
fn region_and_base_url_are_exclusive() {
    let text = "[upstream]\nregion = \"eu\"\nbase_url = \"https://x.example\"";
    assert_refused(
        text,
        "proxy.toml:3:1: upstream.base_url: region = \"eu\" is written as well",
        "remove one",
    );
}

#[test]
fn a_base_url_with_a_path_is_rejected() {
    let text = "[upstream]\nbase_url = \"https://eu.platform.go.gbgplc.com/v2/captain\"";
    assert_refused(
        text,
        "proxy.toml:2:1: upstream.base_url:",
        "base_url = \"https://eu.platform.go.gbgplc.com\"",
    );
    assert_eq!(
        config("[upstream]\nbase_url = \"https://x.example/\"")
            .upstream
            .origin
            .to_string(),
        "https://x.example"
    );
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_without_a_path_is_rejected() {
    let text = "[trace]\nendpoint = \"http://127.0.0.1:4318\"";
    assert_refused(
        text,
        "proxy.toml:2:1: trace.endpoint:",
        "write \"http://127.0.0.1:4318/v1/traces\"",
    );
}

#[test]
fn a_quoted_dotted_key_is_unknown() {
    for text in [
        "[\"listen.tls\"]\ncert = \"/x\"",
        "[listen]\n\"tls.cert\" = \"/x\"",
        "\"token.scope\" = \"x\"",
    ] {
        let error = load(text, &[]).unwrap_err();
        assert!(error.contains("there is no such key"), "{error}");
    }
}

#[test]
fn an_invalid_value_explains_its_key() {
    assert_refused(
        "[log]\nlevel = \"loud\"",
        "proxy.toml:2:1: log.level: invalid level \"loud\"",
        "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    );
    assert_refused(
        "[listen]\nsocket_mode = 660",
        "proxy.toml:2:1: listen.socket_mode: invalid mode 660: the quotes are missing",
        "write \"0660\"",
    );
    assert_refused(
        "[upstream]\ncaller_bearer = [\"device\"]",
        "proxy.toml:2:1: upstream.caller_bearer:",
        "/v2/captain/journey/interaction/*",
    );
    assert_refused(
        "[token]\ndefault_lifetime = \"2y\"",
        "proxy.toml:2:1: token.default_lifetime: invalid duration \"2y\": a duration is at most a year",
        "",
    );
    let error = load("", &["listen.workers=0"]).unwrap_err();
    assert!(
        error.contains("invalid number 0: it is too small"),
        "{error}"
    );
}

#[test]
fn set_values_are_taken_literally() {
    let token = load("", &["token.client_id=1_000", "token.scope=true"])
        .unwrap()
        .config
        .token;
    let client_id = token.credentials.read().unwrap().client_id;
    assert_eq!(
        (client_id.as_str(), token.scope.as_str()),
        ("1_000", "true")
    );
}

#[test]
fn an_error_concerns_its_own_key_only() {
    let error = load(
        "[upstream]\nallow = \"/v2/captain/\"",
        &["token.client_id=12345"],
    )
    .unwrap_err();
    assert!(
        error.contains("upstream.allow: invalid list") && !error.contains("12345"),
        "{error}"
    );
    let error = load("", &["listen.tls.cert=/x"]).unwrap_err();
    assert!(
        error.starts_with("--set: listen.tls.key: it is missing"),
        "{error}"
    );
}

#[test]
fn the_queue_defaults_to_a_quarter() {
    assert_eq!(config("").limits.queue, 1024);
    assert_eq!(config("[limits]\nmax_in_flight = 100").limits.queue, 25);
    assert_eq!(config("[limits]\nmax_in_flight = 1").limits.queue, 0);
    assert_eq!(config("[limits]\nqueue = 7").limits.queue, 7);
    assert_refused(
        "[limits]\nqueue = -1",
        "proxy.toml:2:1: limits.queue: invalid number -1: it is negative",
        "a whole number from 0",
    );
    assert_refused(
        "[limits]\nmax_in_flight = 0",
        "proxy.toml:2:1: limits.max_in_flight: invalid number 0",
        "a whole number from 1",
    );
}

#[test]
fn origins_and_log_paths_are_validated() {
    let origins = "[limits]\norigins = [\"https://crm.example\", \"http://localhost:3000\"]";
    assert_eq!(
        config(origins).limits.origins,
        ["https://crm.example", "http://localhost:3000"]
    );
    for bad in ["https://crm.example/", "crm.example", "*"] {
        let text = format!("[limits]\norigins = [{bad:?}]");
        assert_refused(
            &text,
            "proxy.toml:2:1: limits.origins: invalid origin",
            "write ",
        );
    }
    assert_eq!(
        config("[log]\nfile = \"a.log\"").log.file,
        Some("a.log".into())
    );
    assert_refused(
        "[log]\nfile = \"\"",
        "proxy.toml:2:1: log.file: invalid path: it is empty",
        "remove the key",
    );
}
