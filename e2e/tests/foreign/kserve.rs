//! Services on KServe as it is released.

use std::collections::BTreeMap;

use e2e::failure::Failure;
use e2e::{foreign, objects};
use serde_json::{Value, json};

use crate::site::{Foreign, on_the_cluster};

/// Label of all pods of an InferenceService.
const MEMBER: &str = "serving.kserve.io/inferenceservice";

impl Foreign {
    /// Applies a NIMService on KServe.
    async fn apply_served(&self, namespace: &str, name: &str, mut more: Value) -> Result<(), Failure> {
        more["inferencePlatform"] = json!("kserve");
        self.apply(namespace, name, more).await
    }

    /// Waits until none of these pods is left and others are there.
    async fn replaced(
        &self,
        namespace: &str,
        name: &str,
        old: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        self.eventually(&format!("the pods of {name} are replaced"), || async {
            let new = self.predictor(namespace, name).await?;
            let left = new.values().any(|uid| old.values().any(|old| old == uid));
            if left || new.is_empty() { Err(Failure::new(format!("{new:?}"))) } else { Ok(new) }
        })
        .await
    }

    /// The pods of its predictor.
    async fn predictor(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        self.pods(namespace, MEMBER, name).await
    }
}

#[test]
fn a_service_is_changed_put_right_and_goes() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-lifetime";
        all.apply_served(namespace, "plain", json!({})).await?;
        all.ready(namespace, "plain").await?;
        let first = all.predictor(namespace, "plain").await?;
        assert_eq!(first.len(), 1, "{first:?}");

        let tag = |tag: &str| json!({"image": {"repository": "nvcr.io/nim/meta/llama", "tag": tag}});
        all.apply_served(namespace, "plain", tag("1.13.0")).await?;
        all.replaced(namespace, "plain", &first).await?;
        all.ready(namespace, "plain").await?;

        let drift = json!({"spec": {"predictor": {"terminationGracePeriodSeconds": 7}}});
        objects::patch(all.cluster(), "InferenceService", namespace, "plain", drift).await?;
        all.eventually("the drift is healed", || async {
            let found = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
            let seconds = &found["spec"]["predictor"]["terminationGracePeriodSeconds"];
            if *seconds == 7 { Err(Failure::new("it is still there")) } else { Ok(()) }
        })
        .await?;

        let old = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
        objects::delete(all.cluster(), "InferenceService", namespace, "plain").await?;
        all.eventually("the InferenceService is back", || async {
            let found = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
            let same = found["metadata"]["uid"] == old["metadata"]["uid"];
            if same { Err(Failure::new("it is the old one")) } else { Ok(()) }
        })
        .await?;
        all.ready(namespace, "plain").await?;

        objects::delete(all.cluster(), "NIMService", namespace, "plain").await?;
        for kind in ["NIMService", "InferenceService", "Deployment", "Pod"] {
            all.none(kind, namespace).await?;
        }
        Ok(())
    })
}

#[test]
fn a_restart_of_operator_or_kserve_replaces_no_pod() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let (kserve, _alone) = all.kserve_alone().await?;
        let namespace = "kserve-restart";
        all.apply_served(namespace, "steady", json!({})).await?;
        all.ready(namespace, "steady").await?;
        let before = all.predictor(namespace, "steady").await?;
        kserve.kill();
        all.site().operator().kill();
        foreign::start(kserve).await?;
        all.site().start_operator().await?;
        all.apply_served(namespace, "later", json!({})).await?;
        all.ready(namespace, "later").await?;
        all.ready(namespace, "steady").await?;
        assert_eq!(all.predictor(namespace, "steady").await?, before);
        Ok(())
    })
}
