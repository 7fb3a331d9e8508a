//! Workloads: what they require, what of a claim is taken on, and when their pods are replaced.

use serde_json::json;

use super::*;
use crate::operator::cluster::Platform;
use crate::operator::engine::template::APPLIED;

/// ServiceAccount, Role, RoleBinding and a Deployment that runs with it, a Service and an Ingress that leads to it.
pub(super) fn service() -> Vec<Child> {
    let subject = json!({"kind": "ServiceAccount", "name": "n", "namespace": "ns"});
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "n"});
    let with = |kind: ChildKind, fields: &Value| {
        let mut body = child(kind, Keep::Owned, &json!({})).body;
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Child::new(kind, "n", Keep::Owned, &body)
    };
    let pod = json!({"serviceAccountName": "n", "containers": [{"name": "c", "image": "i"}]});
    let path = json!({"backend": {"service": {"name": "n"}}});
    vec![
        with(ChildKind::Ingress, &json!({"spec": {"rules": [{"http": {"paths": [path]}}]}})),
        with(ChildKind::Deployment, &json!({"spec": {"template": {"spec": pod}}})),
        with(ChildKind::RoleBinding, &json!({"roleRef": role_ref, "subjects": [subject]})),
        with(ChildKind::Role, &json!({"rules": []})).requiring(ChildKind::ServiceAccount, "n"),
        with(ChildKind::Service, &json!({})),
        with(ChildKind::ServiceAccount, &json!({})),
    ]
}

#[tokio::test]
async fn pods_are_made_when_all_they_require_is_there_and_the_rest_in_a_turn_of_its_own() {
    for platform in [Platform::Kubernetes, Platform::OpenShift] {
        let (client, asked) = server(|_, body| (201, body.clone()));
        let mut world = world(client, &[]);
        world.facts = watch::channel(ClusterFacts { platform, ..ClusterFacts::default() }).1;
        assert!(once(&world, &service()).await.unfinished);
        let first = ["POST serviceaccounts", "POST roles", "POST rolebindings", "PATCH deployments/n"];
        assert_eq!(lines(&asked), first, "each once");
        let outcome = once(&world, &service()).await;
        assert_eq!((outcome.unfinished, outcome.live.len()), (false, 6));
        assert_eq!(
            lines(&asked)[4..],
            ["POST services", "POST ingresses"],
            "a way in follows what it leads to"
        );
    }
}

#[tokio::test]
async fn nothing_is_written_that_requires_what_is_somebody_elses() {
    for (taken, made) in [
        ("serviceaccounts", &["services", "ingresses"][..]),
        ("roles", &["serviceaccounts", "services", "ingresses"][..]),
        ("rolebindings", &["serviceaccounts", "roles", "services", "ingresses"][..]),
        ("services", &["serviceaccounts", "roles", "rolebindings", "deployments"][..]),
    ] {
        let path = format!("POST {taken}");
        let (client, asked) = server(move |line, body| {
            if line == path {
                return refusal(409, "AlreadyExists", "it exists");
            }
            if line.starts_with("GET") {
                let theirs = json!({"name": "n", "uid": "x"});
                return (200, json!({"metadata": theirs, "apiVersion": "v1", "kind": "Other"}));
            }
            (201, body.clone())
        });
        let outcome = applied(&world(client, &[]), service()).await;
        let why = outcome.failure.unwrap();
        assert!(why.reason.ends_with("Conflict") && why.message.contains("rename or remove it"), "{why:?}");
        let mut wrote: Vec<String> = outcome.live.keys().map(|(kind, _)| kind.resource().plural).collect();
        let mut expected: Vec<&str> = made.to_vec();
        expected.sort_unstable();
        wrote.sort();
        assert_eq!(wrote, expected, "{taken}");
        let wrote: Vec<String> = lines(&asked).into_iter().filter(|line| !line.starts_with("GET")).collect();
        assert_eq!(wrote.len(), made.len() + 1, "{taken}: {wrote:?}");
    }
}

#[tokio::test]
async fn what_runs_is_told_and_not_written_while_its_account_is_somebody_elses() {
    let mut changed = service();
    let live = changed[1].clone();
    changed[1].body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
    let (client, asked) = server(|line, body| match line {
        "POST serviceaccounts" => refusal(409, "AlreadyExists", "it exists"),
        "GET serviceaccounts/n" => {
            (200, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "n"}}))
        }
        _ => (201, body.clone()),
    });
    let outcome = applied(&world(client, &[(ChildKind::Deployment, stored(&live))]), changed).await;
    assert_eq!(outcome.failure.unwrap().reason, "ServiceAccountConflict");
    assert!(outcome.live.contains_key(&(ChildKind::Deployment, "n".into())), "it runs on");
    assert!(!lines(&asked).iter().any(|line| line.contains("deployments")));
}

#[tokio::test]
async fn a_webhook_that_is_away_is_no_failure_and_what_runs_is_told() {
    for (code, words, reason) in [
        (500, "Internal error occurred: failed calling webhook \"m.kb.io\": connection refused", None),
        (503, "the server is currently unable to handle the request", None),
        (400, "admission webhook \"v.kb.io\" denied the request: no", Some("DeploymentFailed")),
        (500, "admission webhook \"v.kb.io\" denied the request: no", Some("DeploymentFailed")),
    ] {
        let mut changed = service();
        let live = changed[1].clone();
        changed[1].body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
        let (client, _) = server(move |line, body| match line {
            "PATCH deployments/n" => refusal(code, "InternalError", words),
            _ => (201, body.clone()),
        });
        let outcome = applied(&world(client, &[(ChildKind::Deployment, stored(&live))]), changed).await;
        assert!(outcome.live.contains_key(&(ChildKind::Deployment, "n".into())), "{words}: it runs on");
        if let Some(reason) = reason {
            let why = outcome.failure.unwrap();
            assert_eq!(why.reason, reason, "{words}");
            assert!(why.message.contains(words), "{}", why.message);
        } else {
            assert_eq!(outcome.failure, None, "{words}");
            let why = outcome.waits.unwrap();
            assert_eq!(why.reason, "NotApplied");
            assert!(why.message.starts_with("not applied yet: ") && why.message.contains(words), "{why:?}");
        }
    }
}

#[tokio::test]
async fn what_admission_changes_is_written_once_and_told_whatever_else_changes() {
    let image = "/spec/template/spec/containers/0/image";
    let mirrored = move |body: &Value| {
        let mut stored = body.clone();
        stored["metadata"]["uid"] = json!("c1");
        *stored.pointer_mut(image).unwrap() = json!("mirror/i");
        stored
    };
    let deployment = service().swap_remove(1);
    let (client, asked) = server(move |_, body| (200, mirrored(body)));
    let (settled, owner, inputs) = (Settled::default(), owner(), Inputs::default());
    let turn = async |live: Option<Value>, settled: &Settled, told: &str| {
        let live: Vec<_> = live.into_iter().map(|live| (ChildKind::Deployment, live)).collect();
        let world = world(client.clone(), &live);
        let applier = Applier { told, ..applier(&world, settled, &owner, &inputs) };
        applier.apply(&rendered(vec![deployment.clone()]), &[]).await
    };
    let first = turn(None, &settled, "").await;
    let line = "Deployment n: spec.template.spec.containers[c].image is changed by this cluster's admission to mirror/i";
    assert_eq!(first.mutated, [line]);
    let made = first.live.values().next().unwrap();
    let mut made = serde_json::to_value(made.as_ref()).unwrap();
    for version in 8..18 {
        made["metadata"]["resourceVersion"] = json!(version.to_string());
        made["status"] = json!({"replicas": 1, "observedGeneration": version});
        let outcome = turn(Some(made.clone()), &settled, line).await;
        assert_eq!((outcome.failure, outcome.mutated), (None, vec![line.to_owned()]), "{version}");
    }
    assert_eq!(lines(&asked), ["PATCH deployments/n"], "nothing is written again");
    turn(Some(made.clone()), &Settled::default(), line).await;
    assert_eq!(lines(&asked).len(), 1, "nor by a process that has just started");
    made["metadata"]["labels"] = json!({MANAGED_BY.0: MANAGED_BY.1, "app": "edited"});
    made["spec"]["template"]["spec"]["serviceAccountName"] = json!("edited");
    turn(Some(made), &settled, line).await;
    assert_eq!(lines(&asked), ["PATCH deployments/n"; 2], "an edit of another field is undone");
}

#[tokio::test]
async fn a_claim_that_was_left_behind_gets_its_owner_and_nothing_else() {
    let claim = child(ChildKind::PersistentVolumeClaim, Keep::MadeOrFound, &json!({}));
    let mut live = stored(&claim);
    live["metadata"]["ownerReferences"] = json!([]);
    let (client, asked) = server(|_, body| (200, body.clone()));
    let world = world(client, &[(ChildKind::PersistentVolumeClaim, live)]);
    assert_eq!(applied(&world, vec![claim]).await.failure, None);
    assert_eq!(lines(&asked), ["PATCH persistentvolumeclaims/n"]);
    let sent = asked.lock().unwrap()[0].1.clone();
    assert_eq!(sent["metadata"]["ownerReferences"][0]["uid"], "u1");
    assert_eq!((&sent["metadata"]["uid"], &sent["spec"]), (&json!("c1"), &Value::Null));
}

#[tokio::test]
async fn what_a_hub_delivered_uses_no_claim_of_somebody_elses() {
    let claim = child(ChildKind::PersistentVolumeClaim, Keep::MadeOrFound, &json!({}));
    for (local, reason) in [(false, Some("PVCConflict")), (true, None)] {
        let theirs = json!({"name": "n", "namespace": "ns", "uid": "x"});
        let (client, _) = server(move |_, _| {
            (200, json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": theirs}))
        });
        let (world, settled) = (world(client, &[]), Settled::default());
        let (owner, inputs) = (owner(), Inputs::default());
        let applier = Applier { local, ..applier(&world, &settled, &owner, &inputs) };
        let failure = applier.apply(&rendered(vec![claim.clone()]), &[]).await.failure;
        assert_eq!(failure.as_ref().map(|why| why.reason.as_str()), reason, "{failure:?}");
    }
}

fn rendered(children: Vec<Child>) -> Rendered<()> {
    Rendered {
        children,
        remove: Vec::new(),
        complete: true,
        notes: Vec::new(),
        amendments: Vec::new(),
        verdict: (),
    }
}

fn pod(image: &str, variable: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": image, "env": [{"name": variable, "value": "1"}]}]}})
}

/// A Deployment that runs, as it was written for an empty spec.
fn running(template: &Value) -> Value {
    let mut written = child(ChildKind::Deployment, Keep::Owned, &json!({"template": template}));
    let record = Record {
        inputs: Inputs::new(&owner(), &json!({}), String::new()),
        rendered: template::digest(template),
        kept: None,
        hash: None,
    };
    written.body["metadata"]["annotations"] = json!({RECORD: record.text()});
    let mut live = stored(&written);
    live["status"] = json!({"replicas": 1});
    live
}

/// The requests, when this template is rendered from this spec in its second generation, and their bodies.
async fn asked(live: &Value, template: &Value, spec: &Value) -> (Vec<String>, Vec<Value>) {
    let whole = live.clone();
    let (client, asked) = server(move |line, body| match line.split_once(' ') {
        Some(("GET", _)) => (200, whole.clone()),
        // A patch of managed fields alone.
        _ if body.is_array() => (200, whole.clone()),
        _ => (200, body.clone()),
    });
    let world = world(client, &[(ChildKind::Deployment, live.clone())]);
    let generation = if *spec == json!({}) { 1 } else { 2 };
    let (settled, owner) = (Settled::default(), Owner { generation, ..owner() });
    let inputs = Inputs::new(&owner, spec, String::new());
    let deployment = child(ChildKind::Deployment, Keep::Owned, &json!({"template": template}));
    let applier = applier(&world, &settled, &owner, &inputs);
    assert_eq!(applier.apply(&rendered(vec![deployment]), &[]).await.failure, None);
    let bodies = asked.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    (lines(&asked), bodies)
}

#[tokio::test]
async fn a_difference_of_ours_waits_for_the_users_next_change() {
    let (old, new) = (pod("i", "OLD"), pod("i", "NEW"));
    let live = running(&old);
    let (requests, _) = asked(&live, &old, &json!({})).await;
    assert_eq!(requests, Vec::<String>::new(), "nothing is asked while nothing changes");
    // An upgrade, or a fact of the cluster: it is tried, and what runs is kept.
    let (requests, bodies) = asked(&live, &new, &json!({})).await;
    assert_eq!(requests, ["GET deployments/n", "TRY deployments/n", "PATCH deployments/n"]);
    assert_eq!((&bodies[1]["spec"]["template"], &bodies[2]["spec"]["template"]), (&new, &old));
    let mut kept = live;
    kept["metadata"]["annotations"] = bodies[2]["metadata"]["annotations"].clone();
    let (requests, _) = asked(&kept, &new, &json!({})).await;
    assert_eq!(requests, Vec::<String>::new(), "it is tried once");
    let (_, bodies) = asked(&kept, &new, &json!({"replicas": 3})).await;
    assert_eq!(bodies[0]["spec"]["template"], old, "the user changed what is in no template");
    let (requests, bodies) = asked(&kept, &pod("j", "NEW"), &json!({"image": "j"})).await;
    assert_eq!(requests, ["PATCH deployments/n"]);
    assert_eq!(bodies[0]["spec"]["template"], pod("j", "NEW"));
    let record = bodies[0]["metadata"]["annotations"][RECORD].as_str().map(str::to_owned);
    assert_eq!(Record::read(record.as_ref()).unwrap().kept, None);
    kept["spec"]["template"] = pod("drifted", "OLD");
    let (_, bodies) = asked(&kept, &new, &json!({})).await;
    assert_eq!(bodies[0]["spec"]["template"], old, "what was changed by hand is put back");
}

#[tokio::test]
async fn a_take_over_keeps_what_runs_and_heals_what_was_edited() {
    let (old, new) = (pod("i", "OLD"), pod("i", "NEW"));
    let mut live = running(&old);
    live["metadata"]["annotations"] = json!({"nvidia.com/last-applied-hash": "8f6c4d7b5c"});
    let entry = |manager: &str, second: u8| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1",
            "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}}})
    };
    live["metadata"]["managedFields"] = json!([entry("manager", 1)]);
    let spec = json!({});
    let template = |bodies: &[Value]| bodies.last().unwrap()["spec"]["template"].clone();
    assert_eq!(template(&asked(&live, &new, &spec).await.1), old);
    let image = pod("j", "NEW");
    assert_eq!(template(&asked(&live, &image, &spec).await.1), image, "only the user can have asked for it");
    let mut idle = live.clone();
    idle["status"]["replicas"] = json!(0);
    assert_eq!(template(&asked(&idle, &new, &spec).await.1), new, "there is nothing to restart");
    live["metadata"]["managedFields"] = json!([entry("manager", 1), entry("kubectl-edit", 2)]);
    assert_eq!(template(&asked(&live, &new, &spec).await.1), new, "an edit is drift");
}

/// An InferenceService and the NIMService's note of it, as a cluster keeps them.
struct Served {
    live: Option<Value>,
    note: Option<String>,
}

impl Served {
    /// Renders a predictor for this generation; gives back what was sent of InferenceServices.
    async fn render(&mut self, generation: i64, predictor: &Value, annotations: &Value) -> Vec<Value> {
        let whole = self.live.clone().unwrap_or_default();
        let (client, asked) = server(move |line, body| match line.split_once(' ') {
            Some(("GET", _)) => (200, whole.clone()),
            _ => (200, body.clone()),
        });
        let live: Vec<_> = self.live.iter().map(|live| (ChildKind::InferenceService, live.clone())).collect();
        let mut world = world(client, &live);
        let installed = [ChildKind::InferenceService].into();
        world.facts = watch::channel(ClusterFacts { installed, ..ClusterFacts::default() }).1;
        let (settled, owner) = (Settled::default(), Owner { generation, ..owner() });
        let inputs = Inputs::new(&owner, &json!(generation), String::new());
        let mut wanted = child(ChildKind::InferenceService, Keep::Owned, &json!({"predictor": predictor}));
        wanted.body["metadata"]["annotations"] = annotations.clone();
        let applier = Applier { recorded: self.note.as_ref(), ..applier(&world, &settled, &owner, &inputs) };
        assert_eq!(applier.apply(&rendered(vec![wanted]), &[]).await.failure, None);
        let mut sent = Vec::new();
        for (line, body) in asked.lock().unwrap().iter() {
            if line.ends_with("nimservices/n") {
                self.note = body["metadata"]["annotations"][RECORD].as_str().map(str::to_owned);
            } else if body["kind"] == "InferenceService" && !line.starts_with("TRY") {
                sent.push(body.clone());
            }
        }
        if let Some(last) = sent.last() {
            let mut live = last.clone();
            live["metadata"]["uid"] = json!("c1");
            live["metadata"]["resourceVersion"] = json!("7");
            live["status"] = json!({"conditions": [{"type": "PredictorReady", "status": "True"}]});
            self.live = Some(live);
        }
        sent
    }
}

/// The pods of an InferenceService, with the container that KServe looks for.
fn predictor_of(image: &str, variable: &str) -> Value {
    let mut predictor = pod(image, variable)["spec"].clone();
    predictor["containers"][0]["name"] = json!("kserve-container");
    predictor
}

/// What KServe makes pods of: metadata and predictor, without the number of replicas.
fn pods_of(sent: &Value) -> Value {
    template::of(ChildKind::InferenceService, sent).unwrap()
}

#[tokio::test]
async fn kserve_gets_no_mark_that_changes_and_so_replaces_no_pod() {
    let mut served = Served { live: None, note: None };
    let predictor = |replicas: i32, image: &str, variable: &str| {
        let mut predictor = predictor_of(image, variable);
        predictor["minReplicas"] = json!(replicas);
        predictor
    };
    let none = json!({});
    let first = served.render(1, &predictor(2, "i", "OLD"), &none).await;
    assert_eq!(first.len(), 1);
    let marks = first[0]["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(marks.keys().collect::<Vec<_>>(), [APPLIED], "KServe copies them into the pods");
    assert!(served.render(1, &predictor(2, "i", "OLD"), &none).await.is_empty(), "nothing is left to write");
    // Replicas, and an upgrade of ours: the pods stay.
    let scaled = served.render(2, &predictor(3, "i", "OLD"), &none).await;
    assert_eq!((scaled.len(), &scaled[0]["spec"]["predictor"]["minReplicas"]), (1, &json!(3)));
    assert_eq!(pods_of(&scaled[0]), pods_of(&first[0]));
    let upgraded = served.render(2, &predictor(3, "i", "NEW"), &json!({"ours": "new"})).await;
    assert!(upgraded.is_empty(), "{upgraded:?}");
    let again = served.render(3, &predictor(1, "i", "NEW"), &json!({"ours": "new"})).await;
    assert_eq!((again.len(), &again[0]["spec"]["predictor"]["minReplicas"]), (1, &json!(1)));
    assert_eq!(pods_of(&again[0]), pods_of(&first[0]));
    // The user's image.
    let image = served.render(4, &predictor(1, "j", "NEW"), &json!({"ours": "new"})).await;
    assert_eq!(image[0]["spec"]["predictor"], predictor(1, "j", "NEW"));
    let mark = |sent: &Value| sent["metadata"]["annotations"][APPLIED].clone();
    assert_ne!(mark(&image[0]), mark(&first[0]), "KServe's Deployment tells whether it is of this template");
    let scaled = served.render(5, &predictor(2, "j", "NEW"), &json!({"ours": "new"})).await;
    assert_eq!(pods_of(&scaled[0]), pods_of(&image[0]));
}

#[tokio::test]
async fn a_predictor_without_pods_is_rendered_anew() {
    let mut served = Served { live: None, note: None };
    let none = json!({});
    let predictor = |replicas: i32, variable: &str| {
        let mut predictor = predictor_of("i", variable);
        predictor["minReplicas"] = json!(replicas);
        predictor["maxReplicas"] = json!(replicas);
        predictor
    };
    served.render(1, &predictor(2, "OLD"), &none).await;
    assert!(served.render(1, &predictor(2, "NEW"), &none).await.is_empty(), "what runs is kept");
    let stopped = served.render(2, &predictor(0, "NEW"), &none).await;
    assert_eq!(stopped[0]["spec"]["predictor"], predictor(0, "NEW"), "its pods go in any case");
    // KServe makes no pods of one without the container that it looks for.
    let mut broken = served.live.clone().unwrap();
    broken["spec"]["predictor"]["containers"][0]["name"] = json!("n-ctr");
    served.live = Some(broken);
    let mended = served.render(3, &predictor(2, "NEWER"), &none).await;
    assert_eq!(mended[0]["spec"]["predictor"], predictor(2, "NEWER"));
}

#[tokio::test]
async fn the_marks_of_other_operators_stay_on_an_inference_service() {
    let mut served = Served { live: None, note: None };
    let predictor = predictor_of("i", "OLD");
    served.render(1, &predictor, &json!({"a": "1"})).await;
    let marks = json!({"a": "1", "nvidia.com/last-applied-hash": "1", "nvidia.com/parent-spec-hash": "2",
        "nimfleet.io/desired-hash": "3"});
    served.note = None;
    served.live.as_mut().unwrap()["metadata"]["annotations"] = marks.clone();
    let sent = served.render(1, &predictor, &json!({"a": "1"})).await;
    assert!(sent.iter().all(|sent| sent["metadata"]["annotations"] == marks), "{sent:?}");
    // Not even the next change of the user takes them off.
    let sent = served.render(2, &predictor_of("j", "OLD"), &json!({"a": "1"})).await;
    let mut found = sent.last().unwrap()["metadata"]["annotations"].clone();
    found.as_object_mut().unwrap().remove(APPLIED);
    assert_eq!(found, marks);
}

#[tokio::test]
async fn what_a_kept_template_refers_to_stays_as_long_as_it_does() {
    let map = child(ChildKind::ConfigMap, Keep::Owned, &json!({}));
    for (volumes, expected) in [
        (json!([{"name": "v", "configMap": {"name": "n"}}]), &[][..]),
        (json!([]), &["DELETE configmaps/n"][..]),
    ] {
        let template = json!({"spec": {"containers": [], "volumes": volumes}});
        let live = running(&template);
        let (client, asked) = server(|_, body| (200, body.clone()));
        let world = world(client, &[(ChildKind::Deployment, live), (ChildKind::ConfigMap, stored(&map))]);
        let (settled, owner) = (Settled::default(), owner());
        let inputs = Inputs::new(&owner, &json!({}), String::new());
        let deployment = child(ChildKind::Deployment, Keep::Owned, &json!({"template": template}));
        let applier = applier(&world, &settled, &owner, &inputs);
        let outcome = applier.apply(&rendered(vec![deployment]), &[ChildKind::ConfigMap]).await;
        assert_eq!(outcome.failure, None);
        assert_eq!(lines(&asked), expected);
    }
}

#[tokio::test]
async fn a_record_that_a_hub_wrote_becomes_no_template() {
    let mut served = Served { live: None, note: None };
    let (old, new) = (predictor_of("i", "OLD"), predictor_of("i", "NEW"));
    let none = json!({});
    served.render(1, &old, &none).await;
    served.render(1, &new, &none).await;
    let mut record = Record::read(served.note.as_ref()).unwrap();
    assert!(record.kept.is_some(), "the old one is kept");
    record.kept = Some(json!({"labels": {}, "annotations": {}, "predictor": predictor_of("evil", "NEW")}));
    served.note = Some(record.text());
    let sent = served.render(1, &new, &none).await;
    assert!(!sent.iter().any(|sent| sent.to_string().contains("evil")), "{sent:?}");
    assert_eq!(pods_of(served.live.as_ref().unwrap())["predictor"], old, "what runs is what is kept");
}
