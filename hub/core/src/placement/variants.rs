//! What the objects of a placement take in each cluster, where overrides change them: worked out once for each set of
//! overrides that concerns a cluster, and remembered for what is placed.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::assignments::Assignments;
use crate::fleet::{Cluster, PlacementKey};
use crate::need::{self, Need};
use crate::resolve::{self, Concerned, Override, overridden};
use crate::scheduler::Variants;

/// Most sets of overrides that concern clusters, of one placement: each is a version of every object.
const MOST_SETS: usize = 128;
/// Most bytes of all these versions together.
const MOST_BYTES: usize = 64 << 20;

/// What the objects take in the clusters that overrides concern, in their order; `caches` are NIMCaches of other placements
/// that they run from. An error says that there are too many versions.
pub fn variants<'a>(
    placement: &PlacementKey,
    (objects, caches): (&[&Value], &[Value]),
    plain: &[&Need],
    overrides: &[Override],
    clusters: impl IntoIterator<Item = &'a Cluster>,
) -> Result<Variants, String> {
    let mut variants = Variants::default();
    if overrides.is_empty() {
        return Ok(variants);
    }
    let mut sets: BTreeMap<Concerned, Vec<&Cluster>> = BTreeMap::new();
    for cluster in clusters {
        let concerned = Concerned::of(overrides, cluster);
        if !concerned.is_empty() {
            sets.entry(concerned).or_default().push(cluster);
        }
    }
    let bytes = objects.iter().map(|object| resolve::size(object)).fold(0, usize::saturating_add);
    let bytes = bytes.saturating_mul(sets.len());
    if sets.len() > MOST_SETS || bytes > MOST_BYTES {
        return Err(format!(
            "spec.overrides: {} different sets of overrides concern clusters, which makes {} MiB of versions of the objects; at most \
             {MOST_SETS} sets and {} MiB: let fewer overrides meet in one cluster, or split the placement",
            sets.len(),
            bytes >> 20,
            MOST_BYTES >> 20
        ));
    }
    for (concerned, clusters) in sets {
        let Some(first) = clusters.first() else { continue };
        let version = version(placement, (objects, caches), overrides, first, concerned);
        let is_plain = version.as_ref().is_ok_and(|needs| needs.iter().eq(plain.iter().copied()));
        if !is_plain {
            variants.add(version, clusters.iter().map(|cluster| cluster.name.clone()));
        }
    }
    Ok(variants)
}

/// What the objects take in `cluster`, with the overrides that concern it.
fn version(
    placement: &PlacementKey,
    (objects, caches): (&[&Value], &[Value]),
    overrides: &[Override],
    cluster: &Cluster,
    concerned: Concerned,
) -> Result<Vec<Need>, String> {
    let changed = |object: &&Value| {
        let mut changed = overridden(placement, object, &cluster.name, overrides, concerned)?;
        // What a cache holds stands in its status.
        if let (Some(fields), Some(status)) = (changed.as_object_mut(), object.get("status")) {
            fields.insert("status".to_owned(), status.clone());
        }
        Ok(changed)
    };
    let changed: Result<Vec<Value>, resolve::ResolveError> = objects.iter().map(changed).collect();
    let changed = changed.map_err(|error| error.to_string())?;
    let cache = |name: &str| cache_named(name, changed.iter().chain(caches));
    let needs = changed.iter().map(|object| need::of(object, cache));
    needs
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{placement}: with spec.overrides for cluster {}: {error}", cluster.name))
}

/// The NIMCache of that name, where it is among the objects.
pub fn cache_named<'a>(name: &str, objects: impl IntoIterator<Item = &'a Value>) -> Option<&'a Value> {
    let is_it = |object: &&Value| {
        object["kind"] == "NIMCache" && object.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
    };
    objects.into_iter().find(is_it)
}

/// What a replica of every object takes that a placement has anywhere. One that is gone still takes it while it leaves.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    plain: HashMap<String, Need>,
    /// Where overrides change it, by cluster and uid.
    changed: HashMap<(String, String), Need>,
}

impl Needs {
    /// What an object takes where no override changes it.
    pub fn set(&mut self, uid: &str, need: Need) {
        self.plain.insert(uid.to_owned(), need);
    }

    /// What an object takes in a cluster.
    #[must_use]
    pub fn get(&self, cluster: &str, uid: &str) -> Option<&Need> {
        let changed = if self.changed.is_empty() {
            None
        } else {
            self.changed.get(&(cluster.to_owned(), uid.to_owned()))
        };
        changed.or_else(|| self.plain.get(uid))
    }

    /// Forgets what objects of other uids take.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.plain.retain(|uid, _| is_kept(uid));
        self.changed.retain(|(_, uid), _| is_kept(uid));
    }

    /// Keeps what the objects of `rows` take: those in `selected` as `variants` say, in the same order, and others as they were.
    pub fn keep(
        &mut self,
        rows: &Assignments,
        selected: &[&str],
        variants: &Variants,
        narrow: impl Fn(&Need) -> Need,
    ) {
        if variants.is_empty() && self.changed.is_empty() {
            return;
        }
        let mut there: HashSet<(String, String)> = HashSet::new();
        for (cluster, object) in rows.objects() {
            let key = (cluster.to_owned(), object.uid.clone());
            if let Some(at) = selected.iter().position(|uid| *uid == object.uid) {
                match variants.needs(cluster).and_then(|needs| needs.get(at)) {
                    Some(need) => drop(self.changed.insert(key.clone(), narrow(need))),
                    None => drop(self.changed.remove(&key)),
                }
            }
            there.insert(key);
        }
        self.changed.retain(|key, _| there.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use crds::fleet::{ClusterOverride, PlacedObject};
    use serde_json::json;

    use super::super::assignments::PlacedAssignment;
    use super::*;
    use crate::need::need;

    fn key() -> PlacementKey {
        PlacementKey { namespace: "nim".into(), name: "chat".into() }
    }

    fn cluster(name: &str) -> Cluster {
        Cluster::new(name.parse().unwrap())
    }

    fn service() -> Value {
        json!({
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
            "metadata": {"name": "llm", "namespace": "nim"},
            "spec": {
                "replicas": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"pool": "a"},
                "storage": {"pvc": {"create": true, "storageClass": "fast", "size": "10Gi"}},
            },
        })
    }

    fn read(all: Value) -> Vec<Override> {
        resolve::read(&key(), &serde_json::from_value::<Vec<ClusterOverride>>(all).unwrap()).unwrap()
    }

    fn made(operations: &Value) -> Result<Need, String> {
        let overrides = read(json!([{"clusterNames": ["west"], "jsonPatch": operations}]));
        let (object, clusters) = (service(), [cluster("east"), cluster("west")]);
        let plain = need(&object, None).unwrap();
        let variants = variants(&key(), (&[&object], &[]), &[&plain], &overrides, &clusters).unwrap();
        assert_eq!(variants.needs("east"), None, "nothing concerns it");
        match variants.fault("west") {
            Some(fault) => Err(fault.to_owned()),
            None => Ok(variants.needs("west").map_or(plain, |needs| needs[0].clone())),
        }
    }

    #[test]
    fn whatever_decides_where_an_object_can_run_is_read_after_its_overrides() {
        let gpu =
            made(&json!([{"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": 3}]));
        assert_eq!(gpu.unwrap().gpu.unwrap().total(), 3);
        let nodes = made(
            &json!([{"op": "add", "path": "/spec/multiNode", "value": {"parallelism": {"pipeline": 4}}}]),
        );
        assert_eq!(nodes.unwrap().gpu.unwrap().pods, 4);
        let class =
            made(&json!([{"op": "replace", "path": "/spec/storage/pvc/storageClass", "value": "slow"}]));
        assert_eq!(class.unwrap().claims[0].class.as_deref(), Some("slow"));
        let product = made(&json!([
            {"op": "add", "path": "/spec/nodeSelector/nvidia.com~1gpu.product", "value": "NVIDIA-L40S"},
        ]));
        assert_eq!(product.unwrap().kind.products, [["NVIDIA-L40S"]]);
        let kserve = made(&json!([{"op": "add", "path": "/spec/inferencePlatform", "value": "kserve"}]));
        assert!(kserve.unwrap().platforms.contains("kserve"));
        let whole = made(&json!([{"op": "add", "path": "/spec/env", "value": []}]));
        assert_eq!(whole.unwrap(), need(&service(), None).unwrap());
    }

    #[test]
    fn what_cannot_be_sent_or_means_nothing_is_told_of_the_cluster() {
        for (operations, words) in [
            (
                json!([{"op": "remove", "path": "/spec/nope"}]),
                ["spec.overrides[0].jsonPatch[0]", "/spec/nope"],
            ),
            (
                json!([{"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": "many"}]),
                ["spec.resources.limits.nvidia.com/gpu", "\"many\""],
            ),
            (
                json!([{"op": "replace", "path": "/spec", "value": {"replicas": 3}}]),
                ["spec.replicas of NIMService llm", "is the scheduler's: use replicaScheduling"],
            ),
        ] {
            let fault = made(&operations).unwrap_err();
            assert!(words.iter().all(|word| fault.contains(word)) && fault.contains("west"), "{fault}");
        }
    }

    #[test]
    fn a_service_is_judged_by_the_cache_as_it_is_there() {
        let cache = json!({
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache", "metadata": {"name": "weights", "namespace": "nim"},
            "spec": {"source": {"ngc": {"model": {}}}, "storage": {"pvc": {"create": true, "storageClass": "fast"}}},
            "status": {"profiles": [{"name": "a", "config": {"gpu": "L40S"}}]},
        });
        let mut service = service();
        service["spec"]["storage"] = json!({"nimCache": {"name": "weights", "profile": "a"}});
        let overrides = read(json!([{"clusterNames": ["west"], "jsonPatch": [
            {"op": "test", "path": "/kind", "value": "NIMCache"},
            {"op": "replace", "path": "/spec/storage/pvc/storageClass", "value": "slow"},
        ]}]));
        let plain = [need(&service, Some(&cache)).unwrap(), need(&cache, None).unwrap()];
        let clusters = [cluster("west")];
        let variants =
            variants(&key(), (&[&service, &cache], &[]), &[&plain[0], &plain[1]], &overrides, &clusters)
                .unwrap();
        let needs = variants.needs("west").unwrap();
        assert_eq!(
            needs[0].claims[0].class.as_deref(),
            Some("slow"),
            "the service mounts the cache's volume"
        );
        assert_eq!(needs[0].kind.products, plain[0].kind.products, "what it holds is known there too");
    }

    #[test]
    fn ten_thousand_clusters_cost_one_resolution_for_each_set() {
        let overrides = read(json!([
            {"clusterNames": (0..1000).map(|i| format!("c{i}")).collect::<Vec<_>>(),
             "jsonPatch": [{"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": 2}]},
            {"clusterSelector": {}, "jsonPatch": [{"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": 3}]},
        ]));
        let clusters: Vec<Cluster> = (0..10_000).map(|index| cluster(&format!("c{index}"))).collect();
        let object = service();
        let plain = need(&object, None).unwrap();
        let variants = variants(&key(), (&[&object], &[]), &[&plain], &overrides, &clusters).unwrap();
        assert_eq!(variants.versions(), 2);
        assert_eq!(variants.needs("c9999").unwrap()[0].gpu.as_ref().unwrap().total(), 3);
    }

    #[test]
    fn versions_that_multiply_are_refused_with_numbers() {
        // Eight overrides of which each concerns half of the clusters make 256 versions.
        let halves: Vec<Value> = (0..8)
            .map(|bit| {
                let names: Vec<String> =
                    (0..256).filter(|index| index >> bit & 1 == 1).map(|index| format!("c{index}")).collect();
                json!({"clusterNames": names, "jsonPatch": [{"op": "add", "path": format!("/spec/x{bit}"), "value": 1}]})
            })
            .collect();
        let overrides = read(Value::from(halves));
        let clusters: Vec<Cluster> = (0..256).map(|index| cluster(&format!("c{index}"))).collect();
        let mut object = service();
        let plain = need(&object, None).unwrap();
        let refused = variants(&key(), (&[&object], &[]), &[&plain], &overrides, &clusters).unwrap_err();
        assert!(refused.contains("255 different sets") && refused.contains("at most 128 sets"), "{refused}");
        object["spec"]["env"] = json!([{"name": "LONG", "value": "x".repeat(1_000_000)}]);
        let refused =
            variants(&key(), (&[&object], &[]), &[&plain], &overrides, &clusters[..100]).unwrap_err();
        assert!(refused.contains("MiB of versions") && refused.contains("64 MiB"), "{refused}");
    }

    #[test]
    fn what_leaves_takes_what_it_took() {
        let row = |uid: &str| {
            let object = PlacedObject { uid: uid.into(), ..PlacedObject::default() };
            PlacedAssignment {
                reason: String::new(),
                score: 0,
                since: jiff::Timestamp::UNIX_EPOCH,
                objects: vec![object],
                replaced: false,
            }
        };
        let rows =
            Assignments { placed: BTreeMap::from([("west".into(), row("u"))]), ..Assignments::default() };
        let (plain, changed) =
            (Need { replicas: 1, ..Need::default() }, Need { replicas: 2, ..Need::default() });
        let mut variants = Variants::default();
        variants.add(Ok(vec![changed.clone()]), ["west".parse().unwrap()]);
        let mut needs = Needs::default();
        needs.set("u", plain.clone());
        needs.keep(&rows, &["u"], &variants, Need::clone);
        assert_eq!((needs.get("west", "u"), needs.get("east", "u")), (Some(&changed), Some(&plain)));
        needs.keep(&rows, &[], &Variants::default(), Need::clone);
        assert_eq!(needs.get("west", "u"), Some(&changed), "it is no longer selected, and still there");
        needs.keep(&rows, &["u"], &Variants::default(), Need::clone);
        assert_eq!(needs.get("west", "u"), Some(&plain), "the override is gone");
        needs.keep(&Assignments::default(), &[], &variants, Need::clone);
        assert!(needs.changed.is_empty());
    }
}
