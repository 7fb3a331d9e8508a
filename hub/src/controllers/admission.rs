//! The admin's half of the double opt-in: GPUClusters, as the link asks for them.

use std::sync::Arc;

use crds::fleet::GPUCluster;
use hub_core::audit::{Act, Action, Actor};
use hub_core::fleet_state::FleetState;
use hub_core::identity::{CaHash, Member, SpokeCertificate, is_revoked};
use hub_scheduler::fleet::{ClusterName, Link};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Hub;
use super::fault::{Fault, call};
use crate::audit::RecordAct;
use crate::link::{Admission, MemberIdentity, Membership, PortError};

/// Apart from the status' own manager, so that neither takes the other's fields away.
const FIELD_MANAGER: &str = "nimfleet-hub-join";

/// Answers the link from the hub's view of GPUClusters.
pub(crate) struct Doorkeeper {
    pub(crate) hub: Arc<Hub>,
}

impl Admission for Doorkeeper {
    async fn ask(&self, cluster: &ClusterName, cluster_uid: &str) -> Result<Membership, PortError> {
        let mut known = match self.hub.stores.cluster(cluster.as_str()) {
            Some(known) => known,
            None => Arc::new(self.create(cluster).await?),
        };
        if known.spec.accepted {
            // A certificate is of one GPUCluster: not of one that has been deleted and made again since the watch told of it.
            match self.stored(cluster).await? {
                Some(stored) => known = Arc::new(stored),
                None => return Ok(Membership::Refused(absent(cluster))),
            }
        }
        match recorded_uid(&known) {
            Some(recorded) if recorded != cluster_uid => Ok(Membership::Refused(format!(
                "the name {cluster} belongs to another cluster (kube-system uid {recorded}, not {cluster_uid}): \
                 join under another name, or delete GPUCluster {cluster} first"
            ))),
            Some(_) => Ok(membership(&known, None)),
            None => {
                self.record(&known, cluster_uid).await?;
                Ok(membership(&known, Some(cluster_uid)))
            }
        }
    }

    async fn membership(&self, certificate: &SpokeCertificate) -> Result<Membership, PortError> {
        let cluster = &certificate.cluster;
        let Some(known) = self.hub.stores.cluster(cluster.as_str()) else {
            return Ok(Membership::Refused(absent(cluster)));
        };
        let uid = certificate.cluster_uid.as_deref();
        Ok(void(&known, certificate).map_or_else(|| membership(&known, uid), Membership::Revoked))
    }

    async fn returning(
        &self,
        certificate: &SpokeCertificate,
        cluster_uid: &str,
    ) -> Result<Membership, PortError> {
        let cluster = &certificate.cluster;
        let known = self.hub.stores.cluster(cluster.as_str());
        let recorded = known.as_deref().and_then(recorded_uid);
        if recorded.or(certificate.cluster_uid.as_deref()).is_some_and(|recorded| recorded != cluster_uid) {
            return Ok(Membership::Refused(format!(
                "the certificate was issued for another cluster than that of kube-system uid {cluster_uid}: join it with \
                 a name and a token of its own"
            )));
        }
        let status = known.as_ref().and_then(|known| known.status.as_ref());
        let latest = status.and_then(|status| status.certificate_expiry.as_ref());
        if latest.is_some_and(|latest| certificate.expires < latest.0) {
            return Ok(Membership::Revoked(format!(
                "a later certificate of cluster {cluster} has been seen: this one is a copy of an old state; get a new \
                 token with `nimfleet-hub join-command {cluster}`"
            )));
        }
        self.membership(certificate).await
    }

    fn members(&self) -> Vec<Member> {
        let live = self.hub.live();
        let accepted = self.hub.stores.clusters.state_filter(|cluster| cluster.spec.accepted);
        accepted.iter().filter_map(|cluster| member(&live, cluster)).collect()
    }
}

/// What is known of a cluster's certificate: by its session, else by what its last session left in the status. None for
/// a cluster that never had one.
fn member(live: &FleetState, cluster: &GPUCluster) -> Option<Member> {
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
        trusted: status.trusted_authorities.iter().map(|hash| CaHash::reported(hash)).collect(),
        authority: status.certificate_authority.as_deref().map(CaHash::reported),
        connected,
    })
}

/// Why a certificate is no longer taken for a GPUCluster, if it is not.
pub(super) fn void(cluster: &GPUCluster, certificate: &SpokeCertificate) -> Option<String> {
    let (name, serial) = (&certificate.cluster, &certificate.serial);
    let status = cluster.status.as_ref();
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    let why = if is_revoked(serial, &cluster.spec.revoked_certificates) {
        format!("certificate {serial} is in spec.revokedCertificates of GPUCluster {name}")
    } else if let Some(issued_for) = certificate.object_uid.as_deref().filter(|issued_for| *issued_for != uid)
    {
        format!(
            "certificate {serial} was issued for a GPUCluster {name} that has been deleted (uid {issued_for}; the present one has \
             {uid})"
        )
    } else if certificate.object_uid.is_none()
        && !status
            .and_then(|status| status.certificate_serial.as_deref())
            .is_some_and(|known| certificate.is_kin_of(known))
    {
        // Issued before certificates named their GPUCluster: it is the present one's if that was seen with it, or with one that
        // it was renewed from.
        format!("certificate {serial} is not the one by which GPUCluster {name} has been known")
    } else if let Some((recorded, issued_for)) = recorded_uid(cluster)
        .zip(certificate.cluster_uid.as_deref())
        .filter(|(recorded, own)| recorded != own)
    {
        format!(
            "certificate {serial} was issued for the cluster of kube-system uid {issued_for}, and GPUCluster {name} is that of \
             {recorded}"
        )
    } else {
        return None;
    };
    Some(format!("{why}: get a new token with `nimfleet-hub join-command {name}`"))
}

fn absent(cluster: &ClusterName) -> String {
    format!("GPUCluster {cluster} does not exist: join it again with `nimfleet-hub join-command {cluster}`")
}

/// Which cluster has the name, by the uid of its kube-system namespace.
fn recorded_uid(cluster: &GPUCluster) -> Option<&str> {
    cluster.status.as_ref()?.cluster_uid.as_deref()
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

    /// As it is stored at this moment.
    async fn stored(&self, cluster: &ClusterName) -> Result<Option<GPUCluster>, Fault> {
        call(|| format!("reading GPUCluster {cluster}"), self.api().get_opt(cluster.as_str())).await
    }

    async fn record(&self, cluster: &GPUCluster, cluster_uid: &str) -> Result<(), Fault> {
        let name = cluster.name_any();
        let object = json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster",
            "metadata": {"name": name, "uid": cluster.metadata.uid}, "status": {"clusterUID": cluster_uid},
        });
        let (api, params) = (self.api(), PatchParams::apply(FIELD_MANAGER).force());
        call(
            || format!("recording the identity of GPUCluster {name}"),
            api.patch_status(&name, &params, &Patch::Apply(&object)),
        )
        .await?;
        self.hub.metrics.wrote();
        Ok(())
    }
}

/// Where a cluster stands of which nothing but its admin's word is asked. `cluster_uid` says which it is where that has not
/// been recorded.
fn membership(cluster: &GPUCluster, cluster_uid: Option<&str>) -> Membership {
    if !cluster.spec.accepted {
        return Membership::Pending;
    }
    Membership::Accepted(MemberIdentity {
        object_uid: cluster.metadata.uid.clone().unwrap_or_default(),
        cluster_uid: recorded_uid(cluster).or(cluster_uid).unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use crds::fleet::{GPUClusterSpec, GPUClusterStatus};
    use jiff::Timestamp;

    use super::*;

    const SERIAL: &str = "40000000000000010000000000000001";
    const NEXT: &str = "40000000000000010000000000000002";
    const STRANGER: &str = "40000000000000020000000000000001";

    fn cluster(uid: &str, cluster_uid: Option<&str>, serial: Option<&str>) -> GPUCluster {
        let mut cluster = GPUCluster::new("east", GPUClusterSpec { accepted: true, ..Default::default() });
        cluster.metadata.uid = Some(uid.to_owned());
        cluster.status = Some(GPUClusterStatus {
            cluster_uid: cluster_uid.map(str::to_owned),
            certificate_serial: serial.map(str::to_owned),
            ..Default::default()
        });
        cluster
    }

    fn certificate(object_uid: Option<&str>, cluster_uid: Option<&str>, serial: &str) -> SpokeCertificate {
        SpokeCertificate {
            cluster: "east".parse().unwrap(),
            cluster_uid: cluster_uid.map(str::to_owned),
            object_uid: object_uid.map(str::to_owned),
            serial: serial.to_owned(),
            authority: CaHash::reported("a"),
            expires: Timestamp::MAX,
            key_hash: [0; 32],
        }
    }

    #[test]
    fn a_certificate_is_of_one_gpucluster_and_one_cluster() {
        let revoked = {
            let mut cluster = cluster("o1", Some("c1"), None);
            cluster.spec.revoked_certificates = vec![SERIAL[..16].to_owned()];
            cluster
        };
        let table = [
            (cluster("o1", Some("c1"), None), certificate(Some("o1"), Some("c1"), SERIAL), None),
            (cluster("o1", None, None), certificate(Some("o1"), Some("c1"), SERIAL), None),
            (cluster("o1", Some("c1"), Some(STRANGER)), certificate(Some("o1"), Some("c1"), SERIAL), None),
            (revoked, certificate(Some("o1"), Some("c1"), SERIAL), Some("spec.revokedCertificates")),
            (cluster("o2", Some("c1"), None), certificate(Some("o1"), Some("c1"), SERIAL), Some("deleted")),
            (
                cluster("o1", Some("c2"), None),
                certificate(Some("o1"), Some("c1"), SERIAL),
                Some("kube-system"),
            ),
            // Of the version before.
            (cluster("o1", Some("c1"), Some(NEXT)), certificate(None, Some("c1"), SERIAL), None),
            (cluster("o1", Some("c1"), Some(NEXT)), certificate(None, None, SERIAL), None),
            (
                cluster("o1", Some("c2"), Some(NEXT)),
                certificate(None, Some("c1"), SERIAL),
                Some("kube-system"),
            ),
            (
                cluster("o1", Some("c1"), Some(STRANGER)),
                certificate(None, Some("c1"), SERIAL),
                Some("not the one"),
            ),
            (cluster("o1", Some("c1"), None), certificate(None, Some("c1"), SERIAL), Some("not the one")),
        ];
        for (cluster, certificate, words) in table {
            let found = void(&cluster, &certificate);
            let is_right = match (&found, words) {
                (None, None) => true,
                (Some(found), Some(words)) => found.contains(words) && found.contains("join-command east"),
                _ => false,
            };
            assert!(is_right, "{found:?} for {words:?}: {certificate:?}");
        }
    }

    #[test]
    fn what_is_recorded_of_a_cluster_counts_before_what_a_certificate_says() {
        let accepted = |object: &str, cluster: &str| {
            Membership::Accepted(MemberIdentity { object_uid: object.into(), cluster_uid: cluster.into() })
        };
        assert_eq!(membership(&cluster("o", Some("c"), None), Some("d")), accepted("o", "c"));
        assert_eq!(membership(&cluster("o", None, None), Some("d")), accepted("o", "d"));
        assert_eq!(membership(&cluster("o", None, None), None), accepted("o", ""));
        let waiting = GPUCluster::new("east", GPUClusterSpec::default());
        assert_eq!(membership(&waiting, None), Membership::Pending);
    }
}
