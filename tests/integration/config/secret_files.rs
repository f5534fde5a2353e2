//! Files that the configuration names and that cannot be used: no byte of them is in any output.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gbg_proxy::config::{self, Sources};

use crate::support::caller::PATIENCE;
use crate::support::canary::{Configuration, KEPT, PATHS, assert_clean, load_file, malformed};
use crate::support::environment;
use crate::support::process::{Running, text, with_client};

#[test]
fn errors_and_warnings_quote_no_file() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    assert!(
        cases.len() >= 12 * (KEPT.len() + PATHS.len() - 1),
        "{}",
        cases.len()
    );
    // The base64 of something is a secret like any other.
    assert!(
        cases
            .iter()
            .filter(|(_, _, usable)| *usable)
            .all(|(name, _, _)| name.ends_with("-in-base64"))
    );
    for key in KEPT {
        for (damage, content) in malformed() {
            let Ok(content) = String::from_utf8(content) else {
                continue;
            };
            let file = configuration.path("proxy.toml");
            fs::write(&file, configuration.with(key, "env:VALUE")).unwrap();
            let mut env = environment();
            env.insert("VALUE".to_owned(), content);
            let loaded = config::load(&Sources {
                file: Some(file),
                env,
                set: Vec::new(),
            });
            assert_clean(&format!("{key}-{damage}"), &format!("{loaded:?}"));
            if let Err(error) = loaded {
                assert_clean(&format!("{key}-{damage}"), &error.to_string());
            }
        }
    }
}

/// `PATHS` and `KEPT` have every key whose file is read.
#[test]
fn every_key_that_names_a_file_is_tested() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    for kind in ["", "file:"] {
        let mut found = Vec::new();
        for key in config::keys()
            .iter()
            .filter(|key| !key.starts_with("caller."))
        {
            fs::write(
                &file,
                configuration.with(key, &format!("{kind}/nowhere/secret")),
            )
            .unwrap();
            if load_file(&file)
                .is_err_and(|error| error.to_string().contains("cannot read /nowhere/secret"))
            {
                found.push(key);
            }
        }
        let mut listed = if kind.is_empty() {
            PATHS.to_vec()
        } else {
            KEPT.to_vec()
        };
        listed.retain(|key| cfg!(feature = "otlp") || !key.starts_with("trace."));
        listed.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, listed, "{kind}");
    }
}

/// Each command with each damage of the file of each key.
#[test]
fn command_output_quotes_no_file() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    let commands = [
        &["check", "--all"][..],
        &["check", "--json"],
        &["run"],
        &["doctor"],
    ];
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
    let output = with_client(arguments)
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    let (out, err) = text(&output);
    let printed = format!("{out}{err}");
    assert_clean(name, &printed);
    let code = match (arguments[0], usable) {
        (_, false) => 64,
        ("check", true) => 0,
        (_, true) => 1,
    };
    assert_eq!(output.status.code(), Some(code), "{name}: {printed}");
    assert!(usable || printed.contains("fix:"), "{name}: {printed}");
}

#[test]
fn no_byte_of_the_platform_store_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    for (damage, content) in malformed() {
        fs::write(&file, content).unwrap();
        let mut check = with_client(&["check"]);
        let output = check
            .env("SSL_CERT_FILE", &file)
            .env("SSL_CERT_DIR", "")
            .output()
            .unwrap();
        let (out, err) = text(&output);
        assert_clean(damage, &format!("{out}{err}"));
        assert_eq!(output.status.code(), Some(64), "{damage}: {out}{err}");
        assert!(err.contains("no trusted certificates"), "{damage}: {err}");
    }
}

fn status(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn log_and_status_after_reload_quote_no_file() {
    let configuration = Configuration::new();
    let cases = configuration.cases();
    let file = configuration.path("proxy.toml");
    fs::write(&file, configuration.base.to_string()).unwrap();
    let mut running = Running::start_reloading(&file);
    let admin = running.admin();
    for (name, written, _) in cases.iter().filter(|(_, _, usable)| !usable) {
        crate::ops::reload::replace(&file, written);
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
fn the_log_quotes_no_changed_file() {
    let configuration = Configuration::new();
    let file = configuration.path("proxy.toml");
    let secret = configuration.path("secret");
    fs::write(&secret, "secret").unwrap();
    fs::write(
        &file,
        configuration.with("token.client_secret", &format!("file:{}", secret.display())),
    )
    .unwrap();
    let mut running = Running::start_reloading(&file);
    let contents = malformed();
    for (damage, content) in contents
        .iter()
        .filter(|(damage, _)| ["escaped", "label"].contains(damage))
    {
        for name in ["good.key", "good.crt"] {
            replace_bytes(&configuration.path(name), content);
        }
        replace_bytes(&secret, b"Kq7ZxW2v\tKq7ZxW2v");
        running.read_until("the certificate that was read before stays");
        running.read_until("using those of the last read");
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
