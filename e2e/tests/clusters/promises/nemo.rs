//! NVIDIA's NeMo stack, applied on the hub, runs together in the one cluster that can train, and goes from there.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::nemo::{NAMESPACE, STACK, bring, inventory};
use e2e::{objects, sample};
use serde_json::json;

/// Five Deployments and their claims, on two clusters that share two cores.
const READY_WITHIN: Duration = Duration::from_mins(2);
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn nemo_accept_a_stack_is_placed_together_and_goes_from_everywhere() -> Result<(), Failure> {
    // The other of the two values that NeMo needs; e2e installs every spoke with `rbac.nemo`.
    let nemo = json!({"kinds": ["NIM*", "Nemo*"]});
    let fleet = Fleet::new().cluster("plain").cpu_nodes(1).limits(nemo.clone());
    let fleet = fleet.cluster("train").gpus(H100, 8, 1).limits(nemo).start().await?;
    let (hub, train) = (fleet.hub().cluster(), fleet.cluster("train")?.cluster());
    bring(train).await?;
    let theirs = inventory(train).await?;
    for (_, _, manifest) in STACK {
        objects::apply(hub, manifest).await?;
    }
    // The stores are called by the three, and come along.
    let selectors: Vec<_> = STACK
        .iter()
        .filter(|(kind, ..)| !["NemoDatastore", "NemoEntitystore"].contains(kind))
        .map(|(kind, name, _)| json!({"kind": kind, "name": name}))
        .collect();
    let placement = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": "stack", "namespace": NAMESPACE}, "spec": {"resourceSelectors": selectors},
    });
    objects::apply(hub, &placement.to_string()).await?;
    for (kind, name, _) in STACK {
        fleet
            .eventually(&format!("{kind} {name} is Ready on the hub"), READY_WITHIN, || async {
                let found = objects::get(hub, kind, NAMESPACE, name).await?;
                objects::expect(&found, "Ready", "True")?;
                let available = &found["status"]["availableReplicas"];
                if *available == 1 { Ok(()) } else { Err(Failure::new(format!("{available} are available"))) }
            })
            .await?;
        objects::get(train, "Deployment", NAMESPACE, name).await?;
        objects::absent(fleet.cluster("plain")?.cluster(), kind, NAMESPACE, name).await?;
    }
    let placed = objects::get(hub, "NIMPlacement", NAMESPACE, "stack").await?;
    assert_eq!(sample::clusters_of(&placed), ["train"]);
    let refusal = placed["status"]["refusals"][0].to_string();
    assert!(refusal.contains("NoGPU") && refusal.contains("NemoCustomizer"), "{refusal}");

    for (kind, name, _) in STACK {
        objects::delete(hub, kind, NAMESPACE, name).await?;
    }
    // No more than ten go unasked: nobody has to confirm them.
    fleet
        .eventually("only what the cluster's people brought is left", SOON, || async {
            let left = inventory(train).await?;
            if left == theirs { Ok(()) } else { Err(Failure::new(format!("{left:?}"))) }
        })
        .await
}
