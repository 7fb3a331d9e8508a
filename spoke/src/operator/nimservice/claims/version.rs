//! Versions: of semantic versioning, as attributes of devices are compared with, and of clusters.

/// The first Kubernetes with the API of dynamic resource allocation that is used here.
const FIRST: (u64, u64, u64) = (1, 34, 0);

/// Whether a text is a version by the letter: three numbers without leading zeros, a pre-release, a build.
pub(super) fn is_strict(text: &str) -> bool {
    let (text, build) = split(text, '+');
    let (core, pre) = split(text, '-');
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|part| is_number(part) && part.parse::<u64>().is_ok())
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && !is_padded(part)))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// Whether a cluster of this version has the API. One that has not yet told is given the benefit of the doubt.
pub(super) fn has_claims(cluster: &str) -> bool {
    if cluster.is_empty() {
        return true;
    }
    let (text, _) = split(cluster.strip_prefix('v').unwrap_or(cluster), '+');
    let (core, pre) = split(text, '-');
    let mut numbers = core.split('.').map(str::parse::<u64>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return false;
    };
    let found = (major, minor, patch);
    found > FIRST || found == FIRST && pre.is_none()
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn is_number(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|byte| byte.is_ascii_digit())
        && (part == "0" || !part.starts_with('0'))
}

/// A number with leading zeros.
fn is_padded(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit()) && !is_number(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_by_the_letter() {
        for text in ["1.2.3", "0.0.0", "1.0.0-rc.1", "1.0.0-0a", "1.0.0+b.007", "1.0.0-x-y.z+1"] {
            assert!(is_strict(text), "{text}");
        }
        for text in [
            "",
            "1",
            "1.2",
            "v1.2.3",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+",
            "1.2.3.4",
            "1.2.x",
            "1.2.3-a..b",
        ] {
            assert!(!is_strict(text), "{text}");
        }
    }

    #[test]
    fn clusters_from_1_34_on_have_claims() {
        for version in ["", "v1.34.0", "v1.34.0+rke2r1", "v1.34.1-eks-3025e55", "v1.36.3", "v2.0.0"] {
            assert!(has_claims(version), "{version}");
        }
        for version in ["v1.33.9", "v1.34.0-rc.1", "v1.34.0-gke.10", "unknown", "1.34"] {
            assert!(!has_claims(version), "{version}");
        }
    }
}
