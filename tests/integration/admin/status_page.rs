//! The page for people, in a real browser, and the JSON that it is made from.

use std::collections::BTreeSet;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::caller::{json as json_of, post, send, until};
use crate::support::configured_callers::KeyedCaller;
use crate::support::tls::Identity;
use crate::support::{Proxy, TestProxy, sandbox};

const START: &str = "/v2/captain/journey/start";
const TAB: char = '\u{E004}';

#[tokio::test]
async fn the_page_updates_itself_after_refusal_and_recovery() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    browser.prefer("light").await;
    let sandbox = sandbox(&["refuse-client"]).await;
    let caller = KeyedCaller::new("crm", "rate = \"100/s, burst 20\"\nmax_in_flight = 7");
    let proxy = TestProxy::before_sandbox(&sandbox)
        .callers(&[caller.table()])
        .start()
        .await;
    let page = format!("http://{}/", proxy.admin());
    let call = async |path: &str, id: &str| {
        let mut req = post(path);
        req.headers_mut()
            .extend([caller.key_field("x-api-key", "")]);
        req.headers_mut()
            .insert("x-proxy-request-id", id.parse().unwrap());
        send(proxy.addr(), req).await.status()
    };

    browser.open(&page).await;
    browser.until("#title", "GBG refuses our credentials").await;
    browser.run("window.isTheSame = true").await;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let title = browser.run("return document.title").await.to_string();
    let header = browser.text("header").await;
    for part in [
        hostname.trim(),
        &proxy.addr().to_string(),
        &sandbox.base_url(),
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(
            title.contains(part) && header.contains(part),
            "{title} {header}: {part}"
        );
    }
    assert!(title.contains("GBG refuses our credentials"), "{title}");
    assert!(
        browser
            .text("#fix")
            .await
            .contains("What to do: Check the client ID, the secret")
    );
    assert!(
        browser
            .text("#proxy")
            .await
            .contains("GBG refuses our credentials")
    );
    assert!(browser.text("#token").await.contains(
        "The token endpoint refuses our credentials: 401 Unauthorized, invalid_client (refused"
    ));
    assert_eq!(
        call(START, "refused-1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    browser.until("#failures", "refused-1").await;
    assert!(browser.text("#live").await.ends_with(" UTC"));
    assert!(browser.text("#failures thead").await.contains("(UTC)"));
    let row = browser.text("#failures tbody tr").await;
    for cell in [
        "This proxy",
        "client_refused",
        "503",
        "journey/start",
        "crm",
    ] {
        assert!(row.contains(cell), "{row}");
    }
    assert_fits(&browser).await;
    assert_readable(&browser).await;

    let base = sandbox.base_url();
    let faults = Request::delete(format!("{base}/sandbox/faults")).header("host", "localhost");
    let at = base.trim_start_matches("http://").parse().unwrap();
    assert_eq!(
        send(at, faults.body(Full::default()).unwrap())
            .await
            .status(),
        StatusCode::OK
    );
    browser.until("#title", "All is well").await;
    assert_eq!(
        browser.run("return window.isTheSame").await,
        true,
        "the page was reloaded"
    );
    assert!(
        browser
            .text("#token")
            .await
            .contains("a token arrived since")
    );
    for _ in 0..20 {
        call(START, "start").await;
    }
    assert!(
        call("/v2/captain/4711", "<i>lost</i>")
            .await
            .is_client_error()
    );
    browser.until("#failures", "<i>lost</i>").await;
    browser
        .until("#rate .legend", "Requests per second: ")
        .await;
    browser.until("#latency .legend", "p95: ").await;
    browser
        .until("#callers tbody", "100/s, burst 20; 7 in flight")
        .await;
    let html = browser.run("return document.body.innerHTML").await;
    assert!(!html.as_str().unwrap().contains("4711"), "a path is shown");

    assert_fits(&browser).await;
    assert_readable(&browser).await;
    assert_reached_by_tab(&browser).await;
    let console = browser.log("browser").await;
    assert!(console.is_empty(), "{console:?}");
    // Before it the browser shows a page of its own.
    let asked = requests(&browser.log("performance").await)
        .into_iter()
        .skip_while(|url| *url != page);
    let asked: Vec<_> = asked.collect();
    assert!(
        asked.iter().any(|url| url.ends_with("/history")),
        "{asked:?}"
    );
    let own = |url: &&String| url.starts_with(&page) || url.starts_with("data:");
    assert_eq!(asked.iter().find(|url| !own(url)), None, "it asks others");

    drop(proxy);
    browser
        .until("#title", "This page cannot reach the proxy")
        .await;
    browser.until("#upstream", "Not known").await;
}

/// Each field is explained in docs/status.md, and what is explained there is a field.
#[tokio::test]
async fn documented_and_served_fields_are_the_same() {
    let sandbox = sandbox(&["refuse-client"]).await;
    let caller = KeyedCaller::new("crm", "");
    let proxy = TestProxy::before_sandbox(&sandbox)
        .callers(&[caller.table()])
        .start()
        .await;
    until(async || !status(&proxy).await["accounts"][0]["token"]["last_failure"].is_null()).await;
    send(proxy.addr(), post(START)).await;
    until(async || status(&proxy).await["failures"][0]["reason"] == "caller_unknown").await;
    let mut fields = BTreeSet::new();
    flatten("", &status(&proxy).await, &mut fields);
    flatten("", &fetch(&proxy, "/history").await, &mut fields);

    let without_api = TestProxy::before_server("http://127.0.0.1:1").start().await;
    send(without_api.addr(), post(START)).await;
    let failed =
        async || !status(&without_api).await["accounts"][0]["upstream"]["last_failure"].is_null();
    until(failed).await;
    flatten("", &status(&without_api).await, &mut fields);
    let identity = Identity::new();
    let [cert, key] = ["cert", "key"].map(|name| {
        let path = identity.path(&format!("{name}.pem"));
        format!("listen.tls.{name}={}", path.display())
    });
    let with_tls = TestProxy::before_sandbox(&sandbox).set(&[&cert, &key]);
    let with_tls = with_tls.start().await;
    until(async || status(&with_tls).await["certificates"][0]["use"] == "listener").await;
    flatten("", &status(&with_tls).await, &mut fields);
    // Each has fields in one of them, and is null or empty in the others.
    let lists = ["callers", "certificates", "failures"];
    fields.retain(|field| {
        !lists.contains(&&**field)
            && !field.ends_with("last_failure")
            && !field.ends_with("last_fetch")
    });
    let explained = include_str!("../../../docs/status.md");
    let explained = explained.split_once("## /status").unwrap().1.lines();
    let explained =
        explained.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    assert_eq!(fields, explained.collect());
}

async fn fetch(proxy: &Proxy, path: &str) -> Value {
    let req = Request::get(path)
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    json_of(&send(proxy.admin(), req).await)
}

async fn status(proxy: &Proxy) -> Value {
    fetch(proxy, "/status").await
}

/// The paths of the fields of `value`; what counts by names is one, and so is what is like the
/// verdict.
fn flatten(path: &str, value: &Value, fields: &mut BTreeSet<String>) {
    let is_map = path.starts_with("requests.") || path == "also";
    match value {
        Value::Object(object) if !is_map => object.iter().for_each(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            flatten(&format!("{path}{dot}{name}"), value, fields);
        }),
        Value::Array(list) if list.first().is_some_and(Value::is_object) && !is_map => {
            flatten(&format!("{path}[]"), &list[0], fields);
        }
        _ => drop(fields.insert(path.to_owned())),
    }
}

/// The addresses of what the page asked for.
fn requests(log: &[Value]) -> Vec<String> {
    let each = log.iter().filter_map(|entry| {
        let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
        let is_request = event["message"]["method"] == "Network.requestWillBeSent";
        let url = event["message"]["params"]["request"]["url"].as_str()?;
        is_request.then(|| url.to_owned())
    });
    each.collect()
}

/// On a phone and on a desk the page is not to be scrolled sideways, with the tables of the charts
/// open.
async fn assert_fits(browser: &Browser) {
    browser
        .run("document.querySelectorAll('details').forEach(details => details.open = true)")
        .await;
    for width in [360, 1100] {
        browser.resize(width, 800).await;
        let wide = browser
            .run("return document.documentElement.scrollWidth")
            .await
            .as_u64()
            .unwrap();
        assert!(wide <= width.into(), "{wide} px on {width}");
    }
}

/// Every element that a screen reader announces has a name, and texts have the contrast of WCAG
/// 1.4.3, AA.
async fn assert_readable(browser: &Browser) {
    let tree = browser
        .devtools("Accessibility.getFullAXTree", json!({}))
        .await;
    let nodes = tree["nodes"].as_array().unwrap();
    let of = |role: &'static str| {
        nodes
            .iter()
            .filter(move |node| node["role"]["value"] == role && node["ignored"] != true)
    };
    for (role, least) in [
        ("image", 3),
        ("table", 4),
        ("button", 1),
        ("DisclosureTriangle", 3),
        ("link", 3),
        ("region", 7),
        ("group", 0),
    ] {
        let names: Vec<_> = of(role)
            .map(|node| node["name"]["value"].as_str().unwrap_or_default())
            .collect();
        assert!(names.len() >= least, "{role}: {names:?}");
        assert!(!names.contains(&"") || role == "group", "{role}: {names:?}");
    }
    for landmark in ["banner", "main", "contentinfo", "navigation", "status"] {
        assert_eq!(of(landmark).count(), 1, "{landmark}");
    }
    for scheme in ["dark", "light"] {
        browser.prefer(scheme).await;
        let faint = browser.run(FAINT).await;
        assert_eq!(faint, json!([]), "{scheme}");
    }
}

/// The texts whose contrast is less than 4.5 to 1.
const FAINT: &str = r"
const numbers = color => color.match(/[\d.]+/g).map(Number);
const light = color => numbers(color).slice(0, 3).map(part => part / 255)
  .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
const back = node => {
  for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if (numbers(color)[3] !== 0) return color;
  }
};
return [...document.body.querySelectorAll('*')]
  .filter(node => node.checkVisibility() && !node.closest('script, noscript'))
  .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
  .map(node => {
    const style = getComputedStyle(node);
    const [a, b] = [light(node instanceof SVGElement ? style.fill : style.color), light(back(node))];
    return [node.textContent, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
  })
  .filter(([, contrast]) => contrast < 4.5)";

/// All that can be worked is reached by the tab key, in the order in which it is read, and is seen
/// to be.
async fn assert_reached_by_tab(browser: &Browser) {
    const NAME: &str = "const name = node => node.getAttribute('aria-label') ?? node.innerText;";
    let script = format!(
        "{NAME} return [...document.querySelectorAll('button, summary, a, .wide')]
           .filter(node => node.checkVisibility()).map(name)"
    );
    let all = browser.run(&script).await;
    let count = all.as_array().unwrap().len();
    assert!(count >= 10, "{all}");
    browser.run("document.activeElement.blur()").await;
    let mut reached = Vec::new();
    for _ in 0..count {
        browser.press(TAB).await;
        let script = format!(
            "{NAME} const node = document.activeElement;
             return getComputedStyle(node).outlineStyle === 'solid' ? name(node) : `${{name(node)}} is not seen`"
        );
        reached.push(browser.run(&script).await);
    }
    assert_eq!(all, json!(reached));
}

/// Makes `STATUS_PICTURE` of the page at `STATUS_PAGE`, of a proxy that has had some traffic for a
/// quarter of an hour, in the colors of `STATUS_SCHEME`.
#[tokio::test]
#[ignore = "not a test: writes a picture for docs/status.md"]
async fn take_a_screenshot() {
    use base64::Engine;
    let [page, picture, scheme] = ["STATUS_PAGE", "STATUS_PICTURE", "STATUS_SCHEME"]
        .map(|name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set")));
    let browser = Browser::start().await.expect("a browser");
    browser.prefer(&scheme).await;
    browser.resize(1120, 900).await;
    browser.open(&page).await;
    browser.until("#latency .legend", "p95: ").await;
    let script = "return document.querySelector('footer').getBoundingClientRect().top";
    let height = browser.run(script).await.as_f64().unwrap() + 16.0;
    let clip = json!({ "x": 0, "y": 0, "width": 1120, "height": height, "scale": 1 });
    let shown = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
    let shot = browser.devtools("Page.captureScreenshot", shown).await;
    let png = base64::engine::general_purpose::STANDARD
        .decode(shot["data"].as_str().unwrap())
        .unwrap();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::write(directory.join(picture), png).unwrap();
}
