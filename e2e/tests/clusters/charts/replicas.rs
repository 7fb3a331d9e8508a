//! Two replicas behind one Service: who is reached, who tells what commands did, and what an API server that has just
//! started cannot do to them.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use e2e::cluster::Cluster;
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Daemon, Fleet, Hub, NAMESPACE};
use e2e::process::Program;
use e2e::{objects, port};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::{object, rendered};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// The pods of the two hubs, as `POD_NAME` says it to them, and where they are.
const PODS: [(&str, &str); 2] = [("nimfleet-hub-0", "10.1.0.10"), ("nimfleet-hub-1", "10.1.0.11")];
/// More looks at the lease than one, by either replica.
const SOME_LOOKS: Duration = Duration::from_secs(4);

/// Puts the pods of the chart's Deployment where the API server sees them, ready and with an address each.
async fn pods(cluster: &Cluster, labels: &Value) -> Result<(), Failure> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}});
    objects::apply(cluster, &node.to_string()).await?;
    for (name, address) in PODS {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"nodeName": "n0", "containers": [{
                "name": "hub", "image": "hub.example/hub:1", "ports": [{"name": "link", "containerPort": 7443}],
            }]},
        });
        objects::apply(cluster, &pod.to_string()).await?;
        let status = json!({
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        objects::play_status(cluster, "Pod", NAMESPACE, name, status).await?;
    }
    Ok(())
}

/// Succeeds when the Service of the link leads to this pod and no other.
async fn leads_to(cluster: &Cluster, address: &str) -> Result<(), Failure> {
    let jsonpath = "jsonpath={.items[*].endpoints[*].addresses[*]}";
    let label = "kubernetes.io/service-name=nimfleet-hub";
    let found = cluster
        .kubectl(&["get", "endpointslices", "-n", NAMESPACE, "-l", label, "-o", jsonpath], None)
        .await?;
    if found == address { Ok(()) } else { Err(Failure::new(format!("the Service leads to {found:?}"))) }
}

/// Runs `nimfleet-hub` as `kubectl exec` does in a pod of the chart; what it printed on stdout and stderr.
async fn exec(fleet: &Fleet, arguments: &[&str]) -> Result<(String, String), Failure> {
    let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
    let token = ["create", "token", "nimfleet-hub", "-n", NAMESPACE];
    let token = fleet.hub().cluster().kubectl(&token, None).await?;
    let kubeconfig = fleet.hub().cluster().kubeconfig_for("exec", token.trim())?;
    let output = tokio::process::Command::new(&binaries.hub)
        .args(arguments)
        .env("NIMFLEET_KUBECONFIG", &kubeconfig)
        .env("POD_NAMESPACE", NAMESPACE)
        .env("POD_NAME", PODS[1].0)
        .env("NIMFLEET_ADVERTISE", "hub.example.com:7443,nimfleet-hub.nimfleet.svc:7443")
        .env("NIMFLEET_LOG_FORMAT", "json")
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() { Ok((printed, said)) } else { Err(Failure::new(format!("{printed}{said}"))) }
}

/// Whether the link of a hub has a certificate of its CA for that name.
async fn is_known_as(hub: &Hub, name: &str) -> Result<bool, Failure> {
    let path = "jsonpath={.data.tls\\.crt}";
    let secret = ["get", "secret", "nimfleet-hub-ca", "-n", NAMESPACE, "-o", path];
    let pem = STANDARD.decode(hub.cluster().kubectl(&secret, None).await?)?;
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&pem) {
        roots.add(ca.map_err(|error| Failure::new(error.to_string()))?)?;
    }
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(hub.link()).await?;
    let name = ServerName::try_from(name.to_owned())?;
    match TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
        Ok(_) => Ok(true),
        Err(error) if error.to_string().contains("not valid for name") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The records of target `audit` about what commands did, in the log of a hub.
fn records(daemon: &Daemon, action: &str) -> Result<Vec<String>, Failure> {
    let log = std::fs::read_to_string(daemon.log())?;
    let words = [" audit: ", &format!("action=\"{action}\""), "actor=\"command\""];
    let is_it = |line: &&str| words.iter().all(|word| line.contains(word));
    Ok(log.lines().filter(is_it).map(str::to_owned).collect())
}

#[tokio::test]
async fn two_replicas_are_one_service_and_one_audit_trail() -> Result<(), Failure> {
    let fleet = Fleet::new().standby().start().await?;
    let (hub, cluster) = (fleet.hub(), fleet.hub().cluster());
    let (first, second) = (hub.daemon(), hub.standby()?);
    fleet.eventually("the second stands by", SOON, || async { Ok(second.ready().await?) }).await?;
    let chart = rendered("nimfleet-hub", &["--set", "link.service.type=ClusterIP"]).await?;
    let deployment = object(&chart, "Deployment", "nimfleet-hub");
    pods(cluster, &deployment["spec"]["template"]["metadata"]["labels"]).await?;
    let service = object(&chart, "Service", "nimfleet-hub");
    objects::apply(cluster, &service.to_string()).await?;

    // Half of all connects would be refused by the standby, whose port is closed.
    fleet.eventually("the leader alone", SOON, || leads_to(cluster, PODS[0].1)).await?;

    // What a command did is told by the hub that leads, and by nobody on the terminal.
    let (line, said) = exec(&fleet, &["join-command", "east"]).await?;
    assert!(!said.contains('{'), "a record among the answer's lines: {said}");
    assert!(line.contains("oci://") && line.contains("--set hub.address=hub.example.com:7443"), "{line}");
    assert!(!line.contains(" charts/"), "a folder of a checkout: {line}");
    exec(&fleet, &["raise-term", "70"]).await?;
    exec(&fleet, &["rotate-ca"]).await?;
    for action in ["token", "raise-term", "rotate-ca"] {
        let found = fleet
            .eventually(&format!("{action} is in the trail"), SOON, || async {
                let found = records(first, action)?;
                if found.is_empty() { Err(Failure::new("no record")) } else { Ok(found) }
            })
            .await?;
        assert_eq!(found.len(), 1, "{found:?}");
        let pod = format!("subject=\"{}\"", PODS[1].0);
        assert!(found[0].contains(&pod), "the pod it was run in: {found:?}");
    }
    assert!(records(first, "token")?[0].contains("cluster=\"east\""));

    // The query API's slice goes with the Service that it is of.
    let query = object(&chart, "Service", "nimfleet-hub-query");
    objects::apply(cluster, &query.to_string()).await?;
    let uid =
        objects::get(cluster, "Service", NAMESPACE, "nimfleet-hub-query").await?["metadata"]["uid"].clone();
    let listens = format!("127.0.0.1:{}", port::free()?);
    first.kill();
    let program = first.program().flag("query-listen", listens).flag("pod-ip", PODS[0].1);
    first.start_as(program.flag("advertise", "hub.example.com:7443,nimfleet-hub.nimfleet.svc:7443"))?;
    fleet.eventually("the first leads again", SOON, || Hub::leads(first)).await?;
    fleet
        .eventually("the slice has an owner", SOON, || async {
            let slice = ["get", "endpointslice", "nimfleet-hub-query-ipv4", "-n", NAMESPACE, "-o", "json"];
            let slice: Value = serde_json::from_str(&cluster.kubectl(&slice, None).await?)?;
            let owner = &slice["metadata"]["ownerReferences"][0];
            if owner["uid"] == uid { Ok(()) } else { Err(Failure::new(format!("owned by {owner}"))) }
        })
        .await?;

    // Every name that is advertised is in the certificate, and no other.
    for (name, is_known) in
        [("hub.example.com", true), ("nimfleet-hub.nimfleet.svc", true), ("other.example.com", false)]
    {
        assert_eq!(is_known_as(hub, name).await?, is_known, "{name}");
    }

    // As when an API server has just started, and knows no role yet.
    let binding = ["get", "rolebinding", "nimfleet-hub", "-n", NAMESPACE, "-o", "json"];
    let binding = cluster.kubectl(&binding, None).await?;
    cluster.kubectl(&["delete", "rolebinding", "nimfleet-hub", "-n", NAMESPACE], None).await?;
    tokio::time::sleep(SOME_LOOKS).await;
    for daemon in [first, second] {
        assert!(daemon.ended().is_none(), "{}", e2e::process::last_lines(daemon.log(), 4));
    }
    // One that starts now waits as well.
    second.kill();
    second.start()?;
    tokio::time::sleep(SOME_LOOKS).await;
    assert!(second.ended().is_none(), "{}", e2e::process::last_lines(second.log(), 4));
    let mut binding: Value = serde_json::from_str(&binding)?;
    binding["metadata"] = json!({"name": "nimfleet-hub", "namespace": NAMESPACE});
    objects::apply(cluster, &binding.to_string()).await?;
    fleet
        .eventually("one leads again", SOON, || async {
            if Hub::leads(first).await.is_ok() { Ok(()) } else { Hub::leads(second).await }
        })
        .await?;

    // Whoever leads next is found, whatever the pod of the last one is labelled with.
    let (from, to) = if Hub::leads(first).await.is_ok() { (first, second) } else { (second, first) };
    let address = if std::ptr::eq(to, first) { PODS[0].1 } else { PODS[1].1 };
    from.kill();
    fleet.eventually("the other leads", SOON, || Hub::leads(to)).await?;
    fleet.eventually("the other alone", SOON, || leads_to(cluster, address)).await?;
    from.start()?;
    fleet.eventually("the last leader stands by", SOON, || async { Ok(from.ready().await?) }).await?;
    fleet.eventually("still the other alone", SOON, || leads_to(cluster, address)).await
}

#[tokio::test]
async fn programs_listen_where_a_node_has_no_ipv6() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
    let token = ["create", "token", "nimfleet-hub", "-n", NAMESPACE];
    let token = fleet.hub().cluster().kubectl(&token, None).await?;
    let kubeconfig = fleet.hub().cluster().kubeconfig_for("no-ipv6", token.trim())?;
    let programs: [(&Path, &[&str]); 2] = [(&binaries.hub, &["serve"]), (&binaries.spoke, &["--no-hub"])];
    for (path, arguments) in programs {
        let (name, port) = (path.file_name().unwrap_or_default().display().to_string(), port::free()?);
        let log = fleet.ground().folder().join(format!("{name}-no-ipv6.log"));
        let program = Program::new(path, &log);
        let program = arguments.iter().fold(program, Program::arg);
        let program = program
            .flag("kubeconfig", kubeconfig.display())
            .flag("namespace", NAMESPACE)
            .flag("metrics-addr", format!("[::]:{port}"))
            .env("POD_NAME", "no-ipv6");
        let daemon = Daemon::new(&name, program, std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        // The filter is of this thread and of what it starts.
        std::thread::scope(|scope| {
            let start = scope.spawn(|| {
                no_ipv6();
                daemon.start()
            });
            start.join().expect("no panic")
        })?;
        fleet.eventually(&format!("{name} answers"), SOON, || async { Ok(daemon.alive().await?) }).await?;
    }
    Ok(())
}

/// Takes IPv6 from this thread and all that it starts, as a node has none that was booted with `ipv6.disable=1`.
fn no_ipv6() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    // Linux: `socket` on x86-64 and on arm64, `AF_INET6`, `EAFNOSUPPORT`.
    const SOCKET: i64 = if cfg!(target_arch = "x86_64") { 41 } else { 198 };
    const AF_INET6: u64 = 10;
    const EAFNOSUPPORT: u32 = 97;
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, AF_INET6).unwrap();
    let rules = [(SOCKET, vec![SeccompRule::new(vec![condition]).unwrap()])];
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(EAFNOSUPPORT),
        arch,
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}
