//! The rules of a NIMService's `spec.draResources`.

use super::rule::{Level, Rule};

const CLAIM: Level = Level { list: "$claims", item: "claim", only: None, path: ".draResources", below: "" };
const DEVICE: Level = Level {
    list: "claim.?claimCreationSpec.?devices.orValue([])",
    item: "device",
    only: None,
    path: ".claimCreationSpec.devices",
    below: "",
};
const ATTRIBUTE: Level = Level {
    list: "device.?attributeSelectors.orValue([])",
    item: "selector",
    only: None,
    path: ".attributeSelectors",
    below: "",
};

/// Every entry of the list.
const CLAIMS: &[Level] = &[CLAIM];
/// Every device that is described.
const DEVICES: &[Level] = &[CLAIM, DEVICE];
/// Every attribute that a device is selected by.
const ATTRIBUTES: &[Level] = &[CLAIM, DEVICE, ATTRIBUTE];

/// What devices are refused for.
pub(super) const RULES: &[Rule] = &[
    Rule {
        number: "S19",
        within: CLAIMS,
        path: ".resourceClaimName",
        holds: "!claim.?resourceClaimName.hasValue() || $spec.?replicas.orValue(1) <= 1",
        says: "Forbidden: {string($spec.?replicas.orValue(1))} replicas cannot share one claim; use resourceClaimTemplateName",
    },
    Rule {
        number: "S20",
        within: CLAIMS,
        path: ".resourceClaimName",
        holds: "!claim.?resourceClaimName.hasValue() || !$scaled",
        says: "Forbidden: replicas that come and go with spec.scale.enabled cannot share one claim; use resourceClaimTemplateName",
    },
    Rule {
        number: "S21",
        within: CLAIMS,
        path: ".resourceClaimName",
        holds: "!claim.?resourceClaimName.hasValue() || $claims.filter(other, other.?resourceClaimName == claim.?resourceClaimName).size() == 1",
        says: "Duplicate value: \"{claim.?resourceClaimName.orValue('')}\": name every claim once",
    },
    Rule {
        number: "S22",
        within: CLAIMS,
        path: ".claimCreationSpec.devices",
        holds: "!claim.?claimCreationSpec.hasValue() || claim.?claimCreationSpec.?devices.orValue([]).size() > 0",
        says: "Required value: describe at least one device",
    },
    Rule {
        number: "S24",
        within: DEVICES,
        path: ".count",
        holds: "device.?count.orValue(1) > 0",
        says: "Invalid value: {string(device.?count.orValue(1))}: must be more than 0",
    },
    Rule {
        number: "S25",
        within: DEVICES,
        path: ".deviceClassName",
        holds: "device.?deviceClassName.orValue('') != ''",
        says: "Required value: name the device class, for example gpu.nvidia.com",
    },
    Rule {
        number: "S27",
        within: DEVICES,
        path: "",
        holds: "[device.?attributeSelectors.orValue([]).map(selector, selector.key) + device.?capacitySelectors.orValue([]).map(selector, selector.key)]\
                .map(keys, keys.map(key, key.contains('/') ? key : device.?driverName.orValue('gpu.nvidia.com') + '/' + key))\
                .all(keys, keys.all(key, keys.exists_one(other, other == key)))",
        says: "Duplicate value: an attribute or capacity of the device is selected twice; name every key once, in attributeSelectors or in capacitySelectors",
    },
    Rule {
        number: "S29",
        within: ATTRIBUTES,
        path: ".value",
        holds: "[selector.?value.?boolValue.hasValue(), selector.?value.?intValue.hasValue(), selector.?value.?stringValue.hasValue(), selector.?value.?versionValue.hasValue()].filter(set, set).size() == 1",
        says: "Invalid value: key \"{selector.key}\": set exactly one of boolValue, intValue, stringValue and versionValue",
    },
    Rule {
        number: "S30",
        within: ATTRIBUTES,
        path: ".value.versionValue",
        holds: r"!selector.?value.?versionValue.hasValue() || selector.value.versionValue.matches(r'^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$')",
        says: "Invalid value: \"{selector.?value.?versionValue.orValue('')}\": must be a semantic version, for example 550.54.14",
    },
];
