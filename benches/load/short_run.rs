//! Test: a short run of each mode, in which no request may be lost, processed twice or fail. It
//! asserts no speed.

use clap::Parser;

use crate::Arguments;
use crate::failure::Result;
use crate::report::say;

/// Arguments of the runs.
const RUNS: [&str; 3] = [
    "steps --from 40 --by 40 --to 80 --step-time 500ms --images 20KB..300KB --bound 10s",
    "soak --rate 50 --for 2s --images 20KB..300KB --token-lifetime 4s",
    "overload --for 500ms --max-in-flight 4 --queue 2",
];

pub(crate) async fn run() -> Result<()> {
    for line in RUNS {
        say(&format!("== load {line}\n"))?;
        let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/load");
        let line = format!("load {line} --timeout 60s --workers 1 --out");
        let arguments = Arguments::try_parse_from(line.split(' ').chain([out]));
        let done = arguments
            .map_err(|error| error.to_string())?
            .mode
            .run()
            .await?;
        if done.is_mismatched || done.failures > 0 {
            return Err(format!(
                "{} requests failed, or what arrived does not fit",
                done.failures
            )
            .into());
        }
        say("")?;
    }
    Ok(())
}
