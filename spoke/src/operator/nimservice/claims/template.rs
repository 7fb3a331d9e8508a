//! ResourceClaimTemplates for the claims that a NIMService describes itself.

use crds::nim::DRADeviceSpec;
use serde_json::{Value, json};

use super::names;
use super::selector::expressions;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;
use crate::operator::nimservice::scene::Scene;

/// One template for each entry with a `claimCreationSpec`. The spec of a template may not change, so one that differs
/// is made anew; pods that run keep the claims they were given.
pub(super) fn children(scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    let described = scene.spec.dra_resources.iter().flatten().enumerate();
    let described =
        described.filter_map(|(index, wanted)| Some((index, wanted.claim_creation_spec.as_ref()?)));
    let made = described.map(|(index, wanted)| {
        let requests = wanted.devices.iter().enumerate().map(|(place, device)| {
            request(device).map_err(|why| {
                let message = format!("spec.draResources[{index}].claimCreationSpec.devices[{place}].{why}");
                Failure::new("ResourceClaimTemplateFailed", message)
            })
        });
        let requests: Vec<Value> = requests.collect::<Result<_, _>>()?;
        let name = names::template(scene.name(), wanted, index);
        let of = scene.microservice();
        let (labels, annotations) = (of.labels(), of.annotations());
        let body = json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {
                "name": name, "namespace": scene.namespace(), "labels": labels, "annotations": annotations,
            },
            "spec": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"devices": {"requests": requests}},
            },
        });
        Ok(Child::new(ChildKind::ResourceClaimTemplate, &name, Keep::Replaced, &body))
    });
    made.collect()
}

fn request(device: &DRADeviceSpec) -> Result<Value, String> {
    let selectors = expressions(device)?;
    let selectors: Vec<Value> =
        selectors.into_iter().map(|expression| json!({"cel": {"expression": expression}})).collect();
    Ok(json!({
        "name": device.name,
        "exactly": {
            "allocationMode": "ExactCount",
            "count": device.count,
            "deviceClassName": device.device_class_name,
            "selectors": selectors,
        },
    }))
}
