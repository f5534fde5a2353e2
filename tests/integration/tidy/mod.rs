//! Rules for the source itself: files, imports, names, words, and the tests that documents name.

mod documents;
mod imports;
mod words;

use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 400;

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

#[test]
fn every_file_has_a_header_and_is_short() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not begin with //!",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= MAX_FILE_LINES,
            "{} has {lines} lines; split it at {MAX_FILE_LINES}",
            path.display()
        );
    }
}

#[test]
fn http_client_crates_stay_in_their_modules() {
    for (name, modules) in [
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
                    || modules.iter().any(|module| inside.starts_with(module)),
                "{inside} uses {name}, which belongs to {modules:?}"
            );
        }
    }
}
