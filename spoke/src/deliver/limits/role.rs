//! The rules that a role of a delivered object may have: those that the operator knows, and no others.

use serde_json::Value;

/// One rule: groups, resources and verbs that it may name.
struct Known {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// The only names that it may be about; empty for all.
    names: &'static [&'static str],
}

const SEE: &[&str] = &["get", "list", "watch"];
const ALL: &[&str] = &["create", "get", "list", "watch", "update", "delete", "patch"];

const RULES: &[Known] = &[
    Known {
        groups: &["security.openshift.io"],
        resources: &["securitycontextconstraints"],
        verbs: &["use"],
        names: &["anyuid", "hostmount-anyuid", "nonroot"],
    },
    // Of an endpoint picker.
    Known { groups: &[""], resources: &["pods"], verbs: SEE, names: &[] },
    Known {
        groups: &["inference.networking.k8s.io", "inference.networking.x-k8s.io"],
        resources: &["inferencepools", "inferenceobjectives"],
        verbs: SEE,
        names: &[],
    },
    // Of a NemoEvaluator.
    Known {
        groups: &[""],
        resources: &["secrets", "pods"],
        verbs: &["get", "watch", "list", "create"],
        names: &[],
    },
    // Of a NemoCustomizer.
    Known { groups: &["batch"], resources: &["jobs", "jobs/status"], verbs: ALL, names: &[] },
    Known {
        groups: &[""],
        resources: &["pods", "persistentvolumeclaims", "services", "configmaps"],
        verbs: &["create", "get", "list", "watch", "delete"],
        names: &[],
    },
    Known { groups: &[""], resources: &["events"], verbs: &["create", "get", "list", "watch"], names: &[] },
    Known {
        groups: &["nvidia.com"],
        resources: &["nemotrainingjobs", "nemotrainingjobs/status", "nemoentityhandlers"],
        verbs: ALL,
        names: &[],
    },
    Known { groups: &["run.ai"], resources: &["trainingworkloads", "runaijobs"], verbs: ALL, names: &[] },
    Known { groups: &["batch.volcano.sh"], resources: &["jobs", "jobs/status"], verbs: ALL, names: &[] },
    Known { groups: &["nodeinfo.volcano.sh"], resources: &["numatopologies"], verbs: SEE, names: &[] },
    Known {
        groups: &["scheduling.incubator.k8s.io", "scheduling.volcano.sh"],
        resources: &["queues", "queues/status", "podgroups"],
        verbs: SEE,
        names: &[],
    },
];

/// Whether a rule of a Role is one of them, or less.
pub(super) fn is_known(rule: &Value) -> bool {
    let within = |field: &str, allowed: &[&str]| {
        let all = rule[field].as_array().map(Vec::as_slice).unwrap_or_default();
        !all.is_empty() && all.iter().all(|one| one.as_str().is_some_and(|one| allowed.contains(&one)))
    };
    rule.get("nonResourceURLs").is_none_or(Value::is_null)
        && RULES.iter().any(|known| {
            within("apiGroups", known.groups)
                && within("resources", known.resources)
                && within("verbs", known.verbs)
                && (known.names.is_empty() || within("resourceNames", known.names))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_grants_what_the_operator_knows_or_less() {
        let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        let mut scc = rule("security.openshift.io", &["securitycontextconstraints"], &["use"]);
        assert!(!is_known(&scc), "every constraint");
        scc["resourceNames"] = json!(["nonroot"]);
        assert!(is_known(&scc));
        scc["resourceNames"] = json!(["nonroot", "privileged"]);
        assert!(!is_known(&scc));
        for (rule, known) in [
            (rule("", &["pods"], &["get", "watch", "list"]), true),
            (rule("", &["secrets", "pods"], &["get", "create"]), true),
            (rule("", &["secrets"], &["delete"]), false),
            (rule("", &["pods/exec"], &["create"]), false),
            (rule("*", &["*"], &["*"]), false),
            (rule("", &[], &["get"]), false),
            (rule("rbac.authorization.k8s.io", &["roles"], &["escalate"]), false),
        ] {
            assert_eq!(is_known(&rule), known, "{rule}");
        }
    }
}
