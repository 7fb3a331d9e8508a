//! What quotas of Kueue leave of the GPUs.

use std::collections::BTreeMap;

use crds::quantity;
use kube::api::DynamicObject;
use serde_json::Value;

/// Node label that a flavor names its GPUs by.
const PRODUCT_LABEL: &str = "nvidia.com/gpu.product";

/// What a ClusterQueue leaves of one resource in one flavor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quota {
    flavor: String,
    resource: String,
    left: u32,
}

/// The quotas of a ClusterQueue: nominal, less what is used.
pub(super) fn of_queue(queue: &DynamicObject) -> Vec<Quota> {
    let mut quotas = Vec::new();
    for group in list(queue.data.pointer("/spec/resourceGroups")) {
        for flavor in list(group.get("flavors")) {
            let name = text(flavor, "name");
            for resource in list(flavor.get("resources")) {
                let (covered, nominal) = (text(resource, "name"), amount(resource.get("nominalQuota")));
                let used = used(queue, name, covered);
                quotas.push(Quota {
                    flavor: name.to_owned(),
                    resource: covered.to_owned(),
                    left: u32::try_from(nominal.saturating_sub(used)).unwrap_or(u32::MAX),
                });
            }
        }
    }
    quotas
}

/// The GPU product of a flavor's nodes; empty where it names none.
pub(super) fn of_flavor(flavor: &DynamicObject) -> String {
    let labels = flavor.data.pointer("/spec/nodeLabels");
    let product = labels.and_then(|labels| labels.get(PRODUCT_LABEL)?.as_str());
    product.unwrap_or_default().to_owned()
}

/// GPUs of a product that all queues together leave; none where no queue covers them. A flavor that names no product
/// covers every one.
pub(super) fn left<'a>(
    queues: impl IntoIterator<Item = &'a Vec<Quota>>,
    flavors: &BTreeMap<String, String>,
    product: &str,
    resource: &str,
) -> Option<u32> {
    let covers = |quota: &&Quota| {
        let of_flavor = flavors.get(&quota.flavor).map_or("", String::as_str);
        quota.resource == resource && (of_flavor.is_empty() || of_flavor == product)
    };
    let left = queues.into_iter().flatten().filter(covers).map(|quota| quota.left);
    left.reduce(u32::saturating_add)
}

fn used(queue: &DynamicObject, flavor: &str, resource: &str) -> u64 {
    let usage =
        list(queue.data.pointer("/status/flavorsUsage")).filter(|usage| text(usage, "name") == flavor);
    let resources = usage.flat_map(|usage| list(usage.get("resources")));
    resources.filter(|used| text(used, "name") == resource).map(|used| amount(used.get("total"))).sum()
}

fn amount(value: Option<&Value>) -> u64 {
    let plain = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    plain.and_then(|plain| quantity::whole(&plain)).unwrap_or(0)
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GPU: &str = "nvidia.com/gpu";

    fn queue(flavor: &str, nominal: &Value, used: &Value) -> Vec<Quota> {
        let queue = serde_json::from_value(json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ClusterQueue", "metadata": {"name": "q"},
            "spec": {"resourceGroups": [{"coveredResources": ["cpu", GPU], "flavors": [{"name": flavor, "resources": [
                {"name": "cpu", "nominalQuota": "64"}, {"name": GPU, "nominalQuota": nominal}]}]}]},
            "status": {"flavorsUsage": [{"name": flavor, "resources": [{"name": GPU, "total": used}]}]},
        }))
        .unwrap();
        of_queue(&queue)
    }

    fn flavor(labels: &Value) -> String {
        let flavor = json!({"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "f"},
                            "spec": {"nodeLabels": labels}});
        of_flavor(&serde_json::from_value(flavor).unwrap())
    }

    #[test]
    fn quotas_leave_what_is_not_used() {
        let flavors = BTreeMap::from([
            ("h100".to_owned(), flavor(&json!({PRODUCT_LABEL: "H100"}))),
            ("any".to_owned(), flavor(&json!({}))),
        ]);
        let of = |queues: &[Vec<Quota>], product: &str| left(queues, &flavors, product, GPU);
        let one = [queue("h100", &json!("16"), &json!("6"))];
        assert_eq!((of(&one, "H100"), of(&one, "L40S")), (Some(10), None));
        let two = [queue("h100", &json!(16), &json!(20)), queue("any", &json!("1k"), &json!("0"))];
        assert_eq!((of(&two, "H100"), of(&two, "L40S")), (Some(1000), Some(1000)));
        assert_eq!(of(&[], "H100"), None);
        assert_eq!(left(&one, &flavors, "H100", "nvidia.com/mig-1g.10gb"), None);
    }
}
