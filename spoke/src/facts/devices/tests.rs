//! Devices by table, as drivers publish them.

use serde_json::{Value, json};

use super::*;

const GPU: &str = r#"device.driver == "gpu.nvidia.com" && device.attributes["gpu.nvidia.com"].type == "gpu""#;
const MIG: &str = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'mig'";

fn class(expression: &str) -> Class {
    let class =
        json!({"metadata": {"name": "c"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}});
    of_class(&serde_json::from_value(class).unwrap())
}

fn device(name: &str, kind: &str) -> Value {
    json!({
        "name": name,
        "attributes": {"type": {"string": kind}, "productName": {"string": "NVIDIA H100"}, "uuid": {"string": name},
                       "cudaComputeCapability": {"version": "9.0.0"}, "resource.kubernetes.io/pcieRoot": {"string": name}},
        "capacity": {"memory": {"value": "80Gi"}},
    })
}

/// Rows, where all nodes that are usable have no taint.
fn groups(
    classes: &BTreeMap<String, Class>,
    slices: &[Slice],
    given: &[Vec<Given>],
    usable: impl Fn(&str) -> bool,
) -> (Vec<DeviceGroup>, bool) {
    Devices::of(slices, given).groups(classes, |node| usable(node).then_some(&[]))
}

fn slice(node: &str, generation: i64, devices: &[Value]) -> Slice {
    let slice = json!({"metadata": {"name": "s"}, "spec": {
        "driver": "gpu.nvidia.com", "nodeName": node, "devices": devices,
        "pool": {"name": node, "generation": generation, "resourceSliceCount": 1}}});
    of_slice(&serde_json::from_value(slice).unwrap()).unwrap()
}

fn claim(results: &Value) -> Option<Vec<Given>> {
    let claim = json!({"metadata": {"name": "c", "namespace": "nim"}, "spec": {},
                       "status": {"allocation": {"devices": {"results": results}}}});
    of_claim(&serde_json::from_value(claim).unwrap())
}

fn given(node: &str, device: &str, admin: bool) -> Value {
    json!({"request": "r", "driver": "gpu.nvidia.com", "pool": node, "device": device, "adminAccess": admin})
}

#[test]
fn devices_that_are_alike_are_one_row_and_given_ones_are_not_free() {
    let classes = BTreeMap::from([("gpu".to_owned(), class(GPU)), ("mig".to_owned(), class(MIG))]);
    let slices = [
        slice("a", 1, &[device("gpu-0", "gpu"), device("gpu-1", "gpu"), device("mig-0", "mig")]),
        slice("b", 1, &[device("gpu-0", "gpu"), device("gpu-1", "gpu")]),
    ];
    let claims = [
        claim(&json!([given("a", "gpu-0", false)])).unwrap(),
        claim(&json!([given("b", "gpu-0", true)])).unwrap(),
    ];
    let (rows, cut) = groups(&classes, &slices, &claims, |_| true);
    let told: Vec<_> =
        rows.iter().map(|row| (row.class.as_str(), row.devices, row.free, &row.free_per_node)).collect();
    let (gpus, migs) = (BTreeMap::from([(1, 1), (2, 1)]), BTreeMap::from([(1, 1)]));
    assert_eq!(told, [("gpu", 4, 3, &gpus), ("mig", 1, 1, &migs)]);
    assert!(!cut);
    let attributes: Vec<_> =
        rows[0].attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("gpu.nvidia.com/cudaComputeCapability", "9.0.0"),
            ("gpu.nvidia.com/productName", "NVIDIA H100"),
            ("gpu.nvidia.com/type", "gpu")
        ]
    );
    assert_eq!(rows[0].capacity["gpu.nvidia.com/memory"], "80Gi");
}

#[test]
fn devices_of_nodes_that_take_no_pods_and_tainted_ones_are_not_free() {
    let classes = BTreeMap::from([("gpu".to_owned(), class(GPU))]);
    let mut tainted = device("gpu-1", "gpu");
    tainted["taints"] = json!([{"key": "xid", "effect": "NoSchedule"}]);
    let slices =
        [slice("a", 1, &[device("gpu-0", "gpu"), tainted]), slice("cordoned", 1, &[device("gpu-0", "gpu")])];
    let (rows, _) = groups(&classes, &slices, &[], |node| node != "cordoned");
    assert_eq!((rows[0].devices, rows[0].free), (3, 1));
}

#[test]
fn only_the_newest_generation_of_a_pool_counts() {
    let classes = BTreeMap::from([("gpu".to_owned(), class(GPU))]);
    let slices = [
        slice("a", 1, &[device("gpu-0", "gpu"), device("gpu-1", "gpu")]),
        slice("a", 2, &[device("gpu-0", "gpu")]),
    ];
    assert_eq!(groups(&classes, &slices, &[], |_| true).0[0].devices, 1);
}

#[test]
fn a_class_without_devices_is_told_and_one_that_cannot_be_read_is_not_counted() {
    let other = r#"device.capacity["gpu.nvidia.com"].memory.isGreaterThan(quantity("40Gi"))"#;
    let classes = BTreeMap::from([("empty".to_owned(), class(MIG)), ("other".to_owned(), class(other))]);
    let (rows, _) = groups(&classes, &[slice("a", 1, &[device("gpu-0", "gpu")])], &[], |_| true);
    let told: Vec<_> = rows.iter().map(|row| (row.class.as_str(), row.devices, row.uncounted)).collect();
    assert_eq!(told, [("empty", 0, false), ("other", 0, true)]);
}

#[test]
fn what_classes_say_is_read_or_it_is_said_that_it_is_not() {
    for (expression, read) in [
        (GPU, true),
        (MIG, true),
        (r#"device.driver == "x""#, true),
        (r#"(device.driver == "x") && (device.attributes["x"].n == 3)"#, true),
        (r#"device.driver == "x" || device.driver == "y""#, false),
        (r#"device.driver != "x""#, false),
        ("", false),
    ] {
        assert_eq!(Selects::read(expression).is_some(), read, "{expression}");
    }
}

#[test]
fn channels_of_compute_domains_are_passed_over() {
    let slice = json!({"metadata": {"name": "s"}, "spec": {
        "driver": CHANNELS, "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1}, "devices": []}});
    assert_eq!(of_slice(&serde_json::from_value(slice).unwrap()), None);
    assert_eq!(claim(&json!([])), Some(vec![]));
}

#[test]
fn devices_on_tainted_nodes_are_rows_of_their_own() {
    let classes = BTreeMap::from([("gpu".to_owned(), class(GPU))]);
    let slices = [slice("a", 1, &[device("gpu-0", "gpu")]), slice("b", 1, &[device("gpu-0", "gpu")])];
    let sku = [NodeTaint { key: "sku".into(), value: "gpu".into(), effect: "NoSchedule".into() }];
    let place = |node: &str| Some(if node == "b" { &sku[..] } else { &[] });
    let (rows, _) = Devices::of(&slices, &[]).groups(&classes, place);
    let told: Vec<_> = rows.iter().map(|row| (row.taints.len(), row.devices, row.free)).collect();
    assert_eq!(told, [(0, 1, 1), (1, 1, 1)]);
}

#[test]
fn devices_that_pods_get_as_an_extended_resource_are_counted_by_node() {
    let mut whole = class(GPU);
    whole.extended_resource = "nvidia.com/gpu".into();
    let classes = BTreeMap::from([("gpu".to_owned(), whole), ("mig".to_owned(), class(MIG))]);
    let slices = [slice("a", 1, &[device("gpu-0", "gpu"), device("gpu-1", "gpu"), device("mig-0", "mig")])];
    let claims = [claim(&json!([given("a", "gpu-0", false)])).unwrap()];
    let devices = Devices::of(&slices, &claims);
    let expected =
        Extended { devices: 2, taken: 1, product: Some("NVIDIA-H100".into()), memory_mib: Some(81_920) };
    assert_eq!(devices.extended(&classes)["a"], BTreeMap::from([("nvidia.com/gpu".to_owned(), expected)]));
    let (rows, _) = devices.groups(&classes, |_| Some(&[]));
    assert_eq!(rows[0].extended_resource, "nvidia.com/gpu");
}
