//! Tests of secrets and of the places that they are read from.

use super::*;

#[test]
fn a_secret_is_never_printed() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
}

#[test]
fn three_sources_are_parsed_and_plaintext_is_rejected() {
    assert_eq!(Source::parse("env:A"), Some(Source::Env("A".into())));
    assert_eq!(
        Source::parse("file:/run/s"),
        Some(Source::File("/run/s".into()))
    );
    assert_eq!(
        Source::parse("credential:s"),
        Some(Source::Credential("s".into()))
    );
    for text in [
        "hunter2",
        "env:",
        "file:",
        "credential:../etc",
        "credential:..",
        "http://x",
        "env:A=B",
    ] {
        assert_eq!(Source::parse(text), None, "{text}");
    }
    for kind in ["env", "file", "credential"] {
        for content in [
            "-----BEGIN PRIVATE KEY-----",
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w",
        ] {
            assert_eq!(
                Source::parse(&format!("{kind}:{content}")),
                None,
                "{kind} {content}"
            );
        }
    }
}

#[test]
fn every_source_trims_the_trailing_line_end() {
    let directory = tempfile::tempdir().unwrap();
    let env = [
        ("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap()),
        ("A", "hunter2\r\n"),
        ("B", " \n"),
        ("C", "hunter2\nx"),
    ];
    let env: Environment = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    std::fs::write(directory.path().join("a"), "hunter2\r\n").unwrap();
    std::fs::write(directory.path().join("b"), "\n").unwrap();
    std::fs::write(directory.path().join("c"), "hunter2\0").unwrap();
    std::fs::write(directory.path().join("d"), b"\xFF\xFEh\0").unwrap();
    std::fs::write(directory.path().join("e"), b"hunter\xE9").unwrap();
    let read = |source: Source| source.locate(&env).read();
    let file = |name: &str| read(Source::Credential(name.into()));
    let variable = |name: &str| read(Source::Env(name.into()));
    assert_eq!(file("a").unwrap().expose(), "hunter2");
    assert_eq!(variable("A").unwrap().expose(), "hunter2");
    assert!(matches!(file("b"), Err(SecretError::Empty(_))));
    assert!(matches!(variable("B"), Err(SecretError::Empty(_))));
    assert!(matches!(variable("X"), Err(SecretError::NotSet(_))));
    for (refused, text) in [
        (file("c"), "credential:c contains a control character"),
        (file("d"), "credential:d is UTF-16 text"),
        (file("e"), "credential:e is not UTF-8 text"),
        (variable("C"), "env:C has more than one line"),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}

#[test]
fn clones_share_one_memory() {
    let secret = Secret::new("hunter2");
    assert_eq!(secret.expose().as_ptr(), secret.clone().expose().as_ptr());
}

/// A named pipe is waited for without an end, and `/dev/zero` read without one.
#[cfg(unix)]
#[test]
fn pipes_devices_and_long_files_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(path("long"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let why = |path: &Path| read_bytes(path).unwrap_err().to_string();
    for odd in [
        path("pipe"),
        directory.path().to_owned(),
        "/dev/zero".into(),
    ] {
        assert_eq!(why(&odd), "it is not a regular file", "{odd:?}");
    }
    assert_eq!(why(&path("long")), "it is longer than 1 MiB");
    std::fs::write(path("long"), vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(read_bytes(&path("long")).unwrap().len(), 1 << 20);
}
