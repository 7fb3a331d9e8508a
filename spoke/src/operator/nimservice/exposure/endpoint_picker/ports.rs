//! Where the endpoint picker listens, and the Service in front of it.

use crds::nim::EppConfig;
use k8s_openapi::api::core::v1::{ContainerPort, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, name, selector};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::nimservice::scene::Scene;

/// Name and number of the port that gateways ask on.
const ASKED: (&str, i32) = ("grpc-ext-proc", 9002);
/// Of the port that probes go to.
pub(super) const HEALTH: (&str, i32) = ("grpc-health", 9003);
/// Of the port of the metrics.
const METRICS: (&str, i32) = ("http-metrics", 9090);

/// The picker's ports.
pub(super) enum Listening<'a> {
    Default,
    Custom(&'a [ContainerPort]),
}

impl<'a> Listening<'a> {
    pub(super) fn of(wanted: &'a EppConfig) -> Self {
        match wanted.ports.as_deref() {
            Some(ports) if !ports.is_empty() => Self::Custom(ports),
            _ => Self::Default,
        }
    }

    /// The port that the gateway asks on: the one of that name, else the first.
    pub(super) fn asked(&self) -> i32 {
        let Self::Custom(ports) = self else { return ASKED.1 };
        let named = ports.iter().find(|port| port.name.as_deref() == Some(ASKED.0));
        named.or(ports.first()).map_or(ASKED.1, |port| port.container_port)
    }

    pub(super) fn of_container(&self) -> Vec<ContainerPort> {
        match self {
            Self::Default => [ASKED, HEALTH, METRICS].map(container).to_vec(),
            // The API server would fill the protocol in, and without it server-side apply cannot tell the ports apart.
            Self::Custom(ports) => ports
                .iter()
                .cloned()
                .map(|port| ContainerPort {
                    protocol: Some(port.protocol.clone().unwrap_or_else(tcp)),
                    ..port
                })
                .collect(),
        }
    }

    fn of_service(&self) -> Vec<ServicePort> {
        let reached = match self {
            Self::Default => [ASKED, METRICS].map(container).to_vec(),
            Self::Custom(_) => self.of_container(),
        };
        let port = |port: ContainerPort| ServicePort {
            name: port.name,
            port: port.container_port,
            target_port: Some(IntOrString::Int(port.container_port)),
            protocol: port.protocol,
            ..ServicePort::default()
        };
        reached.into_iter().map(port).collect()
    }
}

fn container((name, number): (&str, i32)) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some(tcp()),
        ..ContainerPort::default()
    }
}

fn tcp() -> String {
    "TCP".to_owned()
}

/// The Service.
pub(super) fn service(scene: &Scene<'_>, wanted: &EppConfig) -> Child {
    let name = name(scene);
    let service = Service {
        metadata: metadata(scene, &name),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(selector(scene)),
            ports: Some(Listening::of(wanted).of_service()),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Service, &name, Keep::Owned, &service)
}
