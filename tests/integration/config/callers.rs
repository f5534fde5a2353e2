//! Callers as the file names them, and the addresses that are open to them: by the real binary,
//! with exit code, place and fix.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::process::{command, text, with_client};
use gbg_proxy::config::key_digest;

/// A key that was made for these tests, and opens nothing; and its SHA-256.
pub(crate) const KEY: &str = "gbgp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8l4rjr-";
pub(crate) const DIGEST: &str = "82a155c55d3d7091a738fbfc9e6fa00ac4c8930009f1d5e99e5a523c8b472c75";
pub(crate) const OTHER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What `check` says of `text` as the file `proxy.toml`, and of `set`: exit code, standard output
/// and standard error.
fn check_with(configuration: &str, set: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    fs::write(directory.path().join("proxy.toml"), configuration).unwrap();
    let mut command = with_client(&["check", "--config", "proxy.toml"]);
    command
        .current_dir(directory.path())
        .args(set.iter().flat_map(|set| ["--set", set]));
    command.envs(env.iter().copied());
    let output = command.output().unwrap();
    let (out, err) = text(&output);
    (output.status.code().unwrap(), out, err)
}

/// `cert.pem`, which is its own authority, and `key.pem`.
fn write_certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    let key = directory.join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
}

pub(crate) const TLS: &str =
    "[listen.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nclient_ca = \"cert.pem\"\n";

/// The output of `check`, where the configuration is good.
#[track_caller]
pub(crate) fn good(configuration: &str) -> String {
    let (code, out, err) = check_with(configuration, &[], &[]);
    assert_eq!(code, 0, "{err}");
    out
}

/// The place and key of the refusal are `place_and_key`, what is wrong with it begins so, and the
/// rest has each of `parts`.
#[track_caller]
pub(crate) fn refused(configuration: &str, place_and_key: &str, parts: &[&str]) {
    let (code, out, err) = check_with(configuration, &[], &[]);
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    assert!(
        err.starts_with(&format!("gbg-proxy: proxy.toml:{place_and_key}")),
        "{err}"
    );
    assert!(
        err.contains("\n  fix: ") && parts.iter().all(|part| err.contains(part)),
        "{err}"
    );
    assert!(!err.contains("AAEC"), "a key is shown: {err}");
}

/// A file with one caller that is known by a key, and `line` as its fourth line.
pub(crate) fn caller_with(line: &str) -> String {
    format!("[[caller]]\nname = \"crm\"\nkey_sha256 = \"{DIGEST}\"\n{line}\n")
}

#[test]
fn an_open_address_without_callers_has_three_fixes() {
    for command in ["check", "run"] {
        let output = with_client(&[command, "--set", "listen.address=0.0.0.0:0"])
            .output()
            .unwrap();
        let (_, err) = text(&output);
        assert_eq!(output.status.code(), Some(64), "{err}");
        assert!(
            err.starts_with("gbg-proxy: --set: listen.address: 0.0.0.0:0 is open to the network"),
            "{err}"
        );
        let ways = [
            "loopback address",
            "[[caller]]",
            "`gbg-proxy key new NAME`",
            "allow_anonymous = true",
        ];
        assert!(ways.iter().all(|way| err.contains(way)), "{err}");
    }
    refused(
        "caller = []\n[listen]\naddress = \"[::]:0\"",
        "3:1: listen.address: [::]:0",
        &["three ways"],
    );
    good("[listen]\naddress = \"0.0.0.0:0\"\nallow_anonymous = true");
}

#[test]
fn caller_keys_need_tls_unless_allowed() {
    let open = format!("{}[listen]\naddress = \"0.0.0.0:0\"\n", caller_with(""));
    refused(
        &open,
        "6:1: listen.address: callers' keys would cross",
        &["[listen.tls]", "listen.allow_plaintext_keys = true"],
    );
    good(&format!("{open}allow_plaintext_keys = true"));
    good(&format!("{open}{TLS}"));
    good(&caller_with(""));
    good(&format!(
        "{}[listen]\naddress = \"unix:/x.sock\"",
        caller_with("")
    ));
}

#[test]
fn callers_and_allow_anonymous_are_exclusive() {
    let both = format!("[listen]\nallow_anonymous = true\n{}", caller_with(""));
    refused(
        &both,
        "2:1: listen.allow_anonymous: it has no effect: callers are configured",
        &["remove it"],
    );
}

#[test]
fn a_complete_caller_is_accepted_and_listed() {
    let rest = "expires = \"2099-01-31T18:00:00+01:00\"\nrate = \"600/min\"\nmax_in_flight = 8\n\
                allow = [\"/v2/captain/journey/\"]\nmethods = [\"POST\"]\ncertificate = \"crm.corp.example\"\n";
    let out = good(&format!(
        "{}[[caller]]\nname = \"billing\"\nkey_sha256 = [\"{OTHER}\"]\n{TLS}[upstream]\nmethods = [\"GET\", \"POST\"]",
        caller_with(rest)
    ));
    assert!(
        out.contains(
            "  callers         crm (key, certificate); rate 600/min, burst 600; max_in_flight 8; allow \
             /v2/captain/journey/; methods POST; expires 2099-01-31T17:00:00Z\n                  billing (key)\n"
        ),
        "{out}"
    );
    assert!(!out.contains("warning"), "{out}");
    let out = good("");
    assert!(
        out.contains("  callers         anyone who can reach 127.0.0.1:8080\n"),
        "{out}"
    );
    good("[[caller]]\nname = \"a\"\nuid = 1001\n[listen]\naddress = \"unix:/x.sock\"");
    good(
        "caller = [{ name = \"a\", key_sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" }]",
    );
}

#[test]
fn an_expired_caller_causes_only_a_warning() {
    let out = good(&caller_with("expires = 2020-02-29"));
    assert!(
        out.starts_with("warning: caller \"crm\" has expired (2020-02-29T00:00:00Z)"),
        "{out}"
    );
}

#[test]
fn only_the_file_defines_callers() {
    for set in ["caller=[]", "caller.name=crm", "caller[0].name=crm"] {
        let (code, _, err) = check_with("", &[set], &[]);
        assert_eq!(code, 64, "{err}");
        assert!(
            err.starts_with(
                "gbg-proxy: --set: caller: callers can only be defined in the configuration file"
            ),
            "{err}"
        );
        assert!(err.contains("fix: write [[caller]] in the file"), "{err}");
    }
    for name in [
        "GBG_PROXY_CALLER_KEY_SHA256",
        "GBG_PROXY_CALLER_0_NAME",
        "GBG_PROXY_CALLER",
    ] {
        let (code, _, err) = check_with("", &[], &[(name, DIGEST)]);
        assert_eq!(code, 64, "{err}");
        assert!(
            err.starts_with(&format!(
                "gbg-proxy: environment variable {name}: caller: callers can only be defined"
            )),
            "{err}"
        );
    }
    // A caller's own key, and what Kubernetes makes of a Service, are no attempts.
    let env = [
        ("GBG_PROXY_CALLER_KEY", KEY),
        ("GBG_PROXY_CALLER_SERVICE_HOST", "10.0.0.1"),
    ];
    let (code, out, err) = check_with("", &[], &env);
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("AAEC"), "{out}");
}

#[test]
fn hosts_are_validated_and_a_wildcard_warns() {
    refused(
        "[listen]\nhosts = [\"a.example:80\"]",
        "2:1: listen.hosts: invalid host \"a.example:80\": hosts are compared without the port",
        &["write \"a.example\""],
    );
    refused(
        "[listen]\nhosts = [\"http://a\"]",
        "2:1: listen.hosts: invalid host \"http://a\": a Host field has no scheme",
        &["write \"a\""],
    );
    assert!(good("[listen]\nhosts = [\"*\"]").starts_with("warning: listen.hosts has \"*\""));
    assert!(!good(&format!("{}[listen]\nhosts = [\"*\"]", caller_with(""))).contains("warning"));
    assert!(
        !good("[listen]\nhosts = [\"gbg.internal\", \".corp.example\", \"[::1]\"]")
            .contains("warning")
    );
}

#[test]
fn key_new_prints_only_the_key_to_stdout() {
    let output = command(&["key", "new", "crm"]).output().unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let key = out.strip_suffix('\n').unwrap();
    assert!(
        key_digest(key.as_bytes()).is_some() && !err.contains(key),
        "{out}{err}"
    );
    assert!(
        good(&err).contains("  callers         crm (key)\n"),
        "{err}"
    );

    let output = command(&["key", "new", "crm", "--json"]).output().unwrap();
    let (out, err) = text(&output);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((object["name"].as_str(), err.as_str()), (Some("crm"), ""));
    let digest = key_digest(object["key"].as_str().unwrap().as_bytes()).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(object["key_sha256"], hex);
}

#[test]
fn a_key_without_a_valid_name_exits_64() {
    for arguments in [
        &["key"][..],
        &["key", "new"],
        &["key", "new", "a b"],
        &["key", "new", ""],
        &["key", "nw", "a"],
    ] {
        let output = command(arguments).output().unwrap();
        assert_eq!(
            (output.status.code(), text(&output).0.as_str()),
            (Some(64), ""),
            "{arguments:?}"
        );
    }
}
