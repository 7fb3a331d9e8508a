//! One agent process: dials, and carries its machine's acts out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::FutureExt;
use prost::Message;
use proto::v1;
use spoke::deliver::{Epoch, HeldObject, ObjectRef, Release, marks_of, rules};
use spoke::facts::CapacityReport;
use spoke::link::{
    Act, Backoff, DeletionGuard, End, Happening, Judgement, Machine, Settings, capacity_message,
    status_messages,
};
use spoke::report::Outbox;

use super::known::Known;
use super::kube::{Call, Key};
use super::work::Worker;
use super::{Event, SpokeSite};
use crate::simulation::agenda::Time;
use crate::simulation::mutant::Mutant;
use crate::simulation::net::{Direction, Item};
use crate::simulation::stage::Stage;

/// Statuses of one message, and the least time between two; as in production.
const STATUSES: usize = 200;
const STATUS_EVERY: Time = 50;
/// Added at most to the wait that a hub asks for; as in production.
const SPREAD: Duration = Duration::from_secs(1);

/// One agent process.
pub(in crate::simulation) struct Agent {
    pub(in crate::simulation) outbox: Outbox,
    /// What is known of the stored epoch.
    pub(super) known: Known,
    pub(in crate::simulation) session: Option<AgentSession>,
    pub(in crate::simulation) capacity: Option<CapacityReport>,
    pub(super) workers: BTreeMap<u64, Worker>,
    pub(super) turns: BTreeSet<Key>,
    pub(super) slots: VecDeque<u64>,
    pub(super) busy: u32,
    settings: Settings,
    backoff: Backoff,
    guard: DeletionGuard,
    /// The wait before the next dial, once calls under way have ended.
    pub(super) pause: Option<Time>,
}

/// One session of an agent.
pub(in crate::simulation) struct AgentSession {
    pub(in crate::simulation) stream: u64,
    pub(super) machine: Machine,
    timer: Time,
    live_since: Option<Time>,
    told: Option<CapacityReport>,
    news_planned: bool,
    next_status: Time,
    /// Deltas as they came, for [`Mutant::RepeatDelta`].
    deltas: Vec<v1::HubMessage>,
}

impl Agent {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            outbox: Outbox::default(),
            known: Known::Nothing,
            session: None,
            capacity: None,
            workers: BTreeMap::new(),
            turns: BTreeSet::new(),
            slots: VecDeque::new(),
            busy: 0,
            settings,
            backoff: Backoff::default(),
            guard: DeletionGuard::default(),
            pause: None,
        }
    }

    /// Changes that are under way.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.workers.values().filter_map(Worker::call).cloned().collect()
    }
}

impl SpokeSite {
    /// The agent dials where its address leads. `hub_life` is the process that answers; none: nobody does.
    pub(in crate::simulation) fn dial(&mut self, hub_life: Option<u64>, stage: &mut Stage) {
        let (index, life, address) = (self.index, self.life, self.address);
        let failing = self.kube.failing;
        let held = self.list();
        let Some(agent) = &mut self.agent else { return };
        if agent.session.is_some() {
            return;
        }
        let reads = agent.known.is_nothing() || !agent.guard.is_restored();
        let is_unreadable = reads && stage.dice.per_mille(failing);
        let Some(hub_life) = hub_life.filter(|_| !is_unreadable && !stage.net.is_cut(index)) else {
            let wait = millis(agent.backoff.next(stage.dice.fraction()));
            return stage.plan(wait, Event::Dial { spoke: index, life });
        };
        let highest = agent.known.get(&self.kube);
        if !agent.guard.is_restored() {
            let release = |(at, object): &(Time, ObjectRef)| Release {
                object: object.clone(),
                age: Duration::from_millis(stage.now - at),
            };
            agent.guard.restore(self.kube.releases.iter().map(release).collect(), stage.instant());
        }
        let (machine, hello) = Machine::new(highest, held, &agent.settings, stage.instant());
        let stream = stage.net.open((address, hub_life), (index, life), false);
        stage.note(|| format!("agent {index} dials hub {address}: stream {stream}"));
        stage.disturb(index);
        if stage.dice.per_mille(20) {
            // Something on the way opens a second stream with the same first words.
            let ghost = stage.net.open((address, hub_life), (index, life), true);
            stage.note(|| format!("stream {ghost} is a ghost of {stream}"));
            for act in &hello {
                if let Act::Send(message) = act {
                    let item = Item::Message(message.encode_to_vec());
                    stage.net.send(
                        (ghost, Direction::Up),
                        item,
                        stage.now,
                        &mut stage.dice,
                        &mut stage.agenda,
                    );
                }
            }
        }
        agent.session = Some(AgentSession {
            stream,
            machine,
            timer: 0,
            live_since: None,
            told: None,
            news_planned: false,
            next_status: 0,
            deltas: Vec::new(),
        });
        self.carry_out(VecDeque::from(hello), stage);
    }

    /// Something arrived from the hub.
    pub(in crate::simulation) fn arrived(&mut self, stream: u64, item: Item, stage: &mut Stage) {
        let Some(session) = self.session(stream) else { return };
        match item {
            Item::Closed => self.end(&End::Lost("the hub closed the stream".to_owned()), stage),
            Item::Message(bytes) => {
                let Ok(message) = v1::HubMessage::decode(bytes.as_slice()) else {
                    return self.end(&End::Lost("a message cannot be read".to_owned()), stage);
                };
                let is_delta = matches!(message.message, Some(v1::hub_message::Message::Desired(_)));
                let mut again = None;
                if is_delta && stage.is(Mutant::RepeatDelta) {
                    session.deltas.push(message.clone());
                    if stage.dice.per_mille(200) {
                        again = session.deltas.get(stage.dice.index(session.deltas.len())).cloned();
                    }
                }
                self.happened(Happening::Said(message), stage);
                if let Some(message) = again {
                    self.happened(Happening::Said(message), stage);
                }
            }
        }
    }

    /// The session's own time has come.
    pub(in crate::simulation) fn tick(&mut self, stream: u64, stage: &mut Stage) {
        let now = stage.instant();
        if stage.net.stream(stream).is_some_and(|stream| stream.unread) && self.session(stream).is_some() {
            // It does not read, and pretends that all is well.
            let alive = v1::HubMessage {
                message: Some(v1::hub_message::Message::Heartbeat(v1::Heartbeat::default())),
            };
            self.happened(Happening::Said(alive), stage);
        }
        if self.session(stream).is_some_and(|session| session.machine.wake_at() <= now) {
            self.happened(Happening::Tick, stage);
        } else {
            self.set_timer(stage);
        }
    }

    /// What is held has been read, or could not be.
    pub(in crate::simulation) fn held(
        &mut self,
        stream: u64,
        held: Option<Vec<HeldObject>>,
        stage: &mut Stage,
    ) {
        if self.session(stream).is_some() {
            self.happened(Happening::Held(held), stage);
        }
    }

    /// Something happened to the session.
    pub(super) fn happened(&mut self, happening: Happening, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = &mut agent.session else { return };
        if stage.is(Mutant::ForgetReleases) {
            agent.guard = DeletionGuard::default();
        }
        let acts = session.machine.on(happening, &mut agent.guard, &agent.settings, stage.instant());
        self.carry_out(VecDeque::from(acts), stage);
    }

    fn carry_out(&mut self, mut acts: VecDeque<Act>, stage: &mut Stage) {
        while let Some(act) = acts.pop_front() {
            let Some(agent) = &mut self.agent else { return };
            let Some(session) = &mut agent.session else { return };
            match act {
                Act::Send(message) => {
                    if !send(session.stream, &message, stage) {
                        return self.end(&End::Lost("the hub does not read".to_owned()), stage);
                    }
                }
                Act::AcceptEpoch(epoch) => {
                    let answer = self.judge(&epoch, stage);
                    let Some(agent) = &mut self.agent else { return };
                    let Some(session) = &mut agent.session else { return };
                    acts.extend(session.machine.on(
                        answer,
                        &mut agent.guard,
                        &agent.settings,
                        stage.instant(),
                    ));
                }
                Act::StoreReleases(version, releases) => {
                    let answer = self.store(version, releases, stage);
                    let Some(agent) = &mut self.agent else { return };
                    let Some(session) = &mut agent.session else { return };
                    acts.extend(session.machine.on(
                        answer,
                        &mut agent.guard,
                        &agent.settings,
                        stage.instant(),
                    ));
                }
                Act::ReadHeld => {
                    let (spoke, life, stream) = (self.index, self.life, session.stream);
                    let held = (!stage.dice.per_mille(self.kube.failing)).then(|| self.list());
                    stage.plan_between(5, 60, Event::Held { spoke, life, stream, held });
                }
                Act::Deliver(work, epoch) => self.begin(work, epoch, stage),
                Act::GiveUp(uid) => self.give_up(&uid, stage),
                Act::Close(end) => return self.end(&end, stage),
            }
        }
        self.came_alive(stage);
        self.set_timer(stage);
    }

    /// Stores what the deletion guard has let through.
    fn store(&mut self, version: u64, releases: Vec<Release>, stage: &mut Stage) -> Happening {
        let fails = stage.dice.per_mille(self.kube.failing);
        if !fails || stage.dice.per_mille(500) {
            let at = |release: &Release| {
                stage.now.saturating_sub(Time::try_from(release.age.as_millis()).unwrap_or(Time::MAX))
            };
            self.kube.releases = releases.into_iter().map(|release| (at(&release), release.object)).collect();
        }
        if fails {
            return Happening::Failed("what was let through cannot be stored".to_owned());
        }
        Happening::ReleasesStored(version)
    }

    /// Whether the epoch is obeyed; a higher one is stored before this returns.
    fn judge(&mut self, epoch: &Epoch, stage: &mut Stage) -> Happening {
        let index = self.index;
        let Some(agent) = &mut self.agent else { return Happening::Failed(String::new()) };
        if agent.known.is_nothing() && stage.dice.per_mille(self.kube.failing) {
            return Happening::Failed("the epoch cannot be read".to_owned());
        }
        let stored = agent.known.get(&self.kube);
        match rules::judge_epoch(stored.as_ref(), epoch) {
            Err(_) if stage.is(Mutant::ObeyAnyEpoch) => Happening::EpochJudged(Judgement::Obeyed),
            Err(refused) => {
                stage.note(|| format!("agent {index} refuses the hub: {refused}"));
                Happening::EpochJudged(Judgement::Refused(refused.to_string()))
            }
            Ok(rules::Accepted::Known) => Happening::EpochJudged(Judgement::Obeyed),
            Ok(rules::Accepted::Store) => {
                let fails = stage.dice.per_mille(self.kube.failing);
                if !fails || stage.dice.per_mille(500) {
                    self.kube.epoch = Some(epoch.clone());
                    stage.note(|| format!("agent {index} obeys term {} of {}", epoch.term, epoch.hub_id));
                }
                agent.known = if fails { Known::Nothing } else { Known::Stored(Some(epoch.clone())) };
                if fails {
                    return Happening::Failed("the epoch cannot be stored".to_owned());
                }
                Happening::EpochJudged(Judgement::Obeyed)
            }
        }
    }

    /// What is held of the hub whose epoch is stored.
    fn list(&self) -> Vec<HeldObject> {
        let Some(epoch) = &self.kube.epoch else { return Vec::new() };
        let held = self.kube.objects.iter().filter_map(|((kind, name), live)| {
            let marks = marks_of(&live.meta).filter(|marks| marks.hub_id == epoch.hub_id)?;
            Some(HeldObject {
                object: ObjectRef {
                    uid: marks.uid,
                    api_version: super::API_VERSION.to_owned(),
                    kind: kind.clone(),
                    namespace: super::NAMESPACE.to_owned(),
                    name: name.clone(),
                },
                generation: marks.generation,
                hash: marks.hash,
            })
        });
        held.collect()
    }

    /// The session is over, for whatever reason.
    fn end(&mut self, end: &End, stage: &mut Stage) {
        let index = self.index;
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = agent.session.take() else { return };
        stage.note(|| format!("agent {index} ends stream {}: {end:?}", session.stream));
        stage.disturb(index);
        if let Some(since) = session.live_since {
            agent.backoff.lived(Duration::from_millis(stage.now - since));
        }
        let random = stage.dice.fraction();
        let own = match end {
            End::EpochRefused(_) => Backoff::slow(random),
            End::Lost(_) | End::GoneAway(_) => agent.backoff.next(random),
        };
        agent.pause = Some(millis(match end {
            End::GoneAway(goodbye) => goodbye.retry_after + own.min(SPREAD),
            End::Lost(_) | End::EpochRefused(_) => own,
        }));
        hang_up(session.stream, stage);
        self.stop_work(stage);
    }

    fn came_alive(&mut self, stage: &mut Stage) {
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = &mut agent.session else { return };
        if session.machine.is_live() && session.live_since.is_none() {
            session.live_since = Some(stage.now);
            agent.outbox.resend_all();
            self.poke_news(stage);
        }
    }

    /// There may be something to tell.
    pub(in crate::simulation) fn poke_news(&mut self, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = &mut agent.session else { return };
        if session.live_since.is_some() && !session.news_planned {
            session.news_planned = true;
            let stream = session.stream;
            let at = session.next_status.max(stage.now);
            stage.agenda.plan(at, Event::News { spoke, life, stream });
        }
    }

    /// Tells what is news.
    pub(in crate::simulation) fn news(&mut self, stream: u64, stage: &mut Stage) {
        let spoke = self.index;
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = agent.session.as_mut().filter(|session| session.stream == stream) else { return };
        session.news_planned = false;
        session.next_status = stage.now + STATUS_EVERY;
        if let Some(statuses) = agent.outbox.take(STATUSES).now_or_never() {
            for message in status_messages(statuses, session.machine.most_bytes()) {
                send(stream, &message, stage);
            }
        }
        let same = |told: &CapacityReport, new: &CapacityReport| {
            *told == CapacityReport { observed_at_ms: told.observed_at_ms, ..new.clone() }
        };
        if let Some(report) = &agent.capacity
            && !session.told.as_ref().is_some_and(|told| same(told, report))
        {
            session.told = Some(report.clone());
            stage.note(|| {
                format!(
                    "agent {spoke} tells of {:?} free GPUs",
                    report.pools.iter().map(|pool| pool.free).collect::<Vec<_>>()
                )
            });
            send(stream, &capacity_message(report.clone(), session.machine.most_bytes()), stage);
        }
    }

    fn session(&mut self, stream: u64) -> Option<&mut AgentSession> {
        self.agent.as_mut()?.session.as_mut().filter(|session| session.stream == stream)
    }

    fn set_timer(&mut self, stage: &mut Stage) {
        let (spoke, life) = (self.index, self.life);
        let Some(agent) = &mut self.agent else { return };
        let Some(session) = &mut agent.session else { return };
        let due = stage.time_of(session.machine.wake_at()).max(stage.now);
        if session.timer <= stage.now || due < session.timer {
            session.timer = due;
            let stream = session.stream;
            stage.agenda.plan(due, Event::AgentTick { spoke, life, stream });
        }
    }
}

/// Tells the other side that nobody is here any more.
pub(super) fn hang_up(stream: u64, stage: &mut Stage) {
    stage.net.send((stream, Direction::Up), Item::Closed, stage.now, &mut stage.dice, &mut stage.agenda);
}

fn send(stream: u64, message: &v1::SpokeMessage, stage: &mut Stage) -> bool {
    let item = Item::Message(message.encode_to_vec());
    stage.net.send((stream, Direction::Up), item, stage.now, &mut stage.dice, &mut stage.agenda)
}

fn millis(wait: Duration) -> Time {
    Time::try_from(wait.as_millis()).unwrap_or(Time::MAX)
}
