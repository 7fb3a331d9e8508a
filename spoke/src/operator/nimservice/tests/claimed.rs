//! What claims come to in the objects of a NIMService.

use std::sync::Arc;

use super::*;
use crate::operator::engine::child::Keep;

fn selectors() -> Value {
    json!([
        {"claimCreationSpec": {"generateName": "gpus", "devices": [{
            "name": "gpu", "count": 2, "deviceClassName": "gpu.nvidia.com", "driverName": "gpu.nvidia.com",
            "attributeSelectors": [{"key": "architecture", "op": "Equal", "value": {"stringValue": "Ampere"}}],
            "capacitySelectors": [{"key": "memory", "op": "GreaterThanOrEqual", "value": "1.5"}],
        }]}},
    ])
}

fn pod(rendered: &Rendered<Verdict>) -> &Value {
    &child(&rendered.children, ChildKind::Deployment)["spec"]["template"]["spec"]
}

fn on(kubernetes: &str, patch: Value) -> Rendered<Verdict> {
    let facts = ClusterFacts { kubernetes: kubernetes.to_owned(), ..ClusterFacts::default() };
    NimServices::render(&service(patch), &subject(), &refs(None), &facts)
}

#[test]
fn accept_dra_templates() {
    let rendered = rendered(json!({"draResources": selectors(), "labels": {"team": "a"}}), None);
    let template = rendered.children.iter().find(|one| one.kind == ChildKind::ResourceClaimTemplate).unwrap();
    assert_eq!(template.name, pod(&rendered)["resourceClaims"][0]["resourceClaimTemplateName"]);
    insta::assert_json_snapshot!(template.body);
}

#[test]
fn accept_dra_claims_reach_every_running_container() {
    let patch = json!({
        "draResources": [
            {"resourceClaimName": "one"},
            {"resourceClaimTemplateName": "many", "requests": ["a", "b"]},
            {"resourceClaimTemplateName": "many"},
        ],
        "sidecarContainers": [{"name": "beside", "image": {"repository": "r", "tag": "t"}}],
        "initContainers": [{"name": "before", "image": {"repository": "r", "tag": "t"}}],
    });
    let rendered = rendered(patch, None);
    let claims = pod(&rendered)["resourceClaims"].as_array().unwrap().clone();
    let name = |index: usize| claims[index]["name"].clone();
    let many = name(1).as_str().unwrap().trim_end_matches("-0").to_owned();
    assert_eq!(name(2), format!("{many}-1"), "equal ones are numbered");
    assert_eq!(
        (&claims[0]["resourceClaimName"], &claims[1]["resourceClaimTemplateName"]),
        (&json!("one"), &json!("many"))
    );
    let used = json!([
        {"name": name(0)},
        {"name": name(1), "request": "a"},
        {"name": name(1), "request": "b"},
        {"name": name(2)},
    ]);
    for container in pod(&rendered)["containers"].as_array().unwrap() {
        assert_eq!(container["resources"]["claims"], used, "{}", container["name"]);
    }
    assert!(pod(&rendered)["initContainers"][0].get("resources").is_none());
}

#[test]
fn accept_dra_version_gate() {
    let patch = json!({"draResources": [{"resourceClaimName": "r"}]});
    assert!(on("v1.34.0", patch.clone()).complete);
    let refused = on("v1.33.4", patch);
    assert!(refused.children.is_empty() && !refused.complete, "nothing is changed");
    let why = failure(&refused.verdict);
    assert_eq!(why.reason, "DRAResourcesUnsupported");
    assert!(why.message.contains("v1.33.4"), "{}", why.message);
    assert!(on("v1.33.4", json!({})).complete, "who asks for no claims needs no version");
}

#[test]
fn what_no_claim_can_be_made_of_is_named() {
    for (patch, words) in [
        (
            json!({"draResources": [{"resourceClaimName": "r"}, {"resourceClaimName": "r"}]}),
            "spec.draResources[1].resourceClaimName: r",
        ),
        (json!({"draResources": [{}]}), "spec.draResources[0]: exactly one"),
        (json!({"resources": {"claims": [{"name": "c"}]}}), "spec.resources.claims must not be set"),
    ] {
        let rendered = rendered(patch, None);
        assert!(rendered.children.is_empty() && !rendered.complete);
        assert!(
            failure(&rendered.verdict).message.starts_with(words),
            "{}",
            failure(&rendered.verdict).message
        );
    }
}

#[test]
fn b04_a_missing_value_is_a_failure_that_names_its_field() {
    let mut wanted = selectors();
    wanted[0]["claimCreationSpec"]["devices"][0]["attributeSelectors"][0]
        .as_object_mut()
        .unwrap()
        .remove("value");
    let rendered = rendered(json!({"draResources": wanted}), None);
    let field = "spec.draResources[0].claimCreationSpec.devices[0].attributeSelectors[0].value: ";
    assert!(failure(&rendered.verdict).message.starts_with(field), "{}", failure(&rendered.verdict).message);
}

#[test]
fn b01_a_changed_template_or_domain_is_made_anew() {
    let with = |label: &str| {
        let patch = json!({
            "draResources": selectors(), "labels": {"team": label},
            "multiNode": {"parallelism": {"pipeline": 2}, "ray": {"rayPort": 6379}, "computeDomain": {"create": true}},
        });
        rendered(patch, None)
    };
    for kind in [ChildKind::ResourceClaimTemplate, ChildKind::ComputeDomain] {
        let of = |label: &str| with(label).children.into_iter().find(|one| one.kind == kind).unwrap();
        let (before, after) = (of("a"), of("b"));
        assert_ne!(before.body, after.body, "{kind:?}");
        assert_eq!(after.keep, Keep::Replaced, "{kind:?}: an update of it would be refused");
    }
}

#[test]
fn accept_compute_domains_are_made_or_referred_to() {
    let with = |domain: Value| {
        let shape =
            json!({"parallelism": {"pipeline": 4}, "ray": {"rayPort": 6379}, "computeDomain": domain});
        service(json!({"multiNode": shape}))
    };
    let leader = |rendered: &Rendered<Verdict>| {
        let set = child(&rendered.children, ChildKind::LeaderWorkerSet);
        set["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"].clone()
    };
    let facts = ClusterFacts::default();
    let (made, none) = (with(json!({"create": true})), Refs::default());
    let rendered = NimServices::render(&made, &subject(), &none, &facts);
    let domain = child(&rendered.children, ChildKind::ComputeDomain);
    assert_eq!(domain["spec"]["numNodes"], 4);
    let template = &domain["spec"]["channel"]["resourceClaimTemplate"]["name"];
    let claims = leader(&rendered)["resourceClaims"].clone();
    assert_eq!(&claims[0]["resourceClaimTemplateName"], template);
    assert!(template.as_str().unwrap().starts_with("cd-claimtemplate-"));

    let live = json!({
        "spec": {"channel": {"resourceClaimTemplate": {"name": "theirs"}}},
        "status": {"status": "NotReady", "nodes": [{"name": "n", "cliqueID": "c.1", "status": "Ready"}, {"name": "m", "cliqueID": "c.1"}]},
    });
    let referring = with(json!({"name": "shared"}));
    let rendered = NimServices::render(&referring, &subject(), &Refs::default(), &facts);
    assert_eq!(failure(&rendered.verdict).reason, "ComputeDomainNotFound", "until it is there");
    let refs = Refs { claims: claims::Seen::of_domain("shared", &live), ..Refs::default() };
    let rendered = NimServices::render(&referring, &subject(), &refs, &facts);
    assert!(!rendered.children.iter().any(|one| one.kind == ChildKind::ComputeDomain), "it is another's");
    assert_eq!(leader(&rendered)["resourceClaims"][0]["resourceClaimTemplateName"], "theirs");
    let report = NimServices::report(&referring, &subject(), &refs, &rendered, &Outcome::default());
    let nodes = json!([{"name": "n", "cliqueID": "c.1", "status": "Ready"}, {"name": "m", "cliqueID": "c.1", "status": "NotReady"}]);
    assert_eq!(
        report.status["computeDomainStatus"],
        json!({"name": "shared", "status": "NotReady", "nodes": nodes})
    );
    assert_eq!(report.status["draResourceStatuses"][0]["resourceClaimTemplateStatus"]["name"], "theirs");

    let mut outcome = Outcome::default();
    let mut object = live;
    object["metadata"] = json!({"name": "llama"});
    outcome.live.insert(
        (ChildKind::ComputeDomain, "llama".into()),
        Arc::new(serde_json::from_value(object).unwrap()),
    );
    let rendered = NimServices::render(&made, &subject(), &none, &facts);
    let report = NimServices::report(&made, &subject(), &none, &rendered, &outcome);
    assert_eq!(report.status["computeDomainStatus"]["name"], "llama");
    assert_eq!(report.status["computeDomainStatus"]["nodes"][0]["cliqueID"], "c.1");
}
