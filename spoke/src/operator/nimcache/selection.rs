//! Which profiles of a manifest a NIMCache wants.

use std::collections::{BTreeMap, BTreeSet};

use crds::gpu_product::is_named;
use crds::nim::{GPUSpec, ModelSpec};

use super::manifest::{Form, Manifest, Profile, Tags};

/// PCI vendor suffix of device ids.
const NVIDIA: &str = ":10de";

/// The profiles to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything the image has.
    All,
    /// These, in this order.
    Ids(Vec<String>),
}

impl Selection {
    /// From a list of ids as users write it, `all` being everything.
    pub(super) fn of_ids(ids: Vec<String>) -> Self {
        if ids.iter().any(|id| id == "all") { Self::All } else { Self::Ids(ids) }
    }

    /// As a list of ids.
    pub(super) fn ids(&self) -> Vec<String> {
        match self {
            Self::All => vec!["all".to_owned()],
            Self::Ids(ids) => ids.clone(),
        }
    }
}

/// Matches the manifest with what is wanted. `products` are the GPUs that the cluster's nodes name; they count only
/// where the NIMCache names none.
pub(super) fn matching(
    manifest: &Manifest,
    model: Option<&ModelSpec>,
    products: &BTreeSet<String>,
) -> Vec<String> {
    let model = model.cloned().unwrap_or_default();
    let labels = match model.gpus.as_deref().unwrap_or_default() {
        [] => GpuLabels::new(manifest, products.iter().map(String::as_str), &[Spelling::Product]),
        gpus => {
            let asked = gpus.iter().filter_map(|gpu| gpu.product.as_deref());
            GpuLabels::new(manifest, asked, &[Spelling::Tag, Spelling::Product])
        }
    };
    let wanted = Wanted { model, products, labels };
    let fits = |profile: &&Profile| match manifest.form {
        Form::First => wanted.fits_first(&profile.tags),
        Form::Second => wanted.fits_second(&profile.tags),
    };
    manifest.profiles.iter().filter(fits).map(|profile| profile.id.clone()).collect()
}

/// The tags of a profile that name the GPU it was built for.
const GPU_TAGS: [&str; 2] = ["gpu", "key"];

/// How a product and the `gpu` tags of a manifest are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// The tag has every word of the product: `l40s` of L40S, `a100_sxm4_80gb` of A100.
    Tag,
    /// The product has every word of the tag: `h100` of NVIDIA-H100-80GB-HBM3.
    Product,
    /// One is a substring of the other, as in NVIDIA's operator. L4 is then in `l40s`.
    Substring,
}

/// The spelling that the tags of one manifest use for each product: the strictest that any of its profiles matches.
struct GpuLabels(BTreeMap<String, Spelling>);

impl GpuLabels {
    fn new<'a>(manifest: &Manifest, products: impl Iterator<Item = &'a str>, strict: &[Spelling]) -> Self {
        let labels: Vec<&str> =
            manifest.profiles.iter().flat_map(|profile| gpu_labels(&profile.tags)).collect();
        let spelling = |product: &str| {
            let used =
                strict.iter().find(|spelling| labels.iter().any(|label| spelling.says(product, label)));
            used.copied().unwrap_or(Spelling::Substring)
        };
        Self(products.map(|product| (product.to_owned(), spelling(product))).collect())
    }

    /// Whether a `gpu` tag is of the product.
    fn is_of(&self, product: &str, label: &str) -> bool {
        self.0.get(product).is_some_and(|spelling| spelling.says(product, label))
    }
}

impl Spelling {
    fn says(self, product: &str, label: &str) -> bool {
        match self {
            Self::Tag => is_named(label, product),
            Self::Product => is_named(product, label),
            Self::Substring => {
                let (product, label) = (product.to_lowercase(), label.to_lowercase());
                label.contains(&product) || product.contains(&label)
            }
        }
    }
}

struct Wanted<'a> {
    model: ModelSpec,
    products: &'a BTreeSet<String>,
    labels: GpuLabels,
}

impl Wanted<'_> {
    fn fits_first(&self, tags: &Tags) -> bool {
        let same = |wanted: Option<&String>, name: &str| {
            given(wanted).is_none_or(|wanted| tag(tags, name) == wanted)
        };
        let backend = tags.get("llm_engine").or_else(|| tags.get("backend")).map_or("", String::as_str);
        let engine = given(self.model.engine.as_ref()).unwrap_or_default();
        let lora = match self.model.lora {
            None => tag(tags, "feat_lora") != "true",
            Some(wanted) => tag(tags, "feat_lora") == wanted.to_string(),
        };
        // Only TensorRT engines are built for one GPU.
        let built_for_gpu = engine.contains("tensorrt") || !self.gpus().is_empty();
        let anything_known = !self.gpus().is_empty() || !self.products.is_empty();
        same(self.model.precision.as_ref(), "precision")
            && same(self.model.tensor_parallelism.as_ref(), "tp")
            && same(self.model.qos_profile.as_ref(), "profile")
            && lora
            && backend.contains(engine.trim_end_matches("_llm"))
            && (!built_for_gpu || (backend.contains("tensorrt") && (!anything_known || self.gpu_first(tags))))
    }

    fn gpu_first(&self, tags: &Tags) -> bool {
        let device = tag(tags, "gpu_device").trim_end_matches(NVIDIA);
        let named = self.gpus().iter().any(|gpu| {
            let ids = gpu.ids.as_deref().unwrap_or_default();
            self.names_product(tags, gpu)
                && (ids.is_empty() || ids.iter().any(|id| id.trim_end_matches(NVIDIA) == device))
        });
        let label = tag(tags, "gpu");
        named
            || self.discovered(|product| label.is_empty() || self.labels.is_of(product, label))
            || self.product_pattern(tags)
    }

    fn fits_second(&self, tags: &Tags) -> bool {
        let same = |wanted: Option<&String>, name: &str| {
            given(wanted).is_none_or(|wanted| tag(tags, name).eq_ignore_ascii_case(wanted))
        };
        let flag = |wanted: Option<bool>, name: &str| {
            wanted.is_none_or(|wanted| tag(tags, name).eq_ignore_ascii_case(&wanted.to_string()))
        };
        let backend = ["llm_engine", "model_type", "backend"].iter().find_map(|name| tags.get(*name));
        let backend = backend.map(|backend| backend.to_lowercase()).unwrap_or_default();
        let backend = if backend == "triton" { "tensorrt".to_owned() } else { backend };
        let engine = given(self.model.engine.as_ref()).unwrap_or_default().to_lowercase();
        let buildable = tag(tags, "trtllm_buildable").eq_ignore_ascii_case("true");
        same(self.model.precision.as_ref(), "precision")
            && same(self.model.tensor_parallelism.as_ref(), "tp")
            && same(self.model.qos_profile.as_ref(), "profile")
            && flag(self.model.lora, "feat_lora")
            && flag(self.model.buildable, "trtllm_buildable")
            && backend.contains(engine.trim_end_matches("_llm"))
            && (buildable || self.gpu_second(tags))
    }

    fn gpu_second(&self, tags: &Tags) -> bool {
        if self.gpus().is_empty() {
            let mut labels = gpu_labels(tags).peekable();
            let unbound = labels.peek().is_none() && tag(tags, "product_name_regex").is_empty();
            return unbound
                || self.products.is_empty()
                || labels.any(|label| self.discovered(|product| self.labels.is_of(product, label)))
                || self.product_pattern(tags);
        }
        let device = tag(tags, "gpu_device").trim_end_matches(NVIDIA);
        self.gpus().iter().any(|gpu| {
            let ids = gpu.ids.as_deref().unwrap_or_default();
            (ids.is_empty() || ids.iter().any(|id| id.trim_end_matches(NVIDIA).eq_ignore_ascii_case(device)))
                && self.names_product(tags, gpu)
        })
    }

    fn product_pattern(&self, tags: &Tags) -> bool {
        let pattern = tag(tags, "product_name_regex");
        !pattern.is_empty()
            && regex::Regex::new(pattern)
                .is_ok_and(|pattern| self.discovered(|product| pattern.is_match(product)))
    }

    /// Asks for the GPUs of the cluster, which count only where the NIMCache names none.
    fn discovered(&self, fits: impl FnMut(&String) -> bool) -> bool {
        self.gpus().is_empty() && self.products.iter().any(fits)
    }

    /// Whether a profile is for the product that an entry asks for; an entry without one asks for any.
    fn names_product(&self, tags: &Tags, gpu: &GPUSpec) -> bool {
        match gpu.product.as_deref().unwrap_or_default() {
            "" => true,
            product => gpu_labels(tags).any(|label| self.labels.is_of(product, label)),
        }
    }

    fn gpus(&self) -> &[GPUSpec] {
        self.model.gpus.as_deref().unwrap_or_default()
    }
}

/// The GPU tags of a profile that have a value.
fn gpu_labels(tags: &Tags) -> impl Iterator<Item = &str> {
    GPU_TAGS.into_iter().map(|name| tag(tags, name)).filter(|label| !label.is_empty())
}

fn tag<'a>(tags: &'a Tags, name: &str) -> &'a str {
    tags.get(name).map_or("", String::as_str)
}

fn given(wanted: Option<&String>) -> Option<&str> {
    wanted.map(String::as_str).filter(|wanted| !wanted.is_empty())
}

#[cfg(test)]
mod tests;
