//! The rules of the house, checked on the source itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gbg_proxy::error::REASONS;

const LONGEST_FILE: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn all_sources() -> Vec<PathBuf> {
    ["src", "tests", "benches"]
        .iter()
        .flat_map(|directory| sources(&root().join(directory)))
        .collect()
}

/// The arrows that the crate docs draw.
fn drawn_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let docs = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let arrows = docs
        .lines()
        .filter_map(|line| line.strip_prefix("//! ")?.split_once(" → "));
    let names = |list: &str| {
        list.split(',')
            .map(|name| name.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let mut drawn = BTreeMap::new();
    for (from, to) in arrows {
        let to: BTreeSet<_> = if to == "nothing of ours" {
            BTreeSet::new()
        } else {
            names(to).into_iter().collect()
        };
        for from in names(from) {
            drawn.insert(from, to.clone());
        }
    }
    drawn
}

/// The module of `src/` that a file belongs to.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of ours that `text` names behind `crate::` or `gbg_proxy::`.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        !code.contains("super::super::super"),
        "a path that climbs out of its room"
    );
    let mut found = BTreeSet::new();
    for root in ["crate::", "gbg_proxy::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(list) => {
                    let list = &list[..list.find("};").expect("an import list that ends")];
                    assert!(!list.contains('{'), "a list within an import list: {list}");
                    found.extend(list.split(',').map(|name| first_name(name.trim())));
                }
                None => drop(found.insert(first_name(rest))),
            }
        }
    }
    found.remove("");
    found
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

#[test]
fn modules_import_only_whom_the_crate_docs_let_them() {
    let drawn = drawn_arrows();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let from = room(&path);
        if from == "lib" {
            continue;
        }
        let allowed = drawn
            .get(&from)
            .unwrap_or_else(|| panic!("the crate docs draw no arrow from {from}"));
        for to in imports(&std::fs::read_to_string(&path).unwrap()) {
            seen.insert((from.clone(), to.clone()));
            if to != from && !allowed.contains(&to) {
                wrong.push(format!("{}: {from} → {to}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not drawn in src/lib.rs:\n{}",
        wrong.join("\n")
    );
    for (from, to) in drawn
        .iter()
        .flat_map(|(from, list)| list.iter().map(move |to| (from, to)))
    {
        assert!(
            seen.contains(&(from.clone(), to.clone())),
            "src/lib.rs draws {from} → {to}, which nothing uses"
        );
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{a, b::C};\nuse crate::d::E;\nfn f() { crate::g::h() }\n// crate::no\n";
    assert_eq!(
        imports(text),
        ["a", "b", "d", "g"].map(str::to_owned).into()
    );
}

#[test]
fn every_file_says_what_it_is_and_none_is_long() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not begin with //!",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines; split it at {LONGEST_FILE}",
            path.display()
        );
    }
}

#[test]
fn reqwest_and_hypers_client_have_their_places() {
    for (name, places) in [
        ("reqwest::", &["src/trace/otlp.rs"][..]),
        (
            "hyper::client",
            &["src/upstream/", "src/token/request.rs", "src/cli/http.rs"],
        ),
        ("hyper_util::client", &["src/upstream/"]),
        ("h2::", &["src/upstream/", "src/downstream/refusals.rs"]),
        ("opentelemetry", &["src/trace/otlp.rs"]),
    ] {
        for path in sources(&root().join("src")) {
            let inside = path.strip_prefix(root()).unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let is_test = inside.ends_with("/tests.rs");
            assert!(
                is_test
                    || !code.contains(name)
                    || places.iter().any(|place| inside.starts_with(place)),
                "{inside} uses {name}, which belongs to {places:?}"
            );
        }
    }
}

#[test]
fn every_test_that_the_rules_of_http_name_exists() {
    assert!(named_tests("docs/http.md") > 40);
}

/// Each promise ends in the tests that hold it: files or tests of this crate, or paths of the
/// repository.
#[test]
fn each_promise_of_the_threat_model_names_its_tests() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let promises: Vec<_> = text
        .split("\n\n")
        .filter(|paragraph| paragraph.starts_with("**"))
        .collect();
    assert!(promises.len() > 10, "{}", promises.len());
    for promise in promises {
        let named = promise
            .trim_end()
            .strip_suffix("`)")
            .and_then(|rest| rest.rsplit_once("(`"));
        let Some((_, named)) = named else {
            panic!("it names no test: {promise}")
        };
        for name in named.split('`').step_by(2) {
            let (file, test) = name.split_once("::").unwrap_or((name, ""));
            let is_test =
                std::fs::read_to_string(root().join(format!("tests/integration/{file}.rs")))
                    .is_ok_and(|text| test.is_empty() || text.contains(&format!("fn {test}()")));
            assert!(
                is_test || root().join(name).exists(),
                "docs/security.md names {name}, which is no test"
            );
        }
    }
}

/// The table of reasons is the code's: each has its row, its status, and a test.
#[test]
fn the_reasons_that_are_explained_are_those_of_the_code() {
    let explained = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows: Vec<(u16, &str)> = explained
        .lines()
        .filter(|line| line.ends_with("` |"))
        .map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            (
                cells.next().unwrap().parse().unwrap(),
                cells.next().unwrap().trim_matches('`'),
            )
        })
        .collect();
    let mut reasons: Vec<_> = REASONS
        .iter()
        .map(|reason| (reason.status.as_u16(), reason.name))
        .collect();
    reasons.sort_by_key(|&(status, name)| (status, rows.iter().position(|row| row.1 == name)));
    assert_eq!(rows, reasons);
    assert_eq!(named_tests("docs/errors.md"), reasons.len());
}

/// How many rows of the tables in `document` end in the name of a test; each of them exists.
fn named_tests(document: &str) -> usize {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once('`'));
    let each = names.map(|(_, name)| {
        let (file, test) = name.split_once("::").unwrap();
        let text =
            std::fs::read_to_string(root().join(format!("tests/integration/{file}.rs"))).unwrap();
        assert!(
            text.contains(&format!("async fn {test}()")),
            "{document} names {name}, which is no test"
        );
    });
    each.count()
}
