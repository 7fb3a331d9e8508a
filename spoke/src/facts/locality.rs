//! Region, zone and provider of the cluster: what all of its nodes say alike.

/// Where one node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// Label topology.kubernetes.io/region.
    pub region: String,
    /// Label topology.kubernetes.io/zone.
    pub zone: String,
    /// Scheme of spec.providerID.
    pub provider: String,
}

/// Where all nodes are; a field on which they differ is empty.
pub(super) fn common<'a>(nodes: impl IntoIterator<Item = &'a Whereabouts>) -> Whereabouts {
    let mut nodes = nodes.into_iter();
    let Some(mut common) = nodes.next().cloned() else { return Whereabouts::default() };
    for node in nodes {
        for (common, own) in [
            (&mut common.region, &node.region),
            (&mut common.zone, &node.zone),
            (&mut common.provider, &node.provider),
        ] {
            if common != own {
                common.clear();
            }
        }
    }
    common
}

/// `aws` of `aws:///eu-west-1a/i-0123`; empty when there is no scheme.
pub(super) fn provider(provider_id: &str) -> String {
    provider_id.split_once("://").map_or_else(String::new, |(scheme, _)| scheme.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(region: &str, zone: &str, provider: &str) -> Whereabouts {
        Whereabouts { region: region.into(), zone: zone.into(), provider: provider.into() }
    }

    #[test]
    fn only_what_all_say_is_said() {
        let table = [
            (vec![], node("", "", "")),
            (vec![node("eu", "a", "aws")], node("eu", "a", "aws")),
            (vec![node("eu", "a", "aws"), node("eu", "b", "aws")], node("eu", "", "aws")),
            (vec![node("eu", "a", "aws"), node("us", "b", "gce"), node("eu", "a", "aws")], node("", "", "")),
        ];
        for (nodes, expected) in table {
            assert_eq!(common(&nodes), expected, "{nodes:?}");
        }
    }

    #[test]
    fn the_scheme_is_the_provider() {
        assert_eq!(provider("aws:///eu-west-1a/i-0123"), "aws");
        assert_eq!(provider("something"), "");
    }
}
