//! Target of the load: a sandbox and a proxy of this build, or the user's own proxy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method};
use tokio::time::sleep;

use crate::failure::{Failure, Result};
use crate::options::{Pins, SetUpOptions};
use crate::origin::Origin;
use crate::probe::Probe;
use crate::process::Process;

/// Time until the proxy is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct SetUp {
    target: String,
    ca: Option<PathBuf>,
    admin: Option<String>,
    sandbox: Option<String>,
    /// The proxy's process, if known.
    pub(crate) pid: Option<u32>,
    /// The caller key of requests.
    pub(crate) key: Option<HeaderValue>,
    processes: Vec<Process>,
    directory: PathBuf,
}

impl SetUp {
    /// Starts the processes, unless the options name a target. The user's settings override those
    /// of the mode. Files go into `directory`.
    pub(crate) async fn start(
        options: &SetUpOptions,
        of_mode: &[String],
        directory: &Path,
    ) -> Result<Self> {
        let cannot =
            |error| Failure::new(format!("cannot write to {}", directory.display()), error);
        std::fs::create_dir_all(directory).map_err(cannot)?;
        let directory = directory.canonicalize().map_err(cannot)?;
        if let Some(target) = &options.target {
            return Ok(SetUp {
                target: target.clone(),
                ca: options.target_ca.clone(),
                admin: options.admin.clone(),
                sandbox: None,
                pid: options.proxy_pid,
                key: options
                    .caller_key_file
                    .as_deref()
                    .map(read_key)
                    .transpose()?,
                processes: Vec::new(),
                directory,
            });
        }
        let pins = &options.pin;
        pin_self(pins)?;
        let (sandbox, url) = start_sandbox(options, &directory).await?;
        let mut set = vec![
            "listen.address=127.0.0.1:0".to_owned(),
            "admin.address=127.0.0.1:0".to_owned(),
            "log.access=false".to_owned(),
            format!("upstream.base_url={url}"),
            format!("upstream.ca_file={}", directory.join("ca.pem").display()),
            format!("token.endpoint={url}/as/token.oauth2"),
        ];
        set.extend(
            options
                .workers
                .map(|workers| format!("listen.workers={workers}")),
        );
        set.extend(of_mode.iter().chain(&options.set).cloned());
        let arguments: Vec<_> = ["run".to_owned()]
            .into_iter()
            .chain(set.into_iter().flat_map(|set| ["--set".to_owned(), set]))
            .collect();
        let mut proxy = Process::start("proxy", &arguments, &directory, pins.proxy.as_deref())?;
        let target = format!("http://{}", proxy.wait_for_word_after(" address=").await?);
        let admin = format!("http://{}", proxy.wait_for_word_after(" admin=").await?);
        let set_up = SetUp {
            target,
            ca: Some(directory.join("ca.pem")),
            admin: Some(admin),
            sandbox: Some(url),
            pid: Some(proxy.id()),
            key: None,
            processes: vec![proxy, sandbox],
            directory,
        };
        set_up.wait_until_ready().await?;
        Ok(set_up)
    }

    pub(crate) fn target(&self) -> Result<Origin> {
        Origin::parse(&self.target, self.ca.as_deref())
    }

    /// A probe of the proxy's admin listener, if known.
    pub(crate) fn admin(&self) -> Result<Option<Probe>> {
        self.admin
            .as_deref()
            .map(|url| Probe::new(Origin::parse(url, None)?))
            .transpose()
    }

    /// A probe of the sandbox, if the load test has started it.
    pub(crate) fn sandbox(&self) -> Result<Option<Probe>> {
        self.sandbox
            .as_deref()
            .map(|url| Probe::new(Origin::parse(url, self.ca.as_deref())?))
            .transpose()
    }

    /// The directory of results.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// # Errors
    /// When a started process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let Some(mut admin) = self.admin()? else {
            return Ok(());
        };
        let began = Instant::now();
        loop {
            match admin.ask(Method::GET, "/readyz", String::new()).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > READY_TIMEOUT => {
                    let log = self.directory.join("proxy.log");
                    return Err(
                        format!("the proxy is not ready; see {}: {error}", log.display()).into(),
                    );
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

async fn start_sandbox(options: &SetUpOptions, directory: &Path) -> Result<(Process, String)> {
    let mut arguments = vec![
        "sandbox".to_owned(),
        "--address=127.0.0.1:0".to_owned(),
        "--quiet".to_owned(),
    ];
    arguments.push(format!("--ca-out={}", directory.join("ca.pem").display()));
    arguments.extend(
        options
            .token_lifetime
            .map(|lifetime| format!("--token-lifetime={}", humantime::format_duration(lifetime))),
    );
    let mut sandbox = Process::start(
        "sandbox",
        &arguments,
        directory,
        options.pin.sandbox.as_deref(),
    )?;
    let url = sandbox
        .wait_for_word_after("the sandbox is listening on ")
        .await?;
    Ok((sandbox, url))
}

fn read_key(path: &Path) -> Result<HeaderValue> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::from(format!("cannot read {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
    let mut value = HeaderValue::from_str(text.trim()).map_err(|error| cannot(&error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Pins the generator. Its name lookup thread, which starts later, inherits the CPUs.
fn pin_self(pins: &Pins) -> Result<()> {
    let Some(cpus) = &pins.load else {
        return Ok(());
    };
    let id = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-a", "-p", "-c", cpus, &id])
        .stdout(Stdio::null())
        .status();
    match status.map_err(|error| Failure::new("cannot run taskset", error))? {
        status if status.success() => Ok(()),
        status => Err(format!("taskset -p -c {cpus} failed ({status})").into()),
    }
}
