//! `nimfleet-hub rotate-ca`.

use std::io::Write as _;

use crds::fleet::GPUCluster;
use hub_core::audit::Action;
use hub_core::identity::Stage;
use hub_scheduler::fleet::ClusterName;
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use runtime::chain;

use super::connect::connect;
use super::{AppError, identity};
use crate::args::{CommonArgs, RotateArgs};
use crate::audit::Record;
use crate::pki::{AUTHORITY_LIFE, KubeSecrets, Rotation};

/// Begins a rollover, or says what the one under way waits for. The hub itself leads it.
pub(super) async fn rotate(common: &CommonArgs, args: &RotateArgs) -> Result<(), AppError> {
    let without = args.without.iter().map(|name| name.parse()).collect::<Result<Vec<ClusterName>, _>>()?;
    let (client, url) = connect(common.kubeconfig.as_deref()).await?;
    let (now, life) = (Timestamp::now(), SignedDuration::try_from(common.ca_life).unwrap_or(AUTHORITY_LIFE));
    let authorities = identity::authorities(&client, &common.namespace, common.ca_life).await?;
    let rotation = authorities.rotate(now, life, &without).await.map_err(AppError::Authority)?;
    let trust = authorities.current();
    let mut text = match &rotation {
        Rotation::Began(ca) => {
            let cause = format!("rotate-ca: {ca} is being introduced");
            let secrets = KubeSecrets::new(client.clone(), &common.namespace);
            let record = Record::new(Action::RotateCa, common.pod_name.as_deref(), cause);
            record.hand_over(&secrets).await.map_err(AppError::Audit)?;
            format!("begun: the new CA is {ca}\n")
        }
        Rotation::UnderWay(ca) => format!("under way: the new CA is {ca}\n"),
    };
    text += match trust.stage() {
        Stage::Retiring => {
            "step 2 of 2: the new CA signs; the old one is dropped when every cluster has renewed its certificate\n"
        }
        _ => "step 1 of 2: the old CA signs; the new one takes over when every cluster trusts it\n",
    };
    let clusters: Api<GPUCluster> = Api::all(client);
    let clusters = clusters
        .list(&ListParams::default())
        .await
        .map_err(|error| AppError::ApiServer { url, problem: chain(&error) })?;
    let waits = clusters.items.iter().filter_map(|cluster| {
        let conditions = &cluster.status.as_ref()?.conditions;
        let found =
            crds::condition::find(conditions, "TrustUpToDate").filter(|found| found.status != "True")?;
        Some(format!("waits for {}: {}\n", cluster.name_any(), found.message))
    });
    text.extend(waits);
    text += "Progress: run this again, or `kubectl get gpuclusters`, condition TrustUpToDate. A cluster that will not \
             come back is left behind with --without <cluster>; it then joins anew with a token.";
    writeln!(std::io::stdout(), "{text}").map_err(AppError::Output)
}
