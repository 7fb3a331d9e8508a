//! What events say of pods that a controller could not make, and of volumes that a node could not mount: it stands nowhere
//! else. They are asked for while something does not start and nothing else says why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::Instant;

use super::not_created;
use crate::operator::engine::call::call;
use crate::operator::engine::kind::Failure;

/// How soon the same is asked for again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The shortest time between two questions, on average: where hundreds of pods pull their images at once, each is asked about less
/// often.
const PACE: Duration = Duration::from_millis(250);
/// An answer that nobody has asked for within this time is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(10);
/// Most events that are read at once.
const MOST: u32 = 100;

/// The reasons of events that say why something does not start, and whether pods could not be made.
const TELLING: [(&str, bool); 8] = [
    ("FailedCreate", true),
    ("FailedMount", false),
    ("FailedAttachVolume", false),
    ("FailedMapVolume", false),
    ("FailedCreatePodSandBox", false),
    ("ProvisioningFailed", false),
    ("FailedBinding", false),
    ("WaitForFirstConsumer", false),
];

/// What events are about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct About {
    kind: &'static str,
    namespace: String,
    name: String,
    /// Of a LeaderWorkerSet: the StatefulSets of its leaders and of each group's workers.
    is_groups: bool,
}

impl About {
    /// One object.
    pub(crate) fn one(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned(), is_groups: false }
    }

    /// All StatefulSets of a LeaderWorkerSet.
    pub(crate) fn groups(namespace: &str, name: &str) -> Self {
        Self { is_groups: true, ..Self::one("StatefulSet", namespace, name) }
    }

    /// What the API server is asked for.
    fn fields(&self) -> String {
        let Self { kind, name, is_groups, .. } = self;
        if *is_groups {
            format!("involvedObject.kind={kind},reason=FailedCreate")
        } else {
            format!("involvedObject.kind={kind},involvedObject.name={name}")
        }
    }

    /// Whether an event is about it.
    fn covers(&self, event: &Event) -> bool {
        let of = event.involved_object.name.as_deref().unwrap_or_default();
        let rest = of.strip_prefix(self.name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || self.is_groups && rest.starts_with('-'))
    }
}

/// When events were asked for last, and what they said.
type Answers = HashMap<About, (Instant, Option<Failure>)>;

/// Asks for events, each object's at most every five seconds, and four times a second in all. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    asked: Arc<Mutex<Answers>>,
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, asked: Arc::default() }
    }

    /// What the newest telling event since a moment says; none where there is none, or the API server does not answer.
    pub(crate) async fn why(&self, about: &About, since: Option<Timestamp>) -> Option<Failure> {
        if let Some(known) = known(&self.asked(), about, Instant::now()) {
            return known.clone();
        }
        let found = self.ask(about, since).await;
        let mut asked = self.asked();
        asked.retain(|_, (at, _)| at.elapsed() < FORGOTTEN);
        asked.insert(about.clone(), (Instant::now(), found.clone()));
        found
    }

    async fn ask(&self, about: &About, since: Option<Timestamp>) -> Option<Failure> {
        let About { kind, namespace, name, .. } = about;
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().fields(&about.fields()).limit(MOST);
        let found = call(|| format!("list events of {kind} {name}"), api.list(&params)).await;
        match found {
            Ok(list) => newest(list.items.iter().filter(|event| about.covers(event)), since),
            // It says less than it could, and nothing wrong.
            Err(error) => {
                tracing::debug!(%error, "events are not known");
                None
            }
        }
    }

    /// A panic elsewhere does not make the map wrong.
    fn asked(&self) -> MutexGuard<'_, Answers> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer that was given before, while it is too early to ask again.
fn known<'a>(asked: &'a Answers, about: &About, now: Instant) -> Option<&'a Option<Failure>> {
    let (at, answer) = asked.get(about)?;
    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
    (now.duration_since(*at) < ASK_AGAIN.max(PACE * count)).then_some(answer)
}

/// The newest event that says why something does not start.
fn newest<'a>(events: impl Iterator<Item = &'a Event>, since: Option<Timestamp>) -> Option<Failure> {
    let told = events.filter_map(|event| {
        let reason = event.reason.as_deref()?;
        let (_, of_pods) = TELLING.iter().find(|(known, _)| *known == reason)?;
        let at = last_seen(event).filter(|at| since.is_none_or(|since| *at >= since))?;
        Some((at, reason, *of_pods, event.message.as_deref().unwrap_or_default()))
    });
    let (_, reason, of_pods, message) = told.max_by_key(|(at, ..)| *at)?;
    Some(if of_pods { not_created(message) } else { Failure::new(reason, format!("{reason}: {message}")) })
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let at = event.event_time.as_ref().map(|time| time.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    series.or(last).or(at).or(made)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str, second: i64) -> Event {
        let at = Timestamp::from_second(second).unwrap();
        serde_json::from_value(json!({
            "metadata": {"name": "e"}, "involvedObject": {}, "reason": reason, "message": message, "lastTimestamp": at,
        }))
        .unwrap()
    }

    #[test]
    fn hundreds_of_objects_are_asked_about_four_times_a_second_together() {
        let began = Instant::now();
        let about = |number: u32| About::one("Pod", "models", &format!("p{number}"));
        let asked = |count: u32| (0..count).map(|number| (about(number), (began, None))).collect::<Answers>();
        for (count, seconds) in [(1, 5), (20, 5), (400, 100)] {
            let asked = asked(count);
            let at = |second: u64| known(&asked, &about(0), began + Duration::from_secs(second));
            assert_eq!((at(seconds - 1), at(seconds)), (Some(&None), None), "{count}");
        }
    }

    #[test]
    fn the_newest_event_that_tells_counts() {
        let forbidden = "create Pod c-lws-0 in StatefulSet c-lws failed error: pods \"c-lws-0\" is forbidden: exceeded quota: q";
        let all = [
            event("FailedMount", "MountVolume.SetUp failed", 10),
            event("FailedCreate", forbidden, 20),
            event("SuccessfulCreate", "created", 30),
        ];
        let why = newest(all.iter(), None).unwrap();
        assert_eq!(why.reason, "PodsNotCreated");
        assert!(
            why.message.contains("exceeded quota: q") && why.message.contains("ResourceQuota"),
            "{}",
            why.message
        );
        assert_eq!(
            newest(all.iter(), Some(Timestamp::from_second(25).unwrap())),
            None,
            "what was before is over"
        );
        let why = newest(all[..1].iter(), None).unwrap();
        assert_eq!(
            (why.reason.as_str(), why.message.as_str()),
            ("FailedMount", "FailedMount: MountVolume.SetUp failed")
        );
    }
}
