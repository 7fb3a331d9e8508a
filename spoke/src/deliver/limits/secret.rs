//! Which Secrets a hub may bring.

use serde_json::Value;

use super::Limits;
use super::pattern::{Pattern, quoted};

/// Types of Secrets that give nobody rights in this cluster.
const SECRET_TYPES: [&str; 6] = [
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
];

impl Limits {
    /// Judges a Secret that a hub brings: by its name, its namespace and its type, which may give rights of its own.
    pub(in super::super) fn check_secret(&self, object: &Value, own: &str) -> Result<(), String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut faults = Vec::from_iter(self.namespace_fault(object, own));
        let (name, kind) = (text("/metadata/name"), text("/type"));
        if !self.secrets.accepted.iter().any(|accepted| accepted == name) {
            let accepted: Vec<Pattern> =
                self.secrets.accepted.iter().map(|name| Pattern::new(name)).collect();
            let accepted = quoted(&accepted);
            faults.push(format!("metadata.name is {name:?}: limits.secrets.accepted is {accepted}"));
        }
        if !SECRET_TYPES.contains(&kind) {
            faults.push(format!("type is {kind:?}: a hub may bring {}", SECRET_TYPES.join(", ")));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(self.denied(&faults.join("; "), "take it out of spec.secrets"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWN: &str = "nimfleet";

    #[test]
    fn a_secret_is_accepted_by_name_where_its_type_gives_no_rights() {
        let limits = json!({ "secrets": { "accepted": ["ngc"] } });
        let secret = |namespace: &str, name: &str, kind: &str| json!({ "metadata": { "namespace": namespace, "name": name }, "type": kind, "data": { "k": "c2VjcmV0" } });
        let table = [
            (secret("models", "ngc", "Opaque"), None),
            (secret("models", "ngc", "kubernetes.io/dockerconfigjson"), None),
            (secret("models", "other", "Opaque"), Some("limits.secrets.accepted is [\"ngc\"]")),
            (secret("kube-system", "ngc", "Opaque"), Some("metadata.namespace")),
            (secret(OWN, "ngc", "Opaque"), Some("metadata.namespace")),
            (secret("models", "ngc", "kubernetes.io/service-account-token"), Some("type is")),
            (secret("models", "ngc", ""), Some("type is")),
        ];
        for (secret, telling) in table {
            let verdict =
                serde_json::from_value::<Limits>(limits.clone()).unwrap().check_secret(&secret, OWN);
            match (verdict, telling) {
                (Ok(()), None) => {}
                (Err(message), Some(telling)) => {
                    assert!(message.contains(telling) && !message.contains("c2VjcmV0"), "{message}");
                }
                (verdict, _) => panic!("{secret}: {verdict:?}"),
            }
        }
        assert!(
            Limits::default().check_secret(&secret("models", "ngc", "Opaque"), OWN).is_err(),
            "none by default"
        );
    }
}
