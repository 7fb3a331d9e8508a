//! What is put on a cluster beforehand, as kubectl would apply it, without a process for each look and without asking the API
//! server for its schemas, which it would have to make first.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Cluster, ClusterError};

/// Field manager of kubectl.
const MANAGER: &str = "kubectl";
/// How long definitions may take to be served and policies to count, on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_mins(1);
/// A policy that comes last, and the ConfigMap that it refuses.
const LAST: &str = "e2e-last-policy";

impl Cluster {
    /// Applies objects in their order, and waits until the definitions among them are served.
    pub(crate) async fn apply(&self, objects: &[Value]) -> Result<(), ClusterError> {
        let params = PatchParams::apply(MANAGER).force();
        let mut definitions = Vec::new();
        for object in objects {
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = match text("/metadata/namespace") {
                "" => Api::all_with(self.client(), &resource),
                namespace => Api::namespaced_with(self.client(), namespace, &resource),
            };
            let applied = api.patch(name, &params, &Patch::Apply(object)).await;
            applied.map_err(self.fault(&format!("applying {kind} {name}")))?;
            if kind == "CustomResourceDefinition" {
                definitions.push(name);
            }
        }
        for name in definitions {
            self.serves(name).await?;
        }
        Ok(())
    }

    /// Waits until a definition is served.
    async fn serves(&self, name: &str) -> Result<(), ClusterError> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client());
        let established = await_condition(api, name, conditions::is_crd_established());
        match tokio::time::timeout(SERVED_WITHIN, established).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                Err(ClusterError::NotServed { cluster: self.name().to_owned(), definition: name.to_owned() })
            }
        }
    }

    /// Waits until the API server has read all policies that were applied before: it reads them in their order, so one that is
    /// applied after them counts when they do. That one is removed again.
    pub(crate) async fn policies_count(&self) -> Result<(), ClusterError> {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
        let expression = format!("object.metadata.name != '{LAST}'");
        self.apply(&[
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": LAST},
                "spec": {
                    "matchConstraints": {"resourceRules": [rule]},
                    "validations": [{"expression": expression, "message": LAST}],
                },
            }),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": LAST}, "spec": {"policyName": LAST, "validationActions": ["Deny"]},
            }),
        ])
        .await?;
        let api: Api<ConfigMap> = Api::namespaced(self.client(), "default");
        let mut refused = ConfigMap::default();
        refused.metadata.name = Some(LAST.to_owned());
        let tried = PostParams { dry_run: true, ..PostParams::default() };
        let until = Instant::now() + SERVED_WITHIN;
        // Any other failure says nothing of policies.
        let is_refused = |error: &kube::Error| error.to_string().contains(&format!("'{LAST}'"));
        while !api.create(&tried, &refused).await.is_err_and(|error| is_refused(&error)) {
            if Instant::now() > until {
                return Err(ClusterError::NotServed {
                    cluster: self.name().to_owned(),
                    definition: LAST.to_owned(),
                });
            }
            sleep(Duration::from_millis(50)).await;
        }
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client());
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client());
        let removed = async {
            bindings.delete(LAST, &DeleteParams::default()).await?;
            policies.delete(LAST, &DeleteParams::default()).await
        };
        removed.await.map(drop).map_err(self.fault("removing the last policy"))
    }

    /// Makes a namespace.
    pub(crate) async fn make_namespace(&self, name: &str) -> Result<(), ClusterError> {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let api: Api<Namespace> = Api::all(self.client());
        let made = api.create(&PostParams::default(), &namespace).await;
        made.map(drop).map_err(self.fault(&format!("making namespace {name}")))
    }

    /// A token of a ServiceAccount that lasts as long as is said.
    pub(crate) async fn token(
        &self,
        namespace: &str,
        account: &str,
        lasts: Duration,
    ) -> Result<String, ClusterError> {
        let expiration_seconds = i64::try_from(lasts.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let made = api.create_token_request(account, &PostParams::default(), &request).await;
        let made = made.map_err(self.fault(&format!("making a token of {account}")))?;
        Ok(made.status.map(|status| status.token).unwrap_or_default())
    }
}
