//! What the admission webhook of NVIDIA's operator refuses, the API server refuses by itself: with the field, and with no
//! webhook server to be up for it.

mod caches;
mod devices;
mod nemo;
mod pipelines;
mod services;

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::cluster::{Cluster, Ground, Shape};
use e2e::failure::Failure;
use e2e::patience::eventually;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "default";
/// How long an API server may take to put a new policy in force.
const IN_FORCE_WITHIN: Duration = Duration::from_mins(2);

/// One rule: an object that breaks it and nothing else, and the same object mended.
struct Row {
    /// The rule's number.
    number: &'static str,
    kind: Kind,
    /// Spec of the object before, where the rule is about a change.
    stored: Option<Value>,
    broken: Value,
    mended: Value,
    /// What its author has to be told.
    named: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Service,
    Cache,
    Pipeline,
    Build,
}

impl Kind {
    fn api(self, cluster: &Cluster) -> Api<DynamicObject> {
        let kind = self.name();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", kind));
        Api::namespaced_with(cluster.client(), NAMESPACE, &resource)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Service => "NIMService",
            Self::Cache => "NIMCache",
            Self::Pipeline => "NIMPipeline",
            Self::Build => "NIMBuild",
        }
    }

    fn object(self, name: &str, spec: &Value) -> Value {
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": self.name(), "metadata": metadata, "spec": spec})
    }
}

/// `base` with `changes` merged into it; null removes.
fn with(base: Value, changes: &Value) -> Value {
    match (base, changes) {
        (Value::Object(mut base), Value::Object(changes)) => {
            for (key, change) in changes {
                let before = base.remove(key).unwrap_or_default();
                if !change.is_null() {
                    base.insert(key.clone(), with(before, change));
                }
            }
            Value::Object(base)
        }
        (Value::Null, Value::Object(_)) => with(json!({}), changes),
        (_, changes) => changes.clone(),
    }
}

/// What the API server would say to the object, with nothing stored.
async fn asked(cluster: &Cluster, row: &Row, spec: &Value) -> Result<(), kube::Error> {
    let api = row.kind.api(cluster);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let name = row.number.to_lowercase();
    let mut object: DynamicObject =
        serde_json::from_value(row.kind.object(&name, spec)).map_err(kube::Error::SerdeError)?;
    if row.stored.is_none() {
        return api.create(&dry, &object).await.map(|_| ());
    }
    object.metadata.resource_version = api.get(&name).await?.metadata.resource_version;
    api.replace(&name, &dry, &object).await.map(|_| ())
}

/// The refusal of the row's broken object, which comes once its policy is in force.
async fn refusal(cluster: &Cluster, row: &Row) -> Result<String, Failure> {
    let until = Instant::now() + IN_FORCE_WITHIN;
    loop {
        match asked(cluster, row, &row.broken).await {
            Err(kube::Error::Api(status)) if status.code == 422 => return Ok(status.message),
            Err(error) => return Err(error.into()),
            Ok(()) if Instant::now() > until => {
                return Err(Failure::new(format!("{} was taken: {}", row.number, row.broken)));
            }
            Ok(()) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn is_refused_until_mended(cluster: &Cluster, row: &Row) -> Result<(), Failure> {
    if let Some(stored) = &row.stored {
        let object = row.kind.object(&row.number.to_lowercase(), stored);
        row.kind.api(cluster).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    let said = refusal(cluster, row).await?;
    assert!(said.contains(row.named), "{}: {:?} is not in: {said}", row.number, row.named);
    let mended = asked(cluster, row, &row.mended).await;
    assert!(mended.is_ok(), "{} mended: {mended:?}", row.number);
    if row.stored.is_some() {
        row.kind.api(cluster).delete(&row.number.to_lowercase(), &DeleteParams::default()).await?;
    }
    Ok(())
}

/// The author is warned, once the policy is in force; the object is taken.
async fn is_warned_of(cluster: &Cluster, row: &Row) -> Result<(), Failure> {
    let arguments = ["create", "--dry-run=server", "--warnings-as-errors", "-f", "-"];
    let until = Instant::now() + IN_FORCE_WITHIN;
    let warning = |spec: &Value| row.kind.object("warned", spec).to_string();
    let said = loop {
        match cluster.kubectl(&arguments, Some(&warning(&row.broken))).await {
            Err(error) => break error.to_string(),
            Ok(_) if Instant::now() > until => {
                return Err(Failure::new(format!("{}: no warning", row.number)));
            }
            Ok(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    assert!(said.contains("Warning:") && said.contains(row.named), "{}: {said}", row.number);
    assert!(asked(cluster, row, &row.broken).await.is_ok(), "{} is taken", row.number);
    cluster.kubectl(&arguments, Some(&warning(&row.mended))).await?;
    Ok(())
}

/// Waits until all definitions are served. kubectl fails on one that has no conditions yet.
async fn are_served(cluster: &Cluster) -> Result<(), Failure> {
    let wait = ["wait", "--for=condition=Established", "--timeout=10s", "crd", "--all"];
    let served = || async { Ok(cluster.kubectl(&wait, None).await?) };
    eventually("definitions are served", IN_FORCE_WITHIN, served, || async { String::new() }).await.map(drop)
}

/// Manifests of all definitions and of all policies, as crdgen prints them.
fn manifests() -> Result<(String, String), Failure> {
    let crds = crds::all().map_err(|error| Failure::new(error.to_string()))?;
    let crds: Result<Vec<_>, _> = crds.iter().map(crds::schema::document).collect();
    let policies: Result<Vec<_>, _> =
        crds::policy::all().iter().map(crds::policy::Policy::document).collect();
    let joined = |documents: Result<Vec<String>, crds::schema::SchemaError>| {
        documents.map(|all| all.join("---\n")).map_err(|error| Failure::new(error.to_string()))
    };
    Ok((joined(crds)?, joined(policies)?))
}

/// The numbers of the upstream checks.
fn numbers() -> impl Iterator<Item = String> {
    (1..=46).map(|n| format!("S{n}")).chain((1..=18).map(|n| format!("K{n}")))
}

#[tokio::test]
async fn accept_webhook_verdicts_s1_to_s46_k1_to_k18() -> Result<(), Failure> {
    let rows: Vec<Row> = [
        services::rows(),
        services::changes(),
        devices::rows(),
        caches::rows(),
        caches::changes(),
        pipelines::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let warnings: Vec<Row> = [services::warnings(), caches::warnings()].into_iter().flatten().collect();
    let shown: BTreeSet<_> = rows.iter().chain(&warnings).map(|row| row.number).collect();
    let left: BTreeSet<_> =
        crds::policy::elsewhere::LEFT_TO_THE_CONTROLLER.iter().map(|(number, _)| *number).collect();
    let missing: Vec<_> =
        numbers().filter(|n| !shown.contains(n.as_str()) && !left.contains(n.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not shown");

    let ground = Ground::prepare().await?;
    let cluster = Cluster::start(&ground, "one", &Shape::new()).await?;
    let (crds, policies) = manifests()?;
    let apply = ["apply", "--server-side", "-f", "-"];
    cluster.kubectl(&apply, Some(&crds)).await?;
    are_served(&cluster).await?;
    let before = Before::store(&cluster).await?;
    cluster.kubectl(&apply, Some(&policies)).await?;

    for row in &rows {
        is_refused_until_mended(&cluster, row).await?;
    }
    for row in &warnings {
        is_warned_of(&cluster, row).await?;
    }
    every_word_of_the_policies_fits_the_definitions(&cluster).await?;
    before.goes_away(&cluster).await
}

/// An object that broke a rule before there was a policy against it.
struct Before {
    api: Api<DynamicObject>,
}

impl Before {
    const NAME: &str = "before";

    async fn store(cluster: &Cluster) -> Result<Self, Failure> {
        let api = Kind::Service.api(cluster);
        let mut object =
            Kind::Service.object(Self::NAME, &with(services::base(), &json!({"image": {"tag": ""}})));
        object["metadata"]["finalizers"] = json!(["example.com/first", "example.com/second"]);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(Self { api })
    }

    async fn patch(&self, change: Value) -> Result<(), kube::Error> {
        self.api.patch(Self::NAME, &PatchParams::default(), &Patch::Merge(change)).await.map(|_| ())
    }

    /// Its finalizers can be removed before it is deleted and after, though its spec is as wrong as ever.
    async fn goes_away(&self, cluster: &Cluster) -> Result<(), Failure> {
        let wrong = self.patch(json!({"spec": {"replicas": 2}})).await.err().map(|error| error.to_string());
        assert!(wrong.is_some_and(|said| said.contains("spec.image.tag")), "a change is looked at");
        self.patch(json!({"metadata": {"labels": {"team": "a"}, "finalizers": ["example.com/second"]}}))
            .await?;
        self.api.delete(Self::NAME, &DeleteParams::default()).await?;
        self.patch(json!({"metadata": {"finalizers": null}})).await?;
        e2e::objects::absent(cluster, "NIMService", NAMESPACE, Self::NAME).await
    }
}

/// The controllers of Kubernetes check the CEL of a policy against the schemas, and write down what does not fit.
async fn every_word_of_the_policies_fits_the_definitions(cluster: &Cluster) -> Result<(), Failure> {
    let wait = [
        "wait",
        "--for=jsonpath={.status.observedGeneration}=1",
        "--timeout=180s",
        "validatingadmissionpolicy",
        "--all",
    ];
    cluster.kubectl(&wait, None).await?;
    let listed = cluster.kubectl(&["get", "validatingadmissionpolicy", "-o", "json"], None).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    for policy in listed["items"].as_array().into_iter().flatten() {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{}: {warnings}", policy["metadata"]["name"]);
    }
    Ok(())
}
