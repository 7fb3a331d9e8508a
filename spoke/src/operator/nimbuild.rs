//! NIMBuild: an engine that is built for the GPUs of this cluster from a cached model, and added to its cache.
//!
//! A build goes through stages, each told by a condition that is stored before the next begins: its cache is ready, a
//! profile is chosen, a pod builds, another prints what was built. What is stored is never done twice, whatever becomes
//! of the pods.

mod observe;
mod pods;
mod profile;
mod publish;
mod status;

use crds::nim::NIMBuild;
use observe::Refs;
use status::Standing;

use super::cluster::ClusterFacts;
use super::diagnosis;
use super::engine::call::CallError;
use super::engine::child::ChildKind;
use super::engine::condition::Conditions;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::world::World;

/// How soon a running pod is asked again for what it prints; nothing tells when it has.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The kind NIMBuild.
pub(crate) struct NimBuilds;

/// What a build is at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It was done before.
    Done,
    /// Its cache is not there, has failed, or is not ready.
    Waits(status::Wait),
    /// No profile, or more than one, can be built from.
    NoProfile(status::NoProfile),
    /// The spec cannot be carried out.
    Fails(Failure),
    /// The engine is being built from this profile.
    Builds(profile::Chosen),
    /// What was built is being read.
    Reads(profile::Chosen),
}

impl Kind for NimBuilds {
    type Object = NIMBuild;
    type Refs = Refs;
    type Verdict = Verdict;

    const KIND: &'static str = "NIMBuild";
    const PLURAL: &'static str = "nimbuilds";
    const FINALIZER: &'static str = "finalizer.nimbuild.apps.nvidia.com";
    const REPORTER: &'static str = "nimbuild-controller";
    const GAUGE: &'static str = "nimBuild_status_total";
    const STATES: &'static [&'static str] =
        &["NotReady", "Started", "Ready", "InProgress", "Pending", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = &[];
    const PRUNED: &'static [ChildKind] = &[ChildKind::Pod];

    async fn observe(object: &NIMBuild, subject: &Subject, world: &World) -> Result<Refs, CallError> {
        observe::observe(object, subject, world).await
    }

    fn render(object: &NIMBuild, subject: &Subject, refs: &Refs, facts: &ClusterFacts) -> Rendered<Verdict> {
        let nothing = |complete, verdict| Rendered {
            children: Vec::new(),
            remove: Vec::new(),
            complete,
            notes: Vec::new(),
            amendments: Vec::new(),
            verdict,
        };
        let conditions = Conditions::read(&subject.status);
        // The pods of a build that is done have done their work.
        if status::is_done(&conditions) {
            return nothing(true, Verdict::Done);
        }
        let cache = match refs.ready_cache(&object.spec.nim_cache.name) {
            Ok(cache) => cache,
            Err(wait) => return nothing(false, Verdict::Waits(wait)),
        };
        // Once it is chosen it stays: the cache's own list grows by what is built.
        let chosen = match profile::stored(&subject.status) {
            Some(chosen) => chosen,
            None => match profile::choose(&object.spec, &cache.status) {
                Ok(chosen) => chosen,
                Err(none) => return nothing(false, Verdict::NoProfile(none)),
            },
        };
        let built = status::is_built(&conditions);
        let pod = if built {
            pods::printing(subject, &object.spec, cache, facts)
        } else {
            match pods::building(subject, &object.spec, cache, &chosen, facts) {
                Ok(pod) => pod,
                Err(why) => return nothing(false, Verdict::Fails(why)),
            }
        };
        let verdict = if built { Verdict::Reads(chosen) } else { Verdict::Builds(chosen) };
        Rendered { children: vec![pod], ..nothing(true, verdict) }
    }

    fn report(
        object: &NIMBuild,
        subject: &Subject,
        refs: &Refs,
        rendered: &Rendered<Verdict>,
        outcome: &Outcome,
    ) -> Report {
        let live = |name: String| {
            let found = outcome.live.get(&(ChildKind::Pod, name));
            found.and_then(|pod| serde_json::to_value(pod.as_ref()).ok()).unwrap_or_default()
        };
        if let Some(why) = &outcome.failure {
            return status::report(subject, &Standing::Hindered(why.clone()), Again::Backoff);
        }
        if let Some(why) = &outcome.waits {
            let standing = match &rendered.verdict {
                Verdict::Builds(chosen) => Standing::Builds {
                    chosen: chosen.clone(),
                    stage: status::Stage::Waits(why.clone()),
                    reads: false,
                },
                Verdict::Reads(chosen) => Standing::Reads { chosen: chosen.clone(), why: Some(why.clone()) },
                _ => Standing::Hindered(why.clone()),
            };
            return status::report(subject, &standing, Again::Backoff);
        }
        let (standing, again) = match &rendered.verdict {
            Verdict::Done => (Standing::Done, Again::No),
            Verdict::Waits(wait) => (Standing::Waits(wait.clone()), Again::No),
            Verdict::NoProfile(none) => (Standing::NoProfile(none.clone()), Again::No),
            Verdict::Fails(why) => (Standing::Broken(why.clone()), Again::No),
            Verdict::Builds(chosen) => {
                let pod = live(pods::building_name(subject));
                let reads = refs.cache.as_ref().is_some_and(|cache| cache.spec.source.ngc.is_some());
                let stage = status::stage(&pod, refs.told.as_ref());
                let again = match &stage {
                    status::Stage::Waits(why) => ask_again(why),
                    _ => Again::No,
                };
                (Standing::Builds { chosen: chosen.clone(), stage, reads }, again)
            }
            Verdict::Reads(chosen) => match &refs.printed {
                None => {
                    let pod = live(pods::printing_name(subject));
                    let why = status::waiting(&pod, refs.told.as_ref());
                    let again = why.as_ref().map_or(Again::After(ASK_AGAIN), ask_again);
                    (Standing::Reads { chosen: chosen.clone(), why }, again)
                }
                Some(Ok(found)) => {
                    (Standing::Built { chosen: chosen.clone(), found: found.clone() }, Again::No)
                }
                Some(Err(problem)) => {
                    let message =
                        format!("{problem}; looked for {}", pods::model_name(subject, &object.spec));
                    (Standing::Unread(Failure::new("BuiltProfileNotFound", message)), Again::No)
                }
            },
        };
        status::report(subject, &standing, again)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        status::report(subject, &Standing::Broken(Failure::new(reason, message)), Again::No)
    }
}

/// When to look again at a pod that does not begin: what events say of it is told by no watch.
fn ask_again(why: &Failure) -> Again {
    if diagnosis::is_mute(why) { Again::After(diagnosis::ASK_AGAIN) } else { Again::No }
}

#[cfg(test)]
mod tests;
