//! NIMService: a served model, as a Deployment, a LeaderWorkerSet or an InferenceService, and what it needs around it.

mod claims;
mod containers;
mod env;
mod exposure;
mod gpu;
mod identity;
mod kserve;
mod layout;
mod model;
mod monitor;
mod multi_node;
mod network;
mod pod;
mod probes;
mod profile;
mod running;
mod scene;
mod standalone;
mod storage;
mod validate;
mod volumes;

use std::collections::BTreeMap;

use crds::nim::{InferencePlatform, NIMCache, NIMService};
use kube::core::DynamicObject;
use serde_json::{Value, json};

pub(crate) use multi_node::{SET_NAME, service_of};
pub(crate) use pod::runtime_default;
pub(crate) use profile::OWN_PROFILES_SINCE;
pub(crate) use running::{mounts, runs_as_written};
use scene::{Refs, Scene, fails};
use storage::CacheView;

use super::cluster::ClusterFacts;
use super::diagnosis::Diagnosis;
use super::engine::call::CallError;
use super::engine::canonical::canonical;
use super::engine::child::ChildKind;
use super::engine::condition::Conditions;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::shell::parse;
use super::engine::template;
use super::engine::world::World;
use super::microservice::readiness::{self, Readiness};
use super::microservice::status::{self, Standing};
use super::microservice::{gateway, live};
use super::nimcache::NimCaches;
use super::references::missing_secret;

/// Value of the label `app.kubernetes.io/part-of` of everything that is made for a NIMService.
pub(crate) const PART_OF: &str = "nim-service";

/// The kind NIMService.
pub(crate) struct NimServices;

/// What rendering came to.
pub(crate) enum Verdict {
    /// Everything is rendered; an object of this kind serves.
    Complete { workload: ChildKind },
    /// The workload is not rendered: it waits for its storage.
    Waits(Failure),
    /// The workload, or nothing at all, can be rendered.
    Fails(Failure),
}

impl Kind for NimServices {
    type Object = NIMService;
    type Refs = Refs;
    type Verdict = Verdict;

    const KIND: &'static str = "NIMService";
    const PLURAL: &'static str = "nimservices";
    const FINALIZER: &'static str = "finalizer.nimservice.apps.nvidia.com";
    const REPORTER: &'static str = "nimservice-controller";
    const GAUGE: &'static str = "nimService_status_total";
    const STATES: &'static [&'static str] = &["Pending", "NotReady", "Ready", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = &[];
    const PRUNED: &'static [ChildKind] = &[
        ChildKind::HorizontalPodAutoscaler,
        ChildKind::Deployment,
        ChildKind::LeaderWorkerSet,
        ChildKind::InferenceService,
        ChildKind::InferencePool,
        ChildKind::HttpRoute,
        ChildKind::GrpcRoute,
        ChildKind::Ingress,
        ChildKind::ServiceMonitor,
        ChildKind::Service,
        ChildKind::ConfigMap,
        ChildKind::Secret,
        ChildKind::ResourceClaimTemplate,
        ChildKind::ComputeDomain,
        ChildKind::RoleBinding,
        ChildKind::Role,
        ChildKind::ServiceAccount,
    ];

    async fn observe(object: &NIMService, subject: &Subject, world: &World) -> Result<Refs, CallError> {
        let cache = object.spec.cache_name().and_then(|name| {
            let found = world.subject(NimCaches::KIND, &subject.owner.namespace, name)?;
            view(name, &found)
        });
        let kserve = kserve::observe(object, subject, world).await?;
        let claims = claims::observe(object, subject, world).await?;
        // Only a service that said so before is asked: what is on its way has nothing to say yet.
        let endpoint = subject.status["model"]["clusterEndpoint"].as_str().filter(|it| !it.is_empty());
        let model = endpoint.filter(|_| subject.status["state"] == "Ready");
        let model = model.map(|endpoint| world.models.ask(subject, endpoint));
        if model.is_none() {
            world.models.forget(&subject.owner.uid);
        }
        let native = object.spec.cache_name().is_none() && is_native(object, subject, world).await;
        let named = object.spec.cache_name();
        let (namespace, name) = (&subject.owner.namespace, &subject.owner.name);
        let found = named.and_then(|named| world.subject(NimCaches::KIND, namespace, named));
        let referred = found.map(|found| told_by_cache(&found)).unwrap_or_default();
        let of_name = |kind, name: &str| world.child(kind, &subject.owner.namespace, name);
        let is_kserve = object.spec.platform() == Ok(InferencePlatform::KServe);
        let predictor = is_kserve.then(|| kserve::predictor_name(&subject.owner.name));
        let predictor = predictor.and_then(|name| of_name(ChildKind::Deployment, &name));
        let groups = of_name(ChildKind::LeaderWorkerSet, &multi_node::name(&subject.owner.name));
        let makers = [predictor.as_deref(), groups.as_deref()];
        let diagnosis = Diagnosis::observe(subject, world, makers).await;
        let missing = missing_secret(world, subject, object.spec.auth_secret(), "spec.authSecret");
        let service = world.subject(Self::KIND, namespace, name).filter(|_| named.is_some());
        let running = service.and_then(|service| running::observe(&service, world));
        Ok(Refs { cache, native, kserve, claims, model, diagnosis, referred, missing, running })
    }

    fn render(
        object: &NIMService,
        subject: &Subject,
        refs: &Refs,
        facts: &ClusterFacts,
    ) -> Rendered<Verdict> {
        let scene = Scene { subject, spec: &object.spec, refs, facts };
        if let Err(why) = validate::check(scene.spec).and_then(|()| claims::check(&scene)) {
            return fails(Vec::new(), why);
        }
        match object.spec.platform() {
            Ok(InferencePlatform::Standalone) => standalone::render(&scene),
            Ok(InferencePlatform::KServe) => kserve::render(&scene),
            Err(unknown) => fails(Vec::new(), Failure::new("InvalidSpec", unknown.to_string())),
        }
    }

    fn report(
        object: &NIMService,
        subject: &Subject,
        refs: &Refs,
        rendered: &Rendered<Verdict>,
        outcome: &Outcome,
    ) -> Report {
        let facts = ClusterFacts::default();
        let scene = Scene { subject, spec: &object.spec, refs, facts: &facts };
        // What serves goes on and counts, whatever becomes of what is asked for now.
        let as_rendered = outcome.failure.is_none() && outcome.waits.is_none();
        let workload = match &rendered.verdict {
            Verdict::Complete { workload } if as_rendered => Some(*workload),
            _ => running(&scene, outcome),
        };
        let (mut found, endpoints) = match workload {
            Some(workload) => serving(&scene, workload, outcome),
            None => (Readiness { ready: false, message: String::new(), available: 0 }, Default::default()),
        };
        let deployment = match workload {
            Some(ChildKind::Deployment) => live(outcome, ChildKind::Deployment, scene.name()),
            _ => Value::Null,
        };
        let mut again = refs.diagnosis.again();
        let hindrance = refs.diagnosis.why(&deployment);
        let predictor = kserve::predictor_name(scene.name());
        let (named, rolled_out) = match workload {
            Some(ChildKind::InferenceService) => (predictor.as_str(), kserve::deployment(&refs.kserve)),
            _ => (scene.name(), deployment.clone()),
        };
        if hindrance.is_none()
            && let Some((words, next)) =
                readiness::still_starting(named, &rolled_out, &refs.diagnosis.pods, subject.now)
        {
            found.message = found.message.replace(&readiness::overdue(named), &words);
            again = Again::After(next);
        }
        if workload == Some(ChildKind::LeaderWorkerSet) && found.ready && as_rendered {
            let set = multi_node::name(scene.name());
            let lag = multi_node::counts_lag(subject, &live(outcome, ChildKind::LeaderWorkerSet, &set));
            if let Some(left) = lag {
                found.ready = false;
                found.message = format!("Waiting for leaderworkerset {set:?} spec update to be observed...");
                again = Again::After(left);
            }
        }
        let (available, serves) = (found.available, found.ready);
        let is_current = refs.running.as_ref().is_some_and(|running| running.is_current);
        let not = |why: &Failure| Standing::NotReady { why: why.clone(), available };
        let failed = |why: &Failure| Standing::Failed { why: why.clone(), available };
        // The garbage collector tells nobody that it has come; its watch does, but for what others made.
        let (standing, again) = match (&outcome.failure, &rendered.verdict, &outcome.waits) {
            (Some(why), ..) => (failed(why), Again::Backoff),
            // While its NIMCache is not there, a workload is left as it is.
            (None, Verdict::Waits(why) | Verdict::Fails(why), None)
                if serves && is_current && is_about_storage(&rendered.verdict) =>
            {
                let message =
                    format!("{}; pods that are made from now on wait: {}", found.message, why.message);
                let found = Readiness { message, ..found };
                (Standing::of(found, hindrance).with_missing(&refs.missing), again)
            }
            (None, Verdict::Fails(why), None) if is_current && storage::is_about_cache(why) => {
                (not(why), Again::No)
            }
            (None, Verdict::Fails(why), _) => (failed(why), kserve::again(why)),
            (None, Verdict::Complete { .. }, Some(why)) | (None, Verdict::Waits(why), Some(_)) => {
                (not(why), Again::Backoff)
            }
            (None, Verdict::Waits(why), None) => (not(why), Again::No),
            (None, Verdict::Complete { .. }, None) => {
                (Standing::of(found, hindrance).with_missing(&refs.missing), again)
            }
        };
        let mut report = status::report(subject, &standing, again);
        status::tell_scale(subject, object.spec.scale.as_ref(), &deployment, &mut report.status);
        if serves || standing.is_ready() {
            let stored = |field: &str| subject.status["model"][field].as_str().unwrap_or_default().to_owned();
            let endpoints = match endpoints.0.as_str() {
                "" if !as_rendered => (stored("clusterEndpoint"), stored("externalEndpoint")),
                _ => endpoints,
            };
            model::tell(subject, &mut report.status, endpoints, refs.model.as_ref());
        } else {
            model::withdraw(&mut report.status);
        }
        if let Some(fields) = report.status.as_object_mut() {
            fields.extend(claims::status(&scene, outcome));
        }
        report.unrouted(subject, gateway::refused(outcome).as_deref())
    }

    fn referred(_: &NIMService, _: &Subject, refs: &Refs) -> String {
        refs.referred.clone()
    }

    fn canonical(spec: &Value) -> Value {
        canonical(spec)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        status::report(subject, &Standing::failed(Failure::new(reason, message)), Again::No)
    }
}

/// Whether only the storage of a service is not as it has to be.
fn is_about_storage(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Complete { .. } => false,
        Verdict::Waits(_) => true,
        Verdict::Fails(why) => storage::is_about_cache(why),
    }
}

/// The kind of the workload that is there, of a service of which none is rendered.
fn running(scene: &Scene<'_>, outcome: &Outcome) -> Option<ChildKind> {
    let of = |(kind, name): (ChildKind, String)| outcome.live.contains_key(&(kind, name)).then_some(kind);
    workloads(scene.name()).into_iter().find_map(of)
}

/// The workloads that a service may have, by kind and name.
fn workloads(name: &str) -> [(ChildKind, String); 3] {
    [
        (ChildKind::Deployment, name.to_owned()),
        (ChildKind::LeaderWorkerSet, multi_node::name(name)),
        (ChildKind::InferenceService, name.to_owned()),
    ]
}

/// How far the workload of a kind has come, and where the model is reached.
fn serving(scene: &Scene<'_>, workload: ChildKind, outcome: &Outcome) -> (Readiness, (String, String)) {
    let name = scene.name();
    match workload {
        ChildKind::LeaderWorkerSet => {
            let name = multi_node::name(name);
            let set = live(outcome, workload, &name);
            let found = multi_node::readiness(&name, &set, &scene.refs.claims.nodes);
            (found, exposure::endpoints(scene, outcome))
        }
        ChildKind::InferenceService => {
            let service = live(outcome, workload, name);
            (kserve::readiness(name, scene.spec, &scene.refs.kserve, &service), kserve::endpoints(&service))
        }
        _ => {
            let found = readiness::of(name, &live(outcome, workload, name));
            (found, exposure::endpoints(scene, outcome))
        }
    }
}

/// Is the image of a service without a cache a native NIM?
async fn is_native(object: &NIMService, subject: &Subject, world: &World) -> bool {
    let (owner, image) = (&subject.owner, object.spec.image.reference());
    let secrets: Vec<&str> = object.spec.image.pull_secrets.iter().flatten().map(String::as_str).collect();
    let answer = super::registry::layout(world, subject, &image, &secrets).await;
    let previous = workloads(&owner.name);
    let previous = previous.iter().find_map(|(kind, name)| {
        let live = world.child(*kind, &owner.namespace, name)?;
        layout::previous(&live.data, &image)
    });
    layout::decide(previous, &answer)
}

/// A digest of what a NIMCache tells its services.
fn told_by_cache(cache: &DynamicObject) -> String {
    let status = &cache.data["status"];
    let told = ["pvc", "type", "profiles"].map(|field| &status[field]);
    template::digest(&json!({"generation": cache.metadata.generation, "told": told}))
}

/// The NIMCache as a NIMService sees it. One that cannot be read is as good as none.
fn view(name: &str, object: &DynamicObject) -> Option<CacheView> {
    let cache: NIMCache = parse::<NimCaches>(object).ok()?;
    let status = &object.data["status"];
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let profiles = status["profiles"].as_array().map(Vec::as_slice).unwrap_or_default();
    let profiles: BTreeMap<_, _> = profiles
        .iter()
        .filter_map(|profile| {
            let tags = serde_json::from_value(profile["config"].clone()).unwrap_or_default();
            Some((profile["name"].as_str()?.to_owned(), tags))
        })
        .collect();
    let conditions = Conditions::read(status);
    let (problem, waits) = (super::nimcache::problem(&conditions), super::nimcache::waits(&conditions));
    let (state, kind, pvc) = (text("state"), text("type"), text("pvc"));
    let is_going = object.metadata.deletion_timestamp.is_some();
    let name = name.to_owned();
    Some(CacheView { name, spec: cache.spec, is_going, state, kind, pvc, profiles, problem, waits })
}

#[cfg(test)]
mod tests;
