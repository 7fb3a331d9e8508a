//! Panics, tasks that end, queues that grow: what one object or one spoke can do to a process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fault_proxy::{FaultProxy, Network};
use e2e::fleet::{Binaries, Daemon, Fleet, NAMESPACE};
use e2e::process::Program;
use e2e::site::Site;
use e2e::{objects, patience, port, sample};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// What a busy machine may take.
const SOON: Duration = Duration::from_mins(1);
/// At once on a busy machine; what has failed so often waits half a minute and longer before it is tried by itself.
const AT_ONCE: Duration = Duration::from_secs(15);
/// `runtime::health::STUCK_AFTER`, and some more.
const STUCK: Duration = Duration::from_secs(30 + 10);
/// How the hub's requests are signed.
const HUB: &str = "system:serviceaccount:nimfleet:nimfleet-hub";

/// Reconciles of placements of which a hub says that they failed, since it started.
async fn failures(fleet: &Fleet) -> Result<u32, Failure> {
    let metrics = fleet.hub().daemon().metrics().await?;
    let of_placements = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("nimfleet_hub_reconcile_faults_total{controller=\"placement\"")?;
        rest.rsplit(' ').next()?.parse::<u32>().ok()
    });
    Ok(of_placements.sum())
}

/// A policy of the hub's own cluster that lets the hub take no NIMService.
fn refusal() -> Value {
    json!([
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "hands-off"},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["apps.nvidia.com"], "apiVersions": ["*"], "operations": ["UPDATE"],
                    "resources": ["nimservices"],
                }]},
                "validations": [{
                    "expression": format!("request.userInfo.username != '{HUB}'"), "message": "hands off",
                }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "hands-off"},
            "spec": {"policyName": "hands-off", "validationActions": ["Deny"]},
        },
    ])
}

/// Waits until the API server refuses the hub's writes of NIMServices by the [`refusal`], or does so no longer: it reads a
/// policy a moment after it is stored.
async fn in_force(fleet: &Fleet, expected: bool) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let change = r#"{"metadata": {"labels": {"probe": "yes"}}}"#;
    let arguments = ["--as", HUB, "patch", "nimservice", "probe", "-n", sample::NAMESPACE, "--type=merge"];
    let arguments = [&arguments[..], &["-p", change, "--dry-run=server"]].concat();
    let check = || async {
        let answer = hub.kubectl(&arguments, None).await;
        let is_refused = answer.as_ref().is_err_and(|error| error.said.contains("hands off"));
        if is_refused == expected { Ok(()) } else { Err(Failure::new(format!("{answer:?}"))) }
    };
    fleet.eventually(&format!("the policy is in force: {expected}"), SOON, check).await
}

/// Case 36 of any cause: the hub may not mark what a placement selects, and events about it come all the time.
#[tokio::test]
async fn a_placement_that_fails_backs_off_however_often_it_is_woken() -> Result<(), Failure> {
    const POKES: u32 = 60;
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    for object in refusal().as_array().into_iter().flatten() {
        objects::apply(hub, &object.to_string()).await?;
    }
    objects::apply(hub, &sample::service(sample::NAMESPACE, "probe", json!({})).to_string()).await?;
    in_force(&fleet, true).await?;
    sample::place(&fleet, "llama", &json!({"clusterAffinity": {"clusterNames": ["east"]}})).await?;
    let name = "llama";
    fleet
        .eventually("the reconcile fails", SOON, || async {
            if failures(&fleet).await? > 0 { Ok(()) } else { Err(Failure::new("it has not failed")) }
        })
        .await?;

    let (before, begun) = (failures(&fleet).await?, Instant::now());
    for poke in 0..POKES {
        let mark = json!({"metadata": {"annotations": {"example.com/poke": poke.to_string()}}});
        objects::patch(hub, "NIMService", sample::NAMESPACE, name, mark).await?;
        sleep(Duration::from_millis(100)).await;
    }
    let while_poked = failures(&fleet).await? - before;
    let seconds = u32::try_from(begun.elapsed().as_secs())?;
    assert!(while_poked <= seconds + 1, "{while_poked} failures in {seconds} s of {POKES} events");
    let before = failures(&fleet).await?;
    sleep(Duration::from_secs(10)).await;
    let afterwards = failures(&fleet).await? - before;
    assert!(
        afterwards <= 3,
        "{afterwards} failures in 10 s of silence: each event has left a retry of its own"
    );

    // Put right, and edited: it is looked at at once, however long its delay has become.
    for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
        hub.kubectl(&["delete", kind, "hands-off"], None).await?;
    }
    in_force(&fleet, false).await?;
    let edit = json!({"spec": {"priority": 1}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, name, edit).await?;
    let edited = Instant::now();
    fleet
        .eventually("the placement is decided", SOON, || async {
            objects::expect(&sample::placed(&fleet, name).await?, "Scheduled", "True")
        })
        .await?;
    assert!(edited.elapsed() < AT_ONCE, "{:?}", edited.elapsed());
    Ok(())
}

/// A process whose API server and whose log can be taken from it.
struct Victim {
    daemon: Daemon,
    api_server: FaultProxy,
    /// Holds what it logs; nobody reads it.
    pipe: File,
}

impl Victim {
    async fn new(site: &Site, name: &str, program: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let api_server = FaultProxy::start(any, site.cluster().address()).await?;
        let folder = site.cluster().folder();
        let kubeconfig = elsewhere(&site.cluster().kubeconfig(), site, &api_server, &folder.join(name))?;
        let log = folder.join(format!("{name}.pipe"));
        if !Command::new("mkfifo").arg(&log).status()?.success() {
            return Err(Failure::new("no pipe can be made"));
        }
        // Open for reading as well, so that it is a pipe with room, and never waits.
        let pipe = OpenOptions::new().read(true).write(true).custom_flags(nonblocking()).open(&log)?;
        let admin = SocketAddr::from(([127, 0, 0, 1], port::free()?));
        let program = arguments.iter().fold(Program::new(program, log), Program::arg);
        let program = program
            .flag("kubeconfig", kubeconfig.display())
            .flag("namespace", NAMESPACE)
            .flag("metrics-addr", admin)
            .flag("log-format", "text")
            .env("NO_COLOR", "1")
            // Steadily a few lines: what is written to the API server, and the lease is every few seconds.
            .env("RUST_LOG", "info,kube_client=debug,tower=debug,hub=debug,spoke=debug");
        let daemon = Daemon::new(name, program, admin);
        daemon.start()?;
        let victim = Self { daemon, api_server, pipe };
        victim.eventually("it is ready", SOON, || async { Ok(victim.daemon.ready().await?) }).await?;
        Ok(victim)
    }

    /// Its API server answers nothing for a while: it stays alive, and goes on afterwards.
    async fn outlives_silence(&self) -> Result<(), Failure> {
        self.api_server.set(Network::HalfOpen);
        let until = Instant::now() + STUCK;
        while Instant::now() < until {
            self.daemon.alive().await?;
            sleep(Duration::from_secs(1)).await;
        }
        self.api_server.set(Network::Whole);
        self.eventually("it is ready again", SOON, || async { Ok(self.daemon.ready().await?) }).await
    }

    /// Its log takes no line more: whoever says something waits for ever. It says what is stuck, and is well again once it
    /// can go on.
    async fn says_what_is_stuck(&self) -> Result<(), Failure> {
        self.daemon.alive().await?;
        fill(&self.pipe);
        let parts = ["stuck: task ", "stuck: queue ", "stuck: the loop "];
        self.eventually("it names the part that is stuck", STUCK + SOON, || async {
            match self.daemon.alive().await {
                Ok(()) => Err(Failure::new("it says that it is alive")),
                Err(error) if parts.iter().any(|part| error.to_string().contains(part)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        self.eventually("it is alive again", SOON, || async {
            drain(&self.pipe);
            Ok(self.daemon.alive().await?)
        })
        .await
    }

    async fn eventually<T, F, C>(&self, what: &str, within: Duration, check: F) -> Result<T, Failure>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failure>>,
    {
        patience::eventually(what, within, check, || async { format!("{:?}", self.daemon) }).await
    }
}

/// `O_NONBLOCK` of Linux.
fn nonblocking() -> i32 {
    0o4000
}

fn fill(mut pipe: &File) {
    for size in [4096, 256, 1] {
        while pipe.write(&vec![b'.'; size]).is_ok() {}
    }
}

fn drain(mut pipe: &File) {
    let mut rest = [0; 4096];
    while pipe.read(&mut rest).is_ok_and(|length| length > 0) {}
}

/// A kubeconfig that leads through a proxy.
fn elsewhere(kubeconfig: &Path, site: &Site, proxy: &FaultProxy, to: &Path) -> Result<PathBuf, Failure> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let (direct, through) = (site.cluster().address().to_string(), proxy.address().to_string());
    assert!(text.contains(&direct), "the kubeconfig names {direct}");
    let path = to.with_extension("kubeconfig");
    std::fs::write(&path, text.replace(&direct, &through))?;
    Ok(path)
}

#[tokio::test]
async fn livez_follows_progress_and_not_the_api_server_and_names_what_is_stuck() -> Result<(), Failure> {
    let site = Site::new().prepare().await?;
    let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
    let link = SocketAddr::from(([127, 0, 0, 1], port::free()?)).to_string();
    let listen = format!("--listen={link}");
    let hub = Victim::new(&site, "hub", &binaries.hub, &["serve", &listen]).await?;
    let spoke = Victim::new(&site, "spoke", &binaries.spoke, &["--no-hub"]).await?;
    tokio::try_join!(hub.outlives_silence(), spoke.says_what_is_stuck())?;
    tokio::try_join!(hub.says_what_is_stuck(), spoke.outlives_silence())?;
    Ok(())
}
