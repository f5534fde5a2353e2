//! Gives the version its commit: of the checkout, or of `GBG_PROXY_COMMIT` where there is none (an
//! image).

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GBG_PROXY_COMMIT");
    // What is not there would have it run at every build.
    for path in [".git/HEAD", ".git/refs/heads"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
    {
        println!("cargo:rerun-if-changed={path}");
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = env::var("GBG_PROXY_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(checked_out);
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo:rustc-env=GBG_PROXY_VERSION={version}");
}

fn checked_out() -> Option<String> {
    // A crate that is packed into another's repository has that one's commit, which says nothing.
    Path::new(".git").exists().then_some(())?;
    let told = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(told.stdout).ok()?;
    told.status
        .success()
        .then(|| commit.trim().to_owned())
        .filter(|commit| !commit.is_empty())
}
