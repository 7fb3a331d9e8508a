//! Runs a session: carries its events in and its effects out.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::machine::{Act, Happening, Machine};
use super::upward::Upward;
use super::{EpochStore, LinkEvent};

/// One session and its surroundings.
pub(super) struct Runner<E> {
    pub(super) machine: Machine,
    pub(super) epochs: Arc<E>,
    pub(super) outbound: mpsc::Sender<Result<v1::HubMessage, Status>>,
    pub(super) events: mpsc::Sender<LinkEvent>,
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
        let cluster = self.machine.cluster().clone();
        tracing::info!(%cluster, end, "session ended");
        if let Some(seat) = self.machine.seat() {
            let telling = seat.telling().await;
            if seat.is_ours() {
                // Fails only when the hub itself ends.
                drop(self.events.send(LinkEvent::Disconnected { cluster }).await);
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
            let happening = tokio::select! {
                biased;
                () = stop.cancelled() => Happening::Stopping,
                () = self.machine.woken() => Happening::Woken,
                permit = self.events.reserve(), if !upward.is_empty() => {
                    let Ok(permit) = permit else { return "the hub ends".to_owned() };
                    if let Some(event) = upward.pop(self.machine.cluster()) {
                        permit.send(event);
                    }
                    continue;
                }
                said = inbound.next() => match said {
                    None => return "the spoke closed the stream".to_owned(),
                    Some(Err(status)) => return format!("the stream broke: {}", status.message()),
                    Some(Ok(message)) => Happening::Said(message),
                },
                () = sleep_until(Instant::from_std(self.machine.wake_at())) => Happening::Tick,
            };
            if let Some(end) = self.take(happening, upward).await {
                return end;
            }
        }
    }

    /// Takes what happened with all that follows from it; gives the reason if the session is over.
    async fn take(&mut self, happening: Happening, upward: &mut Upward) -> Option<String> {
        let mut acts = VecDeque::from(self.step(happening));
        while let Some(act) = acts.pop_front() {
            match act {
                Act::RaiseEpoch(term) => {
                    let answer = match self.epochs.raise_above(term).await {
                        Ok(_) => Happening::EpochRaised,
                        Err(error) => Happening::EpochFailed(error.to_string()),
                    };
                    acts.extend(self.step(answer));
                }
                Act::Send(message) if is_of_an_epoch(&message) && !self.epochs.is_in_force() => {
                    return Some("this hub does not hold its lease at this moment".to_owned());
                }
                Act::Send(message) => {
                    if self.outbound.try_send(Ok(message)).is_err() {
                        return Some("the spoke does not read, or has gone".to_owned());
                    }
                }
                Act::Tell(event) => {
                    if let Some(event) = upward.push(event) {
                        self.tell_now(event).await;
                    }
                }
                Act::Close(end) => return Some(end),
            }
        }
        None
    }

    fn step(&mut self, happening: Happening) -> Vec<Act> {
        self.machine.on(happening, &self.epochs.current(), Instant::now().into_std(), Timestamp::now())
    }

    /// Tells that the session is up, in order with what other sessions of the cluster tell.
    async fn tell_now(&self, event: LinkEvent) {
        let Some(seat) = self.machine.seat() else { return };
        let _telling = seat.telling().await;
        if seat.is_ours() {
            // Fails only when the hub itself ends.
            drop(self.events.send(event).await);
        }
    }
}

/// Whether a message claims or uses the right to change the spoke.
fn is_of_an_epoch(message: &v1::HubMessage) -> bool {
    use v1::hub_message::Message;
    matches!(message.message, Some(Message::Welcome(_) | Message::Desired(_)))
}
