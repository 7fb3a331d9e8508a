//! The work of one session: many objects at once, each until it has an outcome, by the rules that ship.
//!
//! The shell around the rules follows `spoke/src/link/work.rs` and `spoke/src/deliver/cluster.rs` call by call, so that
//! anything can happen between any two of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use spoke::deliver::{
    Cause, Epoch, Marks, Outcome, Policy, RejectionClass, Tombstone, Upsert, marks_of, rules,
};
use spoke::link::{Happening, Work};

use super::kube::{Call, Judged, Refused, Spec, key};
use super::{Event, SpokeSite};
use crate::simulation::agenda::Time;
use crate::simulation::mutant::Mutant;
use crate::simulation::stage::{Fact, Stage};

/// Calls to the API server at once; as in production.
const AT_ONCE: u32 = 16;
/// Ceilings of the waits between two tries of one object, milliseconds; as in production.
const BASE: Time = 200;
const CAP: Time = 30_000;
/// How long a removal waits for finalizers, milliseconds; as in production.
const REMOVAL_WAIT: Time = 20_000;
/// When a call that hangs is given up, milliseconds.
const CALL_TIMEOUT: Time = 10_000;
/// What has not come to an outcome by then is told of, milliseconds; as in production.
const LONG: Time = 5000;

/// One piece of work under way.
pub(super) struct Worker {
    stream: u64,
    work: Work,
    epoch: Epoch,
    phase: Phase,
    ceiling: Time,
    /// The session has ended: the call under way is the last.
    cancelled: bool,
    /// Something else is wanted of the object: this try is the last.
    given_up: bool,
    begun: Time,
    tries: u32,
}

enum Phase {
    /// For a slot and its object's turn.
    Waiting,
    /// The epoch and the object are being read.
    Reading,
    /// A call is under way.
    Calling(Box<Call>),
    /// The object is on its way out; its uid in this cluster, and when waiting ends.
    Leaving(u64, Time),
    /// Until it is tried again.
    Pausing,
}

/// What a step comes to.
enum Step {
    Next(Phase, Time),
    Done(Outcome),
    Failed,
}

impl Worker {
    pub(super) fn call(&self) -> Option<&Call> {
        match &self.phase {
            Phase::Calling(call) => Some(call.as_ref()),
            _ => None,
        }
    }
}

impl SpokeSite {
    /// Takes on one piece of work.
    pub(super) fn begin(&mut self, work: Work, epoch: Epoch, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = &agent.session else { return };
        let (ticket, stream) = (stage.number(), session.stream);
        let worker = Worker {
            stream,
            work,
            epoch,
            phase: Phase::Waiting,
            ceiling: BASE,
            cancelled: false,
            given_up: false,
            begun: stage.now,
            tries: 0,
        };
        agent.workers.insert(ticket, worker);
        agent.slots.push_back(ticket);
        self.hand_out(stage);
    }

    /// Gives free slots to those who wait, in order.
    fn hand_out(&mut self, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        let at_once = if stage.is(Mutant::HoldLane) { 1 } else { AT_ONCE };
        let mut waiting = std::mem::take(&mut agent.slots);
        waiting.retain(|ticket| {
            let Some(worker) = agent.workers.get_mut(ticket).filter(|worker| !worker.given_up) else {
                return false;
            };
            if agent.busy >= at_once || !agent.turns.insert(key(object(&worker.work))) {
                return true;
            }
            agent.busy += 1;
            worker.phase = Phase::Reading;
            stage.plan_between(1, 15, Event::Work { spoke, life, ticket: *ticket });
            false
        });
        agent.slots = waiting;
    }

    /// Tries no longer what is under way for an object.
    pub(super) fn give_up(&mut self, uid: &str, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        let of_object = |worker: &Worker| !worker.cancelled && worker.work.uid() == uid;
        for (ticket, worker) in agent.workers.iter_mut().filter(|(_, worker)| of_object(worker)) {
            worker.given_up = true;
            if matches!(worker.phase, Phase::Waiting | Phase::Pausing) {
                stage.plan(1, Event::Work { spoke, life, ticket: *ticket });
            }
        }
    }

    /// The session is over: what is not under way ends, and the next dial waits for the rest.
    pub(super) fn stop_work(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else { return };
        agent.slots.clear();
        agent.workers.retain(|_, worker| {
            worker.cancelled = true;
            !matches!(worker.phase, Phase::Waiting | Phase::Pausing)
        });
        self.dial_when_idle(stage);
    }

    fn dial_when_idle(&mut self, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        if agent.workers.is_empty()
            && let Some(pause) = agent.pause.take()
        {
            stage.plan(pause, Event::Dial { spoke, life });
        }
    }

    /// A worker's next step.
    pub(in crate::simulation) fn work(&mut self, ticket: u64, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        let Some(mut worker) = agent.workers.remove(&ticket) else { return };
        if worker.given_up && matches!(worker.phase, Phase::Waiting | Phase::Pausing) {
            self.given_up(&worker, stage);
            return self.hand_out(stage);
        }
        if matches!(worker.phase, Phase::Pausing) {
            worker.phase = Phase::Waiting;
            agent.workers.insert(ticket, worker);
            agent.slots.push_back(ticket);
            return self.hand_out(stage);
        }
        match self.step(&mut worker, stage) {
            Step::Next(phase, after) => {
                worker.phase = phase;
                if let Some(agent) = &mut self.agent {
                    agent.workers.insert(ticket, worker);
                }
                stage.plan(after, Event::Work { spoke, life, ticket });
            }
            Step::Done(outcome) => {
                self.free_slot(&worker);
                self.done(&worker, outcome, stage);
            }
            Step::Failed => self.failed(ticket, worker, stage),
        }
        self.hand_out(stage);
        self.dial_when_idle(stage);
    }

    /// A try came to no outcome.
    fn failed(&mut self, ticket: u64, mut worker: Worker, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let holds = stage.is(Mutant::HoldLane) && !worker.cancelled && !worker.given_up;
        if !holds {
            self.free_slot(&worker);
        }
        if worker.cancelled {
            return;
        }
        if worker.given_up {
            return self.given_up(&worker, stage);
        }
        worker.phase = if holds { Phase::Reading } else { Phase::Pausing };
        worker.tries += 1;
        let wait = stage.dice.between(worker.ceiling / 2, worker.ceiling);
        worker.ceiling = (worker.ceiling * 2).min(CAP);
        let is_late = worker.tries == 1 && stage.now - worker.begun >= LONG;
        let is_told = is_late || (worker.tries > 1 && worker.tries.is_power_of_two());
        let (uid, stream) = (worker.work.uid().to_owned(), worker.stream);
        if let Some(agent) = &mut self.agent {
            agent.workers.insert(ticket, worker);
        }
        stage.plan(wait, Event::Work { spoke, life, ticket });
        if is_told && self.is_in(stream) {
            self.happened(Happening::Retrying { uid, message: "no outcome".to_owned() }, stage);
        }
    }

    /// Work ended without an outcome, because something else is wanted.
    fn given_up(&mut self, worker: &Worker, stage: &mut Stage) {
        let (spoke, uid) = (self.index, worker.work.uid().to_owned());
        stage.note(|| format!("agent {spoke}: {uid} of term {}: given up", worker.epoch.term));
        if self.is_in(worker.stream) {
            self.happened(Happening::GivenUp { uid }, stage);
        }
    }

    /// Whether that session is the one there is.
    fn is_in(&self, stream: u64) -> bool {
        let session = self.agent.as_ref().and_then(|agent| agent.session.as_ref());
        session.is_some_and(|session| session.stream == stream)
    }

    fn free_slot(&mut self, worker: &Worker) {
        if let Some(agent) = &mut self.agent {
            agent.busy = agent.busy.saturating_sub(1);
            agent.turns.remove(&key(object(&worker.work)));
        }
    }

    fn done(&mut self, worker: &Worker, outcome: Outcome, stage: &mut Stage) {
        let (spoke, uid) = (self.index, worker.work.uid().to_owned());
        stage.note(|| format!("agent {spoke}: {uid} of term {}: {outcome:?}", worker.epoch.term));
        if !self.is_in(worker.stream) {
            return;
        }
        if let (Work::Upsert(upsert), Outcome::Accepted) = (&worker.work, &outcome) {
            let (term, generation) = (worker.epoch.term, upsert.generation);
            stage.facts.push(Fact::Accepted { spoke, uid: uid.clone(), term, generation });
        }
        self.happened(Happening::Delivered { uid, outcome }, stage);
    }

    fn step(&mut self, worker: &mut Worker, stage: &mut Stage) -> Step {
        let fails = stage.dice.per_mille(self.kube.failing);
        match std::mem::replace(&mut worker.phase, Phase::Waiting) {
            Phase::Reading if fails => Step::Failed,
            Phase::Reading => self.judge_work(worker, stage),
            Phase::Calling(call) => {
                // An answer that is lost says nothing of what was done.
                if fails && stage.dice.per_mille(500) {
                    return Step::Failed;
                }
                if matches!(&*call, Call::Apply { spec, .. } if spec.hangs) {
                    return Step::Failed;
                }
                let result = self.kube.perform(self.index, &call, stage);
                self.report_all(stage);
                match (result, &*call) {
                    _ if fails => Step::Failed,
                    (Err(Refused::Conflict), _) => Step::Failed,
                    (Err(Refused::Invalid), _) => rejected(RejectionClass::Invalid),
                    (Ok(()), Call::Apply { .. }) => Step::Done(Outcome::Accepted),
                    (Ok(()), Call::Release { object, .. }) => {
                        // It leaves the watch of what is delivered.
                        if let Some(agent) = &self.agent {
                            agent.outbox.forget(&object.uid);
                        }
                        Step::Done(Outcome::Gone)
                    }
                    (Ok(()), Call::Delete { object, .. }) => match self.kube.get(object) {
                        Some(live) => Step::Next(Phase::Leaving(live.local, stage.now + REMOVAL_WAIT), 50),
                        None => Step::Done(Outcome::Gone),
                    },
                }
            }
            Phase::Leaving(local, until) => match self.kube.get(object(&worker.work)) {
                Some(live) if live.local == local && stage.now < until => {
                    Step::Next(Phase::Leaving(local, until), 100)
                }
                Some(live) if live.local == local => Step::Failed,
                _ => Step::Done(Outcome::Gone),
            },
            phase @ (Phase::Waiting | Phase::Pausing) => Step::Next(phase, 1),
        }
    }

    /// What has been read decides what is called.
    fn judge_work(&mut self, worker: &Worker, stage: &mut Stage) -> Step {
        let Some(agent) = &mut self.agent else { return Step::Failed };
        let stored = agent.known.get(&self.kube);
        if let Some(message) = rules::check_epoch(stored.as_ref(), &worker.epoch)
            && !stage.is(Mutant::ObeyAnyEpoch)
        {
            return Step::Done(Outcome::Rejected { class: RejectionClass::StaleEpoch, message });
        }
        let epoch = worker.epoch.clone();
        let judged = |generation, guarded| Judged { epoch, stored, generation, guarded };
        match &worker.work {
            Work::Upsert(upsert) => self.judge_upsert(upsert, judged(upsert.generation, false), stage),
            Work::Remove(tombstone) => {
                let guarded = tombstone.policy == Policy::Delete && tombstone.cause != Cause::Confirmed;
                self.judge_removal(tombstone, judged(0, guarded), stage)
            }
        }
    }

    fn judge_upsert(&self, upsert: &Upsert, judged: Judged, stage: &mut Stage) -> Step {
        let marks = Marks::new(upsert, &judged.epoch);
        let Ok(manifest) = rules::manifest(&upsert.object, &upsert.payload, &marks) else {
            return rejected(RejectionClass::Invalid);
        };
        let live = self.kube.get(&upsert.object);
        match rules::judge_claim(&upsert.object, live.map(|live| &live.meta), &marks) {
            rules::Claim::Foreign(message) => {
                Step::Done(Outcome::Rejected { class: RejectionClass::Conflict, message })
            }
            rules::Claim::Leaving => Step::Failed,
            // Nobody edits objects here, so what says that it is current is.
            rules::Claim::Current => Step::Done(Outcome::Accepted),
            rules::Claim::Apply => {
                let spec = Spec::read(&manifest);
                let Ok(meta) = serde_json::from_value::<ObjectMeta>(manifest["metadata"].clone()) else {
                    return rejected(RejectionClass::Invalid);
                };
                let after = if spec.hangs { CALL_TIMEOUT } else { stage.dice.between(1, 30) };
                let call = Call::Apply {
                    object: upsert.object.clone(),
                    meta: Box::new(meta),
                    spec,
                    guard: live.and_then(|live| live.meta.resource_version.clone()),
                    judged,
                };
                Step::Next(Phase::Calling(Box::new(call)), after)
            }
        }
    }

    fn judge_removal(&self, tombstone: &Tombstone, judged: Judged, stage: &mut Stage) -> Step {
        let object = &tombstone.object;
        let ours = self.kube.get(object).filter(|live| {
            marks_of(&live.meta)
                .is_some_and(|marks| marks.uid == object.uid && marks.hub_id == judged.epoch.hub_id)
        });
        let Some(live) = ours else { return Step::Done(Outcome::Gone) };
        let (object, guard) = (object.clone(), live.meta.resource_version.clone());
        let call = match tombstone.policy {
            Policy::Delete => Call::Delete { object, guard, judged },
            Policy::Retain => {
                let patch = rules::release(&live.meta, &judged.epoch.hub_id);
                let mut annotations = live.meta.annotations.clone().unwrap_or_default();
                for (name, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
                    match value.as_str() {
                        Some(text) => drop(annotations.insert(name.clone(), text.to_owned())),
                        None => drop(annotations.remove(name)),
                    }
                }
                Call::Release { object, annotations, guard, judged }
            }
        };
        Step::Next(Phase::Calling(Box::new(call)), stage.dice.between(1, 30))
    }
}

fn object(work: &Work) -> &spoke::deliver::ObjectRef {
    match work {
        Work::Upsert(upsert) => &upsert.object,
        Work::Remove(tombstone) => &tombstone.object,
    }
}

fn rejected(class: RejectionClass) -> Step {
    Step::Done(Outcome::Rejected { class, message: "no".to_owned() })
}
