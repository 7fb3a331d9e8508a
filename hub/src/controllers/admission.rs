//! The admin's half of the double opt-in: GPUClusters, as the link asks for them.

use std::sync::Arc;

use crds::fleet::GPUCluster;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Hub;
use super::fault::{Fault, call};
use super::live::Live;
use crate::audit::{Act, Action, Actor};
use crate::fleet::{ClusterName, Link};
use crate::link::{Admission, PortError, Standing};
use crate::pki::{CaHash, Member, SpokeCertificate, is_revoked};

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

    async fn standing(&self, certificate: &SpokeCertificate) -> Result<Standing, PortError> {
        let cluster = &certificate.cluster;
        let Some(known) = self.hub.stores.cluster(cluster.as_str()) else {
            return Ok(Standing::Refused(format!(
                "GPUCluster {cluster} does not exist: join it again with `nimfleet-hub join-command {cluster}`"
            )));
        };
        Ok(revoked(&known, certificate).map_or_else(|| standing(&known), Standing::Revoked))
    }

    async fn returning(
        &self,
        certificate: &SpokeCertificate,
        cluster_uid: &str,
    ) -> Result<Standing, PortError> {
        let cluster = &certificate.cluster;
        let known = self.hub.stores.cluster(cluster.as_str());
        let status = known.as_ref().and_then(|known| known.status.as_ref());
        let recorded = status.and_then(|status| status.cluster_uid.as_deref());
        if recorded.or(certificate.cluster_uid.as_deref()).is_some_and(|recorded| recorded != cluster_uid) {
            return Ok(Standing::Refused(format!(
                "the certificate was issued for another cluster than that of kube-system uid {cluster_uid}: join it with \
                 a name and a token of its own"
            )));
        }
        let latest = status.and_then(|status| status.certificate_expiry.as_ref());
        if latest.is_some_and(|latest| certificate.expires < latest.0) {
            return Ok(Standing::Revoked(format!(
                "a later certificate of cluster {cluster} has been seen: this one is a copy of an old state; get a new \
                 token with `nimfleet-hub join-command {cluster}`"
            )));
        }
        self.standing(certificate).await
    }

    fn members(&self) -> Vec<Member> {
        let live = self.hub.live();
        let accepted = self.hub.stores.clusters.state_filter(|cluster| cluster.spec.accepted);
        accepted.iter().filter_map(|cluster| member(&live, cluster)).collect()
    }
}

/// What is known of a cluster's certificate: by its session, else by what its last session left in the status. None for
/// a cluster that never had one.
fn member(live: &Live, cluster: &GPUCluster) -> Option<Member> {
    let name: ClusterName = cluster.name_any().parse().ok()?;
    let connected = live.fleet.cluster(name.as_str()).is_some_and(|known| known.link == Link::Connected);
    if let Some((certificate, trusted)) =
        live.sessions.get(&name).and_then(|session| session.identity.as_ref())
    {
        let (authority, trusted) = (Some(certificate.authority.clone()), trusted.clone());
        return Some(Member { cluster: name, trusted, authority, connected });
    }
    let status = cluster.status.as_ref()?;
    status.certificate_expiry.as_ref()?;
    Some(Member {
        cluster: name,
        trusted: status.trusted_authorities.iter().map(|hash| CaHash::told(hash)).collect(),
        authority: status.certificate_authority.as_deref().map(CaHash::told),
        connected,
    })
}

/// Why the certificate is no longer taken, if it is not.
pub(super) fn revoked(cluster: &GPUCluster, certificate: &SpokeCertificate) -> Option<String> {
    let name = &certificate.cluster;
    is_revoked(&certificate.serial, &cluster.spec.revoked_certificates).then(|| {
        format!(
            "certificate {} is in spec.revokedCertificates of GPUCluster {name}: get a new token with `nimfleet-hub \
             join-command {name}`",
            certificate.serial
        )
    })
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
        Act::new(Action::Join, Actor::Token, "a join token of this hub was shown").cluster(cluster).record();
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
