//! What of a NIMService's spec leaves nothing sensible to render, where no admission policy kept it from being stored.
//! What can be rendered is, even if a policy would refuse it: objects from before the policies go on as they were.

use crds::nim::{DRAResource, InferencePlatform, NIMServiceSpec};

use crate::operator::engine::kind::Failure;

/// The first field that nothing can be rendered from: its name, its value and the remedy.
pub(super) fn check(spec: &NIMServiceSpec) -> Result<(), Failure> {
    let found = image(spec).or_else(|| standalone(spec)).or_else(|| devices(spec));
    found.map_or(Ok(()), |message| Err(Failure::new("InvalidSpec", message)))
}

fn image(spec: &NIMServiceSpec) -> Option<String> {
    if spec.image.repository.is_empty() {
        return Some(
            "spec.image.repository is empty: name the image, for example nvcr.io/nim/meta/llama-3.1-8b-instruct"
                .to_owned(),
        );
    }
    let missing = spec.image.tag.is_empty();
    missing.then(|| "spec.image.tag is empty: name the version of the image, for example 1.8.3".to_owned())
}

/// KServe does not look at these fields.
fn standalone(spec: &NIMServiceSpec) -> Option<String> {
    if spec.platform() != Ok(InferencePlatform::Standalone) {
        return None;
    }
    domain(spec).or_else(|| scale(spec))
}

/// A host without a domain ends in a dot, and no Ingress or route may have it.
fn domain(spec: &NIMServiceSpec) -> Option<String> {
    let router = spec.expose.as_ref()?.router.as_ref()?;
    let needs_host = router.ingress.is_some() || router.gateway.is_some();
    let named = router.host_domain_name.as_deref().is_some_and(|domain| !domain.is_empty());
    (needs_host && !named).then(|| {
        "spec.expose.router.hostDomainName is empty: name the domain to make hosts in, for example models.example.com"
            .to_owned()
    })
}

fn scale(spec: &NIMServiceSpec) -> Option<String> {
    let scale = spec.scale.as_ref().filter(|scale| scale.enabled == Some(true))?;
    let most = scale.hpa.as_ref().map_or(0, |hpa| hpa.max_replicas);
    (most < 1).then(|| {
        format!(
            "spec.scale.hpa.maxReplicas is {most}: spec.scale.enabled needs at least 1; set how many replicas there may be"
        )
    })
}

fn devices(spec: &NIMServiceSpec) -> Option<String> {
    let claims = spec.dra_resources.as_deref().unwrap_or_default();
    claims.iter().enumerate().find_map(|(index, claim)| {
        device(claim).map(|why| format!("spec.draResources[{index}].claimCreationSpec.devices{why}"))
    })
}

fn device(claim: &DRAResource) -> Option<String> {
    let devices = &claim.claim_creation_spec.as_ref()?.devices;
    if devices.is_empty() {
        return Some(" is empty: describe at least one device".to_owned());
    }
    devices.iter().enumerate().find_map(|(index, device)| {
        if device.count < 1 {
            return Some(format!("[{index}].count is {}: claim at least 1", device.count));
        }
        let unnamed = device.device_class_name.is_empty();
        unnamed.then(|| {
            format!("[{index}].deviceClassName is empty: name the class, for example gpu.nvidia.com")
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(change: &Value) -> Option<String> {
        let mut spec =
            json!({"image": {"repository": "nvcr.io/nim/llm", "tag": "1"}, "storage": {"emptyDir": {}}});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let spec: NIMServiceSpec = serde_json::from_value(spec).unwrap();
        check(&spec).err().map(|why| {
            assert_eq!(why.reason, "InvalidSpec");
            why.message
        })
    }

    fn device(device: &Value) -> Value {
        json!({"draResources": [{"resourceClaimName": "one"}, {"claimCreationSpec": {"devices": [device]}}]})
    }

    #[test]
    fn what_cannot_be_rendered_is_named() {
        let router = json!({"ingress": {"ingressClass": "nginx"}});
        let gpu = |count: i32, class: &str| json!({"name": "gpu", "count": count, "deviceClassName": class});
        for (change, field) in [
            (json!({"image": {"repository": "", "tag": "1"}}), "spec.image.repository is empty"),
            (json!({"image": {"repository": "llm", "tag": ""}}), "spec.image.tag is empty"),
            (json!({"expose": {"router": router}}), "spec.expose.router.hostDomainName is empty"),
            (json!({"scale": {"enabled": true}}), "spec.scale.hpa.maxReplicas is 0"),
            (
                json!({"scale": {"enabled": true, "hpa": {"minReplicas": 1, "maxReplicas": 0}}}),
                "spec.scale.hpa.maxReplicas is 0",
            ),
            (
                json!({"draResources": [{"claimCreationSpec": {"devices": []}}]}),
                "spec.draResources[0].claimCreationSpec.devices is empty",
            ),
            (
                device(&gpu(0, "gpu.nvidia.com")),
                "spec.draResources[1].claimCreationSpec.devices[0].count is 0",
            ),
            (
                device(&gpu(1, "")),
                "spec.draResources[1].claimCreationSpec.devices[0].deviceClassName is empty",
            ),
        ] {
            let said = said(&change).unwrap_or_else(|| panic!("{change} is rendered"));
            assert!(said.starts_with(field), "{said}");
        }
    }

    #[test]
    fn what_can_be_rendered_is() {
        let scaled = json!({"enabled": true, "hpa": {"maxReplicas": 2}});
        let off = json!({"enabled": false, "hpa": {"minReplicas": 1, "maxReplicas": 0}});
        for change in [
            json!({}),
            json!({"authSecret": ""}),
            json!({"scale": scaled}),
            json!({"scale": off}),
            json!({"metrics": {"enabled": true}}),
            json!({"inferencePlatform": "kserve", "scale": {"enabled": true}}),
            json!({"expose": {"router": {}}}),
            json!({"expose": {"router": {"gateway": {"name": "a", "namespace": "b"}, "hostDomainName": "c"}}}),
            json!({"storage": {"hostPath": "/models", "pvc": {"name": "x", "volumeAccessMode": "Odd"}}}),
        ] {
            assert_eq!(said(&change), None, "{change}");
        }
    }
}
