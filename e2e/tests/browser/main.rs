//! `kubectl nimfleet ui` in a real headless browser, on the demo's fleet: pictures, the keyboard alone, and a thousand clusters.
//!
//! By hand: `cargo test -p e2e --test browser -- --nocapture`, with Debian's `chromium` and `chromium-driver`. Pictures and figures
//! are written into `target/browser`.

mod driver;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use driver::{Browser, Media};
use e2e::cluster::gpu::{H100, L40S};
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Fleet};
use e2e::{objects, sample};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for what the page shows by itself, and for the API server to find out that a hub answers.
const SOON: Duration = Duration::from_mins(2);
/// Clusters of the large fleet.
const MANY: usize = 1000;
/// Changes of the large fleet while frames are counted, and how many a second.
const CHANGES: usize = 200;
const CHANGES_PER_SECOND: u64 = 40;
/// How long frames are counted while nothing changes.
const IDLE: Duration = Duration::from_secs(5);
/// Longest gap between two frames that nobody takes for a stutter, ms.
const STUTTER: f64 = 100.0;

/// The plugin as it serves the page; it ends with this.
struct Page {
    url: String,
    _child: Child,
}

impl Page {
    async fn serve(fleet: &Fleet) -> Result<Self, Failure> {
        let program = tokio::task::spawn_blocking(Binaries::ready).await??.plugin;
        let mut child = Command::new(program)
            .arg("ui")
            .env("KUBECONFIG", fleet.hub().cluster().kubeconfig())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| Failure::new("no stdout"))?;
        let url = BufReader::new(out).lines().next_line().await?.unwrap_or_default();
        Ok(Self { url, _child: child })
    }
}

fn folder() -> Result<PathBuf, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/browser");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Waits until the script gives true.
async fn until(browser: &Browser, what: &str, script: &str) -> Result<(), Failure> {
    let end = Instant::now() + SOON;
    while browser.run(script).await? != json!(true) {
        if Instant::now() > end {
            let text = browser.run("return document.body.innerText").await?;
            return Err(Failure::new(format!("not within {SOON:?}: {what}:\n{text}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn the_page_is_seen_used_by_keyboard_and_large() -> Result<(), Failure> {
    let plan = Fleet::new().queried().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(L40S, 4, 2);
    let fleet = plan.cluster("plain").cpu_nodes(1).start().await?;
    sample::place(&fleet, sample::NAME, &json!({"gpu": {"profileChange": "Allow"}})).await?;
    sample::ready(&fleet, sample::NAME).await?;
    let huge =
        sample::service(sample::NAMESPACE, "huge", json!({"resources": {"limits": {"nvidia.com/gpu": 64}}}));
    objects::apply(fleet.hub().cluster(), &huge.to_string()).await?;
    objects::apply(fleet.hub().cluster(), &sample::placement("huge", &json!({}))).await?;

    let page = Page::serve(&fleet).await?;
    let browser = Browser::start().await?;
    browser.size(1280, 1000).await?;
    browser.go(&page.url).await?;
    until(&browser, "the fleet is shown", "return document.getElementById('p.nim-service.huge') !== null")
        .await?;
    until(&browser, "GPUs are counted", "return document.getElementById('summary').innerText.includes('23')")
        .await?;
    let explained = format!("{}placement/{}/huge", page.url, sample::NAMESPACE);
    let asked = || async {
        browser.go(&explained).await?;
        let text = browser.run("return document.body.innerText").await?;
        text.as_str()
            .filter(|text| text.contains("ask again"))
            .map(drop)
            .ok_or_else(|| Failure::new(text.to_string()))
    };
    fleet.eventually("the hub explains", SOON, asked).await?;
    browser.go(&page.url).await?;
    let warnings = browser
        .run("return document.querySelectorAll('script:not([src]), [style], [onclick]').length")
        .await?;
    assert_eq!(warnings, json!(0), "inline script or style");

    pictures(&browser, &page).await?;
    it_follows_the_fleet(&fleet, &browser, &page).await?;
    by_keyboard_alone(&browser, &page).await?;
    many_clusters(&fleet, &browser, &page).await
}

async fn pictures(browser: &Browser, page: &Page) -> Result<(), Failure> {
    let folder = folder()?;
    for (media, scheme) in [(Media::Light, "light"), (Media::Dark, "dark")] {
        browser.emulate(media).await?;
        for (width, height, size) in [(1280, 1000, "wide"), (390, 844, "narrow")] {
            browser.size(width, height).await?;
            for (path, name) in [
                ("", "fleet"),
                ("cluster/east", "cluster"),
                (&format!("placement/{}/{}", sample::NAMESPACE, sample::NAME), "placement"),
                (&format!("placement/{}/huge", sample::NAMESPACE), "refused"),
            ] {
                browser.go(&format!("{}{path}", page.url)).await?;
                let over = browser.run("return document.documentElement.scrollWidth - innerWidth").await?;
                assert!(
                    over.as_i64().is_some_and(|over| over <= 0),
                    "{name} is {over} px wider than {width}"
                );
                std::fs::write(folder.join(format!("{name}-{scheme}-{size}.png")), browser.picture().await?)?;
                // Each explanation costs the hub a decision, and a caller has eight of them.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    browser.emulate(Media::Light).await?;
    browser.size(1280, 1000).await
}

/// What changes is put in its place, and the focus stays where it is.
async fn it_follows_the_fleet(fleet: &Fleet, browser: &Browser, page: &Page) -> Result<(), Failure> {
    browser.go(&page.url).await?;
    browser.run("document.getElementById('c.west:link').focus(); window.stays = true").await?;
    let hub = fleet.hub().cluster();
    objects::patch(hub, "GPUCluster", "", "west", json!({"spec": {"drain": true}})).await?;
    until(
        browser,
        "the drain is shown",
        "return document.getElementById('c.west').innerText.includes('drain')",
    )
    .await?;
    let same = browser.run("return window.stays === true && document.activeElement.id").await?;
    assert_eq!(same, json!("c.west:link"), "the page was loaded anew, or the focus is lost");
    objects::patch(hub, "GPUCluster", "", "west", json!({"spec": {"drain": false}})).await?;
    until(
        browser,
        "the drain is over",
        "return !document.getElementById('c.west').innerText.includes('drain')",
    )
    .await
}

/// To the content, to a placement, to the cluster that refuses it, and back, without a pointer.
async fn by_keyboard_alone(browser: &Browser, page: &Page) -> Result<(), Failure> {
    browser.go(&page.url).await?;
    browser.press("\u{e004}").await?;
    let first = browser.run("return document.activeElement.innerText").await?;
    assert_eq!(first, json!("Skip to the content"));
    let mut stops = vec![first];
    for _ in 0..30 {
        browser.press("\u{e004}").await?;
        let stop =
            browser.run("return document.activeElement.id || document.activeElement.innerText").await?;
        let visible = browser.run("return getComputedStyle(document.activeElement).outlineStyle").await?;
        assert_ne!(visible, json!("none"), "{stop} does not show that it has the focus");
        let done = stop == "p.nim-service.huge:link";
        stops.push(stop);
        if done {
            break;
        }
    }
    assert_eq!(stops.last(), Some(&json!("p.nim-service.huge:link")), "{stops:?}");
    browser.press("\u{e007}").await?;
    until(browser, "the placement is shown", "return document.body.innerText.includes('Why not elsewhere')")
        .await?;
    let text = browser.run("return document.body.innerText").await?;
    assert!(text.as_str().is_some_and(|text| text.contains("64") && text.contains("NoGPU")), "{text}");
    println!("by keyboard: {} stops to the placement: {stops:?}", stops.len());
    Ok(())
}

/// A GPUCluster with its status, as a hub would write it.
fn cluster(number: usize, free: usize) -> Value {
    let now = jiff::Timestamp::now();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": format!("{now:.0}")});
    let conditions = ["Ready", "Accepted", "Connected"].map(condition);
    json!({"status": {
        "conditions": conditions, "gpuSummary": format!("{free}/64"), "models": number % 7,
        "agentVersion": "0.1.0", "lastSeen": format!("{now:.0}"), "region": format!("region-{}", number % 9),
        "gpus": [{"product": "NVIDIA-H100-80GB-HBM3", "resource": "nvidia.com/gpu", "nodes": 8, "capacity": 64, "allocatable": 64, "free": free}],
    }})
}

/// Gaps between frames, ms, the shortest first.
struct Gaps(Vec<f64>);

impl Gaps {
    /// Those since they were read last.
    async fn read(browser: &Browser) -> Result<Self, Failure> {
        let gaps = browser.run("const gaps = window.gaps; window.gaps = []; return gaps").await?;
        let mut gaps: Vec<f64> = gaps.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        gaps.sort_by(f64::total_cmp);
        Ok(Self(gaps))
    }

    fn at(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((self.0.len() as f64 - 1.0) * share) as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    fn figures(&self) -> Value {
        json!({
            "frames": self.0.len(), "p50": self.at(0.5), "p95": self.at(0.95), "p99": self.at(0.99), "max": self.at(1.0),
            "stutters": self.0.iter().filter(|gap| **gap > STUTTER).count(),
        })
    }
}

/// A thousand clusters, of which forty change every second: how long the page takes to load, and how long a frame waits.
async fn many_clusters(fleet: &Fleet, browser: &Browser, page: &Page) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    // Nobody else writes their statuses now.
    fleet.hub().kill();
    let made = futures::stream::iter(0..MANY).map(|number| async move {
        let name = format!("cluster-{number:04}");
        let object = json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "metadata": {"name": name}, "spec": {"accepted": true},
        });
        objects::apply(hub, &object.to_string()).await?;
        objects::play_status(hub, "GPUCluster", "", &name, cluster(number, number % 65)["status"].clone()).await
    });
    made.buffer_unordered(16).collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    browser.go(&page.url).await?;
    let all = format!("return document.querySelectorAll('tr[id^=\"c.cluster-\"]').length === {MANY}");
    until(browser, "all clusters are shown", &all).await?;
    // Anew, as somebody loads it who comes later.
    browser.go(&page.url).await?;
    let load = browser
        .run("const [load] = performance.getEntriesByType('navigation'); return [load.responseEnd, load.domComplete, load.decodedBodySize]")
        .await?;
    std::fs::write(folder()?.join("thousand.png"), browser.picture().await?)?;

    let count = "window.gaps = []; let last = performance.now(); const frame = (now) => { window.gaps.push(now - last); last = now; \
                 requestAnimationFrame(frame); }; requestAnimationFrame(frame); let down = 0; \
                 setInterval(() => scrollTo(0, (down += 40) % document.body.scrollHeight), 16);";
    browser.run(count).await?;
    // The same machine without changes: what it is busy with beside is no fault of the page.
    tokio::time::sleep(IDLE).await;
    let quiet = Gaps::read(browser).await?;
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / CHANGES_PER_SECOND));
    for change in 0..CHANGES {
        tick.tick().await;
        let number = (change * 37) % MANY;
        let status = cluster(number, (change + 1) % 65)["status"].clone();
        objects::play_status(hub, "GPUCluster", "", &format!("cluster-{number:04}"), status).await?;
    }
    let last = format!("cluster-{:04}", ((CHANGES - 1) * 37) % MANY);
    let free = CHANGES % 65;
    until(
        browser,
        "the last change is shown",
        &format!("return document.getElementById('c.{last}').innerText.includes('{free}/64')"),
    )
    .await?;
    let busy = Gaps::read(browser).await?;
    let figures = json!({
        "clusters": MANY, "loadMs": {"html": load[0], "complete": load[1]}, "bytes": load[2], "changes": CHANGES,
        "gapMs": {"quiet": quiet.figures(), "changing": busy.figures()},
    });
    println!("{figures}");
    std::fs::write(folder()?.join("thousand.json"), figures.to_string())?;
    let most = STUTTER.max(2.0 * quiet.at(0.99));
    assert!(busy.at(0.99) <= most, "the page stutters: {figures}");
    Ok(())
}
