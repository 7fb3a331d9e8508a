//! NVIDIA's NeMo stack under the operator: it becomes ready, follows what it refers to, heals, rests, and goes whole.

use std::time::{Duration, Instant};

use e2e::failure::Failure;
use e2e::nemo::{MODELS, NAMESPACE, STACK, bring, inventory, models};
use e2e::site::{IDENTITY, Site};
use e2e::{foreign, objects};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::service::SOON;

/// How soon a changed ConfigMap has to be seen in the pods' template, and drift put right, on a busy machine.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(15);
/// Long enough for every retry of a few seconds to show, and for what is asked for twice in it.
const QUIET: Duration = Duration::from_secs(15);

/// How long what is many may take on a busy machine.
const ALL_WITHIN: Duration = Duration::from_mins(4);

/// Waits until every object of the stack says Ready for the generation that it has.
async fn ready(site: &Site) -> Result<(), Failure> {
    for (kind, name, _) in STACK {
        site.eventually(&format!("{kind} {name} is Ready"), SOON, || async {
            let found = objects::get(site.cluster(), kind, NAMESPACE, name).await?;
            objects::expect(&found, "Ready", "True")?;
            assert_eq!(found["status"]["state"], "Ready", "{kind}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn deployment(site: &Site, name: &str) -> Result<Value, Failure> {
    objects::get(site.cluster(), "Deployment", NAMESPACE, name).await
}

#[tokio::test]
async fn nemo_accept_the_stack_lives_and_goes_without_a_trace() -> Result<(), Failure> {
    let site = Site::new().audited().cpu_nodes(2).start().await?;
    let cluster = site.cluster();
    bring(cluster).await?;
    let theirs = inventory(cluster).await?;
    for (_, _, manifest) in STACK {
        objects::apply(cluster, manifest).await?;
    }
    ready(&site).await?;

    rolled(&site).await?;
    optional_part(&site).await?;
    healed(&site).await?;
    ready(&site).await?;
    rests(&site).await?;

    for (kind, name, _) in STACK {
        objects::delete(cluster, kind, NAMESPACE, name).await?;
    }
    site.eventually("only what the users brought is left", SOON, || async {
        let left = inventory(cluster).await?;
        if left == theirs { Ok(()) } else { Err(Failure::new(format!("{left:?}"))) }
    })
    .await
}

/// A ConfigMap that the customizer refers to is changed: the configuration follows, and the pods are replaced.
async fn rolled(site: &Site) -> Result<(), Failure> {
    let name = "nemocustomizer-sample";
    let template = |found: &Value| found["spec"]["template"].clone();
    let before = template(&deployment(site, name).await?);
    objects::apply(site.cluster(), &models(4).to_string()).await?;
    let begun = Instant::now();
    site.eventually("the customizer's pods are replaced", SOON, || async {
        let now = template(&deployment(site, name).await?);
        if now == before { Err(Failure::new("the template is as it was")) } else { Ok(()) }
    })
    .await?;
    assert!(begun.elapsed() < FOLLOWED_WITHIN, "a change of {MODELS} took {:?}", begun.elapsed());
    site.eventually("so does the configuration", SOON, || async {
        let config = objects::get(site.cluster(), "ConfigMap", NAMESPACE, name).await?;
        let text = config["data"]["config.yaml"].as_str().unwrap_or_default();
        if text.contains("num_gpus: 4") { Ok(()) } else { Err(Failure::new(text)) }
    })
    .await
}

/// An Ingress comes with its switch and goes with it.
async fn optional_part(site: &Site) -> Result<(), Failure> {
    let (kind, name) = ("NemoEntitystore", "nemoentitystore-sample");
    let router = json!({"hostDomainName": "example.com", "ingress": {"ingressClass": "nginx"}});
    for (router, there) in [(router, true), (Value::Null, false)] {
        let change = json!({"spec": {"expose": {"router": router}}});
        objects::patch(site.cluster(), kind, NAMESPACE, name, change).await?;
        site.eventually(&format!("Ingress there: {there}"), SOON, || async {
            if there {
                objects::get(site.cluster(), "Ingress", NAMESPACE, name).await.map(|_| ())
            } else {
                objects::absent(site.cluster(), "Ingress", NAMESPACE, name).await
            }
        })
        .await?;
    }
    Ok(())
}

/// What is changed or deleted by hand is put right.
async fn healed(site: &Site) -> Result<(), Failure> {
    let (cluster, name) = (site.cluster(), "nemodatastore-sample");
    let drift = json!({"spec": {"template": {"spec": {"containers": [{"name": format!("{name}-ctr"), "image": "x"}]}}}});
    let patch = drift.to_string();
    cluster.kubectl(&["patch", "deployment", name, "-n", NAMESPACE, "--patch", &patch], None).await?;
    objects::delete(cluster, "Service", NAMESPACE, "nemoevaluator-sample").await?;
    let begun = Instant::now();
    site.eventually("the image and the Service are back", SOON, || async {
        let found = deployment(site, name).await?;
        let image = found["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
        objects::get(cluster, "Service", NAMESPACE, "nemoevaluator-sample").await?;
        if image.contains("datastore:25.08") { Ok(()) } else { Err(Failure::new(image)) }
    })
    .await?;
    assert!(begun.elapsed() < FOLLOWED_WITHIN, "healing took {:?}", begun.elapsed());
    Ok(())
}

/// With nothing to do, nothing is written.
async fn rests(site: &Site) -> Result<(), Failure> {
    // What pods that are replaced lead to is over when none of it is written for so long.
    site.eventually("nothing is written", ALL_WITHIN, || async {
        let since = Timestamp::now();
        tokio::time::sleep(QUIET).await;
        let written = site.cluster().audit().writes_by(IDENTITY, since);
        if written.is_empty() { Ok(()) } else { Err(Failure::new(format!("{written:?}"))) }
    })
    .await
}

#[tokio::test]
async fn nemo_b30_a_kind_that_nothing_defines_holds_nothing_else_up() -> Result<(), Failure> {
    let site = Site::new().cpu_nodes(1).start().await?;
    let gateway = json!({"hostDomainName": "example.com", "gateway": {"name": "g", "namespace": "n"}});
    let rails = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail",
        "metadata": {"name": "rails", "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "guardrails", "tag": "25.10"}, "expose": {"router": gateway},
            "metrics": {"enabled": true},
        },
    });
    objects::apply(site.cluster(), &rails.to_string()).await?;
    let says = async |reason: &str| {
        site.eventually(&format!("rails says {reason}"), SOON, || async {
            let found = objects::get(site.cluster(), "NemoGuardrail", NAMESPACE, "rails").await?;
            match objects::condition(&found, "Ready") {
                Some((_, is, _)) if is == reason => Ok(()),
                other => Err(Failure::new(format!("Ready is {other:?}"))),
            }
        })
        .await
    };
    says("HTTPRouteUnavailable").await?;
    site.eventually("it has its Deployment", SOON, || deployment(&site, "rails")).await?;
    foreign::install(site.cluster(), &["HTTPRoute"]).await?;
    says("ServiceMonitorUnavailable").await?;
    foreign::install(site.cluster(), &["ServiceMonitor"]).await?;
    says("Ready").await
}

/// How many microservices stand side by side, and what they may cost the operator.
const MANY: u32 = 50;
const MOST_BYTES: u64 = 10 << 20;

#[tokio::test]
async fn nemo_accept_fifty_microservices_cost_less_than_ten_mebibytes_and_rest() -> Result<(), Failure> {
    let site = Site::new().audited().cpu_nodes(2).start().await?;
    let cluster = site.cluster();
    let object = |number: u32| {
        let database =
            json!({"host": "pg", "databaseName": "d", "credentials": {"user": "u", "secretName": "pg"}});
        json!({
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoEntitystore",
            "metadata": {"name": format!("store-{number}"), "namespace": NAMESPACE},
            "spec": {
                "image": {"repository": "entity-store", "tag": "25.08"}, "databaseConfig": database,
                "datastore": {"endpoint": "http://data:8000"},
            },
        })
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pg", "namespace": NAMESPACE},
        "stringData": {"password": "word"}});
    objects::apply(cluster, &secret.to_string()).await?;
    // The first one is what watching costs; the others are what they cost.
    objects::apply(cluster, &object(0).to_string()).await?;
    all_ready(&site, 1).await?;
    let before = site.operator().resident_bytes()?;
    for number in 1..=MANY {
        objects::apply(cluster, &object(number).to_string()).await?;
    }
    all_ready(&site, MANY as usize + 1).await?;
    let grown = site.operator().resident_bytes()?.saturating_sub(before);
    eprintln!("{MANY} NemoEntitystores: {} KiB more", grown >> 10);
    assert!(grown < MOST_BYTES, "{grown} bytes more");
    rests(&site).await
}

async fn all_ready(site: &Site, wanted: usize) -> Result<(), Failure> {
    site.eventually(&format!("{wanted} are Ready"), ALL_WITHIN, || async {
        let all = objects::list(site.cluster(), "NemoEntitystore", NAMESPACE).await?;
        let ready = all.iter().filter(|one| one["status"]["state"] == "Ready").count();
        if ready == wanted { Ok(()) } else { Err(Failure::new(format!("{ready} are Ready"))) }
    })
    .await
}
