//! The rules that no policy says, and who says them instead. `S34` to `S38` are said by policies as far as an annotation
//! tells KServe's deployment mode; where its configuration does, they are left to the controller as well.

/// Refused by the definition of the kind already, and so before any policy is asked: number and where.
pub const BY_THE_DEFINITION: &[(&str, &str)] = &[
    ("S11", "spec.expose.router: a rule in CEL"),
    ("S14", "spec: a rule in CEL"),
    ("S17", "spec.draResources[]: a rule in CEL"),
    ("S18", "spec.draResources[]: a rule in CEL"),
    ("S23", "spec.draResources[].claimCreationSpec.devices[].name: required, at least one character"),
    ("S26", "spec.draResources[].claimCreationSpec.devices[].driverName: a pattern, and a default"),
    (
        "S28",
        "spec.draResources[].claimCreationSpec.devices[].attributeSelectors[].op: an enum, and a default",
    ),
    ("S31", "spec.draResources[].claimCreationSpec.devices[].capacitySelectors[].op: an enum, and a default"),
    ("S32", "spec.draResources[].claimCreationSpec.devices[].capacitySelectors[].value: required"),
    ("S41", "spec: a rule in CEL"),
    ("S46", "spec: a rule in CEL"),
];

/// Not to be known from the object alone: number and why. The controller says these in the object's conditions.
pub const LEFT_TO_THE_CONTROLLER: &[(&str, &str)] = &[
    ("S16", "CEL does not see the version of the cluster"),
    ("S33", "the deployment mode may be that of the InferenceService, or of KServe's configuration"),
];
