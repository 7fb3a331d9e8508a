//! As much of WebDriver as these tests need, spoken with chromedriver. The crates that speak it bring second versions of http and
//! of a dozen others.

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::failure::Failure;
use e2e::port;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long chromedriver may take to begin, and a command to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Without them Chromium asks the network for updates and the like; as root it needs to do without its sandbox.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// What a page is told of its surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Media {
    Light,
    Dark,
}

/// A headless Chromium, which ends with this.
pub(crate) struct Browser {
    port: u16,
    session: String,
    _driver: Child,
}

impl Browser {
    /// Starts one, with an empty profile.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let port = port::free()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::new(format!("chromedriver: {error}: apt-get install chromium chromium-driver"))
            })?;
        let mut browser = Self { port, session: String::new(), _driver: driver };
        let end = Instant::now() + PATIENCE;
        while browser.request("GET", "/status", &Value::Null).await.is_err() {
            if Instant::now() > end {
                return Err(Failure::new("chromedriver does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": FLAGS}}}});
        let session = browser.request("POST", "/session", &wanted).await?;
        browser.session = session["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(browser)
    }

    /// Loads a page and waits until it is there.
    pub(crate) async fn go(&self, url: &str) -> Result<(), Failure> {
        self.command("url", json!({"url": url})).await.map(drop)
    }

    /// Runs a script in the page; what it returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Value, Failure> {
        self.command("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Gives the window a size, for a picture of that size.
    pub(crate) async fn size(&self, width: u32, height: u32) -> Result<(), Failure> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await
    }

    /// Has the page believe that its user likes it light or dark.
    pub(crate) async fn emulate(&self, media: Media) -> Result<(), Failure> {
        let scheme = match media {
            Media::Light => "light",
            Media::Dark => "dark",
        };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await
    }

    /// Presses a key and lets it go.
    pub(crate) async fn press(&self, key: &str) -> Result<(), Failure> {
        let strokes = ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.command("actions", actions).await.map(drop)
    }

    /// A picture of the window, PNG.
    pub(crate) async fn picture(&self) -> Result<Vec<u8>, Failure> {
        let path = format!("/session/{}/screenshot", self.session);
        let picture = self.request("GET", &path, &Value::Null).await?;
        Ok(STANDARD.decode(picture.as_str().unwrap_or_default())?)
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Result<(), Failure> {
        self.command("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await.map(drop)
    }

    async fn command(&self, command: &str, body: Value) -> Result<Value, Failure> {
        self.request("POST", &format!("/session/{}/{command}", self.session), &body).await
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(method, path, body));
        let answer = answer.await.map_err(|_| Failure::new(format!("{method} {path}: no answer")))??;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(Failure::new(format!("{path}: {error}: {}", answer["value"]["message"]))),
            None => Ok(answer["value"].take()),
        }
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}
