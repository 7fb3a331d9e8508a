//! What a replica over several nodes becomes.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::operator::engine::child::Keep;

/// A service over several nodes with all that it finds.
fn over(patch: Value, refs: Refs) -> Rendered<Verdict> {
    let mut spec = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}});
    for (key, value) in patch.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    NimServices::render(&service(spec), &subject(), &refs, &ClusterFacts::default())
}

fn found(pods: Value) -> Refs {
    Refs { claims: claims::Seen::of_group(b"key", pods), ..Refs::default() }
}

fn mpi(patch: Value) -> Rendered<Verdict> {
    over(patch, found(Value::Null))
}

fn template(rendered: &Rendered<Verdict>) -> Value {
    child(&rendered.children, ChildKind::LeaderWorkerSet)["spec"]["leaderWorkerTemplate"].clone()
}

fn named<'a>(rendered: &'a Rendered<Verdict>, name: &str) -> &'a Child {
    rendered.children.iter().find(|one| one.name == name).unwrap()
}

#[test]
fn accept_lws_mpi_and_ray() {
    let by_mpi = mpi(json!({"authSecret": "s"}));
    assert!(by_mpi.complete);
    assert!(!by_mpi.children.iter().any(|one| one.kind == ChildKind::Deployment));
    insta::assert_json_snapshot!("mpi", child(&by_mpi.children, ChildKind::LeaderWorkerSet));
    let shape = json!({"parallelism": {"pipeline": 3, "tensor": 8}, "ray": {"rayPort": 6380}});
    let by_ray = over(json!({"multiNode": shape}), Refs::default());
    insta::assert_json_snapshot!("ray", child(&by_ray.children, ChildKind::LeaderWorkerSet));
    let of_mpi = [ChildKind::ConfigMap, ChildKind::Secret];
    assert!(
        !by_ray.children.iter().any(|one| of_mpi.contains(&one.kind)),
        "Ray needs neither hosts nor keys"
    );
}

#[test]
fn b06_one_node_is_served_by_a_deployment() {
    for parallelism in [json!({"pipeline": 1, "tensor": 8}), json!({"tensor": 8}), json!({})] {
        let rendered = rendered(json!({"multiNode": {"parallelism": parallelism}}), None);
        assert!(matches!(rendered.verdict, Verdict::Complete { workload: ChildKind::Deployment }));
        assert!(!rendered.children.iter().any(|one| one.kind == ChildKind::LeaderWorkerSet));
        let selector = &child(&rendered.children, ChildKind::Service)["spec"]["selector"];
        let pod = &child(&rendered.children, ChildKind::Deployment)["spec"]["template"]["metadata"]["labels"];
        assert!(selector.as_object().unwrap().iter().all(|(key, value)| &pod[key] == value), "{selector}");
    }
}

#[test]
fn b06_absent_replicas_are_one_group() {
    let mut bare = service(json!({"multiNode": {"parallelism": {"pipeline": 2}}}));
    bare.spec.replicas = None;
    let rendered = NimServices::render(&bare, &subject(), &found(Value::Null), &ClusterFacts::default());
    let set = named(&rendered, "llama-lws");
    let stamped = set.stamped(&subject().owner);
    assert_eq!(set.sent(&stamped, None)["spec"]["replicas"], 1);
    let live = json!({"spec": {"replicas": 3}});
    assert_eq!(set.sent(&stamped, Some(&live))["spec"]["replicas"], 3, "it is left to whoever scales it");
    assert!(named(&rendered, "llama-mpi-config").body["data"]["hostfile-0"].is_string());
}

#[test]
fn b06_hostfiles_follow_the_number_of_groups() {
    for replicas in [0, 2, 3] {
        let rendered = mpi(json!({"replicas": replicas}));
        let hosts = named(&rendered, "llama-mpi-config");
        assert_eq!(hosts.keep, Keep::Owned, "a ConfigMap that is there is updated");
        let files: Vec<_> = hosts.body["data"].as_object().into_iter().flatten().collect();
        assert_eq!(files.len(), replicas);
        for (group, (name, text)) in files.into_iter().enumerate() {
            assert_eq!(name, &format!("hostfile-{group}"));
            let expected = format!("localhost slots=8\nllama-lws-{group}-1.llama-lws.models.svc slots=8\n");
            assert_eq!(text, &json!(expected));
        }
    }
}

#[test]
fn b06_the_script_may_be_executed() {
    let pods = template(&mpi(json!({})));
    for role in ["leaderTemplate", "workerTemplate"] {
        let volumes = pods[role]["spec"]["volumes"].as_array().unwrap();
        let script = volumes.iter().find(|volume| volume["name"] == "start-mpi-script").unwrap();
        assert_eq!(script["configMap"]["defaultMode"], 0o555);
        let key = volumes.iter().find(|volume| volume["name"] == "ssh-pk").unwrap();
        assert_eq!(key["secret"]["defaultMode"], 0o400, "SSH refuses keys that others may read");
    }
}

#[test]
fn b23_pods_of_groups_have_all_that_the_spec_asks_for() {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}});
    let pods = template(&mpi(json!({
        "affinity": affinity, "runtimeClassName": "nvidia", "command": ["run"], "args": ["it"],
        "schedulerName": "gang", "labels": {"team": "a", "app": "x", "nim-llm-role": "leader"},
        "expose": {"service": {"port": 8000, "grpcPort": 8001}},
    })));
    for (role, container) in [("leader", "nim-leader"), ("worker", "nim-worker")] {
        let template = &pods[format!("{role}Template")];
        let pod = &template["spec"];
        assert_eq!(pod["serviceAccountName"], "llama", "{role}");
        assert_eq!(pod["affinity"], affinity);
        assert_eq!(pod["runtimeClassName"], "nvidia");
        let serving = &pod["containers"][0];
        assert_eq!(serving["name"], container);
        assert_eq!(serving["imagePullPolicy"], "IfNotPresent");
        assert_eq!((&serving["command"], &serving["args"]), (&json!(["run"]), &json!(["it"])));
        let labels = &template["metadata"]["labels"];
        assert_eq!((&labels["team"], &labels["app.kubernetes.io/name"]), (&json!("a"), &json!("llama")));
        assert_eq!(labels["nim-llm-role"], role, "a worker is never taken for a leader");
    }
    assert_eq!(pods["leaderTemplate"]["metadata"]["labels"]["app"], "llama-lws");
    assert_eq!(pods["leaderTemplate"]["spec"]["containers"][0]["ports"][1]["name"], "grpc");
    for role in ["leaderTemplate", "workerTemplate"] {
        assert_eq!(pods[role]["spec"]["schedulerName"], "gang", "a gang scheduler places the whole group");
    }
}

#[test]
fn b23_models_from_hugging_face_get_their_environment() {
    let source = json!({"spec": {"source": {"hf": {"endpoint": "https://h", "namespace": "meta", "modelName": "m", "authSecret": "a", "modelPuller": "p", "pullSecret": "s"}}}});
    let refs = Refs { cache: Some(cache(source)), ..found(Value::Null) };
    let pods = template(&over(from_cache(), refs));
    for role in ["leaderTemplate", "workerTemplate"] {
        let environment = env(&pods[role]["spec"]["containers"][0]);
        assert_eq!(environment["NIM_MODEL_PATH"]["value"], "hf://meta/m", "{role}");
        assert!(environment.contains_key("HF_TOKEN") && environment.contains_key("NIM_NODE_RANK"));
    }
}

#[test]
fn containers_beside_know_their_group() {
    let beside = json!([{"name": "beside", "image": {"repository": "r", "tag": "t"}, "env": [{"name": "NIM_MULTI_NODE", "value": "mine"}]}]);
    let patch =
        json!({"sidecarContainers": beside, "initContainers": beside, "proxy": {"certConfigMap": "ca"}});
    let pods = template(&mpi(patch));
    let pod = &pods["workerTemplate"]["spec"];
    for (one, mode) in [
        (&pod["containers"][1], "mine"),
        (&pod["initContainers"][1], "mine"),
        (&pod["initContainers"][0], "1"),
    ] {
        let environment = env(one);
        assert_eq!(environment["NIM_MULTI_NODE"]["value"], mode);
        assert!(environment.contains_key("NIM_NODE_RANK") && !environment.contains_key("NIM_LEADER_ROLE"));
    }
}

#[test]
fn pods_of_the_nim_operator_are_not_restarted() {
    let recorded: Value = serde_json::from_str(include_str!("taken_over.json")).unwrap();
    let mut subject = subject();
    subject.owner.name = "deepseek-r1".into();
    let with = |patch: &[(&str, Value)], pods: &Value| {
        let mut spec = recorded["spec"].clone();
        for (field, value) in patch {
            spec[*field] = value.clone();
        }
        let mut service = service(json!({}));
        service.spec = serde_json::from_value(spec).unwrap();
        template(&NimServices::render(&service, &subject, &found(pods.clone()), &ClusterFacts::default()))
    };
    let theirs = &recorded["pods"];
    assert_eq!(&with(&[], theirs), theirs, "an unchanged service goes on as it is");
    assert_eq!(&with(&[("replicas", json!(3))], theirs), theirs, "more groups of the same pods");
    // From 3.1.3 on the key of NGC is optional in what they write.
    let text =
        theirs.to_string().replace("\"key\":\"NGC_API_KEY\"", "\"key\":\"NGC_API_KEY\",\"optional\":true");
    let newer: Value = serde_json::from_str(&text).unwrap();
    assert_ne!(newer, *theirs);
    assert_eq!(with(&[], &newer), newer, "and those go on as well");
    let anew = with(&[], &Value::Null);
    for (field, value) in
        [("runtimeClassName", json!("nvidia")), ("userID", json!(5)), ("command", json!(["run"]))]
    {
        let changed = with(&[(field, value)], theirs);
        assert_eq!(changed["workerTemplate"]["spec"]["serviceAccountName"], "deepseek-r1", "{field}");
        assert_ne!(changed, anew, "{field}");
    }
    assert_eq!(with(&[], &anew), anew, "what is complete stays so");
}

/// What is reported of two groups of two nodes whose LeaderWorkerSet and pods are these.
fn told(live: Value, pods: &[(u32, u32, bool)]) -> Value {
    told_of(&subject(), live, pods).status
}

fn told_of(subject: &Subject, live: Value, pods: &[(u32, u32, bool)]) -> Report {
    let service = service(json!({"replicas": 2, "multiNode": {"parallelism": {"pipeline": 2}}}));
    let refs = Refs { claims: claims::Seen::of_group_with(b"key", pods), ..Refs::default() };
    let rendered = NimServices::render(&service, subject, &refs, &ClusterFacts::default());
    let mut outcome = Outcome::default();
    let live = Arc::new(serde_json::from_value(live).unwrap());
    outcome.live.insert((ChildKind::LeaderWorkerSet, "llama-lws".into()), live);
    NimServices::report(&service, subject, &refs, &rendered, &outcome)
}

#[test]
fn counts_that_may_be_of_the_spec_before_make_nothing_ready() {
    let counted = json!({"readyReplicas": 2, "updatedReplicas": 2, "conditions": available("True")});
    let changed = Subject { known_for: Duration::from_secs(2), ..subject() };
    let found = told_of(&changed, set(2, counted.clone()), &[]);
    assert_eq!((&found.status["state"], &found.status["availableReplicas"]), (&json!("NotReady"), &json!(2)));
    assert!(found.status.to_string().contains("spec update to be observed"), "{}", found.status);
    assert_eq!(found.again, Again::After(Duration::from_secs(3)));
    // A restart of the operator is no change; and LeaderWorkerSet 0.9 says what it counted.
    let status = told(set(2, counted.clone()), &[]);
    let restarted = Subject { status, known_for: Duration::ZERO, ..subject() };
    assert_eq!(told_of(&restarted, set(2, counted.clone()), &[]).status["state"], "Ready");
    let mut observed = counted;
    observed["observedGeneration"] = json!(3);
    assert_eq!(told_of(&changed, set(2, observed), &[]).status["state"], "Ready");
}

fn set(replicas: i32, status: Value) -> Value {
    let spec = json!({"replicas": replicas, "leaderWorkerTemplate": {"size": 2}});
    json!({"metadata": {"name": "llama-lws", "generation": 3}, "spec": spec, "status": status})
}

fn available(status: &str) -> Value {
    json!([{"type": "Available", "status": status}])
}

#[test]
fn status_counts_groups() {
    let report = |status: Value, replicas: i32| told(set(replicas, status), &[]);
    let some = report(json!({"readyReplicas": 1, "updatedReplicas": 2, "conditions": available("False")}), 2);
    assert_eq!((&some["state"], &some["availableReplicas"]), (&json!("NotReady"), &json!(1)));
    let message = some["conditions"][0]["message"].as_str().unwrap();
    assert_eq!(message, "leaderworkerset \"llama-lws\" is not ready: 1 of 2 groups are ready");
    let all = report(json!({"readyReplicas": 2, "updatedReplicas": 2, "conditions": available("True")}), 2);
    assert_eq!((&all["state"], &all["availableReplicas"]), (&json!("Ready"), &json!(2)));
    let none = report(json!({"readyReplicas": 1, "conditions": available("True")}), 0);
    assert_eq!(
        (&none["state"], &none["availableReplicas"]),
        (&json!("NotReady"), &Value::Null),
        "scaled down"
    );
    assert_eq!(report(json!({}), 2)["state"], "NotReady");
}

#[test]
fn a_group_counts_when_its_leader_and_all_its_pods_are_ready() {
    // As LeaderWorkerSet 0.8.0 says it while a worker of the second group finds no node.
    let status = json!({
        "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "hpaPodSelector": "",
        "conditions": available("True"),
    });
    let pods = [(0, 0, true), (0, 1, true), (1, 0, true), (1, 1, false)];
    let found = told(set(2, status.clone()), &pods);
    assert_eq!((&found["state"], &found["availableReplicas"]), (&json!("NotReady"), &json!(1)));
    let pods = pods.map(|(group, worker, _)| (group, worker, true));
    let found = told(set(2, status), &pods);
    assert_eq!((&found["state"], &found["availableReplicas"]), (&json!("Ready"), &json!(2)));
}

#[test]
fn available_of_an_older_spec_is_not_believed() {
    for (case, replicas, ready, updated) in [
        ("from 0 to 1", 1, 0, 0),
        ("from 2 to 3", 3, 2, 2),
        ("a new template in the first of two groups", 2, 2, 1),
    ] {
        let status = json!({
            "replicas": ready, "readyReplicas": ready, "updatedReplicas": updated,
            "conditions": available("True"),
        });
        let found = told(set(replicas, status), &[]);
        assert_eq!(found["state"], "NotReady", "{case}: {found}");
        let message = found["conditions"][0]["message"].as_str().unwrap();
        assert!(message.contains("is not ready"), "{case}: {message}");
    }
    let seen = json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2,
        "conditions": available("True")});
    assert_eq!(told(set(2, seen), &[])["state"], "NotReady", "0.9 tells of which generation it speaks");
}

#[test]
fn labels_of_kueue_stay_on_the_set() {
    let labels = json!({
        "kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "high", "team": "a",
    });
    let rendered = mpi(json!({"labels": labels}));
    let set = child(&rendered.children, ChildKind::LeaderWorkerSet);
    for key in ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"] {
        assert!(set["metadata"]["labels"][key].is_string(), "{key}");
        for role in ["leaderTemplate", "workerTemplate"] {
            let of_pods = &set["spec"]["leaderWorkerTemplate"][role]["metadata"]["labels"];
            assert!(of_pods.get(key).is_none(), "{role} {key}");
            assert_eq!(of_pods["team"], "a");
        }
    }
}
