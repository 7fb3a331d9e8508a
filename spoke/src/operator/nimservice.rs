//! NIMService on the standalone platform: a Deployment that serves a model, and what it needs around it.

mod access;
mod containers;
mod deployment;
mod env;
mod gpu;
mod metadata;
mod network;
mod probes;
mod readiness;
mod status;
mod storage;
mod unsupported;
mod volumes;

use std::collections::BTreeMap;

use crds::nim::{NIMCache, NIMService};
use kube::core::DynamicObject;
use serde_json::Value;

pub(crate) use access::use_of_scc;
pub(crate) use deployment::runtime_default;
use status::Standing;
use storage::{CacheView, Gate};

use super::cluster::ClusterFacts;
use super::engine::call::CallError;
use super::engine::child::ChildKind;
use super::engine::condition::Conditions;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::shell::parse;
use super::engine::world::World;
use super::nimcache::NimCaches;

/// The kind NIMService.
pub(crate) struct NimServices;

/// What rendering came to.
pub(crate) enum Verdict {
    /// Everything is rendered.
    Complete,
    /// The workload is not rendered: it waits for its storage.
    Waits(Failure),
    /// The workload, or nothing at all, can be rendered.
    Fails(Failure),
}

impl Kind for NimServices {
    type Object = NIMService;
    type Refs = Option<CacheView>;
    type Verdict = Verdict;

    const KIND: &'static str = "NIMService";
    const PLURAL: &'static str = "nimservices";
    const FINALIZER: &'static str = "finalizer.nimservice.apps.nvidia.com";
    const REPORTER: &'static str = "nimservice-controller";
    const GAUGE: &'static str = "nimService_status_total";
    const STATES: &'static [&'static str] = &["Pending", "NotReady", "Ready", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = &[];
    const PRUNED: &'static [ChildKind] = &[
        ChildKind::Deployment,
        ChildKind::Service,
        ChildKind::RoleBinding,
        ChildKind::Role,
        ChildKind::ServiceAccount,
    ];

    async fn observe(object: &NIMService, subject: &Subject, world: &World) -> Result<Self::Refs, CallError> {
        let Some(name) = object.spec.cache_name() else { return Ok(None) };
        Ok(world
            .subject(NimCaches::KIND, &subject.owner.namespace, name)
            .and_then(|cache| view(name, &cache)))
    }

    fn render(
        object: &NIMService,
        subject: &Subject,
        cache: &Self::Refs,
        facts: &ClusterFacts,
    ) -> Rendered<Verdict> {
        let (spec, cache) = (&object.spec, cache.as_ref());
        let only = |verdict| Rendered {
            children: Vec::new(),
            remove: Vec::new(),
            complete: false,
            note: None,
            verdict,
        };
        if let Some(field) = unsupported::field(spec) {
            let message =
                format!("{field} is not supported by this version of nimfleet-spoke; nothing was changed");
            return only(Verdict::Fails(Failure::new("Unsupported", message)));
        }
        let mut children = access::children(subject, spec).to_vec();
        children.push(network::service(subject, spec));
        let gated = |children, verdict| Rendered { children, ..only(verdict) };
        let store = match storage::choose(subject, spec, cache) {
            Ok(store) => store,
            Err(Gate::Waits(why)) => return gated(children, Verdict::Waits(why)),
            Err(Gate::Fails(why)) => return gated(children, Verdict::Fails(why)),
        };
        let resources = match gpu::resources(spec, cache) {
            Ok(resources) => resources,
            Err(why) => return gated(children, Verdict::Fails(why)),
        };
        children.extend(store.claim.clone());
        children.push(deployment::deployment(subject, spec, cache, &store, resources, facts));
        Rendered { complete: true, ..gated(children, Verdict::Complete) }
    }

    fn report(
        object: &NIMService,
        subject: &Subject,
        _: &Self::Refs,
        rendered: &Rendered<Verdict>,
        outcome: &Outcome,
    ) -> Report {
        if let Some(why) = &outcome.failure {
            return status::report(subject, &Standing::Failed(why.clone()), Again::Backoff);
        }
        let name = &subject.owner.name;
        let live =
            |kind| outcome.live.get(&(kind, name.clone())).map(|live| to_value(live)).unwrap_or_default();
        match &rendered.verdict {
            Verdict::Fails(why) => status::report(subject, &Standing::Failed(why.clone()), Again::No),
            Verdict::Waits(why) => {
                let standing = Standing::NotReady { why: why.clone(), available: 0 };
                status::report(subject, &standing, Again::No)
            }
            Verdict::Complete => {
                let found = readiness::of(name, &live(ChildKind::Deployment));
                let standing = if found.ready {
                    let ports = network::Ports::of(&object.spec);
                    let endpoints = network::endpoints(&live(ChildKind::Service), ports);
                    Standing::Ready { message: found.message, available: found.available, endpoints }
                } else {
                    Standing::NotReady {
                        why: Failure::new("NotReady", found.message),
                        available: found.available,
                    }
                };
                status::report(subject, &standing, Again::No)
            }
        }
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        status::report(subject, &Standing::Failed(Failure::new(reason, message)), Again::No)
    }
}

fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
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
    let problem = super::nimcache::problem(&Conditions::read(status));
    let (state, kind, pvc) = (text("state"), text("type"), text("pvc"));
    Some(CacheView { name: name.to_owned(), spec: cache.spec, state, kind, pvc, profiles, problem })
}

#[cfg(test)]
mod tests;
