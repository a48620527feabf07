//! A real headless Chromium, driven over WebDriver (W3C), which is JSON over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Far longer than any step here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// The key under which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one tab. It is closed when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    /// The path of the session.
    session: String,
    profile: tempfile::TempDir,
}

/// Where Chromium and its driver are. `.ci/browser` installs both where one is missing: the first caller waits for it,
/// and all fail with its message if it cannot.
fn programs() -> &'static [PathBuf; 2] {
    static FOUND: LazyLock<Result<[PathBuf; 2], String>> = LazyLock::new(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/browser");
        let done = Command::new(script).stdin(Stdio::null()).output().expect("bash runs .ci/browser");
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        Ok(["chromium", "chromedriver"].map(|name| {
            let mut files = std::env::split_paths(&path).map(|directory| directory.join(name));
            files.find(|file| file.exists()).expect(".ci/browser found or installed it")
        }))
    });
    FOUND.as_ref().unwrap_or_else(|error| panic!("there is no browser, and .ci/browser failed:\n{error}"))
}

impl Browser {
    /// Opens a page as wide as on a desk.
    pub fn open(url: &str) -> Self {
        Self::start(url, json!({}))
    }

    /// Opens a page on a phone 360 pixels wide.
    pub fn open_on_phone(url: &str) -> Self {
        Self::start(url, json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2, "touch": true } }))
    }

    /// Opens a page on a tablet 768 pixels wide.
    pub fn open_on_tablet(url: &str) -> Self {
        Self::start(url, json!({ "deviceMetrics": { "width": 768, "height": 1024, "pixelRatio": 1, "touch": true } }))
    }

    fn start(url: &str, device: Value) -> Self {
        let [chromium, chromedriver] = programs();
        // The port is chosen before it is taken for both protocols, and another test may take it in between.
        let started = (0..5).find_map(|_| {
            let mut driver = Command::new(chromedriver)
                .arg("--port=0")
                // Without a locale, as in a bare container, Chromium opens no file whose name is not ASCII.
                .env("LC_ALL", "C.UTF-8")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("chromedriver starts");
            let port = port(&mut driver);
            if port.is_none() {
                driver.wait().unwrap();
            }
            port.map(|port| (driver, port))
        });
        let (driver, port) = started.expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: "/session".to_owned(), profile };
        browser.begin(chromium, device);
        browser.command("url", &json!({ "url": url }));
        browser
    }

    fn begin(&mut self, chromium: &Path, device: Value) {
        let mut options = json!({
            "binary": chromium,
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--window-size=1280,900",
                format!("--user-data-dir={}", self.profile.path().display()),
            ],
            "prefs": { "download.default_directory": self.downloads() },
        });
        if device != json!({}) {
            options["mobileEmulation"] = device;
        }
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = self.post("", &capabilities);
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        self.session = format!("{}/{id}", self.session);
    }

    /// Sends a command; answers its value, errors too.
    fn post(&self, path: &str, body: &Value) -> Value {
        let path = if path.is_empty() { self.session.clone() } else { format!("{}/{path}", self.session) };
        self.request(&path, &body.to_string())
    }

    fn request(&self, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close");
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        for line in reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
            if let Some((_, value)) =
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap_or_else(|error| panic!("{path} {body}: {error}"));
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["value"].take()
    }

    #[track_caller]
    fn command(&self, path: &str, body: &Value) -> Value {
        let value = self.post(path, body);
        let begin = || body.to_string().chars().take(1_000).collect::<String>();
        assert!(value["error"].is_null(), "{path} {}: {value}", begin());
        value
    }

    /// A command of Chromium's DevTools protocol.
    #[cfg(feature = "webrtc")]
    #[track_caller]
    pub fn devtools(&self, command: &str, params: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// Kills the browser, which then cannot say goodbye to any peer.
    #[cfg(feature = "webrtc")]
    pub fn kill(&mut self) {
        // The driver's only child, of whichever thread; what it has started itself ends with it.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.driver.id())).unwrap();
        let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        let chromium = children.collect::<String>().split_whitespace().next().map(str::parse);
        assert!(crate::process::send_signal("KILL", chromium.expect("it has started a browser").unwrap()));
    }

    /// Runs a function's body in the page.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// The same for the body of an async function.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(String(error)))"
        );
        self.command("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let end = Instant::now() + DEADLINE;
        // Errors of an expression mean not yet: parts of the page that it looks at may come later.
        let script = format!("try {{ return Boolean({expression}); }} catch (error) {{ return false; }}");
        while self.run(&script, &[]) != true {
            if Instant::now() >= end {
                let log = self.command("se/log", &json!({ "type": "browser" }));
                panic!(
                    "waited in vain for {expression}; the console says {log:#}; the page shows\n{}",
                    self.text("body")
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the view shows a text.
    #[track_caller]
    pub fn wait_for_text(&self, text: &str) {
        self.wait(&format!("document.querySelector('main').innerText.includes({})", json!(text)));
    }

    /// The text of the first element that a selector names; empty if there is none.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", &[selector.into()]);
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks as a person would: where the element is seen, once it is.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.wait(&format!("document.querySelector({})", json!(selector)));
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
            let clicked = match found[ELEMENT].as_str() {
                Some(element) => self.post(&format!("element/{element}/click"), &json!({})),
                None => found,
            };
            if clicked["error"].is_null() {
                return;
            }
            // Drawn anew in that moment, perhaps.
            assert!(Instant::now() < end, "{selector} cannot be clicked: {clicked}");
        }
    }

    /// Gives files to a control that asks for some, as a person would who chooses them.
    #[track_caller]
    pub fn choose(&self, selector: &str, files: &[&Path]) {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector }));
        let element = found[ELEMENT].as_str().unwrap_or_else(|| panic!("no element {selector}: {found}"));
        let paths: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
        self.command(&format!("element/{element}/value"), &json!({ "text": paths.join("\n") }));
    }

    /// Where it saves files.
    pub fn downloads(&self) -> PathBuf {
        self.profile.path().join("downloads")
    }

    /// Types on the keyboard, into whatever has the focus.
    #[track_caller]
    pub fn keys(&self, text: &str) {
        let strokes: Vec<Value> = text
            .chars()
            .flat_map(|c| [json!({ "type": "keyDown", "value": c }), json!({ "type": "keyUp", "value": c })])
            .collect();
        self.command("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }));
    }

    /// Goes to a view of the page that is open, as a link would.
    #[track_caller]
    pub fn view(&self, hash: &str) {
        self.run("location.hash = arguments[0]", &[hash.into()]);
    }

    /// Opens another page.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// Loads the page again; returns once it is there.
    #[track_caller]
    pub fn reload(&self) {
        self.command("refresh", &json!({}));
    }

    /// Checks that nothing went wrong in the page: no error, no violation of its policy, no request to elsewhere.
    #[track_caller]
    pub fn is_well(&self, origin: &str) {
        let log = self.command("se/log", &json!({ "type": "browser" }));
        let bad: Vec<&Value> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .collect();
        assert!(bad.is_empty(), "the console says {bad:#?}");
        let log = self.command("se/log", &json!({ "type": "performance" }));
        let mut requests = 0;
        for entry in log.as_array().unwrap() {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["message"]["params"]["request"]["url"].as_str().unwrap();
            // What the page made itself has its origin behind this.
            let url = url.strip_prefix("blob:").unwrap_or(url);
            // What the browser itself loads into a new tab is not the page's.
            if url.starts_with("data:") || url.starts_with("chrome") {
                continue;
            }
            requests += 1;
            assert!(url.starts_with(origin), "a request to {url}");
        }
        assert!(requests > 0, "no request was logged");
    }
}

/// The port that chromedriver says it has taken; `None` if it ends.
fn port(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = loop {
        let line = lines.next()?.unwrap();
        if let Some((_, rest)) = line.split_once("successfully on port ") {
            break rest.trim_end_matches('.').parse().unwrap();
        }
    };
    // What it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some(port)
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session. The driver is killed even if it no longer answers.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let head = format!("DELETE {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", self.session);
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
