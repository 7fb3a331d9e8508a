//! The payload of a Secret that a placement lists.
//!
//! Its hash travels, and is written where many may read: a salt that only the hub and the Secret itself know keeps anybody
//! from finding a weak value by trying.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Payload, canonical};

/// Carries the salt; part of the payload.
const SALT_ANNOTATION: &str = "nimfleet.io/salt";
/// Types that give their holder rights in the cluster they are in, whatever they contain.
const REFUSED_TYPES: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
/// The type of a Secret that names none.
const OPAQUE: &str = "Opaque";

/// What clusters are sent for a Secret: its name, type and content. An error says why it cannot travel.
pub fn secret(stored: &Secret, salt: &[u8]) -> Result<Payload, String> {
    let meta = &stored.metadata;
    let kind = stored.type_.as_deref().unwrap_or(OPAQUE);
    if REFUSED_TYPES.contains(&kind) {
        return Err(format!(
            "its type is {kind}, which means nothing in another cluster: list a copy of another type"
        ));
    }
    let uid = meta.uid.as_deref().unwrap_or_default();
    let own_salt = hex::encode(Sha256::new().chain_update(salt).chain_update(uid).finalize());
    let bytes = canonical::bytes(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "annotations": { SALT_ANNOTATION: own_salt },
        },
        "type": kind,
        "data": stored.data.clone().unwrap_or_default(),
    }));
    Ok(Payload::new(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn stored(kind: &str, value: &str) -> Secret {
        let stored = json!({
            "metadata": {
                "name": "ngc", "namespace": "models", "uid": "u", "resourceVersion": "7", "labels": { "a": "b" },
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": value },
            },
            "type": kind, "data": { "key": value },
        });
        serde_json::from_value(stored).unwrap()
    }

    #[test]
    fn name_type_and_content_travel_and_nothing_else() {
        let payload = secret(&stored("Opaque", "c2VjcmV0"), b"salt").unwrap();
        let mut sent: Value = serde_json::from_slice(&payload.bytes).unwrap();
        assert!(sent["metadata"]["annotations"][SALT_ANNOTATION].take().is_string());
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": { "key": "c2VjcmV0" },
            "metadata": { "name": "ngc", "namespace": "models", "annotations": { SALT_ANNOTATION: null } },
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn the_hash_follows_the_content_and_cannot_be_guessed() {
        let hash = |value, salt: &[u8]| secret(&stored("Opaque", value), salt).unwrap().hash;
        assert_eq!(hash("YQ==", b"salt"), hash("YQ==", b"salt"), "a new start sends nothing anew");
        assert_ne!(hash("YQ==", b"salt"), hash("Yg==", b"salt"));
        assert_ne!(hash("YQ==", b"salt"), hash("YQ==", b"other"), "the same value under another salt");
    }

    #[test]
    fn rights_do_not_travel() {
        for kind in REFUSED_TYPES {
            let refused = secret(&stored(kind, "YQ=="), b"salt").unwrap_err();
            assert!(refused.contains(kind) && !refused.contains("YQ=="), "{refused}");
        }
    }

    #[test]
    fn a_payload_shows_nothing_of_its_content() {
        let payload = secret(&stored("Opaque", "c2VjcmV0"), b"salt").unwrap();
        let shown = format!("{payload:?}");
        assert!(
            shown.contains(&payload.hash) && !shown.contains("c2VjcmV0") && !shown.contains("115,"),
            "{shown}"
        );
    }
}
