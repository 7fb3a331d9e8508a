//! Why what an object wants does not serve: the workload's own word, that of its pods, and that of events, in this order.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::core::DynamicObject;
use serde_json::Value;

use super::events::{ASK_AGAIN, About};
use super::{
    CRASH, GATED, IMAGE, MEMORY, NOT_SCHEDULED, StartingPod, UNSCHEDULABLE, moment, not_created, waiting,
};
use crate::operator::engine::kind::{Again, Failure, Subject};
use crate::operator::engine::world::World;

/// What has begun within this time is not asked about: most things start.
const YOUNG: SignedDuration = SignedDuration::from_secs(3);
/// After this long it is asked about less often: an image may take long to be pulled, and a volume that cannot be mounted
/// has been told by then.
const OLD: SignedDuration = SignedDuration::from_mins(2);
/// How soon what is old is asked about again.
const SELDOM: Duration = Duration::from_mins(1);
/// After this long without a word of its scheduler, a pod is said to have none: a scheduler that runs says at its first look
/// that there is no node, and takes seconds to come to it on a busy cluster.
const UNSEEN: SignedDuration = SignedDuration::from_secs(30);
/// How long after its time a pod that leaves is still waited for.
const LATE: SignedDuration = SignedDuration::from_secs(30);
/// Most pods of one object that are asked about.
const ASKED_ABOUT: usize = 2;

/// What is known of the pods of an object that serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagnosis {
    /// Its pods that are not ready, the oldest first.
    pub(crate) pods: Vec<StartingPod>,
    /// What a Deployment that somebody else makes of them says.
    made_by_others: Option<Failure>,
    /// What events say, where nothing else does.
    told: Option<Failure>,
    /// When to look again at what no watch tells.
    again: Option<Duration>,
}

impl Diagnosis {
    /// Looks at the pods of an object, and asks for events where pods cannot say why they do not run. `makers` are a
    /// Deployment of KServe's and a LeaderWorkerSet that make them, if such do.
    pub(crate) async fn observe(
        subject: &Subject,
        world: &World,
        makers: [Option<&DynamicObject>; 2],
    ) -> Self {
        let owner = &subject.owner;
        let [predictor, groups] = makers;
        let (pods, waits) = settled(world.pods.of(&owner.kind, &owner.namespace, &owner.name), subject.now);
        let made_by_others = predictor.and_then(|predictor| replica_failure(&predictor.data["status"]));
        let mut diagnosis = Self { pods, made_by_others, again: waits, ..Self::default() };
        let is_known = diagnosis.pods.iter().any(|pod| pod.hindrance.is_some());
        if is_known || diagnosis.made_by_others.is_some() {
            return diagnosis;
        }
        let being_made: Vec<StartingPod> =
            diagnosis.pods.iter().filter(|pod| pod.is_being_made).take(ASKED_ABOUT).cloned().collect();
        for pod in &being_made {
            if let Some(scheduler) = &pod.awaits_scheduler {
                // No kubelet knows of it, so events have nothing to say.
                diagnosis.await_scheduler(pod, scheduler, subject.now);
                continue;
            }
            let asked = [("Pod", &pod.name)]
                .into_iter()
                .chain(pod.claims.iter().map(|claim| ("PersistentVolumeClaim", claim)));
            let about = asked.map(|(kind, name)| About::one(kind, &owner.namespace, name)).collect();
            diagnosis.ask(subject, world, about, pod.created).await;
        }
        if let Some(groups) = groups.filter(|groups| lacks_groups(groups)) {
            let name = groups.metadata.name.as_deref().unwrap_or_default();
            let about = vec![About::groups(&owner.namespace, name)];
            let created = groups.metadata.creation_timestamp.as_ref().map(|time| time.0);
            diagnosis.ask(subject, world, about, created).await;
        }
        diagnosis
    }

    async fn ask(&mut self, subject: &Subject, world: &World, about: Vec<About>, since: Option<Timestamp>) {
        let age = since.map_or(YOUNG, |since| subject.now.duration_since(since));
        self.again = Some(if age < OLD { ASK_AGAIN } else { SELDOM });
        if age < YOUNG {
            return;
        }
        for about in about {
            if self.told.is_none() {
                self.told = world.events.why(&about, since).await;
            }
        }
    }

    /// Says of a pod that nothing schedules it, once it has waited for long.
    fn await_scheduler(&mut self, pod: &StartingPod, scheduler: &str, now: Timestamp) {
        let Some(created) = pod.created else { return };
        let left = UNSEEN - now.duration_since(created);
        if left.is_positive() {
            self.again = Duration::try_from(left).ok();
        } else if self.told.is_none() {
            let message = format!(
                "{NOT_SCHEDULED}: scheduler {scheduler} has not looked at pod {} for {} s: see that it runs, or name another one in \
                 spec.schedulerName",
                pod.name,
                UNSEEN.as_secs()
            );
            self.told = Some(Failure::new(NOT_SCHEDULED, message));
        }
    }

    /// Why not all that is wanted serves; none where nothing is known to be wrong. `deployment` is null where there is none.
    pub(crate) fn why(&self, deployment: &Value) -> Option<Failure> {
        let by_workload = replica_failure(&deployment["status"]).or_else(|| self.made_by_others.clone());
        by_workload.or_else(|| self.of_pods()).or_else(|| self.told.clone())
    }

    /// The worst that pods say, in the words of the oldest of those that say it.
    fn of_pods(&self) -> Option<Failure> {
        // What a pod ended for long ago is of no interest while another one starts.
        let only_failed = self.pods.iter().all(|pod| pod.has_failed);
        let counts = |pod: &&StartingPod| only_failed || !pod.has_failed;
        let hindered = self.pods.iter().filter(counts).filter_map(|pod| Some((pod, pod.hindrance.as_ref()?)));
        let (first, why) = hindered.clone().min_by_key(|(_, why)| rank(why))?;
        let others =
            hindered.filter(|(pod, other)| other.reason == why.reason && pod.uid != first.uid).count();
        let named = match others {
            0 => format!("pod {}", first.name),
            1 => format!("pod {} and another one", first.name),
            more => format!("pod {} and {more} others", first.name),
        };
        Some(Failure::new(&why.reason, format!("{} ({named})", why.message)))
    }

    /// When to look again.
    pub(crate) fn again(&self) -> Again {
        self.again.map_or(Again::No, Again::After)
    }
}

/// The pods that start. While another one leaves, the node that it frees is waited for, and that there is none yet is no
/// news; with it comes how long that may last.
fn settled(pods: Vec<StartingPod>, now: Timestamp) -> (Vec<StartingPod>, Option<Duration>) {
    let last = pods.iter().filter_map(|pod| pod.leaves_by).max();
    let left = last.and_then(|last| Duration::try_from(now.duration_since(last).checked_neg()? + LATE).ok());
    let left = left.filter(|left| !left.is_zero());
    let mut starting: Vec<_> = pods.into_iter().filter(|pod| pod.leaves_by.is_none()).collect();
    if left.is_some() {
        for pod in &mut starting {
            pod.hindrance = pod.hindrance.take().filter(|why| why.reason != UNSCHEDULABLE);
        }
    }
    (starting, left)
}

#[cfg(test)]
impl Diagnosis {
    /// What these pods tell at a moment.
    pub(crate) fn of(pods: Vec<StartingPod>, now: Timestamp) -> Self {
        let (pods, again) = settled(pods, now);
        let mut diagnosis = Self { again, ..Self::default() };
        for pod in &pods {
            if let Some(scheduler) = pod.awaits_scheduler.as_ref().filter(|_| pod.is_being_made) {
                diagnosis.await_scheduler(pod, scheduler, now);
            }
        }
        Self { pods, ..diagnosis }
    }
}

/// What a Deployment says of pods that it could not have made.
fn replica_failure(status: &Value) -> Option<Failure> {
    let conditions = status["conditions"].as_array()?;
    let failed = conditions.iter().find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")?;
    Some(not_created(failed["message"].as_str().unwrap_or_default()))
}

/// Whether groups are missing, or not ready.
fn lacks_groups(groups: &DynamicObject) -> bool {
    let ready = groups.data["status"]["readyReplicas"].as_i64().unwrap_or_default();
    ready < groups.data["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// What is told first: what a program did, then what the kubelet could not do, then what no node takes.
fn rank(why: &Failure) -> u8 {
    match why.reason.as_str() {
        MEMORY => 0,
        CRASH => 1,
        IMAGE => 3,
        UNSCHEDULABLE => 4,
        GATED => 5,
        _ => 2,
    }
}

/// What events say of a pod with a task that has not started and does not say why; `claim` is the one that it mounts.
pub(crate) async fn of_pod(subject: &Subject, world: &World, pod: &Value, claim: &str) -> Option<Failure> {
    if !waiting(pod).is_some_and(|why| is_mute(&why)) {
        return None;
    }
    let name = pod["metadata"]["name"].as_str()?;
    let about = [("Pod", name), ("PersistentVolumeClaim", claim)];
    told(subject, world, &about, created(pod)).await
}

/// What events say of a Job that has no pod.
pub(crate) async fn of_job(subject: &Subject, world: &World, job: &Value) -> Option<Failure> {
    told(subject, world, &[("Job", job["metadata"]["name"].as_str()?)], created(job)).await
}

async fn told(
    subject: &Subject,
    world: &World,
    about: &[(&'static str, &str)],
    since: Option<Timestamp>,
) -> Option<Failure> {
    if subject.now.duration_since(since?) < YOUNG {
        return None;
    }
    for (kind, name) in about {
        let about = About::one(kind, &subject.owner.namespace, name);
        if let Some(why) = world.events.why(&about, since).await {
            return Some(why);
        }
    }
    None
}

fn created(object: &Value) -> Option<Timestamp> {
    moment(&object["metadata"]["creationTimestamp"])
}

/// Whether a reason says no more than that a pod is on its way.
pub(crate) fn is_mute(why: &Failure) -> bool {
    ["ContainerCreating", "PodInitializing", "PodPending"].contains(&why.reason.as_str())
}
