//! The PersistentVolumeClaim that a storage stanza asks for.

use std::collections::BTreeMap;

use crds::nim::PersistentVolumeClaim as Wanted;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::engine::child::{Child, ChildKind, Keep};

/// The claim to make when there is none of that name. An `Err` names the field and what is wrong with it.
pub(crate) fn claim(
    wanted: &Wanted,
    name: &str,
    namespace: &str,
    labels: &[(&str, &str)],
) -> Result<Child, String> {
    let size = wanted.size.as_deref().unwrap_or_default();
    if size.is_empty() {
        return Err("size is empty: say how much storage is to be claimed, for example 50Gi".to_owned());
    }
    let mode = wanted.volume_access_mode.as_deref().unwrap_or_default();
    if mode.is_empty() {
        return Err("volumeAccessMode is empty: set for example ReadWriteOnce or ReadWriteMany".to_owned());
    }
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            annotations: wanted.annotations.clone().filter(|all| !all.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.to_owned()]),
            storage_class_name: wanted.storage_class.clone().filter(|class| !class.is_empty()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    Ok(Child::new(ChildKind::PersistentVolumeClaim, name, Keep::MadeOrFound, &claim))
}
