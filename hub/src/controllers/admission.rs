//! The admin's half of the double opt-in: GPUClusters, as the link asks for them.

use std::sync::Arc;

use crds::fleet::GPUCluster;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Hub;
use super::fault::{Fault, call};
use crate::fleet::ClusterName;
use crate::link::{Admission, PortError, Standing};

/// Apart from the status' own manager, so that neither takes the other's fields away.
const FIELD_MANAGER: &str = "nimfleet-hub-join";

/// Answers the link from the hub's view of GPUClusters.
pub(crate) struct Doorkeeper {
    pub(crate) hub: Arc<Hub>,
}

impl Admission for Doorkeeper {
    async fn ask(&self, cluster: &ClusterName, cluster_uid: &str) -> Result<Standing, PortError> {
        let known = match self.hub.stores.cluster(cluster.as_str()) {
            Some(known) => known,
            None => Arc::new(self.create(cluster).await?),
        };
        match known.status.as_ref().and_then(|status| status.cluster_uid.as_deref()) {
            Some(recorded) if recorded != cluster_uid => Ok(Standing::Refused(format!(
                "the name {cluster} belongs to another cluster (kube-system uid {recorded}, not {cluster_uid}): \
                 join under another name, or delete GPUCluster {cluster} first"
            ))),
            Some(_) => Ok(standing(&known)),
            None => {
                self.record(cluster, cluster_uid).await?;
                Ok(standing(&known))
            }
        }
    }

    async fn standing(&self, cluster: &ClusterName) -> Result<Standing, PortError> {
        Ok(match self.hub.stores.cluster(cluster.as_str()) {
            Some(known) => standing(&known),
            None => Standing::Refused(format!(
                "GPUCluster {cluster} does not exist: join it again with `nimfleet-hub join-command {cluster}`"
            )),
        })
    }
}

impl Doorkeeper {
    fn api(&self) -> Api<GPUCluster> {
        Api::all(self.hub.client.clone())
    }

    async fn create(&self, cluster: &ClusterName) -> Result<GPUCluster, Fault> {
        let object = json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
            "metadata": {"name": cluster.as_str()}, "spec": {},
        });
        let (api, params) = (self.api(), PatchParams::apply(FIELD_MANAGER).force());
        let made = call(
            || format!("creating GPUCluster {cluster}"),
            api.patch(cluster.as_str(), &params, &Patch::Apply(&object)),
        )
        .await?;
        self.hub.metrics.wrote();
        tracing::info!(target: "audit", action = "join", %cluster, "a cluster asks to join");
        Ok(made)
    }

    async fn record(&self, cluster: &ClusterName, cluster_uid: &str) -> Result<(), Fault> {
        let object = json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
            "metadata": {"name": cluster.as_str()}, "status": {"clusterUID": cluster_uid},
        });
        let (api, params) = (self.api(), PatchParams::apply(FIELD_MANAGER).force());
        call(
            || format!("recording the identity of GPUCluster {cluster}"),
            api.patch_status(cluster.as_str(), &params, &Patch::Apply(&object)),
        )
        .await?;
        self.hub.metrics.wrote();
        Ok(())
    }
}

fn standing(cluster: &GPUCluster) -> Standing {
    if cluster.spec.accepted { Standing::Accepted } else { Standing::Pending }
}
