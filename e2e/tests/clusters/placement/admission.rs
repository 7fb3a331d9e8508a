//! Clusters say whom they admit, and what they could grow by.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::json;

use super::shares::{SOON, admin_says};

#[tokio::test]
async fn a_cluster_admits_namespaces_by_their_labels_and_grows_where_an_autoscaler_brings_nodes()
-> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("empty").cpu_nodes(1).start().await?;
    let hub = fleet.hub().cluster();
    let only_ml = json!({"allowedNamespaces": {"matchLabels": {"team": "ml"}}});
    admin_says(&fleet, "east", only_ml).await?;
    sample::place(&fleet, sample::NAME, &json!({})).await?;
    sample::says(&fleet, sample::NAME, "Scheduled", "NoClusterFits").await?;
    for word in ["NamespaceNotAllowed", "admits namespaces with team=ml", "NoGPU"] {
        fleet
            .eventually(&format!("a refusal tells of {word}"), SOON, || async {
                let placement = sample::placed(&fleet, sample::NAME).await?;
                let refusals = placement["status"]["refusals"].to_string();
                if refusals.contains(word) { Ok(()) } else { Err(Failure::new(refusals)) }
            })
            .await?;
    }

    // The label comes: it is admitted.
    let labelled = json!({"metadata": {"labels": {"team": "ml"}}});
    objects::patch(hub, "Namespace", "", sample::NAMESPACE, labelled).await?;
    sample::says(&fleet, sample::NAME, "Scheduled", "Placed").await?;
    assert_eq!(sample::clusters_of(&sample::placed(&fleet, sample::NAME).await?), ["east"]);

    // Eight are more than are left: they go where nodes can be brought.
    let potential =
        json!({"potential": [{"product": H100, "gpusPerNode": 8, "maxNodes": 1, "memory": "80Gi"}]});
    admin_says(&fleet, "empty", potential).await?;
    objects::apply(hub, &sample::named("large").replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 8")).await?;
    objects::apply(hub, &sample::placement("large", &json!({}))).await?;
    sample::says(&fleet, "large", "Scheduled", "Placed").await?;
    assert_eq!(sample::clusters_of(&sample::placed(&fleet, "large").await?), ["empty"]);
    Ok(())
}
