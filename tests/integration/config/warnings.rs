//! Warnings about valid configurations that are probably not intended.

use std::time::{Duration, SystemTime};

use super::values::load;

const KEY: &str =
    "key_sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"";

#[track_caller]
fn assert_warns(text: &str, part: &str) {
    let warnings = load(text, &[]).unwrap().warnings;
    let found = warnings.iter().any(|warning| warning.contains(part));
    assert!(found, "{text}: {warnings:?}");
}

#[track_caller]
fn assert_silent(text: &str) {
    assert_eq!(load(text, &[]).unwrap().warnings, [""; 0], "{text}");
}

fn in_days(days: u64) -> String {
    let time = SystemTime::now() + Duration::from_secs(days * 86_400);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[test]
fn contradicting_limits_cause_warnings() {
    assert_warns(
        "[drain]\ntimeout = \"10s\"",
        "drain.timeout (10s) is shorter than upstream.response_timeout (1m 5s)",
    );
    assert_silent("[drain]\ntimeout = \"10s\"\n[upstream]\nresponse_timeout = \"5s\"");
    assert_warns(
        "[limits]\nmax_replay_body = \"64MiB\"",
        "limits.max_replay_body is larger than limits.max_request_body",
    );
    let caller = format!("[[caller]]\nname = \"crm\"\n{KEY}\nmax_in_flight = 100\n");
    assert_warns(
        &format!("{caller}[limits]\nmax_in_flight = 99"),
        "caller \"crm\": max_in_flight = 100 is never reached",
    );
    assert_silent(&format!("{caller}[limits]\nmax_in_flight = 100"));
}

#[test]
fn an_unusable_log_file_is_a_defect() {
    let directory = tempfile::tempdir().unwrap();
    let found = |path: &std::path::Path| {
        let loaded = load(&format!("[log]\nfile = {path:?}"), &[]).unwrap();
        let defects = loaded.defects.iter().map(ToString::to_string);
        defects.collect::<String>()
    };
    let at = |name: &str| directory.path().join(name);
    assert_eq!(found(&at("new.log")), "");
    assert!(!at("new.log").exists());
    std::fs::write(at("old.log"), "").unwrap();
    assert_eq!(found(&at("old.log")), "");
    let missing = found(&at("none/new.log"));
    assert!(
        missing.contains("log.file: the file cannot be opened to append to it: No such file"),
        "{missing}"
    );
    let is_directory = found(directory.path());
    assert!(is_directory.contains("is a directory"), "{is_directory}");
    let below_file = found(&at("old.log/new.log"));
    assert!(below_file.contains("Not a directory"), "{below_file}");
}

#[test]
fn gbg_tokens_for_test_servers_cause_warnings() {
    let local = "[upstream]\nbase_url = \"https://localhost:9443\"\n";
    assert_warns(
        local,
        "token.endpoint is GBG's, but upstream.base_url is https://localhost:9443",
    );
    assert_silent(&format!(
        "{local}[token]\nendpoint = \"https://localhost:9443/as/token.oauth2\""
    ));
}

#[test]
fn a_wildcard_address_without_hosts_causes_a_warning() {
    let open = "[listen]\naddress = \"0.0.0.0:8080\"\nallow_anonymous = true\n";
    assert_warns(open, "listen.hosts is empty: requests to 0.0.0.0:8080");
    assert_silent(&format!("{open}hosts = [\"gbg.internal\"]"));
}

#[test]
fn access_that_ends_soon_causes_a_warning() {
    let caller =
        |expires: &str| format!("[[caller]]\nname = \"crm\"\n{KEY}\nexpires = {expires}\n");
    assert_warns(
        &caller(&in_days(13)),
        "the access of caller \"crm\" ends at ",
    );
    assert_silent(&caller(&in_days(15)));
}

#[test]
fn certificates_are_checked_for_end_and_names() {
    let directory = tempfile::tempdir().unwrap();
    let load_with = |days: [i64; 2], hosts: &str| -> (String, Vec<String>) {
        let names = vec!["gbg.internal".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let in_days = |days: i64| now.as_secs().checked_add_signed(days * 86_400).unwrap();
        let date = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        [params.not_before, params.not_after] = days.map(|days| date(in_days(days)));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(path("tls.key"), key.serialize_pem()).unwrap();
        let loaded = load(
            &format!(
                "[listen]\nhosts = [{hosts}]\n[listen.tls]\ncert = {:?}\nkey = {:?}\n",
                path("tls.crt"),
                path("tls.key")
            ),
            &[],
        )
        .unwrap();
        let is_about_certificate = |remark: &String| !remark.contains("chmod");
        let remarks = loaded.remarks().filter(is_about_certificate).collect();
        let defects: Vec<_> = loaded.defects.iter().map(ToString::to_string).collect();
        (defects.join("\n"), remarks)
    };
    let expired = load_with([-90, -1], "");
    assert!(
        expired
            .0
            .contains("listen.tls.cert: the certificate expired at "),
        "{expired:?}"
    );
    assert!(
        expired.1[0].contains("; fix: replace the file"),
        "{expired:?}"
    );
    let early = load_with([1, 90], "");
    assert!(
        early.0.contains("the certificate is not valid before "),
        "{early:?}"
    );
    let ends_soon = load_with([-90, 29], "");
    assert!(
        ends_soon.1[0].contains("the certificate expires at "),
        "{ends_soon:?}"
    );
    assert_eq!(ends_soon.0, "");
    let covered = load_with([-90, 31], "\"gbg.internal\", \"other.internal\"");
    assert_eq!(covered, (String::new(), Vec::new()));
    let foreign = load_with([-90, 31], "\"other.internal\"");
    assert!(
        foreign.0.contains("covers none of listen.hosts"),
        "{foreign:?}"
    );
    assert!(
        foreign
            .0
            .contains("fix: give the certificate of other.internal"),
        "{foreign:?}"
    );
}
