//! Any text as a configuration file: an error names a position, and repeats no secret.
//!
//! `@@` stands for a secret in clear text. As the value of a key for secrets it must not be shown.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gbg_proxy::config::{Sources, ValueSource, load};
use libfuzzer_sys::{Corpus, fuzz_target};
use toml::Value;

const WRITTEN: &str = "Zq7hunter2";
const FROM_ENVIRONMENT: &str = "Zq8hunter3";

/// The keys whose values are secrets, or may hold one.
const SECRETS: [(&str, &str); 5] = [
    ("token", "client_secret"),
    ("token", "password"),
    ("token", "jwt_key"),
    ("upstream", "egress_proxy"),
    ("caller", "key_sha256"),
];

static FILE: OnceLock<PathBuf> = OnceLock::new();

fuzz_target!(
    init: {
        // One root in the place of the platform's hundred and more, which would be read again each
        // time. SAFETY: there is one thread yet.
        unsafe { std::env::set_var("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/root.pem")) };
        let in_memory = Path::new("/dev/shm");
        let directory = if in_memory.is_dir() { in_memory.to_owned() } else { std::env::temp_dir() };
        FILE.set(directory.join(format!("gbg-proxy-fuzz-{}.toml", std::process::id()))).unwrap();
    },
    |data: &[u8]| -> Corpus {
        let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
        let text = text.replace("@@", WRITTEN);
        let file = FILE.get().unwrap();
        std::fs::write(file, &text).unwrap();
        let env = [
            ("GBG_CLIENT_ID", "fuzz".to_owned()),
            ("GBG_CLIENT_SECRET", FROM_ENVIRONMENT.to_owned()),
            ("P", format!("http://user:{FROM_ENVIRONMENT}@proxy.example:3128")),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let output = match load(&Sources { file: Some(file.clone()), set: Vec::new(), env }) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(errors) => {
                assert!(!errors.errors.is_empty());
                for error in &errors.errors {
                    check_position(&error.origin, &error.key, &text);
                    assert!(!error.message.is_empty(), "{error:?} says nothing");
                }
                format!("{errors} {errors:?}")
            }
        };
        assert!(!output.contains(FROM_ENVIRONMENT), "the environment's secret is shown: {output}");
        assert!(!output.contains(WRITTEN) || !is_secret(&text), "a secret in clear is shown: {output}");
        Corpus::Keep
    }
);

fn check_position(origin: &ValueSource, key: &str, text: &str) {
    match origin {
        ValueSource::Position { line, column, .. } => {
            // Behind the last line end there is one more line, if an empty one.
            let lines: Vec<&str> = text.split('\n').collect();
            assert!(
                (1..=lines.len()).contains(line),
                "line {line} of {}",
                lines.len()
            );
            let length = lines[line - 1].chars().count();
            assert!(
                (1..=length + 1).contains(column),
                "column {column} of {length} in line {line}"
            );
        }
        // The file as a whole has no key.
        ValueSource::File(_) => {}
        // A value that is written nowhere has only its key.
        _ => assert!(!key.is_empty(), "{origin:?} without a key"),
    }
}

/// Whether the secret stands in `text` at least once, and everywhere as the value of a key that is
/// for secrets.
fn is_secret(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else {
        // No place of a key: what comes before the equals sign of its line, and what is in
        // brackets.
        return text
            .lines()
            .filter(|line| line.contains(WRITTEN))
            .all(|line| {
                line.split_once('=')
                    .is_some_and(|(name, _)| !name.contains(WRITTEN))
                    && !line.trim_start().starts_with('[')
            });
    };
    let mut public = table.clone();
    for (section, name) in SECRETS {
        let tables = match public.get_mut(section) {
            Some(Value::Table(section)) => vec![section],
            Some(Value::Array(callers)) => {
                callers.iter_mut().filter_map(Value::as_table_mut).collect()
            }
            _ => continue,
        };
        for table in tables {
            if table.get(name).is_some_and(is_confidential) {
                table.remove(name);
            }
        }
    }
    !public.to_string().contains(WRITTEN)
}

/// Whether `value` is no name of a place where a secret is kept, and no address without a password.
fn is_confidential(value: &Value) -> bool {
    match value {
        Value::String(text)
            if ["env:", "file:", "credential:"]
                .iter()
                .any(|kind| text.starts_with(kind)) =>
        {
            false
        }
        Value::String(text) if text.starts_with("http") => text.contains(&format!(":{WRITTEN}@")),
        _ => !keys(value).any(|key| key.contains(WRITTEN)),
    }
}

/// The keys of the tables within `value`: names, which an error repeats.
fn keys(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::Table(table) => Box::new(
            table
                .iter()
                .flat_map(|(name, value)| std::iter::once(name.as_str()).chain(keys(value))),
        ),
        Value::Array(values) => Box::new(values.iter().flat_map(keys)),
        _ => Box::new(std::iter::empty()),
    }
}
