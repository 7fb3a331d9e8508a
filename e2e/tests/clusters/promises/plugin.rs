//! `kubectl nimfleet` on a real fleet: the story of a cluster that joins, is emptied and falls silent; a caller who may see one
//! namespace; an archive without Secrets; and `doctor` on fleets that are broken in different ways.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::{H100, L40S};
use e2e::failure::Failure;
use e2e::fleet::{Fleet, Invitation, NAMESPACE};
use e2e::{command, objects, sample};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::docs::tools;

/// Longest wait for what the hub does in its own time.
const SOON: Duration = Duration::from_mins(1);
/// Exit status: the answer is no.
const NO: i32 = 3;
/// Exit status: not in time.
const TIMEOUT: i32 = 4;
/// What no archive may hold.
const HUSH: &str = "hush-hush-4711";

/// The page with the session that this test types.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kubectl-nimfleet.md");
/// What stands before the session, and behind it.
const SESSION: [&str; 2] = ["<!-- begin: session -->\n```text\n", "```\n<!-- end: session -->"];

/// The plugin, as kubectl runs it for somebody.
struct Plugin<'a> {
    tools: &'a Path,
    kubeconfig: PathBuf,
    /// What was typed for the documentation, and what came.
    session: Mutex<String>,
}

/// How a command ended, and what it said.
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl<'a> Plugin<'a> {
    fn new(tools: &'a Path, kubeconfig: PathBuf) -> Self {
        Self { tools, kubeconfig, session: Mutex::default() }
    }

    /// Runs a command that the documentation shows.
    async fn types(&self, words: &[&str]) -> Result<String, Failure> {
        let out = self.ends(0, words).await?;
        let typed = format!("$ kubectl nimfleet {}", words.join(" "));
        let lines: Vec<&str> =
            std::iter::once(typed.as_str()).chain(out.lines().map(str::trim_end)).collect();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if !session.is_empty() {
            session.push('\n');
        }
        session.push_str(&lines.join("\n"));
        session.push('\n');
        drop(session);
        Ok(out)
    }

    /// `kubectl nimfleet` with these words.
    fn command(&self, words: &[&str]) -> Command {
        let path = format!("{}:{}", self.tools.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(self.tools.join("kubectl"));
        command.arg("nimfleet").args(words).env("PATH", path).env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    async fn run(&self, words: &[&str]) -> Result<Said, Failure> {
        let output = self.command(words).output().await?;
        Ok(Said {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same, of a command that ends with this status; what it printed.
    async fn ends(&self, status: i32, words: &[&str]) -> Result<String, Failure> {
        let said = self.run(words).await?;
        if said.status == status {
            return Ok(if status == 0 || status == NO { said.out } else { said.err });
        }
        let Said { status: is, out, err } = said;
        Err(Failure::new(format!("kubectl nimfleet {}: {is}, not {status}:\n{out}{err}", words.join(" "))))
    }

    /// The same as JSON.
    async fn json(&self, status: i32, words: &[&str]) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.ends(status, &[words, &["--output", "json"]].concat()).await?)?)
    }
}

/// The field of the first item of a list whose `key` is `value`.
fn item<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut items = list.as_array().into_iter().flatten();
    items.find(|item| item[key] == value).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn the_plugin_tells_steers_gathers_and_finds_what_is_broken() -> Result<(), Failure> {
    let plan = Fleet::new().queried().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(L40S, 4, 2);
    let fleet = plan.cluster("plain").cpu_nodes(1).not_joined().start().await?;
    let tools = tools(&fleet)?;
    let admin = Plugin::new(&tools, fleet.hub().cluster().kubeconfig());
    let answers = || async {
        let rows = admin.json(0, &["get", "-A"]).await?;
        if rows["hidden"] == json!([]) { Ok(()) } else { Err(Failure::new(rows.to_string())) }
    };
    fleet.eventually("the hub answers questions", SOON, answers).await?;

    it_joins_a_cluster(&fleet, &admin).await?;
    it_says_where_and_why(&fleet, &admin).await?;
    it_empties_a_cluster(&fleet, &admin).await?;
    it_shows_a_caller_what_rbac_shows(&fleet, &tools).await?;
    it_serves_a_page(&fleet, &tools).await?;
    it_gathers_no_secrets(&fleet, &admin).await?;
    it_confirms_what_is_held(&fleet, &admin).await?;
    the_documentation_shows_this_session(&admin)?;
    doctor_names_what_is_broken_at_a_hub(&fleet, &admin).await?;
    doctor_names_what_is_broken_at_a_spoke(&fleet, &tools).await
}

/// Token, spoke, acceptance; the spoke's helm command is played by starting its process.
async fn it_joins_a_cluster(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    let printed = admin.ends(0, &["join", "plain", "--ttl", "30m"]).await?;
    assert!(
        printed.contains("helm upgrade --install nimfleet-spoke") && printed.contains("cluster.name=plain"),
        "{printed}"
    );
    let invitation: Invitation = serde_json::from_value(admin.json(0, &["join", "plain"]).await?)?;
    let unknown = admin.ends(1, &["accept", "nowhere"]).await?;
    assert!(unknown.contains("GPUCluster nowhere") && unknown.contains("not found"), "{unknown}");

    fleet.cluster("plain")?.start_spoke(&invitation)?;
    let waits = || async {
        let status = admin.json(0, &["status"]).await?;
        match item(&status["problems"], "object", "gpucluster/plain") {
            found if found["reason"] == "NotAccepted" => Ok(found["remedy"].clone()),
            _ => Err(Failure::new(status["problems"].to_string())),
        }
    };
    let remedy = fleet.eventually("plain waits to be accepted", SOON, waits).await?;
    assert_eq!(remedy, "kubectl nimfleet accept plain");
    let accepted = admin.ends(0, &["accept", "plain", "--wait"]).await?;
    assert!(accepted.starts_with("gpucluster/plain accepted: "), "{accepted}");
    let again = admin.ends(0, &["accept", "plain"]).await?;
    assert_eq!(again, "gpucluster/plain accepted already\n");
    Ok(())
}

async fn it_says_where_and_why(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    // The L40S of west run another profile of the model than the H100 of east.
    let anywhere = json!({
        "failover": {"onUnreachable": "Replace", "lostAfter": "1s"}, "gpu": {"profileChange": "Allow"},
    });
    sample::place(fleet, sample::NAME, &anywhere).await?;
    assert_eq!(sample::ready(fleet, sample::NAME).await?, ["east"]);
    let of_sample = ["-n", sample::NAMESPACE];

    let counted = || async {
        let status = admin.json(0, &["status"]).await?;
        // Clusters report pods and statuses apart.
        if status["gpus"] == json!({"free": 23, "total": 24}) && status["problems"] == json!([]) {
            Ok(status)
        } else {
            Err(Failure::new(status.to_string()))
        }
    };
    let status = fleet.eventually("the GPU that is taken counts", SOON, counted).await?;
    assert_eq!((&status["kind"], &status["problems"]), (&json!("FleetStatus"), &json!([])));
    let placed = item(&status["placements"], "name", sample::NAME);
    assert_eq!((&placed["where"], &placed["phase"]), (&json!("east"), &json!("Available")));
    let table = admin.types(&["status"]).await?;
    for words in ["3 clusters, 3 ready; 23 of 24 GPUs free", "15/16", "NVIDIA-H100-80GB-HBM3", "1/1"] {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "colours where there is no terminal");

    let why = admin.json(0, &[&["why", sample::NAME][..], &of_sample].concat()).await?;
    let verdicts = &why["explanation"]["clusters"];
    assert_eq!(item(verdicts, "cluster", "east")["verdict"], "Stays", "{why}");
    assert_eq!(item(verdicts, "cluster", "west")["reason"], "NotNeeded", "{why}");
    assert_eq!(item(verdicts, "cluster", "plain")["reason"], "NoGPU", "{why}");
    assert_eq!(why["clusters"][0]["objects"].as_array().map(Vec::len), Some(2), "{why}");
    let told = admin.types(&[&["why", sample::NAME][..], &of_sample].concat()).await?;
    assert!(told.contains("plain") && told.contains("the cluster has no GPU"), "{told}");

    let got = admin.json(0, &[&["get", "nimservices", "--cluster", "east"][..], &of_sample].concat()).await?;
    assert_eq!(got["objects"][0]["state"], "Available", "{got}");
    let described = admin
        .ends(0, &[&["describe", &format!("nimservice/{}", sample::NAME)][..], &of_sample].concat())
        .await?;
    assert!(described.contains("In east") && described.contains("Ready:      1/1"), "{described}");
    let told = || async {
        let events = admin.ends(0, &["events", "--for", "gpucluster/plain"]).await?;
        if events.contains("gpucluster/plain") { Ok(()) } else { Err(Failure::new(events)) }
    };
    fleet.eventually("an event tells of plain", SOON, told).await
}

/// Waits until the sample is ready in that cluster alone: the placement's status follows what is decided.
async fn serves_in(fleet: &Fleet, cluster: &str) -> Result<(), Failure> {
    fleet
        .eventually(&format!("the sample serves in {cluster}"), SOON, || async {
            let clusters = sample::ready(fleet, sample::NAME).await?;
            if clusters == [cluster] { Ok(()) } else { Err(Failure::new(clusters.join(", "))) }
        })
        .await
}

async fn it_empties_a_cluster(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    let of_sample = ["-n", sample::NAMESPACE];
    let without = |more: &'static [&'static str]| {
        [&["simulate", "--placement", sample::NAME][..], more, &of_sample].concat()
    };
    let moved = admin.json(0, &without(&["--without-cluster", "east"])).await?;
    assert_eq!(item(&moved["clusters"], "cluster", "west")["verdict"], "Chosen", "{moved}");

    admin.types(&without(&["--without-cluster", "east"])).await?;

    // Nobody can take it: the answer is no, and a drain does not end.
    assert_eq!(admin.ends(0, &["cordon", "west"]).await?, "gpucluster/west cordoned\n");
    let cordoned = without(&["--without-cluster", "east"]);
    let refused = || async { admin.json(NO, &cordoned).await };
    let refused = fleet.eventually("a cordoned cluster takes nothing new", SOON, refused).await?;
    let west = item(&refused["clusters"], "cluster", "west");
    assert!(
        west["message"].as_str().is_some_and(|message| message.contains("nimfleet.io/cordoned")),
        "{refused}"
    );
    // Long enough for the hub to say what has yet to leave.
    let late = admin.ends(TIMEOUT, &["drain", "east", "--timeout", "15s"]).await?;
    assert!(late.contains("gpucluster/east") && late.contains(sample::NAME), "{late}");

    assert_eq!(admin.ends(0, &["uncordon", "west"]).await?, "gpucluster/west uncordoned\n");
    assert_eq!(admin.ends(0, &["uncordon", "east"]).await?, "gpucluster/east uncordoned\n");
    let drained = admin.types(&["drain", "east", "--timeout", "2m"]).await?;
    assert_eq!(drained, "gpucluster/east drained: no placement runs here any more\n");
    serves_in(fleet, "west").await?;
    admin.types(&[&["get"][..], &of_sample].concat()).await?;
    assert_eq!(admin.types(&["uncordon", "east"]).await?, "gpucluster/east uncordoned\n");
    let east = objects::get(fleet.hub().cluster(), "GPUCluster", "", "east").await?;
    assert!(
        east["spec"]["drain"] != true && east["spec"]["taints"].as_array().is_none_or(Vec::is_empty),
        "{east}"
    );

    // What is simulated is not stored.
    let manifest = fleet.ground().folder().join("supposed.yaml");
    let huge =
        sample::service(sample::NAMESPACE, "huge", json!({"resources": {"limits": {"nvidia.com/gpu": 64}}}));
    std::fs::write(&manifest, format!("{huge:#}\n---\n{}", sample::placement("huge", &json!({}))))?;
    let file = manifest.to_string_lossy();
    let refused = admin.ends(NO, &[&["simulate", "--filename", &file][..], &of_sample].concat()).await?;
    assert!(refused.contains("it would be placed nowhere") && refused.contains("64"), "{refused}");
    objects::absent(fleet.hub().cluster(), "NIMPlacement", sample::NAMESPACE, "huge").await
}

/// Somebody who may look at one namespace sees that namespace alone.
async fn it_shows_a_caller_what_rbac_shows(fleet: &Fleet, tools: &Path) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let other = sample::placement("secret-plan", &json!({})).replace(sample::NAMESPACE, "other-team");
    objects::apply(hub, &other).await?;
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "reader", "namespace": sample::NAMESPACE},
            "rules": [
                {"apiGroups": ["nimfleet.io"], "resources": ["nimplacements", "nimplacementdecisions", "gpuquotas"], "verbs": ["get", "list"]},
                {"apiGroups": ["query.nimfleet.io"], "resources": ["nimassignments", "placementexplanations"], "verbs": ["get", "list"]},
                {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list"]},
            ],
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": sample::NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "reader", "namespace": sample::NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": sample::NAMESPACE}],
        },
    ]});
    hub.kubectl(&["apply", "--filename", "-"], Some(&rights.to_string())).await?;
    let token = hub.kubectl(&["create", "token", "reader", "--namespace", sample::NAMESPACE], None).await?;
    let reader = Plugin::new(tools, hub.kubeconfig_for("reader", token.trim())?);
    let own = ["-n", sample::NAMESPACE];

    // API server and hub read roles a moment after they are stored; until then all of it is hidden.
    let permitted = || async {
        let status = reader.json(0, &[&["status"][..], &own].concat()).await?;
        let why = reader.json(0, &[&["why", sample::NAME][..], &own].concat()).await?;
        let got = reader.json(0, &[&["get"][..], &own].concat()).await?;
        let hides = |list: &Value, kind: &str| item(&list["hidden"], "kind", kind) != &Value::Null;
        let is_hidden = hides(&status, "NIMPlacement")
            || hides(&status, "GPUQuota")
            || hides(&got, "NIMPlacementDecision")
            || hides(&got, "NIMAssignment")
            || why["explanation"].is_null();
        if is_hidden { Err(Failure::new(format!("{status} {why} {got}"))) } else { Ok(status) }
    };
    let status = fleet.eventually("the reader's role has effect", SOON, permitted).await?;
    let names: Vec<_> =
        status["placements"].as_array().into_iter().flatten().map(|row| &row["name"]).collect();
    assert_eq!(names, [sample::NAME]);
    assert_eq!(status["clusters"], json!([]));
    assert_eq!(item(&status["hidden"], "kind", "GPUCluster")["kind"], "GPUCluster", "{status}");
    let why = reader.json(0, &[&["why", sample::NAME][..], &own].concat()).await?;
    assert_eq!(why["clusters"][0]["cluster"], "west");
    let got = reader.json(0, &[&["get"][..], &own].concat()).await?;
    assert!(!got["objects"].as_array().is_none_or(Vec::is_empty), "{got}");

    for words in
        [&["status"][..], &["status", "-A"], &["status", "-n", "other-team"], &["get", "-A"], &["events"]]
    {
        let said = reader.run(words).await?;
        assert!(said.status == 0 && said.out.contains("not shown"), "{words:?}: {}{}", said.out, said.err);
        assert!(!said.out.contains("secret-plan"), "{words:?}: {}", said.out);
    }
    let refused = reader.ends(1, &["why", "secret-plan", "-n", "other-team"]).await?;
    assert!(
        refused.contains("other-team/secret-plan") && refused.contains("ask the fleet's admin"),
        "{refused}"
    );
    let refused = reader.ends(1, &["drain", "west"]).await?;
    assert!(refused.contains("GPUCluster west") && refused.contains("cannot get resource"), "{refused}");
    Ok(())
}

/// A page that `kubectl nimfleet ui` serves; it ends with this.
struct Page {
    address: String,
    folder: String,
    _child: Child,
}

impl Page {
    async fn serve(plugin: &Plugin<'_>, words: &[&str]) -> Result<Self, Failure> {
        let mut child = plugin
            .command(&[&["ui"], words].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| Failure::new("no stdout"))?;
        let url = BufReader::new(out).lines().next_line().await?.unwrap_or_default();
        let rest = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
        let (address, token) = rest.ok_or_else(|| Failure::new(format!("{url:?} is no address")))?;
        Ok(Self { address: address.to_owned(), folder: format!("/{token}"), _child: child })
    }

    /// Asks for a path, and reads the answer to its end.
    async fn ask(&self, host: &str, path: &str) -> Result<String, Failure> {
        let mut answer = self.open(host, path).await?;
        tokio::time::timeout(SOON, answer.stream.read_to_end(&mut answer.read)).await??;
        Ok(answer.text())
    }

    /// Asks for a path.
    async fn open(&self, host: &str, path: &str) -> Result<Answer, Failure> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        Ok(Answer { stream, read: Vec::new() })
    }
}

/// An answer that may go on for as long as it is read.
struct Answer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads on until these words are there. A stream of events is kept alive, so that the whole of it has a limit of time.
    async fn until(&mut self, words: &str) -> Result<String, Failure> {
        let reading = async {
            loop {
                let text = self.text();
                if text.contains(words) {
                    return Ok(text);
                }
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    return Err(Failure::new(format!("it has ended without {words:?}: {text}")));
                }
            }
        };
        let read = tokio::time::timeout(SOON, reading).await;
        read.unwrap_or_else(|_| Err(Failure::new(format!("no {words:?} within {SOON:?}"))))
    }
}

/// A page for whoever knows its address, with what its caller may see, which follows the fleet.
async fn it_serves_a_page(fleet: &Fleet, tools: &Path) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let admin = Plugin::new(tools, hub.kubeconfig());
    let page = Page::serve(&admin, &[]).await?;
    let (here, folder) = (page.address.clone(), page.folder.clone());
    let shown = || async {
        let text = page.ask(&here, &folder).await?;
        let all = ["id=\"c.plain\"", "NVIDIA-L40S", "secret-plan", "Events"]
            .iter()
            .all(|words| text.contains(words));
        if all { Ok(text) } else { Err(Failure::new(text)) }
    };
    let text = fleet.eventually("the page shows the fleet", SOON, shown).await?;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("content-security-policy: default-src 'none'"),
        "{text}"
    );
    let of_sample = format!("{folder}placement/{}/{}", sample::NAMESPACE, sample::NAME);
    let explained = || async {
        let why = page.ask(&here, &of_sample).await?;
        let all = why.contains("Why not elsewhere") && why.contains("NoGPU");
        if all { Ok(()) } else { Err(Failure::new(why)) }
    };
    fleet.eventually("the page says why not elsewhere", SOON, explained).await?;
    for (host, path, status) in [
        ("rebound.example", folder.as_str(), "421"),
        (&here, "/", "404"),
        (&here, &format!("/{}/", "0".repeat(64)), "404"),
        (&here, &format!("{folder}cluster/nowhere"), "404"),
    ] {
        let text = page.ask(host, path).await?;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")) && !text.contains("plain"),
            "{host} {path}: {text}"
        );
    }

    // Of a page that names no version everything may have changed; what follows is told part by part.
    let mut events = page.open(&here, &format!("{folder}events")).await?;
    let sent = events.until("event: change").await?;
    assert!(!sent.contains("nimfleet.io/cordoned"), "{sent}");
    admin.ends(0, &["cordon", "plain"]).await?;
    let sent = events.until("nimfleet.io/cordoned").await?;
    assert!(sent.contains("c.plain"), "{sent}");
    admin.ends(0, &["uncordon", "plain"]).await?;

    let reader = Plugin::new(tools, hub.folder().join("kubeconfig-reader"));
    let page = Page::serve(&reader, &["--namespace", sample::NAMESPACE]).await?;
    let (here, folder) = (page.address.clone(), page.folder.clone());
    let shown = || async {
        let text = page.ask(&here, &folder).await?;
        let hides = text.contains("not shown to you, GPUCluster");
        if hides && text.contains(sample::NAME) { Ok(text) } else { Err(Failure::new(text)) }
    };
    let text = fleet.eventually("the reader sees one namespace", SOON, shown).await?;
    assert!(!text.contains("secret-plan") && !text.contains("id=\"c."), "{text}");
    let refused = page.ask(&here, &format!("{folder}placement/other-team/secret-plan")).await?;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    Ok(())
}

async fn it_gathers_no_secrets(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": NAMESPACE}, "stringData": {"key": HUSH},
    });
    let service =
        sample::service(sample::NAMESPACE, "hushed", json!({"env": [{"name": "TOKEN", "value": HUSH}]}));
    for object in [secret, service] {
        hub.kubectl(&["apply", "--filename", "-"], Some(&object.to_string())).await?;
    }
    let archive = fleet.ground().folder().join("gathered.tar.gz");
    let gathered = admin.json(0, &["must-gather", "--to", &archive.to_string_lossy()]).await?;
    let mut names = Vec::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&archive)?));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        assert!(!text.contains(HUSH), "{name} holds a secret");
        names.push(name);
    }
    for name in [
        "versions.json",
        "status.json",
        "doctor.json",
        "objects/nimplacement.json",
        "objects/nimassignment.json",
        "installed/lease.json",
    ] {
        assert!(names.contains(&format!("gathered/{name}")), "{name} is not in {names:?}: {gathered}");
    }
    assert!(!names.iter().any(|name| name.contains("secret")), "{names:?}");
    let again = admin.ends(1, &["must-gather", "--to", &archive.to_string_lossy()]).await?;
    assert!(again.contains("exists"), "an archive that is there was written over: {again}");
    Ok(())
}

async fn it_confirms_what_is_held(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    let nothing = admin.ends(0, &["confirm", "west"]).await?;
    assert!(nothing.contains("nothing waits"), "{nothing}");
    for lost in ["west", "plain"] {
        fleet.cluster(lost)?.link().cut().await;
    }
    let held = || async {
        let all = admin.json(0, &["confirm", "west"]).await?;
        match item(&all["waits"], "what", "failover") {
            Value::Null => Err(Failure::new(all.to_string())),
            found => Ok(found.clone()),
        }
    };
    let held = fleet.eventually("the failover of west is held", SOON, held).await?;
    assert_eq!((&held["word"], &held["given"]), (&json!("true"), &json!(false)));
    let wrong = admin.ends(1, &["confirm", "west", "failover", "yes"]).await?;
    assert!(wrong.contains("\"yes\"") && wrong.contains("\"true\""), "{wrong}");
    let other = admin.ends(1, &["confirm", "west", "deletions", "1-00000000"]).await?;
    assert!(other.contains("nothing waits to be confirmed as deletions"), "{other}");
    admin.types(&["confirm", "west"]).await?;
    admin.types(&["confirm", "west", "failover", "true"]).await?;
    serves_in(fleet, "east").await?;
    for lost in ["west", "plain"] {
        fleet.cluster(lost)?.link().heal().await;
        fleet.eventually(&format!("{lost} is back"), SOON, || fleet.hub().connected(lost)).await?;
    }
    Ok(())
}

/// The page shows the commands that were typed, and what came but for times and numbers. `UPDATE=1` writes it there.
fn the_documentation_shows_this_session(admin: &Plugin<'_>) -> Result<(), Failure> {
    let typed = admin.session.lock().unwrap_or_else(PoisonError::into_inner);
    let page = std::fs::read_to_string(PAGE)?;
    let [begin, end] = SESSION;
    let parts = page.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?)));
    let (before, (shown, after)) = parts.ok_or_else(|| Failure::new("the page has no session"))?;
    if std::env::var_os("UPDATE").is_some() {
        return Ok(std::fs::write(PAGE, format!("{before}{begin}{typed}{end}{after}"))?);
    }
    assert_eq!(
        without_numbers(shown),
        without_numbers(&typed),
        "UPDATE=1 writes what came into docs/kubectl-nimfleet.md"
    );
    Ok(())
}

/// The words of each line, with `#` for ages, times and numbers.
fn without_numbers(text: &str) -> Vec<String> {
    let is_number = |word: &str| {
        let bare = word.trim_matches(['(', ')', ',', ';', ':']);
        let digits = bare.starts_with(|c: char| c.is_ascii_digit());
        digits && bare.chars().all(|c| c.is_ascii_digit() || "smhdyTZ:-×".contains(c))
    };
    let word = |word: &str| if is_number(word) { "#".to_owned() } else { word.to_owned() };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

/// The check of that name, with an outcome that is not ok.
async fn finds(plugin: &Plugin<'_>, side: &str, id: &str, words: &[&str]) -> Result<(), Failure> {
    let diagnosis = plugin.json(NO, &["doctor", side]).await?;
    let checks = diagnosis["examined"][0]["checks"].as_array().cloned().unwrap_or_default();
    let mut broken = checks.iter().filter(|check| check["id"] == id && check["outcome"] == "failed");
    let has = |check: &Value| {
        let text = format!("{} → {}", check["found"], check["remedy"]);
        words.iter().all(|word| text.contains(word))
    };
    if broken.any(has) {
        Ok(())
    } else {
        Err(Failure::new(format!("{id} with {words:?} is not among {checks:#?}")))
    }
}

/// The same once it is so: controllers of Kubernetes write down how Deployments and Services stand, each in its own time.
async fn comes_to_find(
    fleet: &Fleet,
    plugin: &Plugin<'_>,
    (side, id): (&str, &str),
    words: &[&str],
) -> Result<(), Failure> {
    let what = format!("doctor {side} finds {id}");
    fleet.eventually(&what, SOON, || finds(plugin, side, id, words)).await
}

/// Objects of a chart, as helm renders them.
async fn chart(fleet: &Fleet, chart: &str, templates: &[&str], values: &[&str]) -> Result<String, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(chart);
    let folder = folder.to_string_lossy();
    let mut arguments = vec!["template", chart, &folder, "--namespace", NAMESPACE];
    arguments.extend(templates.iter().flat_map(|template| ["--show-only", template]));
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    Ok(command::run(&fleet.ground().programs().path("helm"), &arguments, None).await?)
}

async fn install(cluster: &Cluster, manifests: &str) -> Result<(), Failure> {
    cluster.kubectl(&["apply", "--server-side", "--filename", "-"], Some(manifests)).await?;
    Ok(())
}

/// A Lease that somebody holds for an hour.
fn held(name: &str) -> String {
    let now = jiff::Timestamp::now();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": format!("{now:.6}")},
    })
    .to_string()
}

async fn doctor_names_what_is_broken_at_a_hub(fleet: &Fleet, admin: &Plugin<'_>) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    // The clusters that were lost have just come back, and report in their own time.
    let is_well = || async {
        let well = admin.json(NO, &["doctor", "hub"]).await?;
        let checks = &well["examined"][0]["checks"];
        let all = [
            "definitions",
            "hub-leader",
            "query-api",
            "hub-ca",
            "query-rights",
            "other-operator",
            "clusters",
        ];
        let bad = all.into_iter().find(|id| item(checks, "id", id)["outcome"] != "ok");
        bad.map_or(Ok(()), |id| Err(Failure::new(format!("{id}: {well:#}"))))
    };
    fleet.eventually("the fleet is well but for its Deployment", SOON, is_well).await?;
    // The processes of this fleet are no pods: the chart's Deployment has none either, since the hub's cluster has no node.
    finds(admin, "hub", "hub-deployment", &["no Deployment of nimfleet-hub", "install the chart"]).await?;
    let templates = ["templates/deployment.yaml", "templates/service.yaml", "templates/serviceaccount.yaml"];
    install(hub, &chart(fleet, "nimfleet-hub", &templates, &[]).await?).await?;
    let deployment = ("hub", "hub-deployment");
    comes_to_find(fleet, admin, deployment, &["0 of 2 replicas are ready", "describe pods"]).await?;
    comes_to_find(fleet, admin, ("hub", "hub-link"), &["has no endpoint", "nimfleet.io/leader=true"]).await?;

    install(hub, &held("a0715c6e.nvidia.com")).await?;
    finds(admin, "hub", "other-operator", &["NVIDIA's NIM Operator", "uninstall it"]).await?;
    hub.kubectl(&["delete", "lease", "a0715c6e.nvidia.com", "--namespace", NAMESPACE], None).await?;

    fleet.cluster("plain")?.kill_spoke();
    let silent = || finds(admin, "hub", "clusters", &["gpucluster/plain", "doctor spoke"]);
    fleet.eventually("doctor finds the silent cluster", SOON, silent).await?;
    hub.kubectl(&["delete", "crd", "gpuquotas.nimfleet.io"], None).await?;
    comes_to_find(fleet, admin, ("hub", "definitions"), &["gpuquotas.nimfleet.io", "nimfleet-crds"]).await?;

    fleet.hub().kill();
    let leaderless = || async {
        finds(admin, "hub", "hub-leader", &["no hub leads", "logs"]).await?;
        finds(admin, "hub", "query-api", &["is not available", "hub-leader"]).await
    };
    fleet.eventually("doctor finds that no hub leads", SOON, leaderless).await?;
    let unasked = admin.ends(0, &["why", sample::NAME, "-n", sample::NAMESPACE]).await?;
    assert!(unasked.contains("east") && unasked.contains("why not elsewhere is not known"), "{unasked}");
    Ok(())
}

async fn doctor_names_what_is_broken_at_a_spoke(fleet: &Fleet, tools: &Path) -> Result<(), Failure> {
    let plain = fleet.cluster("plain")?.cluster();
    let owner = Plugin::new(tools, plain.kubeconfig());
    let values = [
        "cluster.name=plain",
        "hub.address=127.0.0.1:1",
        "hub.caHash=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ];
    let templates = ["templates/deployment.yaml", "templates/serviceaccount.yaml"];
    install(plain, &chart(fleet, "nimfleet-spoke", &templates, &values).await?).await?;
    fleet.cluster("plain")?.forget_identity().await?;
    finds(&owner, "spoke", "spoke-identity", &["nimfleet-spoke-token", "kubectl nimfleet join"]).await?;
    let leaderless = || finds(&owner, "spoke", "spoke-leader", &["no spoke works", "logs"]);
    fleet.eventually("doctor finds that no spoke works", SOON, leaderless).await?;
    let diagnosis = owner.json(NO, &["doctor"]).await?;
    assert_eq!(diagnosis["examined"][0]["side"], "spoke", "{diagnosis}");
    let address = item(&diagnosis["examined"][0]["checks"], "id", "hub-address");
    assert!(
        address["outcome"] == "warning" && address["found"].to_string().contains("127.0.0.1:1"),
        "{address}"
    );

    let many = sample::service(
        sample::NAMESPACE,
        "many",
        json!({"multiNode": {"backendType": "lws", "parallelism": {"pipeline": 2, "tensor": 1}}}),
    );
    objects::apply(plain, &many.to_string()).await?;
    finds(&owner, "spoke", "platforms", &["LeaderWorkerSet", "nim-service/many", "install"]).await?;
    install(plain, &held("a0715c6e.nvidia.com")).await?;
    finds(&owner, "spoke", "other-operator", &["NVIDIA's NIM Operator", "operator.mode"]).await?;
    install(plain, &held("nimfleet-hub")).await?;
    finds(&owner, "spoke", "other-operator", &["a hub's own cluster", "beside the hub's"]).await
}
