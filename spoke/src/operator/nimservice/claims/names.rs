//! Names of templates and of claims in pods. They are compatible with those of the NIM Operator, bit by bit: a service
//! that is taken over keeps its claims.

use crds::nim::DRAClaimCreationSpec;

/// Start of a template's name where none is given.
const PREFIX: &str = "claimtemplate";

/// FNV-1a of 32 bits, its decimal digits written as letters and digits that form no words.
pub(super) fn hash(text: &str) -> String {
    let sum =
        text.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_string().bytes().map(|digit| char::from(b"456789bcdf"[usize::from(digit - b'0')])).collect()
}

/// The template made for the entry at `index` of `spec.draResources`.
pub(super) fn template(service: &str, wanted: &DRAClaimCreationSpec, index: usize) -> String {
    let prefix = wanted.generate_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(PREFIX);
    format!("{prefix}-{}-{index}", hash(service))
}

/// The template that the controller of compute domains makes for the domain of a service.
pub(super) fn domain_template(service: &str) -> String {
    format!("cd-claimtemplate-{}", hash(service))
}

/// What a claim in a pod comes from; the number is part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Claim = 0,
    Template = 1,
    DomainTemplate = 2,
}

/// Name of a claim in the pod without its running number.
pub(super) fn in_pod(service: &str, source: Source, resource: &str) -> String {
    format!("claim-{}-{}-{}", hash(service), source as u8, hash(resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_dra_name_vectors() {
        for (text, expected) in [
            ("test-service", "8568b4fb55"),
            ("test-claim", "9f8c8d9fb"),
            ("test-template", "5cb744997d"),
            ("test-claim-1", "6454fc76cd"),
            ("meta-llama3-2-1b-instruct", "6f49c65b4c"),
            ("test", "6f8fbc7889"),
            ("gpu-resourceclaimtemplate", "666d777dd6"),
        ] {
            assert_eq!(hash(text), expected, "{text}");
        }
        let wanted = DRAClaimCreationSpec::default();
        assert_eq!(template("dra", &wanted, 0), "claimtemplate-7d6cbd8786-0");
        assert_eq!(
            in_pod("dra", Source::Template, &template("dra", &wanted, 0)),
            "claim-7d6cbd8786-1-c59cb5d68"
        );
        let wanted = DRAClaimCreationSpec { generate_name: Some("gpus".into()), devices: Vec::new() };
        assert_eq!(template("test", &wanted, 3), "gpus-6f8fbc7889-3");
        assert_eq!(domain_template("test"), "cd-claimtemplate-6f8fbc7889");
        assert_eq!(in_pod("test", Source::Claim, "test-claim"), "claim-6f8fbc7889-0-9f8c8d9fb");
        assert_eq!(in_pod("test", Source::DomainTemplate, "test-claim"), "claim-6f8fbc7889-2-9f8c8d9fb");
    }
}
