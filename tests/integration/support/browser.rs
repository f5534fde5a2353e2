//! A real browser: Debian's chromium by way of its chromedriver, spoken to in WebDriver (W3C), of
//! which the tests need so little that a crate for it, and what that brings, would be the larger
//! part.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";

/// Nothing of these takes longer, even on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one window.
pub struct Browser {
    driver: Child,
    client: reqwest::Client,
    /// The session, with which every command begins.
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// A new browser; `None`, and a line that says so, on a machine that has none. Where
    /// BROWSER_TEST is `required`, as `.ci/run` sets it, that is a failure.
    pub async fn start() -> Option<Browser> {
        if !Path::new(CHROMIUM).exists() || !Path::new(CHROMEDRIVER).exists() {
            let is_required = std::env::var("BROWSER_TEST").is_ok_and(|value| value == "required");
            assert!(!is_required, "there is no {CHROMIUM} or no {CHROMEDRIVER}");
            // Not by a macro, whose output is not shown for a test that passes.
            let skipped =
                "the status page is not tested: install Debian's chromium and chromium-driver\n";
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (driver, port) = spawn_blocking(driver).await.unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<_> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Browser {
            driver,
            client,
            session,
            _profile: profile,
        };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let reply = browser.post("", capabilities).await;
        browser.session = format!(
            "{}/{}",
            browser.session,
            reply["sessionId"].as_str().unwrap()
        );
        Some(browser)
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// What the body of a function in JavaScript returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// The text of the element that `selector` finds, as it is seen.
    pub async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.run(&script).await.as_str().unwrap().to_owned()
    }

    /// Waits until the element that `selector` finds has `text` in it.
    pub async fn until(&self, selector: &str, text: &str) {
        let mut seen = String::new();
        let wait = async {
            loop {
                seen = self.text(selector).await;
                if seen.contains(text) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(
            waited.is_ok(),
            "{selector} has no {text:?} in it, but {seen:?}"
        );
    }

    /// Presses the key with this code of WebDriver's.
    pub async fn press(&self, key: char) {
        let key = key.to_string();
        let strokes = ["keyDown", "keyUp"].map(|stroke| json!({ "type": stroke, "value": key }));
        let actions =
            json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.post("/actions", actions).await;
    }

    /// Makes the window so large, whatever the least of a window is.
    pub async fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Makes the page believe that its reader prefers `scheme`, and nothing that moves.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            json!({ "cmd": command, "params": params }),
        )
        .await
    }

    /// What was logged since this was last asked: `browser` is the console, `performance` the
    /// DevTools protocol.
    pub async fn log(&self, kind: &str) -> Vec<Value> {
        let reply = self.post("/se/log", json!({ "type": kind })).await;
        reply.as_array().unwrap().clone()
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let req = self
            .client
            .post(format!("{}{command}", self.session))
            .body(body.to_string());
        let res = req.send().await.unwrap();
        let is_good = res.status().is_success();
        let reply: Value = serde_json::from_str(&res.text().await.unwrap()).unwrap();
        assert!(is_good, "{command}: {reply}");
        reply["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The whole group: the driver's death alone would leave the browser.
        let _ = Command::new("kill")
            .args(["-9", "--", &format!("-{}", self.driver.id())])
            .status();
        let _ = self.driver.wait();
    }
}

/// The driver, in a process group of its own, and its port.
fn driver() -> (Child, u16) {
    let mut command = Command::new(CHROMEDRIVER);
    let command = command
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut driver = command.spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let port = lines.find_map(|line| {
        line.split_once("successfully on port ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    // Read on: it must not be stopped by a pipe that is full.
    std::thread::spawn(move || lines.for_each(drop));
    (driver, port.expect("chromedriver does not say its port"))
}
