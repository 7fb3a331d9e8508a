//! Objects that the operator makes: their kinds, and one desired object of such a kind.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use kube::api::{DeleteParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::requires::{self, Required};

/// On every child but an InferenceService: SHA-256 of what was rendered, so that a field that is no longer rendered is
/// noticed.
pub(crate) const DESIRED_HASH: &str = "nimfleet.io/desired-hash";

/// Label on everything the operator makes; watches are filtered by it.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "k8s-nim-operator");

/// Kinds of objects that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChildKind {
    ServiceAccount,
    Role,
    RoleBinding,
    Service,
    Ingress,
    HttpRoute,
    GrpcRoute,
    InferencePool,
    HorizontalPodAutoscaler,
    ServiceMonitor,
    PersistentVolumeClaim,
    ConfigMap,
    Secret,
    ResourceClaimTemplate,
    ComputeDomain,
    Pod,
    Job,
    Deployment,
    LeaderWorkerSet,
    InferenceService,
    NimService,
}

impl ChildKind {
    pub(crate) const ALL: &'static [Self] = &[
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Service,
        Self::Ingress,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::InferencePool,
        Self::HorizontalPodAutoscaler,
        Self::ServiceMonitor,
        Self::PersistentVolumeClaim,
        Self::ConfigMap,
        Self::Secret,
        Self::ResourceClaimTemplate,
        Self::ComputeDomain,
        Self::Pod,
        Self::Job,
        Self::Deployment,
        Self::LeaderWorkerSet,
        Self::InferenceService,
        Self::NimService,
    ];

    /// How the API server calls it.
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::HttpRoute => foreign("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::GrpcRoute => foreign("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"),
            Self::InferencePool => {
                foreign("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools")
            }
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::ServiceMonitor => {
                foreign("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
            }
            Self::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::ResourceClaimTemplate => ApiResource::erase::<ResourceClaimTemplate>(&()),
            Self::ComputeDomain => {
                foreign("resource.nvidia.com", "v1beta1", "ComputeDomain", "computedomains")
            }
            Self::Pod => ApiResource::erase::<Pod>(&()),
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::LeaderWorkerSet => {
                foreign("leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", "leaderworkersets")
            }
            Self::InferenceService => {
                foreign("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
            }
            Self::NimService => foreign("apps.nvidia.com", "v1alpha1", "NIMService", "nimservices"),
        }
    }

    /// JSON pointers to the specs of its pods.
    pub(crate) fn pod_specs(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["/spec"],
            Self::Deployment | Self::Job => &["/spec/template/spec"],
            Self::LeaderWorkerSet => &[
                "/spec/leaderWorkerTemplate/leaderTemplate/spec",
                "/spec/leaderWorkerTemplate/workerTemplate/spec",
            ],
            Self::InferenceService => &["/spec/predictor"],
            Self::ServiceAccount
            | Self::Role
            | Self::RoleBinding
            | Self::Service
            | Self::Ingress
            | Self::HttpRoute
            | Self::GrpcRoute
            | Self::InferencePool
            | Self::HorizontalPodAutoscaler
            | Self::ServiceMonitor
            | Self::PersistentVolumeClaim
            | Self::ConfigMap
            | Self::Secret
            | Self::ResourceClaimTemplate
            | Self::ComputeDomain
            | Self::NimService => &[],
        }
    }

    /// Whether it runs pods.
    pub(crate) fn runs_pods(self) -> bool {
        !self.pod_specs().is_empty()
    }

    /// True for kinds that a cluster may lack: their definition is installed with another product, perhaps later.
    pub(crate) fn is_optional(self) -> bool {
        matches!(
            self,
            Self::HttpRoute
                | Self::GrpcRoute
                | Self::InferencePool
                | Self::ServiceMonitor
                | Self::ResourceClaimTemplate
                | Self::ComputeDomain
                | Self::LeaderWorkerSet
                | Self::InferenceService
        )
    }

    /// False for Secrets: they are asked for by name, since who may watch those that are labelled may watch all.
    pub(crate) fn is_watched(self) -> bool {
        self != Self::Secret
    }

    /// The label selector of its watch. Pods of served models are many and not looked at: their Deployment tells.
    /// Compute domains are few, and a service may use another's. An autoscaler of others may scale a workload of ours.
    pub(crate) fn selector(self) -> String {
        let (key, value) = MANAGED_BY;
        match self {
            Self::Pod => format!("{key}={value},app={value}"),
            Self::ComputeDomain | Self::HorizontalPodAutoscaler => String::new(),
            _ => format!("{key}={value}"),
        }
    }

    /// The part of a condition's reason that names it: `DeploymentFailed`, `PVCFailed`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::InferencePool => "InferencePool",
            Self::HorizontalPodAutoscaler => "HPA",
            Self::ServiceMonitor => "ServiceMonitor",
            Self::PersistentVolumeClaim => "PVC",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ResourceClaimTemplate => "ResourceClaimTemplate",
            Self::ComputeDomain => "ComputeDomain",
            Self::Pod => "Pod",
            Self::Job => "Job",
            Self::Deployment => "Deployment",
            Self::LeaderWorkerSet => "LeaderWorkerSet",
            Self::InferenceService => "InferenceService",
            Self::NimService => "NIMService",
        }
    }
}

/// A kind that Kubernetes does not know by itself.
fn foreign(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Whose a child is and how far it is kept as rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Owned by the rendered object; every rendered field is kept, drift is healed.
    Owned,
    /// Owned; made when absent and then left alone, since its fields may not change.
    OwnedOnce,
    /// Owned; its spec may not change, so it is deleted (by uid) and made anew when it differs.
    Replaced,
    /// Made, owned, when absent; an object of that name, whoever made it, is used as it is, but not by what a hub
    /// delivered: that uses what came with a hub.
    MadeOrFound,
    /// Shared by all objects of a namespace: owned by none, kept as rendered.
    Shared,
}

/// One desired object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    pub(crate) kind: ChildKind,
    pub(crate) name: String,
    pub(crate) keep: Keep,
    /// As it is sent, without owner and hash.
    pub(crate) body: Value,
    /// A field that someone else owns once the object is there: its JSON pointer and the value to begin with.
    pub(crate) seed: Option<(&'static str, Value)>,
    /// Children that have to be there, and ours, before this one is written: what it refers to, and what is said besides.
    /// Those that are not rendered with it are of no account.
    pub(crate) requires: Vec<Required>,
    /// All rules that a Role ever has, where that is more than it has now.
    pub(crate) widest: Option<Value>,
}

impl Child {
    /// Takes a typed object. Serialising an API type cannot fail; should it ever, the empty body is refused by the
    /// API server and shows as the object's failure.
    pub(crate) fn new(kind: ChildKind, name: &str, keep: Keep, object: &impl Serialize) -> Self {
        let body = serde_json::to_value(object).unwrap_or_default();
        let requires = requires::references(kind, &body);
        Self { kind, name: name.to_owned(), keep, body, seed: None, requires, widest: None }
    }

    /// Whether it gives rights to one NIM object's own account.
    pub(crate) fn gives_rights(&self) -> bool {
        self.keep != Keep::Shared && matches!(self.kind, ChildKind::Role | ChildKind::RoleBinding)
    }

    /// Requires another child, to which it does not refer.
    pub(crate) fn requiring(mut self, kind: ChildKind, name: &str) -> Self {
        self.requires.push((kind, name.to_owned()));
        self
    }

    /// Says all rules that a Role ever has: one that is found with any of them may be ours.
    pub(crate) fn covering(self, rules: Value) -> Self {
        Self { widest: Some(rules), ..self }
    }

    /// Begins with a value for a field that is left to others afterwards, as an autoscaler's `/spec/replicas` is.
    pub(crate) fn seeded(self, pointer: &'static str, value: Value) -> Self {
        Self { seed: Some((pointer, value)), ..self }
    }

    /// The body to write over what is live. The seeded field is sent as it is now: leaving it out would take it away
    /// from whoever set it, since server-side apply removes what its manager no longer names.
    pub(crate) fn sent(&self, stamped: &Stamped, live: Option<&Value>) -> Value {
        let mut body = stamped.body.clone();
        if let Some((pointer, first)) = &self.seed
            && let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(parent) = body.pointer_mut(parent)
        {
            parent[field] = live.and_then(|live| live.pointer(pointer)).unwrap_or(first).clone();
        }
        body
    }

    /// What is applied: the body with its owner and the hash of both.
    pub(crate) fn stamped(&self, owner: &Owner) -> Stamped {
        let mut body = self.body.clone();
        if self.keep != Keep::Shared {
            body["metadata"]["ownerReferences"] = serde_json::json!([owner.reference()]);
        }
        let hash = hex::encode(Sha256::digest(body.to_string()));
        // KServe copies every annotation into its pods, which a new hash would replace.
        if self.kind != ChildKind::InferenceService {
            body["metadata"]["annotations"][DESIRED_HASH] = Value::from(hash.as_str());
        }
        Stamped { body, hash }
    }
}

/// A child with owner and hash.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    pub(crate) body: Value,
    pub(crate) hash: String,
}

/// How the names of pods end that build an engine and write into a volume. All other pods of the operator print a manifest.
pub(crate) const BUILDING_POD: &str = "-engine-build-pod";

/// Deletes this very object, not another that has taken its name. A pod that prints a manifest is given no time to end: it
/// sleeps as process 1, which takes no signal, and would hold what it requests for 30 s.
pub(crate) fn by_uid(kind: ChildKind, name: &str, uid: Option<String>) -> DeleteParams {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let only_sleeps = kind == ChildKind::Pod && !name.ends_with(BUILDING_POD);
    DeleteParams {
        preconditions,
        grace_period_seconds: only_sleeps.then_some(0),
        ..DeleteParams::background()
    }
}

/// Who owns the children: the rendered object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
}

impl Owner {
    /// The reference by which a child is ours.
    pub(crate) fn reference(&self) -> Value {
        serde_json::json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}
