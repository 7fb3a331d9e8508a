//! What pods of every microservice take from their spec in the same way.

use crds::nim::Image;
use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, PodAffinity};

/// When the kubelet pulls an image; none leaves it to the cluster.
pub(crate) fn pull_policy(image: &Image) -> Option<String> {
    image.pull_policy.clone().filter(|policy| !policy.is_empty())
}

/// Pull secrets of every image of a pod, each once.
pub(crate) fn pull_secrets<'a>(images: impl Iterator<Item = &'a Image>) -> Option<Vec<LocalObjectReference>> {
    let mut names: Vec<&String> = Vec::new();
    for name in images.flat_map(|image| image.pull_secrets.iter().flatten()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let secrets = names.into_iter().map(|name| LocalObjectReference { name: name.clone() });
    Some(secrets.collect::<Vec<_>>()).filter(|list| !list.is_empty())
}

/// The affinity, with the deprecated `podAffinity` where the newer field says nothing of it.
pub(crate) fn affinity(newer: Option<&Affinity>, older: Option<&PodAffinity>) -> Option<Affinity> {
    let mut affinity = newer.cloned();
    if let Some(older) = older {
        affinity.get_or_insert_default().pod_affinity.get_or_insert_with(|| older.clone());
    }
    affinity
}
