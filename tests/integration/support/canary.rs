//! Files with a canary in place of what is wanted, and configurations that name them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gbg_proxy::config::{self, Loaded, Sources};
use tempfile::TempDir;
use toml::Value;

use crate::support::environment;

/// What no output may have.
pub const CANARY: &[u8; 8] = b"Kq7ZxW2v";

/// The keys that name a file, and those whose value may be kept in one.
pub const PATHS: [&str; 10] = [
    "listen.tls.cert",
    "listen.tls.key",
    "listen.tls.client_ca",
    "upstream.ca_file",
    "upstream.client_cert",
    "upstream.client_key",
    "token.client_cert",
    "token.client_key",
    "token.ca_file",
    "trace.ca_file",
];
pub const KEPT: [&str; 6] = [
    "token.jwt_key",
    "token.client_id",
    "token.client_secret",
    "token.username",
    "token.password",
    "upstream.egress_proxy",
];

/// A configuration that can be used, but for the file of one key.
pub struct Configuration {
    directory: TempDir,
    /// Where it would listen, and where somebody else does: `run` ends in any case.
    _taken: TcpListener,
    pub base: toml::Table,
}

impl Configuration {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let cert = write("good.crt", made.cert.pem());
        let key = write("good.key", made.signing_key.serialize_pem());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut base = toml::Table::new();
        for (name, value) in [
            ("listen.address", address.as_str()),
            ("listen.tls.cert", &cert),
            ("listen.tls.key", &key),
            ("upstream.base_url", "https://127.0.0.1:1"),
            ("upstream.ca_file", &cert),
            ("upstream.client_cert", &cert),
            ("upstream.client_key", &key),
            ("token.endpoint", "https://127.0.0.1:1/token"),
            ("token.client_cert", &cert),
            ("token.client_key", &key),
            ("token.ca_file", &cert),
            ("admin.address", "off"),
        ] {
            put(&mut base, name, value);
        }
        if cfg!(feature = "otlp") {
            put(&mut base, "trace.endpoint", "https://127.0.0.1:1/v1/traces");
            put(&mut base, "trace.ca_file", &cert);
        }
        Configuration {
            directory,
            _taken: taken,
            base,
        }
    }

    /// The text of a configuration whose `key` is `value`.
    pub fn with(&self, key: &str, value: &str) -> String {
        let mut table = self.base.clone();
        match key {
            "token.jwt_key" => put(&mut table, "token.client_auth", "private_key_jwt"),
            "token.username" | "token.password" => {
                put(&mut table, "token.grant", "password");
                put(&mut table, "token.username", "ada");
                put(&mut table, "token.password", "env:GBG_CLIENT_SECRET");
            }
            _ => {}
        }
        put(&mut table, key, value);
        table.to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Every case: its name, the text of the configuration, and whether it can be used.
    pub fn cases(&self) -> Vec<(String, String, bool)> {
        let mut cases = Vec::new();
        let keys = PATHS
            .iter()
            .map(|key| (key, ""))
            .chain(KEPT.iter().map(|key| (key, "file:")));
        for (key, kind) in
            keys.filter(|(key, _)| cfg!(feature = "otlp") || !key.starts_with("trace."))
        {
            for (damage, content) in malformed() {
                let name = format!("{key}-{damage}");
                let file = self.path(&name);
                fs::write(&file, content).unwrap();
                let written = self.with(key, &format!("{kind}{}", file.display()));
                let usable = self.load(&name, &written);
                assert!(!usable || KEPT.contains(key), "{name} is taken");
                cases.push((name, written, usable));
            }
        }
        cases
    }

    /// Loads `written` in this process; no text of what comes of it has the canary.
    fn load(&self, name: &str, written: &str) -> bool {
        let file = self.path("proxy.toml");
        fs::write(&file, written).unwrap();
        let loaded = load_file(&file);
        assert_clean(name, &format!("{loaded:?}"));
        match loaded {
            Ok(loaded) => {
                assert_clean(name, &loaded.warnings.join("\n"));
                true
            }
            Err(error) => {
                let error = error.to_string();
                assert_clean(name, &error);
                assert!(
                    error.contains(name) && error.contains("\n  fix: "),
                    "{name}: {error}"
                );
                false
            }
        }
    }
}

pub fn load_file(file: &Path) -> Result<Loaded, config::ConfigErrors> {
    config::load(&Sources {
        file: Some(file.to_owned()),
        env: environment(),
        set: Vec::new(),
    })
}

fn put(table: &mut toml::Table, key: &str, value: &str) {
    let mut names: Vec<_> = key.split('.').collect();
    let last = names.pop().unwrap();
    let mut section = table;
    for name in names {
        let below = section
            .entry(name)
            .or_insert_with(|| Value::Table(toml::Table::new()));
        section = below.as_table_mut().unwrap();
    }
    section.insert(last.to_owned(), value.into());
}

/// Contents that are no PEM, or not what is wanted, each with the canary: as a letter of the text,
/// and within what its base64 stands for.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let canary = str::from_utf8(CANARY).unwrap();
    let der = [
        &b"\x30\x82\x01\x05\x02\x01\x00"[..],
        CANARY,
        b"\0",
        CANARY,
        b"\0\0",
        CANARY,
    ]
    .concat();
    let body = format!("{}\n{canary}{canary}", STANDARD.encode(&der));
    let section = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    // A combined file.
    let pem = section("CERTIFICATE", &body) + &section("PRIVATE KEY", &body);
    let utf_16 = pem
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<_>>();
    vec![
        ("escaped", pem.replace('\n', "\\n").into()),
        ("escaped-crlf", pem.replace('\n', "\\r\\n").into()),
        ("blanks", pem.replace('\n', " ").into()),
        ("one-line", pem.replace('\n', "").into()),
        ("indented", pem.replace('\n', "\n    ").into()),
        (
            "quoted",
            format!("\"{}\"\n", pem.replace('\n', "\\n")).into(),
        ),
        ("mark", format!("\u{FEFF}{pem}").into()),
        ("utf-16", [b"\xFF\xFE", &utf_16[..]].concat()),
        ("cut-off", pem[..pem.len() - 12].into()),
        ("damaged", pem.replace(canary, &format!("!{canary}")).into()),
        ("in-base64", STANDARD.encode(&pem).into()),
        ("binary", der),
        (
            "label",
            format!("-----BEGIN {canary}-----\n{canary}\n").into(),
        ),
        ("other-label", section(canary, &body).into()),
        ("no-der", pem.into()),
        (
            "control",
            format!("{canary}\0{canary}\t{canary}\n{canary}").into(),
        ),
    ]
}

/// Fails where `output` holds the canary, be it plain, in decimal or hexadecimal numbers, or in
/// base64.
#[track_caller]
pub fn assert_clean(name: &str, output: &str) {
    let numbers = |format: fn(&u8) -> String, between: &str| {
        CANARY.iter().map(format).collect::<Vec<_>>().join(between)
    };
    let mut forms = vec![str::from_utf8(CANARY).unwrap().to_owned()];
    for between in ["", " ", ",", ", ", ":"] {
        forms.push(numbers(|byte| byte.to_string(), between));
        forms.push(numbers(|byte| format!("{byte:02x}"), between));
        forms.push(numbers(|byte| format!("{byte:02X}"), between));
        forms.push(numbers(|byte| format!("0x{byte:02x}"), between));
    }
    for offset in 0..3 {
        let encoded = STANDARD.encode([&vec![0; offset][..], CANARY].concat());
        // The characters that stand for the canary alone.
        forms.push(encoded[(offset * 8).div_ceil(6)..(offset + 8) * 8 / 6].to_owned());
    }
    for form in forms {
        assert!(!output.contains(&form), "{name}: {form:?} is in {output}");
    }
}
