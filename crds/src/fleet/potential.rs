//! Pools of nodes that are not there yet, and that an autoscaler brings when pods wait for them.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::InvalidDuration;

/// A pool of nodes that an autoscaler can bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.memory) || (type(self.memory) == string ? (isQuantity(string(self.memory)) && quantity(string(self.memory)).isGreaterThan(quantity('0'))) : int(self.memory) > 0)",
    "memory is to be more than 0: write it like 80Gi"
))]
#[serde(rename_all = "camelCase")]
pub struct PotentialPool {
    /// The product as GPU feature discovery will label it, for example `NVIDIA-H100-80GB-HBM3`.
    #[schemars(length(min = 1, max = 63))]
    pub product: String,
    /// The resource that pods will request. Default `nvidia.com/gpu`.
    #[serde(default = "nvidia_gpu")]
    #[schemars(length(min = 1, max = 253))]
    pub resource: String,
    /// GPUs of one node.
    #[schemars(range(min = 1, max = 64))]
    pub gpus_per_node: i32,
    /// The most nodes of this product and resource that the cluster can have, those that are there already among them.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_nodes: i32,
    /// Memory of one GPU, for example `80Gi`. Absent: what nodes of the product tell that are there, and else unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// How long a node takes to come, driver included: hours, minutes and seconds, for example `90s` or `1h30m`. For that
    /// long a pod that waits here is not pending for too long. Default `10m`.
    #[serde(default = "ten_minutes")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"), length(min = 2, max = 21))]
    pub delay: String,
}

fn nvidia_gpu() -> String {
    "nvidia.com/gpu".to_owned()
}

fn ten_minutes() -> String {
    "10m".to_owned()
}

impl PotentialPool {
    /// `delay` as a duration.
    ///
    /// # Errors
    /// When it is not a duration; an API server with our schema stores none such.
    pub fn delay(&self) -> Result<Duration, InvalidDuration> {
        let span: Option<SignedDuration> = self.delay.parse().ok();
        span.and_then(|span| Duration::try_from(span).ok())
            .ok_or_else(|| InvalidDuration { field: "spec.potential[].delay", value: self.delay.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_that_says_little_is_of_gpus_and_comes_in_ten_minutes() {
        let pool: PotentialPool =
            serde_json::from_value(json!({"product": "NVIDIA-L40S", "gpusPerNode": 4, "maxNodes": 2}))
                .unwrap();
        assert_eq!((pool.resource.as_str(), pool.delay()), ("nvidia.com/gpu", Ok(Duration::from_mins(10))));
        let error = PotentialPool { delay: "soon".into(), ..pool }.delay().unwrap_err().to_string();
        assert!(error.contains("spec.potential[].delay") && error.contains("soon"), "{error}");
    }
}
