//! Where a NIMCache's model comes from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the model comes from: one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.ngc) ? 1 : 0) + (has(self.dataStore) ? 1 : 0) + (has(self.hf) ? 1 : 0) == 1", "Exactly one of ngc, dataStore, or hf must be defined"))]
#[serde(rename_all = "camelCase")]
pub struct NIMSource {
    /// NVIDIA's catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ngc: Option<NGCSource>,
    /// A NeMo data store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_store: Option<NemoDataStoreSource>,
    /// The Hugging Face hub, or one that speaks like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hf: Option<HuggingFaceHubSource>,
}

impl NIMSource {
    /// From NVIDIA's catalogue, as profiles that a manifest lists.
    #[must_use]
    pub fn is_optimized(&self) -> bool {
        self.ngc.as_ref().is_some_and(|ngc| ngc.model_endpoint.is_none())
    }

    /// One model for every GPU: from an endpoint of NVIDIA's catalogue, or from a place that speaks as the Hugging Face
    /// hub does.
    #[must_use]
    pub fn is_universal(&self) -> bool {
        self.is_hugging_face() || self.ngc.as_ref().is_some_and(|ngc| ngc.model_endpoint.is_some())
    }

    /// From a place that speaks as the Hugging Face hub does.
    #[must_use]
    pub fn is_hugging_face(&self) -> bool {
        self.common().is_some()
    }

    /// Endpoint and what to fetch, where the place speaks as the Hugging Face hub does.
    #[must_use]
    pub fn common(&self) -> Option<(&str, &str, &DSHFCommonFields)> {
        let hub = self.hf.as_ref().map(|hf| (hf.endpoint.as_str(), hf.namespace.as_str(), &hf.common));
        hub.or_else(|| {
            self.data_store
                .as_ref()
                .map(|store| (store.endpoint.as_str(), store.namespace.as_str(), &store.common))
        })
    }

    /// The image that fetches the model, where a source is set.
    #[must_use]
    pub fn model_puller(&self) -> Option<&str> {
        let ngc = self.ngc.as_ref().map(|ngc| ngc.model_puller.as_str());
        ngc.or_else(|| self.common().map(|(_, _, common)| common.model_puller.as_str()))
    }

    /// The secret with the key of the source, if one is named.
    #[must_use]
    pub fn auth_secret(&self) -> Option<&str> {
        let secret = match &self.ngc {
            Some(ngc) => ngc.auth_secret.as_deref(),
            None => self.common().map(|(_, _, common)| common.auth_secret.as_str()),
        };
        secret.filter(|name| !name.is_empty())
    }

    /// The secret to pull the image with, if one is named.
    #[must_use]
    pub fn pull_secret(&self) -> Option<&str> {
        let ngc = self.ngc.as_ref().and_then(|ngc| ngc.pull_secret.as_deref());
        let secret = ngc.or_else(|| self.common().map(|(_, _, common)| common.pull_secret.as_str()));
        secret.filter(|name| !name.is_empty())
    }

    /// `hf://<namespace>/<model>`, and `:<revision>` where one is named, where the place speaks as the Hugging Face hub
    /// does and a model is wanted.
    #[must_use]
    pub fn hugging_face_uri(&self) -> Option<String> {
        let (_, namespace, common) = self.common()?;
        let revision = common.revision.as_deref().filter(|revision| !revision.is_empty());
        let revision = revision.map(|revision| format!(":{revision}")).unwrap_or_default();
        common.model_name.as_ref().map(|model| format!("hf://{namespace}/{model}{revision}"))
    }
}

/// NVIDIA's catalogue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.model) && has(self.modelEndpoint))", "Only one of 'model' or 'modelEndpoint' can be specified"))]
#[serde(rename_all = "camelCase")]
pub struct NGCSource {
    /// Secret with `NGC_API_KEY`. Default none, for models that are downloaded without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<String>,
    /// The NIM's image; it knows how to fetch its model. Cannot be changed.
    pub model_puller: String,
    /// Secret to pull the image with. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
    /// Which profiles. Default those for the cluster's GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// Where the model is in the catalogue, for an image that serves any. Default: the image's own model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_endpoint: Option<String>,
}

/// Which profiles of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// Profiles by id, or `all`; the other fields then do not count. Default by the other fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Precision of the numbers, for example `fp8`. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Engine, for example `tensorrt_llm`. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// GPUs that share the model. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallelism: Option<String>,
    /// What the profile is best at, for example `throughput`. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_profile: Option<String>,
    /// GPUs to fetch for. Default those of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<GPUSpec>>,
    /// With low-rank adapters or without. Default without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<bool>,
    /// Only profiles that can be built on the cluster. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buildable: Option<bool>,
}

/// A kind of GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GPUSpec {
    /// Part of the product's name, for example `h100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// PCI device ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
}

/// The Hugging Face hub, or one that speaks like it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.modelName) ? 1 : 0) + (has(self.datasetName) ? 1 : 0) == 1", "Exactly one of modelName or datasetName must be defined"))]
#[serde(rename_all = "camelCase")]
pub struct HuggingFaceHubSource {
    /// Its address, http or https.
    #[schemars(regex(pattern = r"^https?://.*$"))]
    pub endpoint: String,
    /// The organisation or user there.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// What to fetch and how.
    #[serde(flatten)]
    pub common: DSHFCommonFields,
}

/// A NeMo data store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.modelName) ? 1 : 0) + (has(self.datasetName) ? 1 : 0) == 1", "Exactly one of modelName or datasetName must be defined"))]
#[serde(rename_all = "camelCase")]
pub struct NemoDataStoreSource {
    /// Its address, ending in `/v1/hf`.
    #[schemars(regex(pattern = r"^https?://.*/v1/hf/?$"))]
    pub endpoint: String,
    /// The namespace there. Default `default`.
    #[schemars(extend("default" = "default"))]
    pub namespace: String,
    /// What to fetch and how.
    #[serde(flatten)]
    pub common: DSHFCommonFields,
}

/// What to fetch from a place that speaks as the Hugging Face hub does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DSHFCommonFields {
    /// The model; or else a data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// The data set; or else a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    /// Secret with `HF_TOKEN`.
    #[schemars(length(min = 1))]
    pub auth_secret: String,
    /// The image that fetches.
    #[schemars(length(min = 1))]
    pub model_puller: String,
    /// Secret to pull the image with.
    #[schemars(length(min = 1))]
    pub pull_secret: String,
    /// Branch, tag or commit. Default the newest.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
