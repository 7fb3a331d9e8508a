//! Storage classes: which there are, from where their volumes are mounted, and how large a volume can be.

use std::collections::BTreeMap;

use crds::quantity;
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass as Full};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Access, StorageClass};

/// Most classes that are reported.
const MOST: usize = 64;

/// What marks the class of claims that name none, today and before Kubernetes 1.6.
const DEFAULT_MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// What a class's people say of its volumes, for example `ReadWriteOnce,ReadWriteMany`. No API tells it.
const ACCESS_MODES: &str = "nimfleet.io/access-modes";

/// Provisioners whose volumes are file systems that many nodes mount, or block devices that one does, by the list of
/// drivers at kubernetes-csi.github.io/docs/drivers.html and the drivers' own pages. Those that do either, by the class's
/// parameters or by what is behind them, are not here.
const PROVISIONERS: [(&str, Access); 22] = [
    ("azurelustre.csi.azure.com", Access::ManyNodes),
    ("beegfs.csi.netapp.com", Access::ManyNodes),
    ("blob.csi.azure.com", Access::ManyNodes),
    ("cephfs.csi.ceph.com", Access::ManyNodes),
    ("csi.juicefs.com", Access::ManyNodes),
    ("csi.vastdata.com", Access::ManyNodes),
    ("csi.weka.io", Access::ManyNodes),
    ("efs.csi.aws.com", Access::ManyNodes),
    ("file.csi.azure.com", Access::ManyNodes),
    ("filestore.csi.storage.gke.io", Access::ManyNodes),
    ("fsx.csi.aws.com", Access::ManyNodes),
    ("lustre.csi.storage.gke.io", Access::ManyNodes),
    ("nfs.csi.k8s.io", Access::ManyNodes),
    ("smb.csi.k8s.io", Access::ManyNodes),
    ("spectrumscale.csi.ibm.com", Access::ManyNodes),
    ("cinder.csi.openstack.org", Access::OneNode),
    ("disk.csi.azure.com", Access::OneNode),
    ("ebs.csi.aws.com", Access::OneNode),
    ("ebs.csi.eks.amazonaws.com", Access::OneNode),
    ("pd.csi.storage.gke.io", Access::OneNode),
    ("rancher.io/local-path", Access::OneNode),
    ("topolvm.io", Access::OneNode),
];

/// A StorageClass, trimmed.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = Full)]
pub(super) struct SlimClass {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    provisioner: String,
}

/// A CSIStorageCapacity, trimmed.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = CSIStorageCapacity)]
#[serde(rename_all = "camelCase")]
pub(super) struct SlimCapacity {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    storage_class_name: String,
    #[serde(default)]
    capacity: Option<Quantity>,
    #[serde(default)]
    maximum_volume_size: Option<Quantity>,
}

/// What is kept of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// Of those that are marked as the default, the youngest is it.
    default_since: Option<i64>,
    access: Option<Access>,
}

impl SlimClass {
    pub(super) fn class(&self) -> Class {
        let annotation = |name: &str| self.metadata.annotations.as_ref()?.get(name).map(String::as_str);
        let marked = DEFAULT_MARKS.into_iter().any(|mark| annotation(mark) == Some("true"));
        let made = self.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        Class {
            default_since: marked.then_some(made),
            access: match annotation(ACCESS_MODES) {
                Some(modes) if modes.contains("Many") => Some(Access::ManyNodes),
                Some(_) => Some(Access::OneNode),
                None => by_provisioner(&self.provisioner),
            },
        }
    }
}

impl SlimCapacity {
    /// The class, and the largest volume of it by this object, MiB; `None` where the driver does not know.
    pub(super) fn largest(&self) -> Option<(String, u64)> {
        let mib = |amount: &Option<Quantity>| quantity::mebibytes_there(&amount.as_ref()?.0);
        let capacity = mib(&self.capacity)?;
        let largest = mib(&self.maximum_volume_size).map_or(capacity, |most| most.min(capacity));
        Some((self.storage_class_name.clone(), largest))
    }
}

/// Rook and others put a name before that of the driver: `rook-ceph.cephfs.csi.ceph.com`.
fn by_provisioner(provisioner: &str) -> Option<Access> {
    let is_it = |known: &str| {
        let before = provisioner.strip_suffix(known);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    PROVISIONERS.iter().find(|(known, _)| is_it(known)).map(|(_, access)| *access)
}

/// The classes by name; and whether there were too many of them.
pub(super) fn classes<'a>(
    classes: &BTreeMap<String, Class>,
    capacities: impl IntoIterator<Item = &'a (String, u64)>,
) -> (Vec<StorageClass>, bool) {
    let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
    for (class, mib) in capacities {
        let known = largest.entry(class).or_default();
        *known = (*known).max(*mib);
    }
    let youngest =
        classes.iter().filter_map(|(name, class)| Some((class.default_since?, std::cmp::Reverse(name))));
    let default = youngest.max().map(|(_, std::cmp::Reverse(name))| name);
    let rows = classes.iter().take(MOST).map(|(name, class)| StorageClass {
        name: name.clone(),
        is_default: default == Some(name),
        access: class.access,
        largest_mib: largest.get(name.as_str()).copied(),
    });
    (rows.collect(), classes.len() > MOST)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(provisioner: &str, annotations: &Value, made: &str) -> Class {
        let class: SlimClass = serde_json::from_value(json!({
            "metadata": {"name": "c", "annotations": annotations, "creationTimestamp": made}, "provisioner": provisioner,
        }))
        .unwrap();
        class.class()
    }

    #[test]
    fn who_can_share_is_known_by_annotation_or_by_provisioner() {
        for (provisioner, annotations, expected) in [
            ("ebs.csi.aws.com", json!({}), Some(Access::OneNode)),
            ("efs.csi.aws.com", json!({}), Some(Access::ManyNodes)),
            ("rook-ceph.cephfs.csi.ceph.com", json!({}), Some(Access::ManyNodes)),
            ("notcephfs.csi.ceph.com", json!({}), None),
            ("csi.trident.netapp.io", json!({}), None),
            (
                "csi.trident.netapp.io",
                json!({ACCESS_MODES: "ReadWriteOnce,ReadWriteMany"}),
                Some(Access::ManyNodes),
            ),
            ("efs.csi.aws.com", json!({ACCESS_MODES: "ReadWriteOnce"}), Some(Access::OneNode)),
        ] {
            let access = class(provisioner, &annotations, "2026-01-01T00:00:00Z").access;
            assert_eq!(access, expected, "{provisioner} {annotations}");
        }
    }

    #[test]
    fn of_several_default_classes_the_youngest_is_it() {
        let marked = json!({DEFAULT_MARKS[0]: "true"});
        let all = BTreeMap::from([
            ("new".to_owned(), class("x", &marked, "2026-02-01T00:00:00Z")),
            ("old".to_owned(), class("x", &marked, "2026-01-01T00:00:00Z")),
            ("plain".to_owned(), class("x", &json!({DEFAULT_MARKS[0]: "false"}), "2026-03-01T00:00:00Z")),
        ]);
        let (rows, cut) = classes(&all, &[]);
        let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.is_default)).collect();
        assert_eq!((told, cut), (vec![("new", true), ("old", false), ("plain", false)], false));
    }

    #[test]
    fn the_largest_volume_is_the_most_that_any_part_of_the_cluster_has() {
        let published = |capacity: &Value, most: &Value| {
            let capacity: SlimCapacity = serde_json::from_value(json!({
                "metadata": {"name": "c", "namespace": "csi"}, "storageClassName": "fast",
                "capacity": capacity, "maximumVolumeSize": most,
            }))
            .unwrap();
            capacity.largest()
        };
        assert_eq!(published(&json!(null), &json!("1Gi")), None, "the driver does not know");
        let all: Vec<_> = [
            published(&json!("100Gi"), &json!(null)),
            published(&json!("900Gi"), &json!("200Gi")),
            published(&json!("50Gi"), &json!("1Ti")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let known = BTreeMap::from([("fast".to_owned(), class("x", &json!({}), "2026-01-01T00:00:00Z"))]);
        assert_eq!(classes(&known, &all).0[0].largest_mib, Some(200 * 1024));
        assert_eq!(classes(&known, &[]).0[0].largest_mib, None);
    }

    #[test]
    fn too_many_classes_are_cut() {
        let many =
            (0..70).map(|n| (format!("c{n}"), class("x", &json!({}), "2026-01-01T00:00:00Z"))).collect();
        let (rows, cut) = classes(&many, &[]);
        assert!(cut && rows.len() == MOST);
    }
}
