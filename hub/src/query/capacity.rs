//! All that a cluster's agent has reported, as far as the hub keeps it: GPUCluster shows the first rows.

use crds::fleet::GPUClusterStatus;
use hub_scheduler::fleet::Cluster;
use serde_json::{Value, json};

use super::API_VERSION;
use super::answer::Refusal;

/// The report of the cluster of that name.
pub(super) fn object(name: &str, cluster: Option<&Cluster>) -> Result<Value, Refusal> {
    let Some(cluster) = cluster else {
        return Err(Refusal::not_found(format!("no GPUCluster is named {name:?}")));
    };
    let Some(capacity) = &cluster.capacity else {
        let words = format!(
            "GPUCluster {name} has not reported its capacity since this hub leads; ask again once it is connected"
        );
        return Err(Refusal::not_found(words));
    };
    let mut status = GPUClusterStatus::default();
    capacity.write_whole(&mut status);
    if let Some(agent) = &cluster.agent {
        agent.write_whole(&mut status);
    }
    let mut status = json!(status);
    status["receivedAt"] = json!(format!("{:.0}", capacity.received_at));
    Ok(json!({
        "kind": "ClusterCapacity", "apiVersion": API_VERSION, "metadata": {"name": name}, "status": status,
    }))
}

#[cfg(test)]
mod tests {
    use hub_scheduler::fleet::{Agent, Capacity, Cluster, StorageClass};
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn all_rows_are_there_however_many() {
        let classes =
            (0..1000).map(|number| StorageClass { name: number.to_string(), ..StorageClass::default() });
        let mut cluster = Cluster::new("east".parse().unwrap());
        assert!(object("west", None).is_err() && object("east", Some(&cluster)).is_err());
        cluster.capacity = Some(Capacity {
            received_at: Timestamp::UNIX_EPOCH,
            storage: Some(classes.collect()),
            ..Capacity::default()
        });
        cluster.agent = Some(Agent { version: "1.2.3".to_owned(), ..Agent::default() });
        let object = object("east", Some(&cluster)).unwrap();
        assert_eq!(object["status"]["storageClasses"].as_array().map(Vec::len), Some(1000));
        assert_eq!(object["status"]["counts"]["storageClasses"], 1000);
        assert_eq!(
            (&object["status"]["agentVersion"], &object["metadata"]["name"]),
            (&json!("1.2.3"), &json!("east"))
        );
        assert_eq!(object["status"]["receivedAt"], "1970-01-01T00:00:00Z");
    }
}
