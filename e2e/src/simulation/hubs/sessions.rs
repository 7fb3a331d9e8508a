//! The sessions of a hub process: carries their machines' acts out.

use std::collections::VecDeque;

use hub_core::link::{LinkEvent, SessionEffect, SessionEvent, Terms};
use hub_scheduler::fleet::{Answer, ClusterName};
use prost::Message;
use proto::v1;
use proto::v1::hub_message::Message as FromHub;
use proto::v1::spoke_message::Message as FromSpoke;

use super::Event;
use super::process::{HEARTBEAT, HubSite};
use crate::simulation::agenda::Time;
use crate::simulation::mutant::Mutant;
use crate::simulation::net::{Direction, Item};
use crate::simulation::stage::{Fact, Stage};

/// One session of a hub.
pub(in crate::simulation) struct Session {
    pub(in crate::simulation) cluster: ClusterName,
    /// Since when the spoke has been welcome.
    pub(in crate::simulation) welcomed: Option<Time>,
    machine: hub::link::Session,
    timer: Time,
}

impl HubSite {
    /// Something arrived from a spoke.
    pub(in crate::simulation) fn arrived(
        &mut self,
        stream: u64,
        cluster: &str,
        item: Item,
        stage: &mut Stage,
    ) {
        let Some(process) = &mut self.process else { return hang_up(stream, stage) };
        let Item::Message(bytes) = item else { return self.close(stream, "the spoke closed", stage) };
        if !process.sessions.contains_key(&stream) {
            if !process.desired.is_open() {
                let goodbye = v1::GoAway {
                    reason: i32::from(v1::GoAwayReason::Unavailable),
                    message: "the hub is starting".to_owned(),
                    retry_after_seconds: 1,
                    retry_after_ms: 0,
                };
                send(stream, &v1::HubMessage { message: Some(FromHub::GoAway(goodbye)) }, stage);
                return hang_up(stream, stage);
            }
            let Ok(cluster) = cluster.parse::<ClusterName>() else { return };
            let machine = hub::link::Session::new(
                cluster.clone(),
                jiff::Timestamp::MAX,
                Terms::of(process.desired.clusters(), HEARTBEAT, [0.5; 2]),
                self.store.epoch_key.clone(),
                &process.desired,
                stage.instant(),
            );
            process.sessions.insert(stream, Session { cluster, welcomed: None, machine, timer: 0 });
        }
        self.settle(stage);
        let Ok(message) = v1::SpokeMessage::decode(bytes.as_slice()) else {
            return self.close(stream, "a message cannot be read", stage);
        };
        self.happened(stream, SessionEvent::Said(message), stage);
        self.settle(stage);
    }

    /// A session's own time has come.
    pub(in crate::simulation) fn tick(&mut self, stream: u64, stage: &mut Stage) {
        let now = stage.instant();
        let Some(session) = self.process.as_mut().and_then(|process| process.sessions.get_mut(&stream))
        else {
            return;
        };
        if session.machine.wake_at() <= now {
            self.happened(stream, SessionEvent::Tick, stage);
            self.settle(stage);
        } else {
            self.set_timer(stream, stage);
        }
    }

    /// Tells sessions what has changed for them, until nothing has.
    pub(in crate::simulation) fn settle(&mut self, stage: &mut Stage) {
        loop {
            let Some(process) = &self.process else { return };
            let woken = process.sessions.iter().find_map(|(stream, session)| {
                let is_kept = stage.is(Mutant::KeepOldSession) && !session.machine.is_ours();
                (!is_kept && session.machine.is_woken()).then_some(*stream)
            });
            let Some(stream) = woken else { return };
            self.happened(stream, SessionEvent::Woken, stage);
        }
    }

    fn happened(&mut self, stream: u64, event: SessionEvent, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        let Some(session) = process.sessions.get_mut(&stream) else { return };
        let (now, wall) = (stage.instant(), stage.wall(self.skew));
        let said = matches!(event, SessionEvent::Said(_));
        let mut effects = VecDeque::from(session.machine.on(event, &process.epoch, now, wall));
        if said && session.machine.is_ours() {
            process.heard.insert(session.cluster.to_string(), stage.now);
        }
        while let Some(effect) = effects.pop_front() {
            match effect {
                SessionEffect::Send(message) => {
                    if !self.send(stream, &message, stage) {
                        return self.close(stream, "the spoke does not read", stage);
                    }
                }
                SessionEffect::RaiseEpoch(term) => {
                    let answer = self.raise_above(term, stage);
                    let Some(process) = &mut self.process else { return };
                    let Some(session) = process.sessions.get_mut(&stream) else { return };
                    effects.extend(session.machine.on(answer, &process.epoch, now, wall));
                }
                SessionEffect::Report(event) => self.told(event, stage),
                SessionEffect::Count(_) => {}
                SessionEffect::Close(why) => return self.close(stream, &why, stage),
            }
        }
        self.set_timer(stream, stage);
    }

    fn send(&mut self, stream: u64, message: &v1::HubMessage, stage: &mut Stage) -> bool {
        match &message.message {
            Some(FromHub::Welcome(_)) => {
                let found = self.process.as_mut().and_then(|process| process.sessions.get_mut(&stream));
                if let Some(session) = found {
                    session.welcomed = Some(stage.now);
                }
            }
            Some(FromHub::Desired(delta)) => {
                let epoch = delta.epoch.clone().unwrap_or_default();
                let index = self.index;
                stage.note(|| {
                    let uid = |object: &Option<v1::ObjectRef>| object.clone().unwrap_or_default().uid;
                    let upserts = delta.upserts.iter().map(|one| format!(" +{}", uid(&one.object)));
                    let tombstones = delta.tombstones.iter().map(|one| format!(" -{}", uid(&one.object)));
                    let all: String = upserts.chain(tombstones).collect();
                    format!("hub {index} sends on stream {stream}, term {}:{all}", epoch.term)
                });
                for tombstone in &delta.tombstones {
                    let epoch = spoke::deliver::Epoch {
                        hub_id: epoch.hub_id.clone(),
                        term: epoch.term,
                        incarnation: epoch.incarnation.clone(),
                        proof: epoch.proof.clone(),
                    };
                    let uid = tombstone.object.clone().unwrap_or_default().uid;
                    stage.facts.push(Fact::Tombstone { uid, epoch });
                }
            }
            _ => {}
        }
        let sent = send(stream, message, stage);
        let unread = stage.net.stream(stream).is_some_and(|stream| stream.unread);
        if let Some(FromHub::Desired(delta)) = &message.message
            && unread
            && stage.is(Mutant::ForgeAcks)
        {
            let results = delta.upserts.iter().map(|upsert| v1::Result {
                uid: upsert.object.clone().unwrap_or_default().uid,
                hash: upsert.hash.clone(),
                outcome: Some(v1::result::Outcome::Accepted(v1::Accepted {})),
            });
            let ack = v1::Ack { delta_id: delta.delta_id, results: results.collect() };
            let forged = v1::SpokeMessage { message: Some(FromSpoke::Ack(ack)) };
            let item = Item::Message(forged.encode_to_vec());
            stage.net.send((stream, Direction::Up), item, stage.now, &mut stage.dice, &mut stage.agenda);
        }
        sent
    }

    fn raise_above(&mut self, term: u64, stage: &mut Stage) -> SessionEvent {
        if stage.dice.per_mille(self.failing) {
            return SessionEvent::EpochFailed("the API server does not answer".to_owned());
        }
        let Some(process) = &mut self.process else { return SessionEvent::EpochFailed(String::new()) };
        if process.epoch.term <= term {
            let Some(next) = self.store.epoch.next_above(term, stage.dice.word()) else {
                return SessionEvent::EpochFailed("no term is left".to_owned());
            };
            self.store.epoch = next;
            process.epoch = self.store.epoch.clone();
            stage.note(|| format!("hub {} raises its term to {}", self.index, process.epoch.term));
        }
        SessionEvent::EpochRaised
    }

    fn told(&mut self, mut event: LinkEvent, stage: &mut Stage) {
        if let LinkEvent::Results { results, .. } = &mut event
            && stage.is(Mutant::HideGone)
        {
            results.retain(|result| result.answer != Answer::Gone);
        }
        let (hub, life, wall) = (self.index, self.life, stage.wall(self.skew));
        let Some(process) = &mut self.process else { return };
        let cluster = event.cluster().to_string();
        match &event {
            LinkEvent::Status { objects, .. } => {
                stage.facts.extend(objects.iter().map(|status| Fact::Heard {
                    cluster: cluster.clone(),
                    uid: status.object.uid.clone(),
                    at: status.observed_at,
                    ready: status.ready_replicas,
                    hash: status.hash.clone(),
                }));
            }
            LinkEvent::Results { results, .. } => {
                for result in results {
                    let uid = result.uid.clone();
                    match result.answer {
                        // How it ends is still to come.
                        Answer::Retrying { .. } => continue,
                        Answer::Rejected { .. } => drop(stage.bad.insert(uid.clone())),
                        Answer::Accepted | Answer::Gone | Answer::Held { .. } => {}
                    }
                    stage.facts.push(Fact::Answered { hub, life, cluster: cluster.clone(), uid });
                }
            }
            LinkEvent::Orphans { objects, .. } => {
                let uids = objects.iter().map(|held| held.object.uid.clone()).collect();
                process.orphans.insert(cluster, uids);
            }
            _ => {}
        }
        let touched = process.live.hear(event, wall);
        let mut placements: Vec<String> = touched.placements.into_iter().map(|key| key.name).collect();
        if touched.capacity {
            placements.extend(process.live.wanting.iter().map(|key| key.name.clone()));
        }
        for placement in placements {
            self.touch(&placement, stage);
        }
    }

    /// The session is over, for whatever reason.
    pub(in crate::simulation) fn close(&mut self, stream: u64, why: &str, stage: &mut Stage) {
        let index = self.index;
        hang_up(stream, stage);
        let Some(process) = &mut self.process else { return };
        let Some(session) = process.sessions.remove(&stream) else { return };
        stage.note(|| format!("hub {index} ends stream {stream} of {}: {why}", session.cluster));
        let (ours, cluster) = (session.machine.is_ours(), session.cluster.clone());
        drop(session);
        if ours && !stage.is(Mutant::HideDisconnect) {
            self.told(LinkEvent::Disconnected { cluster }, stage);
        }
    }

    fn set_timer(&mut self, stream: u64, stage: &mut Stage) {
        let (hub, life) = (self.index, self.life);
        let Some(session) = self.process.as_mut().and_then(|process| process.sessions.get_mut(&stream))
        else {
            return;
        };
        let due = stage.time_of(session.machine.wake_at()).max(stage.now);
        if session.timer <= stage.now || due < session.timer {
            session.timer = due;
            stage.agenda.plan(due, Event::HubTick { hub, life, stream });
        }
    }
}

fn send(stream: u64, message: &v1::HubMessage, stage: &mut Stage) -> bool {
    let item = Item::Message(message.encode_to_vec());
    stage.net.send((stream, Direction::Down), item, stage.now, &mut stage.dice, &mut stage.agenda)
}

/// Tells the other side that nobody is here any more.
pub(super) fn hang_up(stream: u64, stage: &mut Stage) {
    stage.net.send((stream, Direction::Down), Item::Closed, stage.now, &mut stage.dice, &mut stage.agenda);
}
