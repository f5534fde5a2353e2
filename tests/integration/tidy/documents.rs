//! Tests that documents name exist, and the table of reasons is that of the code.

use gbg_proxy::error::REASONS;

use super::root;

#[test]
fn http_rules_name_existing_tests() {
    assert!(named_tests("docs/http.md") > 40);
}

/// Each promise ends in the tests that hold it: files or tests of this crate, or paths of the
/// repository.
#[test]
fn each_security_promise_names_its_tests() {
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
            let is_named = is_test_module(name) || is_test(name);
            assert!(
                is_named || root().join(name).exists(),
                "docs/security.md names {name}, which is no test"
            );
        }
    }
}

/// The table of reasons is the code's: each has its row, its status, and a test.
#[test]
fn documented_reasons_match_the_code() {
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
        assert!(
            is_test(name),
            "{document} names {name}, which is not a test"
        );
    });
    each.count()
}

/// Whether `name`, such as `proxy::framing::NAME`, is a test.
fn is_test(name: &str) -> bool {
    let Some((module, test)) = name.rsplit_once("::") else {
        return false;
    };
    read_module(module).is_some_and(|text| text.contains(&format!("fn {test}()")))
}

fn is_test_module(name: &str) -> bool {
    read_module(name).is_some()
}

/// The text of a module of these tests, such as `proxy::framing`.
fn read_module(name: &str) -> Option<String> {
    let path = format!("tests/integration/{}.rs", name.replace("::", "/"));
    std::fs::read_to_string(root().join(path)).ok()
}
