//! The spoke's ValidatingAdmissionPolicy: the spoke's own token writes straight to the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::command;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, Member, NAMESPACE};
use e2e::{foreign, objects, sample};
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// Where the attacks go: nothing forbids a hub to be there.
const MODELS: &str = "models";

/// Whoever holds the spoke's own token, and kubectl.
struct Thief {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Thief {
    async fn of(fleet: &Fleet, member: &Member) -> Result<Self, Failure> {
        let token = ["create", "token", "nimfleet-spoke", "-n", NAMESPACE];
        let token = member.cluster().kubectl(&token, None).await?;
        let kubeconfig = member.cluster().kubeconfig_for("thief", token.trim())?;
        Ok(Self { kubectl: fleet.ground().programs().path("kubectl"), kubeconfig })
    }

    /// What the API server says to a creation that it would not store; `Err` is its refusal.
    async fn tries(&self, object: &Value) -> Result<String, String> {
        self.kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&object.to_string())).await
    }

    async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        let kubeconfig = Path::new(&self.kubeconfig).to_string_lossy().into_owned();
        let arguments = [&["--kubeconfig", kubeconfig.as_str()][..], arguments].concat();
        command::run(&self.kubectl, &arguments, input).await.map_err(|error| error.said)
    }
}

/// Waits until the API server refuses an attempt in these words. It reads roles and policies a moment after they are
/// stored, each policy by itself: until then it takes the attempt, or refuses it for another reason.
async fn refuses<A: Future<Output = Result<String, String>>>(
    fleet: &Fleet,
    attempt: &str,
    refused: impl Fn(&str) -> bool,
    attempts: impl Fn() -> A,
) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{attempt} is refused"), SOON, || async {
            match attempts().await {
                Ok(said) => Err(Failure::new(format!("it is taken: {said}"))),
                Err(said) if refused(&said) => Ok(()),
                Err(said) => Err(Failure::new(format!("it is refused otherwise: {said}"))),
            }
        })
        .await
}

fn object(api: &str, kind: &str, more: &Value) -> Value {
    let owner = json!([{"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": "llama", "uid": "u1", "controller": true}]);
    let mut object = json!({"apiVersion": api, "kind": kind,
        "metadata": {"name": "llama", "namespace": MODELS, "ownerReferences": owner}});
    merge(&mut object, more);
    object
}

/// Puts `more` over `whole`; null takes a field away.
fn merge(whole: &mut Value, more: &Value) {
    match (whole, more) {
        (Value::Object(whole), Value::Object(more)) => {
            for (key, value) in more {
                if value.is_null() {
                    whole.remove(key);
                } else {
                    merge(whole.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (whole, more) => *whole = more.clone(),
    }
}

/// The specification of a pod that nobody minds, with more of it.
fn pod(more: &Value) -> Value {
    let mut pod = json!({"serviceAccountName": "llama", "containers": [{"name": "c", "image": "nvcr.io/nim/meta/llama:1"}]});
    merge(&mut pod, more);
    pod
}

fn deployment(more: &Value) -> Value {
    let labels = json!({"app": "llama"});
    let spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod(more)}});
    object("apps/v1", "Deployment", &json!({"spec": spec}))
}

fn container(more: &Value) -> Value {
    let mut container = json!({"name": "c", "image": "nvcr.io/nim/meta/llama:1"});
    merge(&mut container, more);
    json!({"containers": [container]})
}

/// Objects with what of the refusal has to be said.
#[allow(clippy::too_many_lines, reason = "a table: one row per attack")]
fn attacks() -> Vec<(Value, &'static str)> {
    let evil = json!({"containers": [{"name": "c", "image": "evil.example/miner:1"}]});
    let image = "image evil.example/miner:1: limits.images";
    let group = |leader: &Value, worker: &Value| {
        let spec = json!({"leaderWorkerTemplate": {"size": 2, "leaderTemplate": {"spec": leader}, "workerTemplate": {"spec": worker}}});
        object("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", &json!({"spec": spec}))
    };
    let job = |more: &Value| {
        let mut pod = pod(more);
        pod["restartPolicy"] = json!("Never");
        object("batch/v1", "Job", &json!({"spec": {"template": {"spec": pod}}}))
    };
    let predictor = |more: &Value| {
        object("serving.kserve.io/v1beta1", "InferenceService", &json!({"spec": {"predictor": pod(more)}}))
    };
    let role = |rules: Value| object("rbac.authorization.k8s.io/v1", "Role", &json!({"rules": rules}));
    let binding = |role: &str, kind: &str, account: &str| {
        let group = "rbac.authorization.k8s.io";
        let bound = json!({"roleRef": {"apiGroup": group, "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": MODELS}]});
        object("rbac.authorization.k8s.io/v1", "RoleBinding", &bound)
    };
    let annotated = |part: &str, key: &str| {
        let mut object = deployment(&json!({}));
        object.pointer_mut(part).unwrap()["annotations"] = json!({key: "x"});
        object
    };
    let namespace = |level: &str| {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": labels}})
    };
    let (rights, role_words) = ("more rights than its image", "grants what no NIM object needs");
    vec![
        (deployment(&evil), image),
        (deployment(&json!({"initContainers": [{"name": "i", "image": "evil.example/miner:1"}]})), image),
        (
            deployment(&json!({"containers": [{"name": "c", "image": "nvcr.io.evil.example/x"}]})),
            "limits.images",
        ),
        (object("v1", "Pod", &json!({"spec": pod(&evil)})), image),
        (job(&evil), image),
        (group(&pod(&json!({})), &pod(&evil)), image),
        (group(&pod(&evil), &pod(&json!({}))), image),
        (predictor(&evil), image),
        (deployment(&json!({"serviceAccountName": "cluster-admin"})), "serviceAccountName is not that of"),
        (deployment(&json!({"serviceAccountName": null})), "serviceAccountName is not that of"),
        (predictor(&json!({"serviceAccountName": "cluster-admin"})), "serviceAccountName is not that of"),
        (deployment(&json!({"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]})), "limits.hostPaths"),
        (
            deployment(&json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]})),
            "never mounts",
        ),
        (deployment(&json!({"hostPID": true})), "hostPID or hostIPC"),
        (deployment(&json!({"hostIPC": true})), "hostPID or hostIPC"),
        (deployment(&json!({"hostNetwork": true})), "limits.hostNetwork"),
        (
            deployment(&container(&json!({"ports": [{"containerPort": 1, "hostPort": 1}]}))),
            "limits.hostNetwork",
        ),
        (
            deployment(&container(&json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}))),
            rights,
        ),
        (deployment(&container(&json!({"securityContext": {"runAsUser": 0}}))), rights),
        (
            deployment(&container(&json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}))),
            rights,
        ),
        (deployment(&container(&json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}))), rights),
        (deployment(&json!({"securityContext": {"runAsUser": 0}})), "a pod has more rights"),
        (deployment(&json!({"priorityClassName": "system-node-critical"})), "a pod has more rights"),
        (annotated("/metadata", "nginx.ingress.kubernetes.io/server-snippet"), "limits.annotations"),
        (
            annotated("/spec/template/metadata", "vault.hashicorp.com/agent-inject"),
            "vault.hashicorp.com/agent-inject",
        ),
        (
            object(
                "apps/v1",
                "Deployment",
                &json!({"metadata": {"ownerReferences": null}, "spec": deployment(&json!({}))["spec"]}),
            ),
            "no NIM object is the controller",
        ),
        (
            object(
                "apps/v1",
                "Deployment",
                &json!({"metadata": {"namespace": "kube-system"}, "spec": deployment(&json!({}))["spec"]}),
            ),
            "namespace kube-system is not one of limits.namespaces",
        ),
        (
            object("v1", "Service", &json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}})),
            "limits.serviceTypes",
        ),
        (role(json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}])), role_words),
        (
            role(
                json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}]),
            ),
            role_words,
        ),
        (binding("nimfleet-spoke", "ClusterRole", "llama"), "does not bind the Role of its own name"),
        (binding("llama", "Role", "somebody"), "does not bind the Role of its own name"),
        (binding("other", "Role", "llama"), "does not bind the Role of its own name"),
        (
            object(
                "apps.nvidia.com/v1alpha1",
                "NIMService",
                &json!({"metadata": {"ownerReferences": null}, "spec": {
            "image": {"repository": "r", "tag": "t"}, "authSecret": "s", "storage": {"emptyDir": {}},
            "expose": {"service": {"port": 8000}}}}),
            ),
            "nimfleet.io/delivered=true",
        ),
        (namespace("privileged"), "would take privileged pods"),
    ]
}

#[tokio::test]
async fn the_spokes_own_token_cannot_write_what_the_limits_deny() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).not_joined().start().await?;
    let east = fleet.cluster("east")?;
    foreign::install(east.cluster(), &["LeaderWorkerSet", "InferenceService"]).await?;
    for namespace in [MODELS, "kept"] {
        east.cluster().kubectl(&["create", "namespace", namespace], None).await?;
    }
    // The API server lets no pod in whose account is missing.
    east.cluster().kubectl(&["create", "serviceaccount", "llama", "-n", MODELS], None).await?;
    // What nobody holds cannot be bound or passed on either way; the attacks are with what the spoke holds and is there.
    for role in ["llama", "other"] {
        let arguments = ["create", "role", role, "-n", MODELS, "--verb=get", "--resource=pods"];
        east.cluster().kubectl(&arguments, None).await?;
    }
    let thief = Thief::of(&fleet, east).await?;

    let pods = object("v1", "Pod", &json!({"spec": pod(&json!({}))}));
    let granted = json!({"metadata": {"name": "granted"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]});
    let role = object("rbac.authorization.k8s.io/v1", "Role", &granted);
    let service = object("v1", "Service", &json!({"spec": {"ports": [{"port": 1}]}}));
    let mut own = deployment(&json!({}));
    own["metadata"]["annotations"] = json!({"nimfleet.io/desired-hash": "x"});
    own["spec"]["template"]["metadata"]["annotations"] = json!({"openshift.io/required-scc": "nonroot"});
    let mut allowed = deployment(&json!({}));
    allowed["spec"]["template"]["metadata"]["annotations"] = json!({"autoscaling.knative.dev/target": "1"});
    for (object, words) in attacks() {
        let refused = |said: &str| said.contains("ValidatingAdmissionPolicy") && said.contains(words);
        refuses(&fleet, &object.to_string(), refused, || thief.tries(&object)).await?;
    }
    // By now every policy is in force; what nobody minds is taken.
    for object in [pods, role, service, own, allowed] {
        thief.tries(&object).await.map_err(|said| Failure::new(format!("{object}: {said}")))?;
    }

    // A limit that was narrowed keeps what runs: it is scaled, and gets no new pods.
    let mut kept = deployment(&json!({"hostNetwork": true}));
    // Without an owner, which the garbage collector would look for.
    merge(&mut kept, &json!({"metadata": {"namespace": "kept", "ownerReferences": null}}));
    east.cluster().kubectl(&["create", "-f", "-"], Some(&kept.to_string())).await?;
    let patch = |change: &str| {
        let change = change.to_owned();
        let thief = &thief;
        async move {
            thief
                .kubectl(&["patch", "deployment", "llama", "-n", "kept", "--type=merge", "-p", &change], None)
                .await
        }
    };
    patch(r#"{"spec": {"replicas": 3}}"#).await.map_err(Failure::new)?;
    let said = patch(
        r#"{"spec": {"template": {"spec": {"serviceAccountName": "llama", "priorityClassName": ""}}}}"#,
    )
    .await;
    said.map_err(Failure::new)?;
    let change = r#"{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}"#;
    let said = patch(change).await.expect_err("a new template");
    assert!(said.contains("no NIM object is the controller"), "{said}");

    // What a namespace asks of its pods stays as its people have said.
    let label = ["label", "namespace", MODELS, "pod-security.kubernetes.io/enforce=privileged"];
    let said = thief.kubectl(&label, None).await.expect_err("a loosened namespace");
    assert!(said.contains("not nimfleet-spoke's to change"), "{said}");

    both_ways(&fleet, east).await
}

/// With the policies in force a hub's sample serves, and so does an object of the cluster's own people beyond the limits.
async fn both_ways(fleet: &Fleet, east: &Member) -> Result<(), Failure> {
    let beyond = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": {"name": "own", "namespace": MODELS},
        "spec": {
            "image": {"repository": "registry.example/own", "tag": "1"}, "authSecret": "s",
            "storage": {"hostPath": "/data"}, "expose": {"service": {"port": 8000, "type": "NodePort"}},
            "annotations": {"example.com/team": "a"}, "resources": {"limits": {"nvidia.com/gpu": 1}},
        },
    });
    objects::apply(east.cluster(), &beyond.to_string()).await?;
    fleet.join("east").await?;
    sample::place(fleet, sample::NAME, &json!({})).await?;
    for (name, namespace) in [("own", MODELS), (sample::NAME, sample::NAMESPACE)] {
        fleet
            .eventually(&format!("{name} is Ready"), SOON * 2, || async {
                let found = objects::get(east.cluster(), "NIMService", namespace, name).await?;
                objects::expect(&found, "Ready", "True")
            })
            .await?;
        let made = objects::get(east.cluster(), "Deployment", namespace, name).await?;
        let mark = &made["metadata"]["annotations"]["nimfleet.io/local"];
        assert_eq!(mark.is_string(), name == "own", "{name}: {mark}");
    }
    Ok(())
}

#[tokio::test]
async fn the_spoke_makes_tokens_for_endpoints_of_models_alone() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").not_joined().start().await?;
    let east = fleet.cluster("east")?;
    let cluster = east.cluster();
    cluster.kubectl(&["create", "namespace", MODELS], None).await?;
    for account in ["llama", "admin"] {
        cluster.kubectl(&["create", "serviceaccount", account, "-n", MODELS], None).await?;
    }
    let thief = Thief::of(&fleet, east).await?;
    let make = |account: &'static str, audience: &'static str, lasts: &'static str| {
        let thief = &thief;
        async move {
            let arguments =
                ["create", "token", account, "-n", MODELS, "--audience", audience, "--duration", lasts];
            thief.kubectl(&arguments, None).await
        }
    };
    let own = "https://llama-predictor.models.svc.cluster.local";
    let said = make("llama", own, "10m").await.expect_err("a token that the chart does not grant");
    assert!(said.contains("cannot create resource \"serviceaccounts/token\""), "not by default: {said}");

    // An owner who sets rbac.modelTokens grants no more than that.
    let rule = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "tokens"},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]});
    cluster.kubectl(&["create", "-f", "-"], Some(&rule.to_string())).await?;
    let bound = [
        "create",
        "clusterrolebinding",
        "tokens",
        "--clusterrole=tokens",
        "--serviceaccount=nimfleet:nimfleet-spoke",
    ];
    cluster.kubectl(&bound, None).await?;
    for (account, audience, lasts) in [
        ("admin", "https://kubernetes.default.svc", "10m"),
        ("admin", "https://llama.models.svc", "10m"),
        ("llama", "https://llama.other.svc", "10m"),
        ("llama", "https://evil.example", "10m"),
        ("llama", own, "1h"),
    ] {
        let refused = |said: &str| said.contains("nimfleet-spoke makes no other");
        refuses(&fleet, &format!("{account} {audience}"), refused, || make(account, audience, lasts)).await?;
    }
    let token = make("llama", own, "10m").await.map_err(Failure::new)?;
    // The token that it does make opens nothing here.
    let kubeconfig = cluster.kubeconfig_for("model", token.trim())?;
    let arguments = ["--kubeconfig", &kubeconfig.to_string_lossy(), "get", "namespaces"];
    let said = command::run(&thief.kubectl, &arguments, None).await.expect_err("a foreign audience").said;
    assert!(said.contains("Unauthorized") || said.contains("must be logged in"), "{said}");
    Ok(())
}

/// What security context constraints of OpenShift 4 say, as far as pods of a chart can differ from it.
struct Constraints {
    /// A user may be named; otherwise the namespace's range is meant, which no chart knows.
    any_user: bool,
    volumes: &'static [&'static str],
}

/// The constraints that every account may use.
const RESTRICTED_V2: Constraints = Constraints { any_user: false, volumes: VOLUMES };
/// The same for pods that name a user other than root.
const NONROOT_V2: Constraints = Constraints { any_user: true, volumes: VOLUMES };
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl Constraints {
    /// What of a pod they refuse. Both demand the profile of the runtime, no capability and no way to more rights.
    fn refuse(&self, pod: &Value) -> Vec<String> {
        let mut refused = Vec::new();
        let of_pod = &pod["securityContext"];
        for container in ["initContainers", "containers"]
            .iter()
            .flat_map(|list| pod[*list].as_array().into_iter().flatten())
        {
            let own = &container["securityContext"];
            for (holder, context) in [("pod", of_pod), ("container", own)] {
                let names_user =
                    ["runAsUser", "runAsGroup", "fsGroup"].iter().any(|field| !context[*field].is_null());
                if (names_user && !self.any_user) || context["runAsUser"] == 0 {
                    refused.push(format!("{holder}: {context}"));
                }
            }
            let drops = own["capabilities"]["drop"] == json!(["ALL"]) && own["capabilities"]["add"].is_null();
            if !drops || own["allowPrivilegeEscalation"] != json!(false) || own["privileged"] == json!(true) {
                refused.push(own.to_string());
            }
        }
        if of_pod["seccompProfile"]["type"] != "RuntimeDefault" || pod["hostNetwork"] == json!(true) {
            refused.push(of_pod.to_string());
        }
        for volume in pod["volumes"].as_array().into_iter().flatten().filter_map(Value::as_object) {
            let foreign = |field: &&String| *field != "name" && !self.volumes.contains(&field.as_str());
            refused.extend(volume.keys().filter(foreign).cloned());
        }
        refused
    }
}

#[tokio::test]
async fn the_charts_own_pods_are_let_in_by_what_every_account_may_use_on_openshift() -> Result<(), Failure> {
    let programs = tokio::task::spawn_blocking(e2e::controlplane::Programs::ready).await??;
    let hash = format!("hub.caHash=sha256:{}", "0".repeat(64));
    let spoke = ["--set", "cluster.name=east,hub.address=hub.example:7443", "--set", &hash];
    let hub = ["--set", "link.advertise=hub.example:7443"];
    for (chart, values) in [("nimfleet-spoke", &spoke[..]), ("nimfleet-hub", &hub[..])] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(chart);
        let folder = folder.to_string_lossy().into_owned();
        let pods = async |more: &[&str]| -> Result<Value, Failure> {
            let show = ["template", "nimfleet", &folder, "--show-only", "templates/deployment.yaml"];
            let text =
                command::run(&programs.path("helm"), &[&show[..], values, more].concat(), None).await?;
            let deployment: Value = serde_saphyr::from_str(&text)?;
            Ok(deployment["spec"]["template"]["spec"].clone())
        };
        let openshift = pods(&["--api-versions", "security.openshift.io/v1"]).await?;
        assert_eq!(RESTRICTED_V2.refuse(&openshift), Vec::<String>::new(), "{chart}");
        assert_eq!(openshift["securityContext"]["runAsNonRoot"], true, "{chart}");
        let elsewhere = pods(&[]).await?;
        assert_eq!(NONROOT_V2.refuse(&elsewhere), Vec::<String>::new(), "{chart}");
        assert_eq!(
            elsewhere["securityContext"]["runAsUser"], 65532,
            "{chart}: a namespace that demands it takes it"
        );
        assert!(
            !RESTRICTED_V2.refuse(&elsewhere).is_empty(),
            "{chart}: the check tells users that are named"
        );
    }
    Ok(())
}

#[tokio::test]
async fn rights_follow_the_namespaces_and_wildcards_are_refused() -> Result<(), Failure> {
    let programs = tokio::task::spawn_blocking(e2e::controlplane::Programs::ready).await??;
    let hash = format!("hub.caHash=sha256:{}", "0".repeat(64));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/nimfleet-spoke");
    let folder = folder.to_string_lossy().into_owned();
    let roles = async |namespaces: &str| {
        let limits = format!("limits.namespaces.allowed={namespaces}");
        let arguments = [
            "template",
            "nimfleet",
            &folder,
            "--show-only",
            "templates/roles.yaml",
            "--set",
            "cluster.name=east,hub.address=hub.example:7443,rbac.scope=namespaces,rbac.nemo=true",
            "--set",
            &hash,
            "--set-json",
            &limits,
        ];
        command::run(&programs.path("helm"), &arguments, None).await
    };
    let said = roles(r#"["models", "team-*"]"#).await.expect_err("a wildcard").said;
    for words in ["limits.namespaces.allowed", "\"team-*\"", "list them by name", "rbac.scope=cluster"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let text = roles(r#"["models", "nemo"]"#).await?;
    let mut named = Vec::new();
    for role in serde_saphyr::from_multiple::<Value>(&text)? {
        assert_ne!(role["rules"].as_array().map_or(0, Vec::len), 0, "{role}");
        if role["kind"] == "Role" {
            named.push(role["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
            continue;
        }
        for rule in role["rules"].as_array().into_iter().flatten() {
            let only_reads =
                |verb: &Value| ["get", "list", "watch", "use"].contains(&verb.as_str().unwrap_or_default());
            assert!(
                rule["verbs"].as_array().is_some_and(|verbs| verbs.iter().all(only_reads)),
                "a write everywhere: {rule}"
            );
            let secrets = rule["resources"].as_array().is_some_and(|all| all.contains(&json!("secrets")));
            assert!(!secrets, "Secrets everywhere: {rule}");
        }
    }
    named.sort();
    // The first is the release's own namespace.
    assert_eq!(named, ["default", "models", "nemo"]);
    Ok(())
}
