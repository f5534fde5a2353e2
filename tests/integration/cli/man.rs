//! `gbg-proxy man`: a page for every command, with the sections that a reader expects.

use crate::support::process::{command, text};

/// The commands that `--help` lists, except `help` itself.
fn commands() -> Vec<String> {
    let (help, _) = text(&command(&["--help"]).output().unwrap());
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_a_page() {
    let directory = tempfile::tempdir().unwrap();
    // It does not exist yet.
    let pages = directory.path().join("man1");
    let output = command(&["man", "--dir"]).arg(&pages).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let mut expected: Vec<_> = commands()
        .iter()
        .map(|name| format!("gbg-proxy-{name}.1"))
        .chain(["gbg-proxy.1", "gbg-proxy-key-new.1"].map(str::to_owned))
        .collect();
    expected.sort_unstable();
    assert_eq!(expected.len(), 12, "{expected:?}");
    let written = std::fs::read_dir(&pages).unwrap();
    let mut written: Vec<_> = written
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort_unstable();
    assert_eq!(written, expected);

    for name in &written {
        let page = std::fs::read_to_string(pages.join(name)).unwrap();
        let (_, related) = page.split_once("\n.SH \"SEE ALSO\"\n").unwrap();
        for other in related.split([',', '\n']).map(str::trim) {
            let Some(other) = other.strip_suffix("(1)") else {
                continue;
            };
            let file = format!("{}.1", other.replace('\\', ""));
            assert!(written.contains(&file), "{name} refers to {other}");
            assert_ne!(*name, file);
        }
        for section in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(
                page.contains(&format!("\n.SH {section}\n")),
                "{name}: {section}"
            );
        }
    }
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("gbg-proxy-run.1").contains("GBG_CLIENT_SECRET"));
    assert!(page("gbg-proxy-run.1").contains("\n.SH FILES\n"));
    assert!(page("gbg-proxy-doctor.1").contains("incomplete: no step failed"));
    assert!(!page("gbg-proxy-key.1").contains("\n.SH FILES\n"));
}

#[test]
fn man_prints_the_main_page() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    assert!(command(&["man", "--dir", dir]).status().unwrap().success());
    let written = std::fs::read_to_string(directory.path().join("gbg-proxy.1")).unwrap();

    let (printed, _) = text(&command(&["man"]).output().unwrap());

    assert_eq!(printed, written);
}

#[test]
fn an_unwritable_directory_is_named() {
    let output = command(&["man", "--dir", "/dev/null/man1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, err) = text(&output);
    assert!(
        err.starts_with("gbg-proxy: cannot write /dev/null/man1: "),
        "{err}"
    );
}
