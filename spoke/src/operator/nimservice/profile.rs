//! Whether the image of a service can run the profile that is named for it.

use crds::nim::NIMServiceSpec;

use super::storage::CacheView;
use crate::operator::engine::kind::Failure;
use crate::operator::registry::major_version;

/// The first NIM whose profiles are others than those of the NIMs before: an id of 2.x means nothing to it.
pub(crate) const OWN_PROFILES_SINCE: u32 = 3;

/// The variable by which a NIM is told a profile.
const PROFILE: &str = "NIM_MODEL_PROFILE";

/// Refuses a profile that was downloaded by an older NIM than the one that shall run it, and could not start with it.
pub(super) fn check(spec: &NIMServiceSpec, cache: Option<&CacheView>) -> Result<(), Failure> {
    let Some(cache) = cache.filter(|cache| cache.spec.source.is_optimized()) else { return Ok(()) };
    let image = spec.image.reference();
    let puller = cache.spec.source.model_puller().unwrap_or_default();
    let (Some(version), Some(cached)) = (major_version(&image), major_version(puller)) else { return Ok(()) };
    if version < OWN_PROFILES_SINCE || cached >= OWN_PROFILES_SINCE {
        return Ok(());
    }
    let by_cache = spec.cache_profile().map(|profile| ("spec.storage.nimCache.profile", profile));
    let by_env = || {
        let var = spec.env.iter().flatten().rfind(|var| var.name == PROFILE)?;
        let profile = var.value.as_deref().filter(|profile| cache.profiles.contains_key(*profile))?;
        Some(("spec.env NIM_MODEL_PROFILE", profile))
    };
    let Some((field, profile)) = by_cache.or_else(by_env) else { return Ok(()) };
    let message = format!(
        "{field} is {profile:?}, which NIMCache {} has from {puller}: {image} does not know the profiles of NIMs before \
         {OWN_PROFILES_SINCE}.0: name a NIMCache whose modelPuller is {image} and one of its profiles, or remove {field} so \
         that the NIM selects",
        cache.name
    );
    Err(Failure::new("ProfileOfOlderNIM", message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn said(tag: &str, puller: &str, patch: &Value) -> Option<String> {
        let mut spec = json!({
            "image": {"repository": "nvcr.io/nim/meta/llama", "tag": tag},
            "storage": {"nimCache": {"name": "c", "profile": "4f904d57"}},
        });
        for (field, value) in patch.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let source = json!({"ngc": {"modelPuller": puller}});
        let cache = CacheView {
            name: "c".into(),
            spec: serde_json::from_value(json!({"source": source, "storage": {}})).unwrap(),
            is_going: false,
            state: "Ready".into(),
            kind: String::new(),
            pvc: "c-pvc".into(),
            profiles: BTreeMap::from([("4f904d57".to_owned(), BTreeMap::new())]),
            problem: String::new(),
            waits: String::new(),
        };
        let spec = serde_json::from_value(spec).unwrap();
        check(&spec, Some(&cache)).err().map(|why| {
            assert_eq!(why.reason, "ProfileOfOlderNIM");
            why.message
        })
    }

    #[test]
    fn a_profile_of_an_older_nim_is_refused_with_the_remedy() {
        let (old, new) = ("nvcr.io/nim/meta/llama:2.0.10-pb6", "nvcr.io/nim/meta/llama:3.0.0");
        let unpinned = json!({"storage": {"nimCache": {"name": "c"}}});
        let by_env = json!({"storage": {"nimCache": {"name": "c"}},
            "env": [{"name": "NIM_MODEL_PROFILE", "value": "4f904d57"}]});
        let own = json!({"storage": {"nimCache": {"name": "c"}},
            "env": [{"name": "NIM_MODEL_PROFILE", "value": "other"}]});
        for (tag, puller, patch, field) in [
            ("3.0.0", old, json!({}), Some("spec.storage.nimCache.profile is \"4f904d57\"")),
            (
                "3.1",
                "nvcr.io/nim/meta/llama:1.12.0",
                by_env,
                Some("spec.env NIM_MODEL_PROFILE is \"4f904d57\""),
            ),
            ("3.0.0", old, own, None),
            ("3.0.0", old, unpinned, None),
            ("3.0.0", new, json!({}), None),
            ("2.0.10", old, json!({}), None),
            ("latest", old, json!({}), None),
            ("3.0.0", "nvcr.io/nim/meta/llama@sha256:00", json!({}), None),
        ] {
            let said = said(tag, puller, &patch);
            match field {
                None => assert_eq!(said, None, "{tag} {puller} {patch}"),
                Some(field) => {
                    let said = said.unwrap_or_else(|| panic!("{tag} {puller} {patch} is rendered"));
                    assert!(
                        said.starts_with(field) && said.contains(puller) && said.contains("remove"),
                        "{said}"
                    );
                }
            }
        }
    }
}
