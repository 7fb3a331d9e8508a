//! Sets and labels by table and by property.

use proptest::prelude::*;

use super::*;

fn taint(key: &str) -> NodeTaint {
    NodeTaint { key: key.into(), value: "gpu".into(), effect: "NoSchedule".into() }
}

fn ground(taints: &[&str], labels: &[(&str, &str)]) -> Ground {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Ground::new(taints.iter().map(|key| taint(key)).collect(), Some(&labels))
}

fn sorted(nodes: &[(&str, Ground)]) -> Sorted {
    let nodes: BTreeMap<String, Ground> =
        nodes.iter().map(|(name, ground)| ((*name).to_owned(), ground.clone())).collect();
    sort(nodes.iter())
}

fn told<'a>(sorted: &'a Sorted, key: &str) -> Vec<(&'a str, u32, bool)> {
    let of_key = sorted.sets.labels.iter().filter(|label| label.key == key);
    of_key.map(|label| (label.value.as_str(), label.sets, label.partial)).collect()
}

#[test]
fn nodes_that_are_alike_are_one_set_and_labels_name_their_sets() {
    let sorted = sorted(&[
        ("a", ground(&[], &[("pool", "gpu"), ("os", "linux"), ("nvidia.com/cuda.driver.major", "570")])),
        ("b", ground(&[], &[("pool", "gpu"), ("os", "linux")])),
        ("c", ground(&["sku"], &[("pool", "gpu"), ("os", "linux")])),
        ("d", ground(&[], &[("os", "linux")])),
    ]);
    let nodes: Vec<_> = sorted.sets.sets.iter().map(|set| (set.nodes, set.taints.len())).collect();
    assert_eq!(nodes, [(2, 0), (1, 1), (1, 0)]);
    assert_eq!(told(&sorted, "os"), [("linux", 0b111, false)]);
    assert_eq!(told(&sorted, "pool"), [("gpu", 0b011, false)]);
    assert_eq!(sorted.sets.untold, ["nvidia.com/cuda."]);
    assert_eq!((sorted.of("b"), sorted.of("d"), sorted.of("e")), (Some(0), Some(2), None));
    assert_eq!((sorted.taints("c"), sorted.taints("e")), (&[taint("sku")][..], &[][..]));
    assert!(!sorted.cut);
}

#[test]
fn a_label_with_many_values_tells_no_sets_apart_and_names_those_of_its_nodes() {
    let names: Vec<String> = (0..20).map(|number| format!("node-{number:02}")).collect();
    let host = "kubernetes.io/hostname";
    let of = |name: &str, zone| (name.to_owned(), ground(&[], &[(host, name), ("zone", zone)]));
    let nodes: BTreeMap<String, Ground> =
        names.iter().enumerate().map(|(at, name)| of(name, if at < 10 { "a" } else { "b" })).collect();
    let all = sort(nodes.iter());
    assert_eq!(all.sets.sets.len(), 2);
    assert_eq!(told(&all, host)[0], ("node-00", 0b01, true));
    assert_eq!(told(&all, host)[19], ("node-19", 0b10, true));
    let few = sort(nodes.iter().take(4));
    assert_eq!(few.sets.sets.len(), 4, "few nodes are told one by one");
    assert_eq!(told(&few, host)[3], ("node-03", 0b1000, false));
}

#[test]
fn what_is_too_much_is_named_and_the_rest_is_told() {
    let long = "x".repeat(60);
    let many: Vec<(String, String)> =
        (0..20).map(|at| (format!("site.example.com/{at:02}"), long.clone())).collect();
    let labels: Vec<(&str, &str)> = many
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .chain([(FIRST, "true"), ("a", "b")])
        .collect();
    let hosts: Vec<String> = (0..200).map(|at| format!("host-{at:03}")).collect();
    let nodes: BTreeMap<String, Ground> = hosts
        .iter()
        .map(|host| {
            let labels: Vec<_> = labels.iter().copied().chain([("host", host.as_str())]).collect();
            (host.clone(), ground(&[], &labels))
        })
        .collect();
    let sorted = sort(nodes.iter());
    assert_eq!(sorted.sets.untold, ["host"]);
    assert!(
        told(&sorted, FIRST).len() == 1 && told(&sorted, "a").len() == 1 && told(&sorted, "host").is_empty()
    );
    let rare: BTreeMap<String, Ground> =
        (0..20).map(|at| (format!("n{at:02}"), ground(&[&format!("t{at}")], &[]))).collect();
    let rare = sort(rare.iter());
    assert!(rare.cut && rare.sets.sets.len() == MOST_TAINTS);
    let every: Vec<(String, String)> = (0..100).map(|at| (format!("key-{at:03}"), long.clone())).collect();
    let every: Vec<_> = every.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let all = sort([(&"n".to_owned(), &ground(&[], &every))].into_iter());
    assert_eq!(all.sets.untold, [""], "too many keys to name them");
}

proptest! {
    #[test]
    fn what_is_told_is_true_of_the_nodes(
        nodes in prop::collection::btree_map(
            "[a-z]{1,3}",
            (
                prop::collection::vec(prop::sample::select(vec!["t1", "t2", "t3"]), 0..2),
                prop::collection::btree_map("[kl][0-9]", "[vw][0-9]{0,2}", 0..6),
            ),
            0..40,
        ),
    ) {
        let nodes: BTreeMap<String, (Ground, BTreeMap<String, String>)> = nodes
            .into_iter()
            .map(|(name, (taints, labels))| {
                let taints = taints.into_iter().map(taint).collect();
                (name, (Ground::new(taints, Some(&labels)), labels))
            })
            .collect();
        let sorted = sort(nodes.iter().map(|(name, (ground, _))| (name, ground)));
        prop_assert!(sorted.sets.sets.len() <= MOST_SETS);
        let bytes: usize = sorted.sets.labels.iter().map(|label| label.key.len() + label.value.len() + ROW).sum();
        prop_assert!(bytes <= LABEL_BYTES);
        for (name, (ground, labels)) in &nodes {
            let Some(set) = sorted.of(name) else { continue };
            prop_assert_eq!(sorted.taints(name), &ground.taints[..]);
            for label in &sorted.sets.labels {
                let has = labels.get(&label.key) == Some(&label.value);
                let in_set = label.sets & (1 << set) != 0;
                prop_assert!(in_set || !has, "a node outside of the sets has it");
                prop_assert!(label.partial || in_set == has, "all nodes of a set have it, or none");
            }
            for (key, value) in labels {
                let told = sorted.sets.labels.iter().any(|label| label.key == *key && label.value == *value);
                prop_assert!(told || sorted.sets.untold.iter().any(|untold| key.starts_with(untold.as_str())));
            }
        }
    }
}
