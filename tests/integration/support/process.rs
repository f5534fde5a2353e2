//! The real binary, as a process.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlimit::Resource;
use wiremock::MockServer;

use super::{CLIENT_ID, CLIENT_SECRET, HOSTS, token_endpoint};

const BINARY: &str = env!("CARGO_BIN_EXE_gbg-proxy");

/// The binary with nothing of this machine's environment, in a directory without a proxy.toml.
pub fn command(arguments: &[&str]) -> Command {
    bare(Command::new(BINARY), arguments)
}

fn bare(mut command: Command, arguments: &[&str]) -> Command {
    command
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

pub fn with_client(arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command
        .env("GBG_CLIENT_ID", CLIENT_ID)
        .env("GBG_CLIENT_SECRET", CLIENT_SECRET);
    command
}

/// A proxy on a port of its own, whose API and token endpoint are dead unless `set` says otherwise.
fn proxy(program: Command, set: &[&str]) -> Command {
    let dead = [
        "upstream.base_url=http://127.0.0.1:1",
        "token.endpoint=http://127.0.0.1:1/",
    ];
    let hosts = format!("listen.hosts={HOSTS}");
    let mut arguments = vec![
        "run",
        "--set",
        "listen.address=127.0.0.1:0",
        "--set",
        "admin.address=off",
        "--set",
        &hosts,
    ];
    arguments.extend(dead.iter().chain(set).flat_map(|set| ["--set", set]));
    let mut command = bare(program, &arguments);
    command
        .env("GBG_CLIENT_ID", CLIENT_ID)
        .env("GBG_CLIENT_SECRET", CLIENT_SECRET);
    command
}

/// A proxy that is handed `file` as systemd does it, in the name of process `pid`; `$$` is its own
/// number.
pub fn handed(file: impl Into<OwnedFd>, pid: &str, set: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = format!("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID={pid}; exec \"$@\"");
    shell.args(["-c", &script, "sh", BINARY]).stdin(file.into());
    proxy(shell, set)
}

pub fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A proxy that runs, and what it has logged.
pub struct Running {
    child: Arc<Mutex<Child>>,
    id: u32,
    lines: Lines<BufReader<ChildStdout>>,
    pub log: String,
    /// The user that it runs as, where that was chosen.
    pub user: u32,
}

impl Running {
    pub fn start(set: &[&str]) -> Running {
        Running::spawn(Command::new(BINARY), set)
    }

    /// A proxy in front of the API at `upstream`, with tokens from `tokens`.
    pub fn start_before(upstream: &str, tokens: &MockServer, set: &[&str]) -> Running {
        let upstream = format!("upstream.base_url={upstream}");
        let endpoint = format!("token.endpoint={}", token_endpoint(tokens));
        Running::start(&[&[upstream.as_str(), &endpoint], set].concat())
    }

    /// One that reads the configuration in `file`.
    pub fn start_with_file(file: &Path, set: &[&str]) -> Running {
        let mut command = proxy(Command::new(BINARY), set);
        command.arg("--config").arg(file);
        Running::listening(command)
    }

    /// A proxy that takes the API and the token endpoint from `file`.
    pub fn start_placed_by(file: &Path) -> Running {
        let mut command = with_client(&[
            "run",
            "--set",
            "listen.address=127.0.0.1:0",
            "--set",
            "admin.address=off",
        ]);
        command.arg("--config").arg(file);
        Running::listening(command)
    }

    /// A proxy that takes everything but its addresses from `file`.
    pub fn start_reloading(file: &Path) -> Running {
        let mut command = with_client(&[
            "run",
            "--set",
            "listen.address=127.0.0.1:0",
            "--set",
            "admin.address=127.0.0.1:0",
        ]);
        command.arg("--config").arg(file);
        Running::listening(command)
    }

    /// One whose user is not root, also where the tests' user is.
    pub fn start_as_nobody() -> Running {
        const NOBODY: u32 = 65534;
        // Where that user may go, which the target directory need not be.
        let directory = super::open_directory();
        let program = directory.path().join("gbg-proxy");
        std::fs::copy(BINARY, &program).unwrap();
        let mut command = proxy(Command::new(program), &[]);
        command.current_dir("/");
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        let user = if own == 0 { NOBODY } else { own };
        if own == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut running = Running::listening(command);
        running.user = user;
        running
    }

    /// Another process of its user.
    pub fn run_as_same_user(&self, command: &mut Command) -> Child {
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(self.user).gid(self.user);
        }
        command.spawn().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// One whose standard error is read like its log.
    pub fn start_with_errors(set: &[&str]) -> Running {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "sh", BINARY]);
        Running::spawn(shell, set)
    }

    /// One that may open so many files and no more.
    pub fn start_with_open_files(limit: u32, set: &[&str]) -> Running {
        let mut shell = Command::new("/bin/sh");
        shell.args([
            "-c",
            &format!("ulimit -n {limit} && exec \"$@\""),
            "sh",
            BINARY,
        ]);
        Running::spawn(shell, set)
    }

    /// One that logs to `file`; only its standard error is read here.
    pub fn start_logging_to(file: &Path, set: &[&str]) -> Running {
        let log_file = format!("log.file={}", file.display());
        let written = || std::fs::read_to_string(file).unwrap_or_default();
        let before = written().len();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "sh", BINARY]);
        let mut running = Running::watch(proxy(shell, &[&[log_file.as_str()], set].concat()));
        while !running.log.contains("gbg-proxy is listening") {
            std::thread::sleep(Duration::from_millis(20));
            running.log = written().split_off(before);
        }
        running
    }

    /// One that reads its configuration from `fifo`, and waits for it.
    pub fn start_reading(fifo: &Path) -> Running {
        let mut command = proxy(Command::new(BINARY), &[]);
        command.arg("--config").arg(fifo);
        Running::watch(command)
    }

    /// One with these variables in its environment.
    pub fn start_with_env(env: &[(&str, &str)], set: &[&str]) -> Running {
        let mut command = proxy(Command::new(BINARY), set);
        command.envs(env.iter().copied());
        Running::listening(command)
    }

    /// One that is handed `socket` as systemd does it.
    pub fn start_on(socket: impl Into<OwnedFd>, set: &[&str]) -> Running {
        Running::listening(handed(socket, "$$", set))
    }

    /// As [`Self::start_on`], with the configuration in `file`.
    pub fn start_on_with_file(socket: impl Into<OwnedFd>, file: &Path, set: &[&str]) -> Running {
        let mut command = handed(socket, "$$", set);
        command.arg("--config").arg(file);
        Running::listening(command)
    }

    /// A sandbox that runs.
    pub fn sandbox(arguments: &[&str]) -> Running {
        let all = [&["sandbox", "--address", "127.0.0.1:0"], arguments].concat();
        let mut running = Running::watch(bare(Command::new(BINARY), &all));
        running.read_until("the sandbox is listening on");
        running
    }

    /// A demo that has finished its journeys.
    pub fn demo() -> Running {
        let mut running = Running::watch(bare(Command::new(BINARY), &["demo"]));
        running.read_until("calls that reach the sandbox:");
        running
    }

    fn spawn(program: Command, set: &[&str]) -> Running {
        Running::listening(proxy(program, set))
    }

    fn listening(command: Command) -> Running {
        let mut running = Running::watch(command);
        running.read_until("gbg-proxy is listening");
        running
    }

    fn watch(mut command: Command) -> Running {
        let mut child = spawn_copied(command.stdout(Stdio::piped()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let id = child.id();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::downgrade(&child);
        std::thread::spawn(move || {
            // A line that does not come would be waited for without end.
            std::thread::sleep(Duration::from_secs(60));
            if let Some(child) = watched.upgrade() {
                let _ = child.lock().unwrap().kill();
            }
        });
        Running {
            child,
            id,
            lines,
            log: String::new(),
            user: 0,
        }
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id))
            .unwrap()
            .count()
    }

    /// Lowers what it may open from now on.
    pub fn limit_open_files(&self, limit: u64) {
        rlimit::prlimit(self.id as i32, Resource::NOFILE, Some((limit, limit)), None).unwrap();
    }

    /// Limits the size of the files that it writes from now on; `None` lifts the limit.
    pub fn limit_file_size(&self, limit: Option<u64>) {
        let (_, hard) = Resource::FSIZE.get().unwrap();
        rlimit::prlimit(
            self.id as i32,
            Resource::FSIZE,
            Some((limit.unwrap_or(hard), hard)),
            None,
        )
        .unwrap();
    }

    /// Whether it handles the signal of this number.
    pub fn handles(&self, signal: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
    }

    /// Where it listens, as its log says.
    pub fn addr(&self) -> SocketAddr {
        self.logged("address")
    }

    /// Where the admin listener is, as its log says.
    pub fn admin(&self) -> SocketAddr {
        self.logged("admin")
    }

    /// The address in the first `field` of its log.
    fn logged(&self, field: &str) -> SocketAddr {
        let found = self
            .log
            .split_once(&format!(" {field}="))
            .or_else(|| self.log.split_once(&format!("\"{field}\":\"")));
        let value = found.unwrap().1.split([' ', '"']).next().unwrap();
        value.parse().unwrap()
    }

    /// The memory that it holds (VmRSS).
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let (_, resident) = status.split_once("VmRSS:").unwrap();
        resident
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    pub fn read_until(&mut self, text: &str) {
        while !self.log.contains(text) {
            let line = self
                .lines
                .next()
                .unwrap_or_else(|| panic!("it ended before {text:?}: {}", self.log));
            self.log += &format!("{}\n", line.unwrap());
        }
    }

    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.id.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it with `signal`; its exit code.
    pub fn end(&mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.wait()
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> i32 {
        for line in self.lines.by_ref() {
            self.log += &format!("{}\n", line.unwrap());
        }
        let status = self.child.lock().unwrap().wait().unwrap();
        status
            .code()
            .expect("killed by the signal instead of ending")
    }
}

/// Spawns a program that may be a copy of the binary: another thread that forks while the copy is
/// written holds it open for a moment (ETXTBSY).
fn spawn_copied(command: &mut Command) -> Child {
    for _ in 0..200 {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            child => return child.unwrap(),
        }
    }
    panic!("the copied program stays busy")
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
