//! Process of the load test: has a log of its own, and ends with the load test, however that ends.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::failure::{Failure, Result};

/// The binary of the same build.
const BINARY: &str = env!("CARGO_BIN_EXE_gbg-proxy");

/// Time until a process serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A process that is killed when this is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs the binary with `arguments` in `directory`, which also gets its log, on `cpus` if set.
    pub(crate) fn start(
        name: &'static str,
        arguments: &[impl AsRef<OsStr>],
        directory: &Path,
        cpus: Option<&str>,
    ) -> Result<Self> {
        let cannot = |error| Failure::new(format!("cannot start the {name}"), error);
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).map_err(cannot)?;
        let mut command = match cpus {
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus, BINARY]);
                command
            }
            None => Command::new(BINARY),
        };
        command
            .args(arguments)
            .env_clear()
            .current_dir(directory)
            .stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("GBG_CLIENT_ID", "sandbox-client")
            .env("GBG_CLIENT_SECRET", "sandbox-secret");
        // A process group of its own: Ctrl-C reaches only the load test, which ends the process.
        command
            .stderr(file.try_clone().map_err(cannot)?)
            .stdout(file)
            .process_group(0);
        let child = command.spawn().map_err(cannot)?;
        Ok(Process { name, child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log contains `mark`. Returns the word after it.
    pub(crate) async fn wait_for_word_after(&mut self, mark: &str) -> Result<String> {
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            // An incomplete line may end in the middle of the word.
            let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some((_, rest)) = complete.split_once(mark) {
                return Ok(rest
                    .split([' ', ';', '\n'])
                    .next()
                    .unwrap_or_default()
                    .to_owned());
            }
            self.check()?;
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!(
            "the {} does not say {mark:?}; see {}",
            self.name,
            self.log.display()
        )
        .into())
    }

    /// # Errors
    /// When the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(format!(
                "the {} has ended ({status}); see {}",
                self.name,
                self.log.display()
            )
            .into()),
            Ok(None) => Ok(()),
            Err(error) => Err(Failure::new(format!("the {}", self.name), error)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
