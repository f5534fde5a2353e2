//! Common mistakes in a configuration, each with its message and its fix, in `mistakes.txt`.
//!
//! A case is a file, the error, and the corrected file, divided by lines `---`; `(pasted)` in place
//! of the corrected file stands for the first value of the fix, pasted over the wrong one. Lines
//! `$ NAME=value` are variables, `$ --set key=value` arguments. After a change of messages:
//! `BLESS=1 cargo test --test integration mistakes`, and read what has changed.

use std::fmt::Write;

use gbg_proxy::config::{self, Sources};

use crate::support::environment;

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/integration/config/mistakes.txt"
);

struct Mistake {
    text: String,
    error: String,
    corrected: String,
}

fn mistakes() -> Vec<Mistake> {
    let cases = std::fs::read_to_string(PATH).unwrap();
    let parse = |case: &str| {
        let mut parts = case.trim().split("\n---\n").map(str::to_owned);
        let mut next = || {
            parts
                .next()
                .unwrap_or_else(|| panic!("three parts: {case}"))
        };
        Mistake {
            text: next(),
            error: next(),
            corrected: next(),
        }
    };
    cases.split("\n===\n").map(parse).collect()
}

/// Loads `text` with its variables and arguments.
fn load(text: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    let (directives, lines): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("$ "));
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mut sources = Sources {
        file: Some(path),
        env: environment(),
        set: Vec::new(),
    };
    for directive in directives.iter().map(|line| &line[2..]) {
        match directive.strip_prefix("--set ") {
            Some(set) => sources.set.push(set.to_owned()),
            None => {
                let (name, value) = directive.split_once('=').unwrap();
                sources.env.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let short = format!("{}/", directory.path().display());
    config::load(&sources)
        .map(drop)
        .map_err(|error| error.to_string().replace(&short, ""))
}

/// `text` with the first value of the fix in `error` in place of the one at its position.
fn paste(text: &str, error: &str) -> String {
    let (position, fix) = error.split_once("\n  fix: ").unwrap();
    let number: usize = position.split(':').nth(1).unwrap().parse().unwrap();
    let fix = fix
        .strip_prefix("write ")
        .or_else(|| fix.strip_prefix("did you mean "))
        .unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = &mut lines[number - 1];
    let value = match fix.chars().next().unwrap() {
        quote @ '"' => fix[..=fix[1..].find(quote).unwrap() + 1].to_owned(),
        '[' => fix[..=fix.find(']').unwrap()].to_owned(),
        _ => fix.split([' ', ',', '?', ':']).next().unwrap().to_owned(),
    };
    let (name, old) = match line.split_once(" = ") {
        Some((name, old)) => (name.to_owned(), Some(old.to_owned())),
        None => (line.clone(), None),
    };
    *line = match old {
        // A name of a section.
        None => format!("[{value}]"),
        // A name of a key.
        Some(old) if fix.contains('?') && !value.starts_with('"') => {
            format!("{} = {old}", value.rsplit('.').next().unwrap())
        }
        Some(old) if old.starts_with('[') && !value.starts_with('[') => {
            format!("{name} = [{value}]")
        }
        Some(_) => format!("{name} = {value}"),
    };
    lines.join("\n")
}

#[test]
fn each_mistake_has_its_message() {
    let mut blessed = String::new();
    let mut wrong = Vec::new();
    for mistake in mistakes() {
        let error = load(&mistake.text).expect_err(&mistake.text);
        assert!(!error.contains("hunter2"), "{error}");
        if error != mistake.error {
            wrong.push(format!(
                "{}\n{error}\ninstead of\n{}",
                mistake.text, mistake.error
            ));
        }
        let Mistake {
            text, corrected, ..
        } = mistake;
        let separator = if blessed.is_empty() { "" } else { "===\n" };
        writeln!(blessed, "{separator}{text}\n---\n{error}\n---\n{corrected}").unwrap();
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PATH, &blessed).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_fix_removes_its_error() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 40, "{}", mistakes.len());
    for Mistake {
        text,
        error,
        corrected,
    } in mistakes
    {
        let is_pasted = corrected.trim() == "(pasted)";
        let corrected = if is_pasted {
            paste(&text, &error)
        } else {
            corrected
        };
        if let Err(left) = load(&corrected) {
            panic!("{text}\n{error}\nleaves, as\n{corrected}\n{left}");
        }
    }
}
