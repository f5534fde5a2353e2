//! Instructions of a request, as callgrind counts them: each step of the stack in process, and the
//! whole proxy before an API with and without TLS. Unlike times, they are the same from run to run and
//! on machines of one kind, so each has a budget, and a figure that exceeds it fails.
//!
//! `cargo bench --bench instructions` compares with `budget.toml`, and `-- --record` writes it.
//! Each figure is the difference between two runs, the longer with [`MORE`] requests more, so that
//! neither start nor end counts. It needs valgrind; without, it says so, and fails if the
//! environment has `VALGRIND=required`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a bench may panic, and is no library"
)]

mod budget;
mod callgrind;
mod end_to_end;
mod setting;
mod stack;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::budget::{Budget, Figures};
use self::end_to_end::Api;
use self::setting::Setting;

/// Requests of the shorter run: until then, what is made once or grows has been made and has grown.
const FEW: u32 = 500;

/// How many more the longer run has.
const MORE: u32 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let texts: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let ["stack", height, setting, count, directory] = texts[..] {
        let setting = Setting::ALL
            .into_iter()
            .find(|known| known.name() == setting)
            .expect("a setting");
        stack::run(
            height,
            setting,
            count.parse().expect("a number"),
            Path::new(directory),
        );
        return ExitCode::SUCCESS;
    }
    // `cargo bench` adds --bench; `cargo test` does not, and has built this without optimization.
    if texts.contains(&"--test") || !texts.contains(&"--bench") {
        println!("instructions: nothing to test; `cargo bench` compares them with the budget");
        return ExitCode::SUCCESS;
    }
    if !callgrind::is_there() {
        println!(
            "instructions: NOT MEASURED, there is no valgrind (Debian: apt-get install valgrind)"
        );
        let is_required = std::env::var_os("VALGRIND").is_some_and(|value| value == "required");
        return if is_required {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let figures = measure();
    if texts.contains(&"--record") {
        budget::record(&figures);
    }
    match Budget::read().compare(&figures) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where the longer run of each leaves what callgrind wrote, for `callgrind_annotate`.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions")
}

fn measure() -> Figures {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = &directory();
    std::fs::create_dir_all(directory).expect("a directory");
    let api = Api::start(directory);
    let mut figures = Figures::new();
    for setting in Setting::ALL {
        let of_height =
            |height| per_request(|count| stack::count(height, setting, count, directory));
        let heights: Vec<_> = stack::HEIGHTS.into_iter().map(of_height).collect();
        for (name, pair) in stack::HEIGHTS.into_iter().skip(1).zip(heights.windows(2)) {
            figures.add(setting, name, pair[1] - pair[0]);
        }
        figures.add(setting, "stack", heights[heights.len() - 1] - heights[0]);
        for (name, tls) in [("proxy", false), ("proxy_tls", true)] {
            let count = |count| end_to_end::count(&api, name, tls, setting, count, directory);
            figures.add(setting, name, per_request(count));
        }
    }
    figures
}

/// The instructions of one request; `count` returns those of a given number of requests.
fn per_request(count: impl Fn(u32) -> u64) -> i64 {
    let few = count(FEW) as i64;
    (count(FEW + MORE) as i64 - few) / i64::from(MORE)
}
