//! Files that the configuration names and that cannot be used: no byte of them is in any output.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gbg_proxy::config::{self, Loaded, Sources};
use tempfile::TempDir;
use toml::Value;

use crate::support::caller::PATIENCE;
use crate::support::environment;
use crate::support::process::{Running, text, with_client};

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
    base: toml::Table,
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
        Configuration { directory, _taken: taken, base }
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
    fn cases(&self) -> Vec<(String, String, bool)> {
        let mut cases = Vec::new();
        let keys = PATHS.iter().map(|key| (key, "")).chain(KEPT.iter().map(|key| (key, "file:")));
        for (key, kind) in keys.filter(|(key, _)| cfg!(feature = "otlp") || !key.starts_with("trace.")) {
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
                assert!(error.contains(name) && error.contains("\n  mend: "), "{name}: {error}");
                false
            }
        }
    }
}

pub fn load_file(file: &Path) -> Result<Loaded, config::Error> {
    config::load(&Sources { file: Some(file.to_owned()), env: environment(), set: Vec::new() })
}

fn put(table: &mut toml::Table, key: &str, value: &str) {
    let mut names: Vec<_> = key.split('.').collect();
    let last = names.pop().unwrap();
    let mut section = table;
    for name in names {
        let below = section.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
        section = below.as_table_mut().unwrap();
    }
    section.insert(last.to_owned(), value.into());
}

/// Contents that are no PEM, or not what is wanted, each with the canary: as a letter of the text, and within what its base64
/// stands for.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let canary = str::from_utf8(CANARY).unwrap();
    let der = [&b"\x30\x82\x01\x05\x02\x01\x00"[..], CANARY, b"\0", CANARY, b"\0\0", CANARY].concat();
    let body = format!("{}\n{canary}{canary}", STANDARD.encode(&der));
    let section =
        |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    // A combined file.
    let pem = section("CERTIFICATE", &body) + &section("PRIVATE KEY", &body);
    let utf_16 = pem.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    vec![
        ("escaped", pem.replace('\n', "\\n").into()),
        ("escaped-crlf", pem.replace('\n', "\\r\\n").into()),
        ("blanks", pem.replace('\n', " ").into()),
        ("one-line", pem.replace('\n', "").into()),
        ("indented", pem.replace('\n', "\n    ").into()),
        ("quoted", format!("\"{}\"\n", pem.replace('\n', "\\n")).into()),
        ("mark", format!("\u{FEFF}{pem}").into()),
        ("utf-16", [b"\xFF\xFE", &utf_16[..]].concat()),
        ("cut-off", pem[..pem.len() - 12].into()),
        ("damaged", pem.replace(canary, &format!("!{canary}")).into()),
        ("in-base64", STANDARD.encode(&pem).into()),
        ("binary", der),
        ("label", format!("-----BEGIN {canary}-----\n{canary}\n").into()),
        ("other-label", section(canary, &body).into()),
        ("no-der", pem.into()),
        ("control", format!("{canary}\0{canary}\t{canary}\n{canary}").into()),
    ]
}

/// Fails where `output` holds the canary, be it plain, in decimal or hexadecimal numbers, or in base64.
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

#[test]
fn no_byte_of_a_file_is_in_an_error_or_warning() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    assert!(cases.len() >= 12 * (KEPT.len() + PATHS.len() - 1), "{}", cases.len());
    // The base64 of something is a secret like any other.
    assert!(cases.iter().filter(|(_, _, usable)| *usable).all(|(name, _, _)| name.ends_with("-in-base64")));
    for key in KEPT {
        for (damage, content) in malformed() {
            let Ok(content) = String::from_utf8(content) else { continue };
            let file = configuration.path("proxy.toml");
            fs::write(&file, configuration.with(key, "env:VALUE")).unwrap();
            let mut env = environment();
            env.insert("VALUE".to_owned(), content);
            let loaded = config::load(&Sources { file: Some(file), env, set: Vec::new() });
            assert_clean(&format!("{key}-{damage}"), &format!("{loaded:?}"));
            if let Err(error) = loaded {
                assert_clean(&format!("{key}-{damage}"), &error.to_string());
            }
        }
    }
}

/// The lists above have every key whose file is read.
#[test]
fn every_key_that_names_a_file_is_tried() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    for kind in ["", "file:"] {
        let mut found = Vec::new();
        for key in config::keys().into_iter().filter(|key| !key.starts_with("caller.")) {
            fs::write(&file, configuration.with(&key, &format!("{kind}/nowhere/secret"))).unwrap();
            if load_file(&file).is_err_and(|error| error.to_string().contains("cannot read /nowhere/secret"))
            {
                found.push(key);
            }
        }
        let mut listed = if kind.is_empty() { PATHS.to_vec() } else { KEPT.to_vec() };
        listed.retain(|key| cfg!(feature = "otlp") || !key.starts_with("trace."));
        listed.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, listed, "{kind}");
    }
}

/// Each command with each damage of the file of each key.
#[test]
fn no_byte_of_a_file_is_in_what_a_command_prints() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    let commands = [&["check", "--all"][..], &["check", "--json"], &["run"], &["doctor"]];
    let next = AtomicUsize::new(0);
    let print = |worker: usize| {
        let file = configuration.path(&format!("{worker}.toml"));
        let mut printed = 0;
        while let Some((name, written, usable)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            fs::write(&file, written).unwrap();
            for arguments in commands {
                print_case(&format!("{name} {arguments:?}"), arguments, &file, *usable);
                printed += 1;
            }
        }
        printed
    };
    // Two: the smallest runners have two cores.
    let printed: usize = thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let print = &print;
            scope.spawn(move || print(worker))
        });
        workers.map(|worker| worker.join().unwrap()).iter().sum()
    });
    assert_eq!(printed, cases.len() * commands.len());
}

/// Runs a command with the configuration in `file`.
fn print_case(name: &str, arguments: &[&str], file: &Path, usable: bool) {
    let output = with_client(arguments).arg("--config").arg(file).output().unwrap();
    let (out, err) = text(&output);
    let printed = format!("{out}{err}");
    assert_clean(name, &printed);
    let code = match (arguments[0], usable) {
        (_, false) => 64,
        ("check", true) => 0,
        (_, true) => 1,
    };
    assert_eq!(output.status.code(), Some(code), "{name}: {printed}");
    assert!(usable || printed.contains("mend:"), "{name}: {printed}");
}

#[test]
fn no_byte_of_the_platform_store_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    for (damage, content) in malformed() {
        fs::write(&file, content).unwrap();
        let mut check = with_client(&["check"]);
        let output = check.env("SSL_CERT_FILE", &file).env("SSL_CERT_DIR", "").output().unwrap();
        let (out, err) = text(&output);
        assert_clean(damage, &format!("{out}{err}"));
        assert_eq!(output.status.code(), Some(64), "{damage}: {out}{err}");
        assert!(err.contains("no trusted certificates"), "{damage}: {err}");
    }
}

fn status(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn no_byte_of_a_file_is_in_log_or_status_after_a_reload() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    let file = configuration.path("proxy.toml");
    fs::write(&file, configuration.base.to_string()).unwrap();
    let mut running = Running::start_reloading(&file);
    let admin = running.admin();
    for (name, written, _) in cases.iter().filter(|(_, _, usable)| !usable) {
        crate::reload::replace(&file, written);
        running.signal("-HUP");
        running.read_until(name);
        let mut answer = status(admin);
        // The log is written first.
        while !answer.contains(name.as_str()) {
            answer = status(admin);
        }
        assert_clean(name, &answer);
    }
    assert_eq!(running.end("-TERM"), 0);
    assert_clean("the log", &running.log);
}

/// The files are read again when they change, without a reload.
#[test]
fn no_byte_of_a_file_that_changes_is_in_the_log() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    let secret = configuration.path("secret");
    fs::write(&secret, "secret").unwrap();
    fs::write(&file, configuration.with("token.client_secret", &format!("file:{}", secret.display())))
        .unwrap();
    let mut running = Running::start_reloading(&file);
    let contents = malformed();
    for (damage, content) in contents.iter().filter(|(damage, _)| ["escaped", "label"].contains(damage)) {
        for name in ["good.key", "good.crt"] {
            replace_bytes(&configuration.path(name), content);
        }
        replace_bytes(&secret, b"Kq7ZxW2v\tKq7ZxW2v");
        running.read_until("the certificate that was read before stays");
        running.read_until("those read last are used");
        assert_clean(damage, &running.log);
        running.log.clear();
    }
    assert_eq!(running.end("-TERM"), 0);
    assert_clean("the log", &running.log);
}

fn replace_bytes(file: &Path, content: &[u8]) {
    let next = file.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(next, file).unwrap();
}
