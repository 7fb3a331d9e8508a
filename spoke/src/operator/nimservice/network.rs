//! The Service, its ports, and the addresses under which a model is reached.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::{ContainerPort, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::metadata::{Map, annotations, labels, merged, meta, selector};
use super::multi_node;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Subject;

/// The ports a NIMService serves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) api: i32,
    pub(super) grpc: Option<i32>,
    pub(super) metrics: Option<i32>,
}

impl Ports {
    pub(super) fn of(spec: &NIMServiceSpec) -> Self {
        Self { api: spec.api_port(), grpc: spec.grpc_port(), metrics: spec.metrics_port() }
    }

    /// Name and number of each, the API first.
    fn named(self) -> impl Iterator<Item = (&'static str, i32)> {
        [("api", Some(self.api)), ("grpc", self.grpc), ("metrics", self.metrics)]
            .into_iter()
            .filter_map(|(name, port)| Some((name, port?)))
    }

    /// As a container declares them.
    pub(super) fn of_container(self) -> Vec<ContainerPort> {
        let port = |(name, number): (&str, i32)| ContainerPort {
            name: Some(name.to_owned()),
            container_port: number,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        };
        self.named().map(port).collect()
    }

    fn of_service(self) -> Vec<ServicePort> {
        let port = |(name, number): (&str, i32)| ServicePort {
            name: Some(name.to_owned()),
            port: number,
            target_port: Some(IntOrString::String(name.to_owned())),
            protocol: Some("TCP".into()),
            ..ServicePort::default()
        };
        self.named().map(port).collect()
    }
}

/// The Service in front of the pods. Routes, pools and pipelines know it by the name of the NIMService, so
/// `expose.service.name` does not rename it.
pub(super) fn service(subject: &Subject, spec: &NIMServiceSpec) -> Child {
    let wanted = spec.expose.as_ref().and_then(|expose| expose.service.as_ref());
    let kind = wanted.and_then(|service| service.r#type.clone()).filter(|kind| !kind.is_empty());
    let labels = merged(labels(subject, spec), wanted.and_then(|service| service.labels.as_ref()));
    let annotations = merged(annotations(spec), wanted.and_then(|service| service.annotations.as_ref()));
    let service = Service {
        metadata: meta(subject, labels, annotations),
        spec: Some(ServiceSpec {
            type_: Some(kind.unwrap_or_else(|| "ClusterIP".to_owned())),
            selector: Some(selected(subject, spec)),
            ports: Some(Ports::of(spec).of_service()),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Service, &subject.owner.name, Keep::Owned, &service)
}

/// What selects the pods that answer: of a replica over several nodes only the leader does.
pub(super) fn selected(subject: &Subject, spec: &NIMServiceSpec) -> Map {
    let name = &subject.owner.name;
    if spec.over_nodes().is_none() {
        return selector(name);
    }
    let mut leaders = selector(&multi_node::name(name));
    leaders.insert("nim-llm-role".to_owned(), "leader".to_owned());
    leaders
}

/// Where the model is reached: inside the cluster and, for a load balancer, from outside. Empty when not known.
pub(super) fn endpoints(service: &Value, ports: Ports) -> (String, String) {
    let inside = service["spec"]["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None");
    let balanced = service["spec"]["type"] == "LoadBalancer";
    let entry = &service["status"]["loadBalancer"]["ingress"][0];
    let outside = entry["hostname"].as_str().or_else(|| entry["ip"].as_str()).filter(|_| balanced);
    let address = |host: Option<&str>| host.map_or_else(String::new, |host| authority(host, ports.api));
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

    const PORTS: Ports = Ports { api: 8000, grpc: None, metrics: None };

    #[test]
    fn b09_ipv6_addresses_get_brackets() {
        let service = json!({"spec": {"clusterIP": "fd00::1"}});
        assert_eq!(endpoints(&service, PORTS), ("[fd00::1]:8000".into(), String::new()));
    }

    #[test]
    fn the_outside_address_is_the_load_balancers_own() {
        let with = |kind: &str, entry: Value| json!({"spec": {"clusterIP": "10.0.0.1", "type": kind}, "status": {"loadBalancer": {"ingress": [entry]}}});
        for (service, outside) in [
            (with("LoadBalancer", json!({"ip": "1.2.3.4"})), "1.2.3.4:8000"),
            (with("LoadBalancer", json!({"hostname": "lb.example"})), "lb.example:8000"),
            (with("ClusterIP", json!({"ip": "1.2.3.4"})), ""),
        ] {
            assert_eq!(endpoints(&service, PORTS), ("10.0.0.1:8000".to_owned(), outside.to_owned()));
        }
        assert_eq!(endpoints(&json!({"spec": {"clusterIP": "None"}}), PORTS), (String::new(), String::new()));
    }
}
