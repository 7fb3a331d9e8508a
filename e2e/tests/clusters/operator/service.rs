//! NIMServices as the tests apply them, and how they are waited for.

use std::time::Duration;

use e2e::failure::Failure;
use e2e::site::Site;
use e2e::{objects, sample};
use serde_json::{Value, json};

/// Namespace of everything that is applied.
pub(crate) const NAMESPACE: &str = "models";
/// Long enough for a busy machine; nothing here takes more than seconds.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A NIMService of one GPU on an emptyDir, with more of its spec; null takes a field away.
pub(crate) fn service(name: &str, more: Value) -> Value {
    sample::service(NAMESPACE, name, more)
}

/// Applies a NIMService.
pub(crate) async fn apply(site: &Site, name: &str, more: Value) -> Result<(), Failure> {
    objects::apply(site.cluster(), &service(name, more).to_string()).await
}

/// Waits until the NIMService says Ready for the generation that it has.
pub(crate) async fn ready(site: &Site, name: &str) -> Result<Value, Failure> {
    site.eventually(&format!("{name} is Ready"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, name).await?;
        objects::expect_ready(&found)?;
        Ok(found)
    })
    .await
}

/// Waits until the NIMService's Ready condition is False for this reason; gives back the message.
pub(crate) async fn says(site: &Site, name: &str, reason: &str) -> Result<String, Failure> {
    site.eventually(&format!("{name} says {reason}"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, name).await?;
        objects::expect_not_ready(&found, reason)
    })
    .await
}

/// Waits until an object is there.
pub(crate) async fn there(site: &Site, kind: &str, name: &str) -> Result<Value, Failure> {
    site.eventually(&format!("{kind} {name} is there"), SOON, || {
        objects::get(site.cluster(), kind, NAMESPACE, name)
    })
    .await
}

/// Waits until an object is gone.
pub(crate) async fn gone(site: &Site, kind: &str, name: &str) -> Result<(), Failure> {
    site.eventually(&format!("{kind} {name} is gone"), SOON, || {
        objects::absent(site.cluster(), kind, NAMESPACE, name)
    })
    .await
}

/// Puts KServe's own controller where it is looked for; nothing of it runs.
pub(crate) async fn kserve(site: &Site) -> Result<(), Failure> {
    let labels = json!({"control-plane": "kserve-controller-manager"});
    let controller = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "kserve-controller-manager", "namespace": "kserve", "labels": labels},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "manager", "image": "k"}]}},
        },
    });
    objects::apply(site.cluster(), &controller.to_string()).await
}
