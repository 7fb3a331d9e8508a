//! Devices for dynamic resource allocation: by class and kind, and how many of them no claim has.

use std::collections::{BTreeMap, BTreeSet};

use crds::quantity;
use crds::taints::NodeTaint;
use k8s_openapi::api::resource::v1 as api;
use regex::Regex;

use super::DeviceGroup;

/// Most rows that are reported.
const MOST: usize = 64;

/// Attributes that tell one device from every other, by name without domain. Devices that differ in nothing else are alike.
const OWN: [&str; 11] = [
    "id",
    "index",
    "minor",
    "parentIndex",
    "parentMinor",
    "parentUUID",
    "pciBusID",
    "pcieBusID",
    "pcieRoot",
    "uuid",
    "addressingMode",
];

/// Its thousands of channels are the business of ComputeDomains, which ask for them by themselves.
const CHANNELS: &str = "compute-domain.nvidia.com";

/// What selects the devices of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Class {
    /// Expressions, all of which must hold.
    expressions: Vec<String>,
    /// The extended resource by which pods may ask for its devices as well; empty where there is none.
    extended_resource: String,
}

/// The devices of one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    driver: String,
    pool: String,
    generation: i64,
    node: String,
    devices: Vec<Device>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    name: String,
    kind: Kind,
    /// A taint keeps claims away.
    tainted: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    attributes: BTreeMap<String, String>,
    capacity: BTreeMap<String, String>,
}

/// How many devices there are, and free ones by node.
type Counted<'a> = (u32, BTreeMap<&'a str, u32>);

/// A device that a claim has been given: driver, pool and name.
pub(super) type Given = (String, String, String);

pub(super) fn of_class(class: &api::DeviceClass) -> Class {
    let selectors = class.spec.selectors.iter().flatten();
    let expression = |one: &api::DeviceSelector| one.cel.as_ref().map(|cel| cel.expression.clone());
    Class {
        expressions: selectors.map(|one| expression(one).unwrap_or_default()).collect(),
        extended_resource: class.spec.extended_resource_name.clone().unwrap_or_default(),
    }
}

impl Class {
    /// None where an expression says what is not read here.
    fn selects(&self) -> Option<Vec<Selects>> {
        self.expressions.iter().map(|text| Selects::read(text)).collect()
    }
}

pub(super) fn of_slice(slice: &api::ResourceSlice) -> Option<Slice> {
    let spec = &slice.spec;
    if spec.driver == CHANNELS {
        return None;
    }
    Some(Slice {
        driver: spec.driver.clone(),
        pool: spec.pool.name.clone(),
        generation: spec.pool.generation,
        node: spec.node_name.clone().unwrap_or_default(),
        devices: spec.devices.iter().flatten().map(|device| device_of(&spec.driver, device)).collect(),
    })
}

fn device_of(driver: &str, device: &api::Device) -> Device {
    let named = |name: &str| if name.contains('/') { name.to_owned() } else { format!("{driver}/{name}") };
    let attributes = device.attributes.iter().flatten().filter(|(name, _)| {
        let plain = name.split_once('/').map_or(name.as_str(), |(_, plain)| plain);
        !OWN.contains(&plain)
    });
    let text = |attribute: &api::DeviceAttribute| {
        let number = attribute.int.map(|number| number.to_string());
        let truth = attribute.bool.map(|truth| truth.to_string());
        attribute.string.clone().or_else(|| attribute.version.clone()).or(number).or(truth)
    };
    let capacity = device.capacity.iter().flatten();
    Device {
        name: device.name.clone(),
        kind: Kind {
            attributes: attributes.filter_map(|(name, value)| Some((named(name), text(value)?))).collect(),
            capacity: capacity.map(|(name, capacity)| (named(name), capacity.value.0.clone())).collect(),
        },
        tainted: device.taints.iter().flatten().any(|taint| taint.effect != "None"),
    }
}

/// What a claim has been given; nothing of it is the claim's alone where it looks at devices as an admin.
pub(super) fn of_claim(claim: &api::ResourceClaim) -> Option<Vec<Given>> {
    let results = claim.status.as_ref()?.allocation.as_ref()?.devices.as_ref()?.results.as_ref()?;
    let own = results.iter().filter(|result| result.admin_access != Some(true));
    Some(own.map(|result| (result.driver.clone(), result.pool.clone(), result.device.clone())).collect())
}

/// The devices that count, and which of them claims have.
pub(super) struct Devices<'a> {
    /// Of each pool those slices that were published last.
    slices: Vec<&'a Slice>,
    given: BTreeSet<(&'a str, &'a str, &'a str)>,
}

impl<'a> Devices<'a> {
    pub(super) fn of(
        slices: impl IntoIterator<Item = &'a Slice>,
        given: impl IntoIterator<Item = &'a Vec<Given>>,
    ) -> Self {
        let given = given.into_iter().flatten();
        let given =
            given.map(|(driver, pool, device)| (driver.as_str(), pool.as_str(), device.as_str())).collect();
        let mut slices: Vec<&Slice> = slices.into_iter().collect();
        // A pool that is published anew has its old slices beside the new ones for a while.
        let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for slice in &slices {
            let known = newest.entry((&slice.driver, &slice.pool)).or_insert(slice.generation);
            *known = (*known).max(slice.generation);
        }
        slices.retain(|slice| {
            newest.get(&(slice.driver.as_str(), slice.pool.as_str())) == Some(&slice.generation)
        });
        Self { slices, given }
    }

    /// Each with its slice, and whether a claim may get it.
    fn all(&self) -> impl Iterator<Item = (&'a Slice, &'a Device, bool)> {
        self.slices.iter().flat_map(|slice| {
            let is_open = |device: &Device| {
                let name = (slice.driver.as_str(), slice.pool.as_str(), device.name.as_str());
                !device.tainted && !self.given.contains(&name)
            };
            slice.devices.iter().map(move |device| (*slice, device, is_open(device)))
        })
    }

    /// By class and kind; and whether there were too many kinds. `place` says the taints of a node, and nothing of one that
    /// takes no pods.
    pub(super) fn groups(
        &self,
        classes: &BTreeMap<String, Class>,
        place: impl Fn(&str) -> Option<&'a [NodeTaint]>,
    ) -> (Vec<DeviceGroup>, bool) {
        // Devices, and free ones by node, of each kind.
        let mut kinds: BTreeMap<(&str, &Kind, &[NodeTaint]), Counted<'_>> = BTreeMap::new();
        for (slice, device, is_open) in self.all() {
            let taints = place(&slice.node);
            let (all, free) =
                kinds.entry((&slice.driver, &device.kind, taints.unwrap_or_default())).or_default();
            *all += 1;
            *free.entry(&slice.node).or_default() += u32::from(is_open && taints.is_some());
        }
        let mut rows = Vec::new();
        for (name, class) in classes {
            let of_class = DeviceGroup {
                class: name.clone(),
                extended_resource: class.extended_resource.clone(),
                ..DeviceGroup::default()
            };
            let Some(selects) = class.selects() else {
                rows.push(DeviceGroup { uncounted: true, ..of_class });
                continue;
            };
            let before = rows.len();
            for ((driver, kind, taints), (devices, free)) in &kinds {
                if selects.iter().all(|selects| selects.matches(driver, kind)) {
                    let mut free_per_node: BTreeMap<u32, u32> = BTreeMap::new();
                    for free in free.values() {
                        *free_per_node.entry(*free).or_default() += 1;
                    }
                    rows.push(DeviceGroup {
                        driver: (*driver).to_owned(),
                        attributes: kind.attributes.clone(),
                        capacity: kind.capacity.clone(),
                        devices: *devices,
                        free: free.values().sum(),
                        free_per_node,
                        taints: taints.to_vec(),
                        ..of_class.clone()
                    });
                }
            }
            if rows.len() == before {
                rows.push(of_class);
            }
        }
        let cut = rows.len() > MOST;
        rows.truncate(MOST);
        (rows, cut)
    }

    /// Devices that pods may ask for as an extended resource, by node and resource.
    pub(super) fn extended(
        &self,
        classes: &BTreeMap<String, Class>,
    ) -> BTreeMap<&'a str, BTreeMap<String, Extended>> {
        let mut extended: BTreeMap<&str, BTreeMap<String, Extended>> = BTreeMap::new();
        for class in classes.values().filter(|class| !class.extended_resource.is_empty()) {
            let Some(selects) = class.selects() else { continue };
            for (slice, device, is_open) in self.all() {
                if selects.iter().all(|selects| selects.matches(&slice.driver, &device.kind)) {
                    let on_node = extended.entry(&slice.node).or_default();
                    let one = on_node.entry(class.extended_resource.clone()).or_default();
                    one.devices += 1;
                    one.taken += u32::from(!is_open);
                    one.product = one.product.take().or_else(|| device.kind.product());
                    one.memory_mib = one.memory_mib.or_else(|| device.kind.memory_mib());
                }
            }
        }
        extended
    }
}

/// Devices of one node that pods may ask for as an extended resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub devices: u32,
    /// Those that a claim has, or that take none.
    pub taken: u32,
    /// As GPU feature discovery would label it.
    pub product: Option<String>,
    pub memory_mib: Option<u64>,
}

impl Kind {
    fn product(&self) -> Option<String> {
        let (_, product) = self.attributes.iter().find(|(name, _)| name.ends_with("/productName"))?;
        Some(product.replace(' ', "-"))
    }

    fn memory_mib(&self) -> Option<u64> {
        let (_, memory) = self.capacity.iter().find(|(name, _)| name.ends_with("/memory"))?;
        quantity::mebibytes_there(memory)
    }
}

/// What an expression of a class asks for: a driver, attributes with their values, all of which must hold. Classes of the
/// drivers that are known ask for no more; what else CEL can say is not read.
#[derive(Debug, Default)]
struct Selects {
    driver: Option<String>,
    attributes: Vec<(String, String)>,
}

impl Selects {
    /// `None` where it says anything else.
    fn read(expression: &str) -> Option<Self> {
        let driver = Regex::new(r#"^device\.driver\s*==\s*["']([^"']*)["']$"#).ok()?;
        let attribute = Regex::new(
            r#"^device\.attributes\[["']([^"']+)["']\]\.([A-Za-z_]\w*)\s*==\s*(?:["']([^"']*)["']|(true|false|-?\d+))$"#,
        )
        .ok()?;
        let mut selects = Self::default();
        for term in expression.split("&&") {
            let term = term.trim().trim_start_matches('(').trim_end_matches(')').trim();
            if let Some(found) = driver.captures(term) {
                selects.driver = Some(found[1].to_owned());
            } else {
                let found = attribute.captures(term)?;
                let value = found.get(3).or_else(|| found.get(4))?;
                selects.attributes.push((format!("{}/{}", &found[1], &found[2]), value.as_str().to_owned()));
            }
        }
        Some(selects)
    }

    fn matches(&self, driver: &str, kind: &Kind) -> bool {
        self.driver.as_ref().is_none_or(|wanted| wanted == driver)
            && self.attributes.iter().all(|(name, value)| kind.attributes.get(name) == Some(value))
    }
}

#[cfg(test)]
#[path = "devices/tests.rs"]
mod tests;
