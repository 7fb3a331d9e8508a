//! Devices of one pod, by dynamic resource allocation.

use std::fmt;

use serde_json::Value;

use super::{NeedError, gpu, text};

/// Class and driver of devices where none is given: the API's own default.
const DEFAULT: &str = "gpu.nvidia.com";

/// Devices of one class that a pod claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNeed {
    /// The field that asks for them, e.g. `spec.draResources[0].claimCreationSpec.devices[0]`.
    pub field: String,
    /// DeviceClass.
    pub class: String,
    /// Driver.
    pub driver: String,
    /// How many; at least 1.
    pub count: u32,
    /// What must hold of each of them.
    pub selectors: Vec<Selector>,
}

/// A comparison of what a device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name of the attribute or capacity, with its domain.
    pub key: String,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub wanted: Wanted,
}

/// How something compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `Equal`.
    Equal,
    /// `NotEqual`.
    NotEqual,
    /// `GreaterThan`.
    Greater,
    /// `GreaterThanOrEqual`.
    GreaterOrEqual,
    /// `LessThan`.
    Less,
    /// `LessThanOrEqual`.
    LessOrEqual,
}

/// What a device is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An attribute, as text.
    Text(String),
    /// An attribute that is a number.
    Number(i64),
    /// An attribute that is a version: its numbers.
    Version(Vec<u64>),
    /// A capacity: a quantity.
    Quantity(String),
}

impl Comparison {
    /// How the API spells it.
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "" | "Equal" => Self::Equal,
            "NotEqual" => Self::NotEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanOrEqual" => Self::GreaterOrEqual,
            "LessThan" => Self::Less,
            "LessThanOrEqual" => Self::LessOrEqual,
            _ => return None,
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// Whether what was found stands in this order to what is wanted.
    #[must_use]
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.key, self.comparison.sign(), self.wanted)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Quantity(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Version(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
                f.write_str(&numbers.join("."))
            }
        }
    }
}

/// Whether an object claims devices at all, and those it describes itself. What a claim or template of the cluster asks
/// for is not known here.
pub(super) fn of(service: &Value) -> Result<(bool, Vec<DeviceNeed>), NeedError> {
    let claims = service.pointer("/spec/draResources").and_then(Value::as_array);
    let claims = claims.map(Vec::as_slice).unwrap_or_default();
    let mut needs = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let devices = claim.pointer("/claimCreationSpec/devices").and_then(Value::as_array);
        for (index, device) in devices.into_iter().flatten().enumerate() {
            let field = format!("spec.draResources[{at}].claimCreationSpec.devices[{index}]");
            needs.push(one(service, device, field)?);
        }
    }
    Ok((!claims.is_empty(), needs))
}

fn one(service: &Value, device: &Value, field: String) -> Result<DeviceNeed, NeedError> {
    let or_default = |pointer: &str| match text(device, pointer) {
        "" => DEFAULT.to_owned(),
        given => given.to_owned(),
    };
    let count = match device.get("count") {
        None | Some(Value::Null) => 1,
        Some(count) => gpu::whole(service, &format!("{field}.count"), count, 1)?,
    };
    let driver = or_default("/driverName");
    let list = |name: &str| device.get(name).and_then(Value::as_array).into_iter().flatten();
    let attributes = list("attributeSelectors").filter_map(|one| selector(&driver, one, attribute(one)?));
    let capacities = list("capacitySelectors").filter_map(|one| {
        let amount = one.get("value")?;
        let plain = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        selector(&driver, one, Wanted::Quantity(plain))
    });
    let selectors = attributes.chain(capacities).collect();
    Ok(DeviceNeed { field, class: or_default("/deviceClassName"), driver, count, selectors })
}

/// A selector that means nothing is the spoke's to refuse: it names the field.
fn selector(driver: &str, one: &Value, wanted: Wanted) -> Option<Selector> {
    let key = text(one, "/key");
    let key = if key.contains('/') { key.to_owned() } else { format!("{driver}/{key}") };
    Some(Selector { key, comparison: Comparison::read(text(one, "/op"))?, wanted })
}

fn attribute(one: &Value) -> Option<Wanted> {
    let value = one.get("value")?;
    if let Some(truth) = value.get("boolValue").and_then(Value::as_bool) {
        return Some(Wanted::Text(truth.to_string()));
    }
    if let Some(number) = value.get("intValue").and_then(Value::as_i64) {
        return Some(Wanted::Number(number));
    }
    if let Some(version) = value.get("versionValue").and_then(Value::as_str) {
        return version_numbers(version).map(Wanted::Version);
    }
    value.get("stringValue").and_then(Value::as_str).map(|text| Wanted::Text(text.to_owned()))
}

/// The numbers of a version without what may follow them: `12.8.0-rc1` → 12, 8, 0.
pub(crate) fn version_numbers(version: &str) -> Option<Vec<u64>> {
    let plain = version.split(['-', '+']).next()?;
    plain.split('.').map(|part| part.parse().ok()).collect()
}
