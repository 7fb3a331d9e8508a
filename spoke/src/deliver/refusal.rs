//! What a failed call to the API server means for the object it was about.

use kube::core::Status;
use runtime::call::UNKNOWN_FIELD;

use super::RejectionClass;

/// Whether the same object can succeed when it is tried again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The object is wrong for this cluster; trying again does not help.
    Rejected(RejectionClass, String),
    /// The failure is not the object's: try again.
    Passing,
}

/// A failure without the API server's words about the object, which may repeat what is in it.
pub(super) fn without_words(error: kube::Error) -> kube::Error {
    match error {
        // That the namespace is missing says nothing of the Secret, and has to be told from a missing kind.
        kube::Error::Api(status) if names_a_namespace(&status) => kube::Error::Api(status),
        kube::Error::Api(status) => {
            let kept = Status {
                code: status.code,
                reason: status.reason.clone(),
                details: None,
                ..Status::default()
            };
            let by = if denied_by_admission(&status.message) {
                "a ValidatingAdmissionPolicy or webhook"
            } else {
                "the API server"
            };
            let (code, reason) = (status.code, &status.reason);
            let message = format!(
                "{by} of the cluster does not accept this Secret (status {code} {reason}); its words are left out, since they \
                 may repeat what is in the Secret: kubectl apply --dry-run=server there shows them"
            );
            let typed = status.message.starts_with(UNKNOWN_FIELD);
            // What the class follows from is kept.
            let message =
                if typed { format!("{UNKNOWN_FIELD}: a field is not one of a Secret") } else { message };
            kube::Error::Api(Box::new(Status { message, ..kept }))
        }
        other => other,
    }
}

/// Judges a failed apply whose namespace is known to exist.
pub(super) fn judge(error: &kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) => judge_status(status),
        _ => Refusal::Passing,
    }
}

fn judge_status(status: &Status) -> Refusal {
    let message = status.message.as_str();
    let class = match status.code {
        400 | 413 | 422 => RejectionClass::Invalid,
        403 if denied_by_admission(message) => RejectionClass::Invalid,
        404 if !names_a_namespace(status) => RejectionClass::Unsupported,
        // Server-side apply reports fields that the schema does not know without a code of their own.
        500 if message.starts_with(UNKNOWN_FIELD) => RejectionClass::Invalid,
        _ => return Refusal::Passing,
    };
    Refusal::Rejected(class, telling(message))
}

/// The API server's words without the one that says nothing of the object: that further rules were not asked.
fn telling(message: &str) -> String {
    const NOISE: &str = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
                         correct the existing errors to complete validation";
    let told = message.replace(&format!(", {NOISE}"), "").replace(&format!("{NOISE}, "), "");
    // A list of one needs no brackets.
    match told.split_once("is invalid: [") {
        Some((before, list)) if told != message && list.ends_with(']') && !list.contains(", spec.") => {
            format!("{before}is invalid: {}", list.trim_end_matches(']'))
        }
        _ => told,
    }
}

/// Whether nothing could be made because the namespace is being deleted.
pub(super) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && (causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
            || status.message.contains("because it is being terminated"))
}

/// A plain 403 means a missing role, which the cluster's people can grant at any time.
fn denied_by_admission(message: &str) -> bool {
    message.contains("admission webhook") || message.contains("ValidatingAdmissionPolicy")
}

fn names_a_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status { code, ..Status::failure(message, "") }
    }

    #[test]
    fn table() {
        use RejectionClass::{Invalid, Unsupported};
        let table = [
            (422, "NIMService \"x\" is invalid: spec.image: Required value", Some(Invalid)),
            (400, "strict decoding error", Some(Invalid)),
            (413, "Request entity too large", Some(Invalid)),
            (403, "admission webhook \"policy.example\" denied the request: no", Some(Invalid)),
            (403, "nimservices is forbidden: User cannot patch resource", None),
            (403, "unable to create new content because it is being terminated", None),
            (404, "the server could not find the requested resource", Some(Unsupported)),
            (409, "conflict", None),
            (429, "too many requests", None),
            (
                500,
                "failed to create typed patch object (…): .spec.foo: field not declared in schema",
                Some(Invalid),
            ),
            (500, "etcdserver: leader changed", None),
            (504, "timeout", None),
        ];
        for (code, message, expected) in table {
            let expected =
                expected.map_or(Refusal::Passing, |class| Refusal::Rejected(class, message.to_owned()));
            assert_eq!(judge_status(&status(code, message)), expected, "{code} {message}");
        }
    }

    #[test]
    fn the_rules_that_were_not_asked_are_not_told() {
        let noise = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct \
                     the existing errors to complete validation";
        let one = format!("NIMService \"x\" is invalid: [spec.image: Required value, {noise}]");
        assert_eq!(telling(&one), "NIMService \"x\" is invalid: spec.image: Required value");
        let two =
            format!("NIMService \"x\" is invalid: [spec.a: Required value, spec.b: Required value, {noise}]");
        assert_eq!(
            telling(&two),
            "NIMService \"x\" is invalid: [spec.a: Required value, spec.b: Required value]"
        );
        assert_eq!(telling("denied: [a]"), "denied: [a]");
    }

    #[test]
    fn a_namespace_on_its_way_out_is_told_from_a_missing_role() {
        for (code, message, terminating) in [
            (403, "unable to create new content in namespace nim because it is being terminated", true),
            (403, "nimservices is forbidden: User cannot patch resource", false),
            (409, "because it is being terminated", false),
        ] {
            let error = kube::Error::Api(Box::new(status(code, message)));
            assert_eq!(is_namespace_terminating(&error), terminating, "{code} {message}");
        }
    }

    #[test]
    fn a_namespace_that_went_away_meanwhile_passes() {
        let details = serde_json::from_value(serde_json::json!({"name": "x", "kind": "namespaces"})).unwrap();
        let gone = Status { details: Some(details), ..status(404, "namespaces \"x\" not found") };
        assert_eq!(judge_status(&gone), Refusal::Passing);
    }

    #[test]
    fn what_is_said_of_a_secret_repeats_nothing_of_it() {
        for (code, message) in [
            (422, "Secret \"ngc\" is invalid: data[key]: Invalid value: \"c2VjcmV0\""),
            (500, "failed to create typed patch object (…): .data.key: expected string, got c2VjcmV0"),
            (403, "ValidatingAdmissionPolicy 'x' denied request: c2VjcmV0 is weak"),
        ] {
            let error = kube::Error::Api(Box::new(status(code, message)));
            let told = without_words(error);
            assert!(!format!("{told:?} {told}").contains("c2VjcmV0"), "{told:?}");
            assert!(matches!(judge(&told), Refusal::Rejected(RejectionClass::Invalid, _)), "{code}");
        }
    }

    #[test]
    fn a_namespace_that_a_secret_misses_is_still_told_from_a_missing_kind() {
        let details = serde_json::from_value(serde_json::json!({"name": "x", "kind": "namespaces"})).unwrap();
        let gone = Status { details: Some(details), ..status(404, "namespaces \"x\" not found") };
        assert_eq!(judge(&without_words(kube::Error::Api(Box::new(gone)))), Refusal::Passing);
    }
}
