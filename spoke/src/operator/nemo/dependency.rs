//! Services that a microservice is told the address of. Of those in the cluster it is known whether they are there.

use super::need::{Need, Part};
use crate::operator::engine::kind::Subject;
use crate::operator::references::{Reference, Thing};

/// The Service that a URL, or a host with or without a port, leads to, if it lies in this cluster.
pub(crate) fn service(subject: &Subject, address: &str, field: &'static str) -> Option<Need> {
    let (name, namespace) = in_cluster(address)?;
    let namespace = namespace.unwrap_or(&subject.owner.namespace).to_owned();
    let reference = Reference { thing: Thing::Service, namespace, name: name.to_owned() };
    Some(Need { reference, field, part: Part::Presence })
}

/// A kind that another product defines, `<plural>.<group>`.
pub(crate) fn definition(name: &str, field: &'static str) -> Need {
    let reference = Reference { thing: Thing::Definition, namespace: String::new(), name: name.to_owned() };
    Need { reference, field, part: Part::Presence }
}

/// Name and namespace of the Service with this address. A bare name is one of the same namespace; two words may be
/// anything in the world, and are not looked for.
fn in_cluster(address: &str) -> Option<(&str, Option<&str>)> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?.trim_end_matches('.');
    let is_label = |label: &&str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let labels: Vec<&str> = host.split('.').collect();
    if !labels.iter().all(is_label) || labels == ["localhost"] {
        return None;
    }
    if let [name] = labels[..] {
        // A number alone is an address, or a mistake.
        return (!name.bytes().all(|byte| byte.is_ascii_digit())).then_some((name, None));
    }
    let at = labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2)?;
    Some((labels[at - 2], Some(labels[at - 1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_cluster_are_told_from_the_rest_of_the_world() {
        for (address, expected) in [
            ("http://milvus.nemo.svc.cluster.local:19530", Some(("milvus", Some("nemo")))),
            ("https://argo.flows.svc:2746/api", Some(("argo", Some("flows")))),
            ("http://user:word@store.nemo.svc.cluster.local./v1/hf", Some(("store", Some("nemo")))),
            ("pg-0.pg.nemo.svc.cluster.local", Some(("pg", Some("nemo")))),
            ("postgres", Some(("postgres", None))),
            ("http://postgres:5432/db", Some(("postgres", None))),
            ("https://api.example.com/v1", None),
            ("db.example", None),
            ("http://10.0.0.7:8000", None),
            ("http://[fd00::1]:8000", None),
            ("http://localhost:8000", None),
            ("", None),
            ("svc", Some(("svc", None))),
            ("x.svc", None),
        ] {
            assert_eq!(in_cluster(address), expected, "{address}");
        }
    }
}
