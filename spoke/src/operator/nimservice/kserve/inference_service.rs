//! The InferenceService: the same pod as everywhere, in the words of KServe's mode.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, Probe, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::mode::{self, ANNOTATION, Mode};
use super::scaling;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::microservice::metadata::{Map, selector};
use crate::operator::nimservice::pod::pod;
use crate::operator::nimservice::scene::Scene;
use crate::operator::nimservice::storage::ModelStore;

/// Who may reach the model.
pub(super) const VISIBILITY: &str = "networking.kserve.io/visibility";
/// The container that serves, as KServe looks for it.
pub(super) const SERVING: &str = "kserve-container";
/// How long a model may load in Knative's modes: 30 failures 10 s apart, five minutes.
const KNATIVE_START: i32 = 30;

/// The InferenceService.
pub(super) fn child(
    scene: &Scene<'_>,
    mode: Mode,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
) -> Child {
    let mut labels = scene.microservice().labels();
    if !is_exposed(scene.spec) {
        labels.entry(VISIBILITY.to_owned()).or_insert_with(|| "cluster-local".to_owned());
    }
    let body = json!({
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": scene.name(),
            "namespace": scene.namespace(),
            "labels": labels,
            "annotations": instructions(scene, mode),
        },
        "spec": {"predictor": predictor(scene, mode, store, resources)},
    });
    Child::new(ChildKind::InferenceService, scene.name(), Keep::Owned, &body)
}

/// True when the model shall be reached from outside of the cluster; of an ingress no more than this is used.
fn is_exposed(spec: &NIMServiceSpec) -> bool {
    let Some(expose) = &spec.expose else { return false };
    expose.ingress.as_ref().is_some_and(|ingress| ingress.enabled == Some(true))
        || expose.router.as_ref().is_some_and(|router| router.ingress.is_some())
}

/// Annotations, which tell KServe what to do.
fn instructions(scene: &Scene<'_>, mode: Mode) -> Map {
    let mut all = annotations(scene, mode);
    let mut set = |key: &str, value: &str| all.insert(key.to_owned(), value.to_owned());
    // The port of the aggregated metrics is that of Knative's queue proxy.
    if mode.is_knative() {
        set("serving.kserve.io/enable-metric-aggregation", "true");
    }
    set("serving.kserve.io/enable-prometheus-scraping", "true");
    if let Some(class) = scaling::class(scene.spec, mode, scene.refs.kserve.scales_by_metrics) {
        set(scaling::CLASS, class);
    }
    all.entry(ANNOTATION.to_owned()).or_insert_with(|| mode.word().to_owned());
    all
}

/// Annotations of InferenceService and pods; a mode that their user names is the one that the service has. Where its user
/// asks for another one, which KServe refuses, its pods keep the word that they have: a change of it would replace them.
fn annotations(scene: &Scene<'_>, mode: Mode) -> Map {
    let mut all = scene.microservice().annotations();
    let seen = &scene.refs.kserve;
    if let Some(asked) = all.remove(ANNOTATION) {
        let is_asked = mode::is_word_of(mode, &asked);
        let word = match &seen.on_pods {
            _ if is_asked => Some(asked),
            Some(word) if mode::is_word_of(mode, word) => Some(word.clone()),
            None if seen.in_use.is_some() => None,
            _ => Some(mode.word().to_owned()),
        };
        all.extend(word.map(|word| (ANNOTATION.to_owned(), word)));
    }
    all
}

fn predictor(
    scene: &Scene<'_>,
    mode: Mode,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
) -> Value {
    let spec = scene.spec;
    let mut pod: PodSpec = pod(scene, store, resources);
    if !mode.is_standard() {
        pod.security_context = None;
    }
    if let Some(serving) = pod.containers.first_mut() {
        SERVING.clone_into(&mut serving.name);
        if mode.is_knative() {
            knative(serving, spec);
        }
    }
    let mut predictor = json!(pod);
    predictor["labels"] = json!(selector(scene.name()));
    predictor["annotations"] = json!(annotations(scene, mode));
    if mode.is_standard() {
        predictor["deploymentStrategy"] = json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"},
        });
    }
    for (field, value) in scaling::fields(spec, mode, scene.refs.kserve.scales_by_metrics) {
        predictor[field] = value;
    }
    predictor
}

/// Knative takes one port, which must not have a name of ours, so that probes cannot go by it.
fn knative(serving: &mut Container, spec: &NIMServiceSpec) {
    let port = spec.api_port();
    serving.ports = Some(vec![ContainerPort {
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }]);
    let is_own = |wanted: &Option<crds::nim::Probe>| wanted.as_ref().is_some_and(|one| one.probe.is_some());
    for (probe, own) in [
        (&mut serving.liveness_probe, is_own(&spec.liveness_probe)),
        (&mut serving.readiness_probe, is_own(&spec.readiness_probe)),
        (&mut serving.startup_probe, is_own(&spec.startup_probe)),
    ] {
        if let Some(default) = probe.as_mut().filter(|_| !own) {
            by_number(default, port);
        }
    }
    if let Some(startup) = serving.startup_probe.as_mut().filter(|_| !is_own(&spec.startup_probe)) {
        startup.failure_threshold = Some(KNATIVE_START);
    }
}

fn by_number(probe: &mut Probe, port: i32) {
    if let Some(get) = &mut probe.http_get {
        get.port = IntOrString::Int(port);
    }
}
