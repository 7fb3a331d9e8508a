//! The children of a NeMo microservice. Pure.

use super::{NemoService, Plan, Scene, Verdict, pod};
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Failure, Rendered};
use crate::operator::microservice::access::{self, use_of_scc};
use crate::operator::microservice::metadata::Map;
use crate::operator::microservice::monitor::{self, Endpoint};
use crate::operator::microservice::service::{self, Port};
use crate::operator::microservice::{
    Microservice, OlderIngress, autoscaling, deployment, http_route, ingress,
};

/// On pods: a digest of what they are configured by, so that they are replaced when it changes.
pub(super) const CHECKSUM: &str = "nimfleet.io/config-checksum";

/// All children. Those that everything is reached by are made even where the rest has to wait.
pub(super) fn render<S: NemoService>(scene: &Scene<'_, S>) -> Rendered<Verdict> {
    let of = scene.microservice();
    let mut children = identity(scene, &of).to_vec();
    children.push(service::child(&of, &ports(scene), selector::<S>(&of)));
    match front(scene, &of).and_then(|more| Ok((more, S::claims(scene)?))) {
        Ok((more, claims)) => children.extend(more.into_iter().chain(claims)),
        Err(why) => return fails(children, why),
    }
    if let Some(why) = &scene.found.refused {
        return fails(children, why.clone());
    }
    let mut plan = match S::plan(scene) {
        Ok(plan) => plan,
        Err(why) => return fails(children, why),
    };
    children.append(&mut plan.children);
    let mut remove = Vec::new();
    if S::MAKES_SECRET && !children.iter().any(|child| child.kind == ChildKind::Secret) {
        remove.push((ChildKind::Secret, scene.name().to_owned()));
    }
    let annotations = annotations(scene, &of, &plan);
    children.push(deployment::child(&of, pod::pod(scene, plan, &ports(scene)), annotations, None));
    Rendered {
        children,
        remove,
        complete: true,
        notes: Vec::new(),
        amendments: Vec::new(),
        verdict: Verdict::Complete,
    }
}

/// Some of the children, since the rest cannot be made; nothing is pruned.
fn fails(children: Vec<Child>, why: Failure) -> Rendered<Verdict> {
    Rendered {
        children,
        remove: Vec::new(),
        complete: false,
        notes: Vec::new(),
        amendments: Vec::new(),
        verdict: Verdict::Fails(why),
    }
}

fn identity<S: NemoService>(scene: &Scene<'_, S>, of: &Microservice<'_>) -> [Child; 3] {
    let mut rules = vec![use_of_scc(vec![of.scc.to_owned()])];
    rules.extend(S::rules(scene.object, &scene.facts.settings));
    access::children(&of.meta(Map::new()), rules)
}

/// What leads to the Service, scales and scrapes what is behind it.
fn front<S: NemoService>(scene: &Scene<'_, S>, of: &Microservice<'_>) -> Result<Vec<Child>, Failure> {
    let mut children = Vec::new();
    children.extend(ingress::child(of)?);
    children.extend(http_route::child(of, scene.spec().api_port())?);
    children.extend(autoscaling::child(of)?);
    children.extend(monitor::child(of, &[Endpoint { port: "api", path: None }]));
    Ok(children)
}

/// The API's port, which the user chooses at the Service alone, and the kind's others.
fn ports<S: NemoService>(scene: &Scene<'_, S>) -> Vec<Port> {
    let api = Port { name: "api", container: S::API, service: scene.spec().api_port() };
    std::iter::once(api).chain(S::more_ports().iter().copied()).collect()
}

fn selector<S: NemoService>(of: &Microservice<'_>) -> Map {
    S::SELECTED_BY.iter().map(|&label| (label.to_owned(), of.name().to_owned())).collect()
}

fn annotations<S: NemoService>(scene: &Scene<'_, S>, of: &Microservice<'_>, plan: &Plan) -> Map {
    let mut all = of.annotations();
    all.extend(plan.annotations.clone());
    let checksum = scene.found.checksum(&S::needs(scene.object, scene.subject));
    all.extend(checksum.map(|checksum| (CHECKSUM.to_owned(), checksum)));
    all
}

impl<'a, S: NemoService> Scene<'a, S> {
    /// What it has in common with every microservice.
    pub(crate) fn microservice(&self) -> Microservice<'a> {
        let spec = self.spec();
        let expose = spec.expose.as_ref();
        let older = expose.and_then(|expose| expose.ingress.as_ref());
        Microservice {
            subject: self.subject,
            part_of: S::PART_OF,
            scc: "nonroot",
            labels: spec.labels.as_ref(),
            annotations: spec.annotations.as_ref(),
            service: expose.and_then(|expose| expose.service.as_ref()),
            ingress: older.filter(|older| older.enabled == Some(true)).map(|older| OlderIngress {
                annotations: older.annotations.as_ref(),
                spec: older.spec.as_ref().map(|spec| older_ingress(spec, self.name())).unwrap_or_default(),
            }),
            router: expose.and_then(|expose| expose.router.as_ref()),
            scale: spec.scale.as_ref(),
            metrics: spec.metrics.as_ref(),
            replicas: spec.replicas,
        }
    }
}

/// The older field in the words of Kubernetes: one host, and paths that all lead to the API; without paths everything
/// does.
fn older_ingress(
    spec: &crds::nemo::IngressSpec,
    name: &str,
) -> k8s_openapi::api::networking::v1::IngressSpec {
    use k8s_openapi::api::networking::v1::{HTTPIngressRuleValue, IngressRule, IngressSpec};
    let given = spec.paths.as_deref().unwrap_or_default().iter();
    let mut paths: Vec<_> = given
        .map(|path| {
            let word = |word: &Option<String>, otherwise: &str| {
                word.clone().filter(|word| !word.is_empty()).unwrap_or_else(|| otherwise.to_owned())
            };
            ingress::path(&word(&path.path, "/"), &word(&path.path_type, "Prefix"), name)
        })
        .collect();
    if paths.is_empty() {
        paths.push(ingress::path("/", "Prefix", name));
    }
    IngressSpec {
        ingress_class_name: Some(spec.ingress_class_name.clone()),
        rules: Some(vec![IngressRule {
            host: spec.host.clone().filter(|host| !host.is_empty()),
            http: Some(HTTPIngressRuleValue { paths }),
        }]),
        ..IngressSpec::default()
    }
}
