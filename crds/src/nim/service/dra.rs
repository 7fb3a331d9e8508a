//! Devices claimed by dynamic resource allocation.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Devices for the pods: by a claim, by a template, or described here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.resourceClaimName) ? 1 : 0) + (has(self.resourceClaimTemplateName) ? 1 : 0) + (has(self.claimCreationSpec) ? 1 : 0) == 1", "exactly one of spec.resourceClaimName, spec.resourceClaimTemplateName, or spec.claimCreationSpec must be set."))]
#[serde(rename_all = "camelCase")]
pub struct DRAResource {
    /// A ResourceClaim of the namespace, shared by all pods.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_name: Option<String>,
    /// A ResourceClaimTemplate of the namespace; every pod gets a claim of its own.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_template_name: Option<String>,
    /// A template that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_creation_spec: Option<DRAClaimCreationSpec>,
    /// The requests of the claim that the container uses. Default all.
    #[schemars(inner(length(min = 1)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<String>>,
}

/// A ResourceClaimTemplate that is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRAClaimCreationSpec {
    /// Start of its name. Default `claimtemplate`.
    #[schemars(length(min = 1, max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// The devices, one request each.
    pub devices: Vec<DRADeviceSpec>,
}

/// A request for devices of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.celExpressions) && !(has(self.attributeSelectors) || has(self.capacitySelectors))) || !has(self.celExpressions)", "celExpressions must not be set if attributeSelectors or capacitySelectors are set"))]
#[serde(rename_all = "camelCase")]
pub struct DRADeviceSpec {
    /// Name of the request.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    )]
    pub name: String,
    /// How many devices. Default 1.
    #[schemars(extend("default" = 1))]
    pub count: i32,
    /// Class of the devices. Default `gpu.nvidia.com`.
    #[schemars(extend("default" = "gpu.nvidia.com"))]
    pub device_class_name: String,
    /// Driver of the devices, before whose name the selectors' keys are looked up. Default `gpu.nvidia.com`.
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"), extend("default" = "gpu.nvidia.com"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_name: Option<String>,
    /// What attributes the devices must have. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute_selectors: Option<Vec<DRAAttributeSelector>>,
    /// What capacities the devices must have. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_selectors: Option<Vec<DRACapacitySelector>>,
    /// What must hold of the devices, in CEL; not together with selectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel_expressions: Option<Vec<String>>,
}

/// A comparison with a device's attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRAAttributeSelector {
    /// The attribute.
    #[schemars(length(max = 64))]
    pub key: String,
    /// The comparison. Default `Equal`.
    #[schemars(extend("default" = "Equal", "enum" = ["Equal", "NotEqual", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]))]
    pub op: String,
    /// What the attribute is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<DRAAttributeSelectorValue>,
}

/// What an attribute is compared with: one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRAAttributeSelectorValue {
    /// A truth value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bool_value: Option<bool>,
    /// A whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int_value: Option<i32>,
    /// A text.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// A semantic version.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_value: Option<String>,
}

/// A comparison with a device's capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DRACapacitySelector {
    /// The capacity.
    #[schemars(length(max = 64))]
    pub key: String,
    /// The comparison. Default `Equal`.
    #[schemars(extend("default" = "Equal", "enum" = ["Equal", "NotEqual", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]))]
    pub op: String,
    /// What the capacity is compared with.
    pub value: Quantity,
}
