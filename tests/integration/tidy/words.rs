//! Names and words: one type name for one thing, headers that name their subject, and no word that
//! readers of the field would stumble over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{all_sources, root, sources};

/// Words with a plain word of the field in their place.
const OUT: [(&str, &str); 12] = [
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("anew", "again"),
    ("seldom", "rarely"),
    ("whoever", "the caller, the operator"),
    ("told", "logged, returned, reported"),
    ("tells", "logs, returns, reports"),
    ("none of ours", "not the proxy's"),
    ("comes to", "is"),
    ("goes on trying", "keeps retrying"),
    ("put in force", "applied"),
];

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn no_type_name_means_two_things() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources(&root().join("src")) {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let text = read(&path);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for name in code.lines().filter_map(type_name) {
            files.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    // An alternative for builds without the feature has the same name on purpose.
    files.retain(|_, files| files.len() > 1 && !files.iter().any(|file| file.ends_with("none.rs")));
    assert!(files.is_empty(), "{files:#?}");
}

/// The type that `line` defines at the top level of a file.
fn type_name(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => match rest.split_once(") ") {
            Some((scope, line)) if scope.starts_with('(') => line,
            _ => rest.trim_start(),
        },
        None => line,
    };
    let rest = ["struct ", "enum ", "trait ", "type ", "union "]
        .iter()
        .find_map(|keyword| line.strip_prefix(keyword))?;
    rest.split(|letter: char| !letter.is_alphanumeric()).next()
}

#[test]
fn type_names_are_found_behind_every_visibility() {
    for (line, name) in [
        ("struct Plain;", Some("Plain")),
        ("pub enum Public {", Some("Public")),
        ("pub(super) trait Parent<B>: Send {", Some("Parent")),
        ("pub(in crate::proxy) type Path = u8;", Some("Path")),
        ("    struct Inner;", None),
        ("fn struct_like() {}", None),
    ] {
        assert_eq!(type_name(line), name, "{line}");
    }
}

#[test]
fn module_headers_name_their_subject_first() {
    let wrong: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| {
            let text = read(path);
            let first = text.trim_start_matches("//! ").split_whitespace().next();
            matches!(
                first.unwrap_or_default(),
                "What" | "Whether" | "How" | "Who" | "Whose" | "Which" | "Why" | "Where" | "When"
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn test_names_are_short_statements() {
    let mut wrong = Vec::new();
    for path in all_sources() {
        let mut is_test = false;
        for line in read(&path).lines().map(str::trim) {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) else {
                continue;
            };
            is_test = false;
            let name = rest.split('(').next().unwrap();
            let words: Vec<_> = name.split('_').collect();
            let is_question = ["how", "what", "whether", "which", "who", "why"].contains(&words[0]);
            if words.len() > 8 || is_question {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn listed_words_do_not_occur() {
    let documents = [
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "fuzz/README.md",
        "proxy.toml",
    ]
    .map(PathBuf::from);
    let folders = [
        "benches",
        "deploy",
        "docs",
        "fuzz/fuzz_targets",
        "fuzz/src",
        "src",
        "tests",
    ]
    .map(|folder| root().join(folder));
    let files = folders
        .iter()
        .flat_map(texts)
        .chain(documents.map(|document| root().join(document)));
    let mut found = Vec::new();
    for path in files {
        let is_list = path.ends_with("tidy/words.rs");
        for (number, line) in read(&path).lines().enumerate() {
            if is_list && OUT.iter().any(|&pair| line.trim() == list_line(pair)) {
                continue;
            }
            let words = format!(" {} ", normalized(line));
            for (word, better) in OUT {
                if words.contains(&format!(" {word} ")) {
                    let file = path.strip_prefix(root()).unwrap().display();
                    found.push(format!("{file}:{}: \"{word}\": write {better}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The line of [`OUT`] for `word`.
fn list_line((word, better): (&str, &str)) -> String {
    format!("({word:?}, {better:?}),")
}

/// The files in `folder` that hold text.
fn texts(folder: &PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_none_or(|extension| extension != "png") {
            found.push(path);
        }
    }
    found
}

/// `line` in lower case, with one space for everything between words, of identifiers as well.
fn normalized(line: &str) -> String {
    let words = line.split(|letter: char| !letter.is_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}
