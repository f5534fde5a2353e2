//! Keys and other secrets that stand in place of a path, a name or another value: no output shows
//! them.

use std::fs;

use gbg_proxy::config::{self, Sources};

use crate::support::canary::{
    CANARY, Configuration, KEPT, PATHS, assert_clean, load_file, malformed,
};
use crate::support::environment;
use crate::support::process::{text, with_client};

/// The kinds of private key, with the label of their PEM and the first letters of their base64.
const KEYS: [(&str, &str); 7] = [
    // P-256 and RSA in PKCS #8, then each in its own format.
    ("PRIVATE KEY", "MIGHAgEAMBMGByqGSM49AgEG"),
    ("PRIVATE KEY", "MIIEvQIBADANBgkqhkiG9w0B"),
    ("EC PRIVATE KEY", "MHcCAQEEIIkV"),
    ("RSA PRIVATE KEY", "MIIEowIBAAKCAQEA"),
    // Ed25519.
    ("PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEI"),
    ("ENCRYPTED PRIVATE KEY", "MIHsMFcGCSqGSIb3DQEF"),
    ("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAABG5v"),
];

fn canary() -> &'static str {
    str::from_utf8(CANARY).unwrap()
}

/// A key as it is written by somebody who was asked for its path.
fn shapes(label: &str, begin: &str) -> Vec<String> {
    let (header, footer) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    // With both letters that base64url writes in another way.
    let lines = [
        &format!("{begin}{}", canary().repeat(5)),
        &format!("+/{}", canary().repeat(5)),
        "+/w==",
    ];
    let (one, escaped) = (lines.concat(), lines.join("\\n"));
    vec![
        one.clone(),
        escaped.clone(),
        lines.join("\\r\\n"),
        lines.join("\\\\n"),
        lines.join(" "),
        lines.join("\n"),
        lines.join("\t"),
        format!("\\n{escaped}\\n"),
        format!("{one}{footer}"),
        format!("{escaped}\\n{footer}\\n"),
        format!("{header}\\n{escaped}\\n{footer}\\n"),
        format!("{one},"),
        one.replace('+', "-")
            .replace('/', "_")
            .trim_end_matches('=')
            .to_owned(),
        one[..one.len() / 2].to_owned(),
        format!("  {one}"),
        format!("'{one}'"),
        format!("\"{one}"),
        format!("\\\"{escaped}\\\""),
        format!("file:{one}"),
        format!("file: \"{escaped}\""),
        format!("env:{one}"),
        format!("credential:{}", one.replace('/', "_")),
        format!("/etc/tls/{one}"),
        format!("data:application/x-pem-file;base64,{one}"),
    ]
}

/// Secrets of other kinds, each with the canary.
fn others() -> Vec<String> {
    let body = canary().repeat(5);
    vec![
        format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"{body}\"}}"),
        format!("{{\\\"kty\\\":\\\"EC\\\",\\\"d\\\":\\\"{body}\\\"}}"),
        format!("{{kty:EC,d:{body}}}"),
        format!("[{{\"kty\":\"EC\",\"d\":\"{body}\"}}]"),
        format!("eyJhbGciOiJSUzI1NiJ9.{body}.{body}"),
        format!("gbgp_{body}"),
        format!("/etc/tls/gbgp_{body}"),
    ]
}

/// Loads `sources`; nothing that a command prints of them has the canary. Whether they can be used.
#[track_caller]
fn load(name: &str, sources: &Sources) -> bool {
    let (is_usable, outputs) = outputs(sources);
    for output in outputs {
        assert_clean(name, &output);
    }
    is_usable
}

/// Whether `sources` can be used, and what commands print of them.
fn outputs(sources: &Sources) -> (bool, [String; 2]) {
    match config::load(sources) {
        Ok(loaded) => {
            let effective = serde_json::to_string(&loaded.effective).unwrap();
            (true, [loaded.warnings.join("\n"), effective])
        }
        Err(error) => (false, [error.to_string(), format!("{error:?}")]),
    }
}

/// Loads `sources`; nothing that a command prints of them has a part of the caller's key `secret`.
#[track_caller]
fn load_caller_key(name: &str, secret: &str, sources: &Sources) -> bool {
    let (is_usable, outputs) = outputs(sources);
    for output in outputs {
        assert!(!output.contains(&secret[5..25]), "{name}: {output}");
        assert!(!output.contains(&secret[34..]), "{name}: {output}");
    }
    is_usable
}

#[test]
fn content_given_as_a_path_is_hidden() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    let contents = malformed();
    for key in PATHS.into_iter().chain(KEPT) {
        for (damage, content) in &contents {
            let Ok(content) = str::from_utf8(content) else {
                continue;
            };
            for written in [content.to_owned(), format!("file:{content}")] {
                fs::write(&file, configuration.with(key, &written)).unwrap();
                match load_file(&file) {
                    Err(error) => assert_clean(&format!("{key}-{damage}"), &error.to_string()),
                    // Base64 cannot be distinguished from a name.
                    Ok(_) => assert!(
                        ["token.client_id", "token.username"].contains(&key),
                        "{key}-{damage}"
                    ),
                }
            }
        }
    }
}

/// Every shape, for every key that takes a path or the place of a secret.
#[test]
fn a_key_given_as_a_path_is_hidden() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    for key in PATHS.into_iter().chain(["log.file"]).chain(KEPT) {
        // Each kind for one key of each sort: the others share its code.
        let is_example = [
            "listen.tls.key",
            "token.jwt_key",
            "token.client_id",
            "upstream.egress_proxy",
        ]
        .contains(&key);
        let kinds = if is_example { &KEYS[..] } else { &KEYS[..1] };
        for secret in kinds
            .iter()
            .flat_map(|(label, begin)| shapes(label, begin))
            .chain(others())
        {
            fs::write(&file, configuration.with(key, &secret)).unwrap();
            let sources = Sources {
                file: Some(file.clone()),
                env: environment(),
                set: Vec::new(),
            };
            let is_usable = load(&format!("{key} = {secret}"), &sources);
            assert!(!is_usable, "{key} = {secret}");
        }
    }
}

#[test]
fn a_key_in_variables_or_arguments_is_hidden() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    fs::write(&file, configuration.with("log.level", "info")).unwrap();
    for (at, secret) in KEYS
        .iter()
        .flat_map(|(label, begin)| shapes(label, begin))
        .chain(others())
        .enumerate()
    {
        let mut env = environment();
        env.insert("GBG_PROXY_LISTEN_TLS_KEY".to_owned(), secret.clone());
        let sources = Sources {
            file: Some(file.clone()),
            env,
            set: Vec::new(),
        };
        assert!(!load(&format!("variable {secret}"), &sources), "{secret}");
        if at % KEYS.len() != 0 && !others().contains(&secret) {
            continue;
        }
        // The last ones are slips around the name of the key.
        for set in [
            "listen.tls.key=",
            "listen.tls.key=\"",
            "log.level=",
            "listen.tls.key:",
            "listen.tls.",
            "",
        ] {
            let set = vec![format!("{set}{secret}=")];
            let sources = Sources {
                file: Some(file.clone()),
                env: environment(),
                set,
            };
            assert!(
                !load(&format!("--set {:?}", sources.set), &sources),
                "{secret}"
            );
        }
    }
}

/// Also where the configuration can be used: `check --all` shows its effective value.
#[test]
fn a_key_given_as_any_value_is_hidden() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    let sources = |set: &[String]| Sources {
        file: Some(file.clone()),
        env: environment(),
        set: set.to_vec(),
    };
    let made = config::new_key().unwrap();
    let private = KEYS.map(|(_, begin)| format!("{begin}{}", canary().repeat(4)));
    let secrets = || private.iter().map(String::as_str).chain([made.expose()]);
    let load = |name: &str, secret: &str, sources: &Sources| match secret == made.expose() {
        true => load_caller_key(name, secret, sources),
        false => load(name, sources),
    };
    fs::write(&file, configuration.with("log.level", "info")).unwrap();
    let mut usable = Vec::new();
    for secret in secrets() {
        let is_example = secret == private[0] || secret == made.expose();
        for key in config::keys() {
            let others = [
                format!("[\"{secret}\"]"),
                format!("https://{secret}"),
                format!("https://a.example/{secret}"),
                format!("https://a.example/{secret}?a=b"),
                format!("https://a.example/?a={secret}"),
            ];
            let others = others.into_iter().filter(|_| is_example);
            for value in others.chain([secret.to_owned()]) {
                let set = [format!("{key}={value}")];
                if load(&format!("{set:?}"), secret, &sources(&set)) && secret == made.expose() {
                    usable.push(key.clone());
                }
            }
        }
    }
    // Some keys take any text, so that `check --all` has something to hide.
    assert!(usable.contains(&"token.scope".to_owned()), "{usable:?}");
    for secret in secrets() {
        for text in [
            format!("{secret} = 1\n"),
            format!("{secret} = 1\n{secret} = 1\n"),
            format!("[{secret}]\na = 1\n"),
            format!("[listen.tls]\n{secret} = \"a\"\n"),
            format!("[listen.tls.{secret}]\n"),
            format!("[log]\nlevel = {{ {secret} = 1 }}\n"),
            format!("[[caller]]\nname = \"{secret}\"\nuid = \"x\"\n"),
            format!("[[caller]]\nname = \"a\"\n{secret} = 1\n"),
        ] {
            fs::write(&file, &text).unwrap();
            assert!(!load(&text, secret, &sources(&[])), "{text}");
        }
    }
}

/// Names that begin as keys do stand in errors, with what to do.
#[test]
fn names_that_resemble_keys_are_shown() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    for (key, value, shown) in [
        (
            "listen.tls.cert",
            "/run/secrets/gbgp_upstream_client_cert",
            "/run/secrets/gbgp_upstream_client_cert",
        ),
        (
            "token.client_secret",
            "env:GBGP_PRODUCTION_CLIENT_SECRET",
            "fix: set GBGP_PRODUCTION_CLIENT_SECRET",
        ),
        (
            "token.client_secret",
            "file:/run/secrets/gbgp_production_client_secret",
            "/run/secrets/gbgp_production_client_secret",
        ),
    ] {
        fs::write(&file, configuration.with(key, value)).unwrap();
        let error = load_file(&file).map(drop).unwrap_err().to_string();
        assert!(
            error.contains(shown) && error.contains(&format!("{key}: ")),
            "{error}"
        );
        assert!(!error.contains("caller's key"), "{error}");
    }
}

#[test]
fn no_command_prints_a_key_given_as_path() {
    for (label, begin) in KEYS {
        for shape in [1, 8, 11, 12] {
            let secret = &shapes(label, begin)[shape];
            for arguments in [&["check"][..], &["run"], &["doctor"]] {
                let output = with_client(arguments)
                    .env("GBG_PROXY_LISTEN_TLS_KEY", secret)
                    .output()
                    .unwrap();
                let (out, err) = text(&output);
                assert_eq!(
                    output.status.code(),
                    Some(64),
                    "{secret} {arguments:?}: {out}{err}"
                );
                assert_clean(secret, &format!("{out}{err}"));
                assert!(
                    !format!("{out}{err}").contains(begin),
                    "{arguments:?}: {out}{err}"
                );
                assert!(
                    format!("{out}{err}").contains("fix: "),
                    "{arguments:?}: {out}{err}"
                );
            }
        }
    }
}

#[test]
fn no_byte_of_a_wrong_file_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let canary = str::from_utf8(CANARY).unwrap();
    let values = [
        format!("[token]\nclient_secret = {canary}\n"),
        format!("[token]\nclient_secret = \"{canary}\n"),
        format!("[token]\nclient_secret = \"{canary}\" {canary}\n"),
        format!("[token]\nclient_secret = [\"{canary}\", {canary}]\n"),
        format!("[token]\nclient_secret = {{ a = \"{canary}\" }}\n"),
        format!("[token]\nclient_auth = \"{canary}\"\n"),
        format!("[token]\nclient_auth = \"a`, expected {canary}`, \"\n"),
        format!("[token]\ngrant = \"{canary}\"\n"),
        format!("[token]\njwt_alg = \"{canary}\"\n"),
        format!("[token]\nallow_http = \"{canary}\"\n"),
        format!("[token]\nretry_statuses = \"{canary}\"\n"),
        format!("[token]\nparams = \"{canary}\"\n"),
        format!("[token]\nendpoint = \"https://ada:{canary}@a.example\"\n"),
        format!("[token]\nendpoint = \"{canary}\"\n"),
        format!("[token]\ntimeout = \"{canary}\"\n"),
        format!("[upstream]\nbase_url = \"https://ada:{canary}@a.example\"\n"),
        format!("[upstream]\nbase_url = \"https://a.example/?key={canary}\"\n"),
        format!("[upstream]\negress_proxy = \"http://ada:{canary}@a.example\"\n"),
        format!("[trace]\nendpoint = \"http://ada:{canary}@a.example/v1/traces\"\n"),
        format!("[trace]\nendpoint = \"http://a.example/v1/traces?key={canary}\"\n"),
        format!("token = \"{canary}\"\n"),
        format!("listen.tls = \"{canary}\"\n"),
        format!("[[caller]]\nname = \"a\"\nkey_sha256 = \"{canary}\"\n"),
    ];
    for content in malformed()
        .into_iter()
        .map(|(_, content)| content)
        .chain(values.map(String::into_bytes))
    {
        fs::write(&file, &content).unwrap();
        let error = load_file(&file).map(drop).unwrap_err().to_string();
        assert_clean(&String::from_utf8_lossy(&content), &error);
    }
}
