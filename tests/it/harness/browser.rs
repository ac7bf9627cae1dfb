//! A real Chromium, driven through a chromedriver of the test's own.

use std::io::{BufRead as _, BufReader};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::{ParseError, Url};

use super::services::missing;
use super::world::PASSWORD;

/// One at a time: a browser wants a machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with a profile of its own.
pub struct Browser {
    pub client: Client,
}

impl Browser {
    /// Runs a test in a browser and ends the browser, whatever comes of the test. Without a browser it does nothing.
    pub async fn does(test: impl AsyncFnOnce(&Self)) {
        Self::with(&[], test).await;
    }

    /// The same in a browser in which no page may run script.
    pub async fn without_script(test: impl AsyncFnOnce(&Self)) {
        Self::with(&["--blink-settings=scriptEnabled=false"], test).await;
    }

    async fn with(further: &[&str], test: impl AsyncFnOnce(&Self)) {
        let (driver, chromium) =
            (Path::new("/usr/bin/chromedriver"), Path::new("/usr/bin/chromium"));
        if !driver.exists() || !chromium.exists() {
            missing("Chromium", "install Debian's packages chromium and chromium-driver");
            return;
        }
        let _turn = TURN.lock().await;
        let driver = Driver::start(driver);
        let profile = tempfile::tempdir().unwrap();
        let profile_directory = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,900",
            &profile_directory,
        ];
        let arguments = [&arguments[..], further].concat();
        let options = json!({ "binary": chromium, "args": arguments });
        let capabilities = [
            ("goog:chromeOptions".to_owned(), options),
            ("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" })),
        ];
        let client = ClientBuilder::rustls()
            .unwrap()
            .capabilities(Capabilities::from_iter(capabilities))
            .connect(&driver.address)
            .await
            .unwrap();
        let browser = Self { client: client.clone() };
        let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
        if outcome.is_err() {
            browser.photographs("failure").await;
        }
        client.close().await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    pub async fn goes_to(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Replaces what stands in a field.
    pub async fn fills(&self, field: &str, text: &str) {
        let field = self.client.find(Locator::Id(field)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses the button with these words on it and waits for the next page.
    pub async fn presses(&self, words: &str) {
        let button = format!("//button[normalize-space()='{words}']");
        self.leaves_by(Locator::XPath(&button)).await;
    }

    /// Follows the link with these words and waits for the next page.
    pub async fn follows(&self, words: &str) {
        self.leaves_by(Locator::LinkText(words)).await;
    }

    /// Clicks on something that leads to another page, and waits for that: until what was clicked on is gone, and the
    /// page that came has loaded.
    async fn leaves_by(&self, way: Locator<'_>) {
        let element = self.client.find(way).await.unwrap();
        element.click().await.unwrap();
        let is_new = async {
            while element.tag_name().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // While the next page is on its way there is none to ask.
            let state = "return document.readyState";
            while !matches!(self.client.execute(state, vec![]).await, Ok(it) if it == "complete") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_new).await.unwrap();
    }

    /// Ticks or unticks a box, or chooses one of several.
    pub async fn ticks(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Chooses from a list.
    pub async fn chooses(&self, id: &str, value: &str) {
        let list = self.client.find(Locator::Id(id)).await.unwrap();
        list.select_by_value(value).await.unwrap();
    }

    /// Opens whatever is folded in the page's content.
    pub async fn opens_all_details(&self) {
        let folded = Locator::Css("main details:not([open]) > summary");
        for summary in self.client.find_all(folded).await.unwrap() {
            summary.click().await.unwrap();
        }
    }

    /// Fills in the login page.
    pub async fn logs_in(&self, email: &str) {
        self.fills("email", email).await;
        self.fills("password", PASSWORD).await;
        self.presses("Log in").await;
    }

    /// Opens the menu whose name begins with these words.
    pub async fn opens_menu(&self, words: &str) {
        let menu = format!("//summary[starts-with(normalize-space(),'{words}')]");
        self.client.find(Locator::XPath(&menu)).await.unwrap().click().await.unwrap();
    }

    /// The words of the first element that a CSS selector finds.
    pub async fn reads(&self, selector: &str) -> String {
        self.client.find(Locator::Css(selector)).await.unwrap().text().await.unwrap()
    }

    /// Waits until the page has such an element.
    pub async fn waits_for(&self, selector: &str) {
        let waiting = self.client.wait().at_most(PATIENCE);
        waiting.for_element(Locator::Css(selector)).await.unwrap();
    }

    /// What the browser had to say so far: refusals by a policy, failures to load, errors of scripts. That a form came
    /// back is none of it, nor that what was typed into it is no date.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(ReadLog).await.unwrap();
        let messages = log.as_array().unwrap().iter().map(|entry| entry["message"].to_string());
        let of_forms =
            ["a status of 409", "a status of 422", "does not conform to the required format"];
        messages.filter(|it| !of_forms.iter().any(|known| it.contains(known))).collect()
    }

    /// Takes pictures of the page, wide and narrow, in light and in dark, into `target/screenshots`. Nothing may stick
    /// out of it at either width, nothing may be wrong in the eyes of axe, and it may not be heavy.
    pub async fn photographs(&self, name: &str) {
        self.weighs_little(name).await;
        for (width, scheme) in [(1200, "light"), (1200, "dark"), (320, "light"), (320, "dark")] {
            let size =
                json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
            self.commands("Emulation.setDeviceMetricsOverride", size).await;
            let media =
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            self.commands("Emulation.setEmulatedMedia", media).await;
            let picture = self.client.screenshot().await.unwrap();
            let directory = screenshots();
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(format!("{name}-{width}-{scheme}.png")), picture)
                .unwrap();
            let needed = self.client.execute("return document.documentElement.scrollWidth", vec![]);
            assert!(
                needed.await.unwrap().as_i64().unwrap() <= width,
                "{name} is wider than {width}"
            );
            self.is_accessible(&format!("{name}, {width}, {scheme}")).await;
        }
        self.commands("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }

    /// Lets axe-core look for what keeps people out (WCAG 2.2 A and AA, and its best practices).
    async fn is_accessible(&self, name: &str) {
        let Ok(path) = std::env::var("PORTCULLIS_TEST_AXE") else {
            missing(
                "axe-core",
                "set PORTCULLIS_TEST_AXE to the axe.min.js of the npm package axe-core",
            );
            return;
        };
        let axe = std::fs::read_to_string(path).unwrap();
        self.client.execute(&axe, vec![]).await.unwrap();
        let run = r"
            const [done] = arguments;
            const found = it => it.violations.map(rule =>
                `${rule.id}: ${rule.help}\n` + rule.nodes.map(node => `    ${node.html}\n    ${node.failureSummary}`).join('\n'));
            axe.run(document).then(it => done(found(it)), error => done([String(error)]));
        ";
        let found = self.client.execute_async(run, vec![]).await.unwrap();
        let found = found.as_array().unwrap();
        let lines: Vec<&str> = found.iter().map(|it| it.as_str().unwrap()).collect();
        assert!(lines.is_empty(), "{name}: axe found\n{}", lines.join("\n"));
    }

    /// The page with its style and script takes less than 60 kB, with one request for style.
    async fn weighs_little(&self, name: &str) {
        let ask = "
            const [page] = performance.getEntriesByType('navigation');
            const parts = performance.getEntriesByType('resource');
            const styles = parts.filter(part => part.name.endsWith('.css')).length;
            return [parts.reduce((sum, part) => sum + part.decodedBodySize, page.decodedBodySize), styles];
        ";
        let told = self.client.execute(ask, vec![]).await.unwrap();
        let (bytes, styles) = (told[0].as_f64().unwrap(), told[1].as_i64().unwrap());
        assert!(bytes < 60_000.0, "{name} weighs {bytes} bytes");
        assert!(styles <= 1, "{name} loads {styles} style sheets");
    }

    /// A command of the Chrome DevTools Protocol.
    async fn commands(&self, command: &'static str, parameters: Value) {
        self.client.issue_cmd(DevTools { command, parameters }).await.unwrap();
    }
}

fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots")
}

#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}

/// Reads, and so empties, the browser's own log.
#[derive(Debug)]
struct ReadLog;

impl WebDriverCompatibleCommand for ReadLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// A chromedriver process, ended when it is dropped.
struct Driver {
    process: Child,
    address: String,
}

impl Driver {
    /// Starts one on a free port, which it says on its standard output.
    fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let port = line.strip_prefix("ChromeDriver was started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // It may go on talking; nobody listens, and it must not block on that.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: format!("http://127.0.0.1:{}", port.unwrap()) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Either fails only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
