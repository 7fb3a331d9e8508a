//! Which claim a model was stored on, and what was stored: noted on the NIMCache, and on the claim that was made for it.
//!
//! A claim is known by its uid, or by its volume where a backup was restored with it. Another claim of the same name holds
//! nothing, whatever the status says.

use crds::nim::NIMCacheSpec;
use jiff::Timestamp;
use kube::core::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::operator::engine::template::digest;

/// On the NIMCache and on a claim of its own: the [`Filled`] as JSON.
pub(super) const ANNOTATION: &str = "nimfleet.io/filled-claim";

/// Most bytes of profiles that are noted with their tags; of more the names alone. All annotations of an object together
/// may have 256 KiB.
const LONGEST_PROFILES: usize = 64 * 1024;

/// A claim as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) uid: String,
    /// Name of its volume; empty until it is bound.
    pub(super) volume: String,
    /// When it was made, by the API server's clock.
    pub(super) created: Option<Timestamp>,
    /// It is being deleted: what was stored in it goes with it.
    pub(super) is_going: bool,
    /// Uid of its controller, if it has one.
    pub(super) controller: Option<String>,
    /// What is noted on it.
    pub(super) filled: Option<Filled>,
}

impl Claim {
    /// Reads a live claim.
    pub(super) fn of(live: &DynamicObject) -> Self {
        let metadata = &live.metadata;
        let owners = metadata.owner_references.iter().flatten();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            volume: live.data["spec"]["volumeName"].as_str().unwrap_or_default().to_owned(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            is_going: metadata.deletion_timestamp.is_some(),
            controller: owners
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone())
                .next(),
            filled: Filled::read(metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION))),
        }
    }
}

/// What was stored, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filled {
    /// Name of the claim.
    pub(super) claim: String,
    /// Its uid.
    pub(super) uid: String,
    /// Its volume; empty if it was not bound yet.
    #[serde(default)]
    pub(super) volume: String,
    /// Digest of what the spec asked for.
    pub(super) content: String,
    /// Uid of the job that stored it; empty if that is not known.
    #[serde(default)]
    pub(super) job: String,
    /// Generation of the NIMCache that it was stored for.
    pub(super) generation: i64,
    /// `native`, `model-free`, or empty.
    #[serde(default)]
    pub(super) kind: String,
    /// The profiles, as the status shows them.
    #[serde(default)]
    pub(super) profiles: Vec<Value>,
}

impl Filled {
    /// What was stored on a claim.
    pub(super) fn new(
        claim: &Claim,
        spec: &NIMCacheSpec,
        generation: i64,
        kind: &str,
        profiles: &[Value],
    ) -> Self {
        let mut profiles = profiles.to_vec();
        if Value::from(profiles.clone()).to_string().len() > LONGEST_PROFILES {
            profiles = profiles.iter().map(|profile| json!({"name": profile["name"]})).collect();
        }
        Self {
            claim: claim.name.clone(),
            uid: claim.uid.clone(),
            volume: claim.volume.clone(),
            content: content(spec),
            job: String::new(),
            generation,
            kind: kind.to_owned(),
            profiles,
        }
    }

    /// As it was written; one that cannot be read is none.
    pub(super) fn read(annotation: Option<&String>) -> Option<Self> {
        serde_json::from_str(annotation?).ok()
    }

    /// As it is written. Serialising cannot fail; an empty text is read as none.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether this is the claim that was filled.
    pub(super) fn is_on(&self, claim: &Claim) -> bool {
        self.uid == claim.uid || !self.volume.is_empty() && self.volume == claim.volume
    }

    /// Whether this is what the spec asks for.
    pub(super) fn is_asked_by(&self, spec: &NIMCacheSpec) -> bool {
        self.content == content(spec)
    }

    /// The same on the claim as it is now: a restored one has another uid, and one that was unbound has a volume since.
    pub(super) fn seen_on(self, claim: &Claim) -> Self {
        Self { claim: claim.name.clone(), uid: claim.uid.clone(), volume: claim.volume.clone(), ..self }
    }
}

/// Digest of what the spec asks to be stored: the source without its Secrets, the environment of the download, and the
/// folder of the claim.
fn content(spec: &NIMCacheSpec) -> String {
    let mut source = serde_json::to_value(&spec.source).unwrap_or_default();
    for of in source.as_object_mut().into_iter().flat_map(|kinds| kinds.values_mut()) {
        if let Some(fields) = of.as_object_mut() {
            fields.retain(|field, _| field != "authSecret" && field != "pullSecret");
        }
    }
    let folder = spec.storage.pvc.as_ref().and_then(|pvc| pvc.sub_path.clone()).unwrap_or_default();
    let env = spec.env.clone().unwrap_or_default();
    digest(&json!({"source": source, "env": env, "folder": folder}))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A claim `c-pvc` with this uid, bound to a volume of its own.
    pub(in super::super) fn claim(uid: &str) -> Claim {
        Claim {
            name: "c-pvc".to_owned(),
            uid: uid.to_owned(),
            volume: format!("volume-of-{uid}"),
            created: Some(Timestamp::UNIX_EPOCH),
            is_going: false,
            controller: None,
            filled: None,
        }
    }

    fn spec(change: &Value) -> NIMCacheSpec {
        let mut spec = json!({
            "source": {"ngc": {"authSecret": "a", "modelPuller": "m:1", "pullSecret": "p"}},
            "storage": {"pvc": {"name": "c-pvc", "subPath": "s"}},
        });
        for (pointer, value) in change.as_object().unwrap() {
            *spec.pointer_mut(pointer).unwrap() = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_claim_is_known_by_its_uid_or_its_volume() {
        let filled = Filled::new(&claim("a"), &spec(&json!({})), 1, "", &[]);
        let restored = Claim { uid: "b".to_owned(), ..claim("a") };
        let unbound = Claim { volume: String::new(), ..claim("c") };
        for (other, is_it) in
            [(claim("a"), true), (restored, true), (claim("b"), false), (unbound.clone(), false)]
        {
            assert_eq!(filled.is_on(&other), is_it, "{other:?}");
        }
        let nowhere = Filled { volume: String::new(), ..filled };
        assert!(!nowhere.is_on(&unbound), "two claims without a volume are two claims");
    }

    #[test]
    fn another_model_is_another_content_and_another_key_is_not() {
        let filled = Filled::new(&claim("a"), &spec(&json!({})), 1, "native", &[json!({"name": "p"})]);
        assert_eq!(Filled::read(Some(&filled.text())), Some(filled.clone()));
        assert_eq!(Filled::read(Some(&"{".to_owned())), None);
        for (change, same) in [
            (json!({"/source/ngc/authSecret": "b", "/source/ngc/pullSecret": "q"}), true),
            (json!({"/source/ngc/modelPuller": "m:2"}), false),
            (json!({"/storage/pvc/subPath": "t"}), false),
        ] {
            assert_eq!(filled.is_asked_by(&spec(&change)), same, "{change}");
        }
    }

    #[test]
    fn more_profiles_than_an_annotation_holds_are_noted_by_name() {
        let long = json!({"name": "p", "config": {"text": "x".repeat(LONGEST_PROFILES)}});
        let filled = Filled::new(&claim("a"), &spec(&json!({})), 1, "", &[long]);
        assert_eq!(filled.profiles, [json!({"name": "p"})]);
    }
}
