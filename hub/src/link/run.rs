//! Runs a session: carries its events in and its effects out.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::counters::ByClass;
use super::mailbox::Seat;
use super::message::{FromSpoke, ToSpoke};
use super::object::GoAwayReason;
use super::session::{Effect, Event, Session, View};
use super::upward::Upward;
use super::wants::Wants;
use super::wire;
use super::{Counters, EpochStore, Fleetbox, LinkEvent};
use crate::fleet::{Answer, ClusterName};

/// One session and its surroundings.
pub(super) struct Runner<E> {
    pub(super) cluster: ClusterName,
    pub(super) session: Session,
    pub(super) mailboxes: Fleetbox,
    pub(super) seat: Option<Seat>,
    pub(super) epochs: Arc<E>,
    pub(super) outbound: mpsc::Sender<Result<v1::HubMessage, Status>>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) counters: Counters,
}

impl<E: EpochStore> Runner<E> {
    /// Runs until the session ends, for whatever reason.
    pub(super) async fn run(
        mut self,
        mut inbound: BoxStream<'static, Result<v1::SpokeMessage, Status>>,
        stop: CancellationToken,
    ) {
        let mut upward = Upward::default();
        let end = self.talk(&mut inbound, &mut upward, stop).await;
        tracing::info!(cluster = %self.cluster, end, "session ended");
        if let Some(seat) = self.seat.take() {
            let telling = seat.telling().await;
            if seat.is_ours() {
                // Fails only when the hub itself ends.
                drop(self.events.send(LinkEvent::Disconnected { cluster: self.cluster.clone() }).await);
            }
            drop(telling);
        }
    }

    async fn talk(
        &mut self,
        inbound: &mut BoxStream<'static, Result<v1::SpokeMessage, Status>>,
        upward: &mut Upward,
        stop: CancellationToken,
    ) -> String {
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    Event::Goodbye(GoAwayReason::Unavailable, "the hub stops".to_owned())
                }
                () = changed(self.seat.as_ref()) => match self.seat.as_ref().and_then(Seat::goodbye) {
                    Some((reason, message)) => Event::Goodbye(reason, message),
                    None => Event::Changed,
                },
                permit = self.events.reserve(), if !upward.is_empty() => {
                    let Ok(permit) = permit else { return "the hub ends".to_owned() };
                    if let Some(event) = upward.pop(&self.cluster) {
                        permit.send(event);
                    }
                    continue;
                }
                said = inbound.next() => match said {
                    None => return "the spoke closed the stream".to_owned(),
                    Some(Err(status)) => return format!("the stream broke: {}", status.message()),
                    Some(Ok(message)) => match wire::from_spoke(message, Timestamp::now()) {
                        Some(said) => Event::Said(self.counted(said)),
                        None => continue,
                    },
                },
                () = sleep_until(Instant::from_std(self.session.wake_at())) => Event::Tick,
            };
            if let Some(end) = self.take(event, upward).await {
                return end;
            }
        }
    }

    /// Takes an event with all that follows from it; gives the reason if the session is over.
    async fn take(&mut self, event: Event, upward: &mut Upward) -> Option<String> {
        let mut effects = VecDeque::from(self.step(event));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Claim(instance) => {
                    self.seat = self.mailboxes.mailbox(&self.cluster).claim(&instance);
                    effects.extend(self.step(Event::Claimed(self.seat.is_some())));
                }
                Effect::RaiseEpoch(term) => {
                    let event = match self.epochs.raise_above(term).await {
                        Ok(_) => Event::EpochRaised,
                        Err(error) => Event::EpochFailed(error.to_string()),
                    };
                    effects.extend(self.step(event));
                }
                Effect::Send(message) => {
                    self.count(&message);
                    let message = wire::to_spoke(message, Timestamp::now());
                    if self.outbound.try_send(Ok(message)).is_err() {
                        return Some("the spoke does not read, or has gone".to_owned());
                    }
                }
                Effect::Tell(event) => {
                    if let Some(event) = upward.push(event) {
                        self.tell_now(event).await;
                    }
                }
                Effect::Close(end) => return Some(end),
            }
        }
        None
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let (session, epoch, now) = (&mut self.session, self.epochs.current(), Instant::now().into_std());
        let decide = |wants: &mut Wants| session.on(event, &mut View { now, epoch: &epoch, wants });
        match &self.seat {
            Some(seat) => seat.with_wants(decide),
            None => decide(&mut Wants::default()),
        }
    }

    /// Tells that the session is up, in order with what other sessions of the cluster tell.
    async fn tell_now(&self, event: LinkEvent) {
        let Some(seat) = &self.seat else { return };
        let _telling = seat.telling().await;
        if seat.is_ours() {
            // Fails only when the hub itself ends.
            drop(self.events.send(event).await);
        }
    }

    fn count(&self, message: &ToSpoke) {
        match message {
            ToSpoke::Welcome { .. } => {
                tracing::info!(cluster = %self.cluster, "spoke connected");
                self.counters.sessions.inc();
            }
            ToSpoke::Delta { upserts, tombstones, .. } => {
                self.counters.upserts.inc_by(upserts.len() as u64);
                self.counters.tombstones.inc_by(tombstones.len() as u64);
            }
            ToSpoke::Heartbeat | ToSpoke::GoAway { .. } => {}
        }
    }

    fn counted(&self, said: FromSpoke) -> FromSpoke {
        if let FromSpoke::Ack { results, .. } = &said {
            for result in results {
                if let Answer::Rejected { class, .. } = &result.answer {
                    self.counters.rejections.get_or_create(&ByClass { class: class.as_str() }).inc();
                }
            }
        }
        said
    }
}

async fn changed(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.changed().await,
        None => pending().await,
    }
}
