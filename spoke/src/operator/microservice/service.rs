//! The Service, its ports, and the addresses under which a microservice is reached.

use k8s_openapi::api::core::v1::{ContainerPort, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::Microservice;
use super::metadata::{Map, merged, meta};
use crate::operator::engine::child::{Child, ChildKind, Keep};

/// One port that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name, in the pod and at the Service.
    pub(crate) name: &'static str,
    /// What the container listens on.
    pub(crate) container: i32,
    /// What the Service offers.
    pub(crate) service: i32,
}

/// As a container declares them.
pub(crate) fn of_container(ports: &[Port]) -> Vec<ContainerPort> {
    let port = |port: &Port| ContainerPort {
        name: Some(port.name.to_owned()),
        container_port: port.container,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    ports.iter().map(port).collect()
}

fn of_service(ports: &[Port]) -> Vec<ServicePort> {
    let port = |port: &Port| ServicePort {
        name: Some(port.name.to_owned()),
        port: port.service,
        target_port: Some(IntOrString::String(port.name.to_owned())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    ports.iter().map(port).collect()
}

/// The Service in front of the pods. Routes, pools and pipelines know it by the name of its microservice, so
/// `expose.service.name` does not rename it.
pub(crate) fn child(of: &Microservice<'_>, ports: &[Port], selector: Map) -> Child {
    let wanted = of.service;
    let kind = wanted.and_then(|service| service.r#type.clone()).filter(|kind| !kind.is_empty());
    let labels = merged(of.labels(), wanted.and_then(|service| service.labels.as_ref()));
    let annotations = merged(of.annotations(), wanted.and_then(|service| service.annotations.as_ref()));
    let service = Service {
        metadata: meta(of.subject, labels, annotations),
        spec: Some(ServiceSpec {
            type_: Some(kind.unwrap_or_else(|| "ClusterIP".to_owned())),
            selector: Some(selector),
            ports: Some(of_service(ports)),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Service, of.name(), Keep::Owned, &service)
}

/// Where its API is reached: inside the cluster and, for a load balancer, from outside. Empty when not known.
pub(crate) fn endpoints(service: &Value, api: i32) -> (String, String) {
    let inside = service["spec"]["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None");
    let balanced = service["spec"]["type"] == "LoadBalancer";
    let entry = &service["status"]["loadBalancer"]["ingress"][0];
    let outside = entry["hostname"].as_str().or_else(|| entry["ip"].as_str()).filter(|_| balanced);
    let address = |host: Option<&str>| host.map_or_else(String::new, |host| authority(host, api));
    (address(inside), address(outside))
}

/// `host:port`, with the brackets that an IPv6 address needs.
fn authority(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b09_ipv6_addresses_get_brackets() {
        let service = json!({"spec": {"clusterIP": "fd00::1"}});
        assert_eq!(endpoints(&service, 8000), ("[fd00::1]:8000".into(), String::new()));
    }

    #[test]
    fn the_outside_address_is_the_load_balancers_own() {
        let with = |kind: &str, entry: Value| json!({"spec": {"clusterIP": "10.0.0.1", "type": kind}, "status": {"loadBalancer": {"ingress": [entry]}}});
        for (service, outside) in [
            (with("LoadBalancer", json!({"ip": "1.2.3.4"})), "1.2.3.4:8000"),
            (with("LoadBalancer", json!({"hostname": "lb.example"})), "lb.example:8000"),
            (with("ClusterIP", json!({"ip": "1.2.3.4"})), ""),
        ] {
            assert_eq!(endpoints(&service, 8000), ("10.0.0.1:8000".to_owned(), outside.to_owned()));
        }
        assert_eq!(endpoints(&json!({"spec": {"clusterIP": "None"}}), 8000), (String::new(), String::new()));
    }
}
