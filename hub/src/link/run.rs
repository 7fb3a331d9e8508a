//! Runs a session: carries its events in and its effects out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use hub_core::link::{Count, EventBuffer, GoAwayReason, LinkEvent, SessionEffect, SessionEvent, TokenBucket};
use jiff::Timestamp;
use prost::Message as _;
use proto::v1;
use runtime::panics::caught;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::connect::membership;
use super::identified::{About, Identified};
use super::lanes::Lanes;
use super::record::record;
use super::session::Session;
use super::{Admission, Counters, EpochStore};

/// How a session ends whose messages are not read.
const DEAF: &str = "the spoke does not read, or has gone";

/// KiB, and messages, that a spoke may say per second and at once; what is more waits at its side of the stream. A thousand
/// objects in sync say about 1000 in all.
const SAYS: (u32, u32) = (4096, 16_384);

/// One session and its surroundings.
pub(super) struct Runner<A, E> {
    pub(super) session: Session,
    pub(super) identified: Identified,
    pub(super) address: SocketAddr,
    pub(super) admission: Arc<A>,
    pub(super) epochs: Arc<E>,
    pub(super) outbound: Lanes,
    pub(super) counters: Counters,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) indexing: Arc<Semaphore>,
    /// Held while the index is waited for.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl<A: Admission, E: EpochStore> Runner<A, E> {
    /// Runs until the session ends, for whatever reason.
    pub(super) async fn run(
        mut self,
        mut inbound: BoxStream<'static, Result<v1::SpokeMessage, Status>>,
        stop: CancellationToken,
    ) {
        let mut reports = EventBuffer::default();
        let end = match caught(self.talk(&mut inbound, &mut reports, stop)).await {
            Ok(end) => end,
            Err(panic) => format!("a fault of the hub: {panic}"),
        };
        let cluster = self.session.cluster().clone();
        tracing::info!(%cluster, end, "session ended");
        let reporting = self.session.reporting().await;
        if self.session.is_ours() {
            // Fails only when the hub itself ends.
            drop(self.events.send(LinkEvent::Disconnected { cluster }).await);
        }
        drop(reporting);
    }

    async fn talk(
        &mut self,
        inbound: &mut BoxStream<'static, Result<v1::SpokeMessage, Status>>,
        reports: &mut EventBuffer,
        stop: CancellationToken,
    ) -> String {
        let mut says = TokenBucket::new(SAYS.0, SAYS.1);
        loop {
            let now = Instant::now();
            says.spend(0, now.into_std());
            let debt = says.debt();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => SessionEvent::Stopping,
                () = self.session.woken() => SessionEvent::Woken,
                () = self.identified.changed() => match self.identified.goodbye() {
                    Some(message) => SessionEvent::Dismissed(GoAwayReason::Revoked, message),
                    None if tell_trust(&mut self.identified, &self.outbound) => continue,
                    None => return DEAF.to_owned(),
                },
                permit = self.events.reserve(), if !reports.is_empty() => {
                    let Ok(permit) = permit else { return "the hub ends".to_owned() };
                    if let Some(event) = reports.pop(self.session.cluster()) {
                        permit.send(event);
                    }
                    continue;
                }
                () = sleep_until(now + debt), if !debt.is_zero() => continue,
                said = inbound.next(), if debt.is_zero() && !reports.is_full() => match said {
                    None => return "the spoke closed the stream".to_owned(),
                    Some(Err(status)) => return format!("the stream broke: {}", status.message()),
                    Some(Ok(message)) => {
                        let kib = u32::try_from(message.encoded_len() / 1024).unwrap_or(u32::MAX);
                        says.spend(kib.saturating_add(1), now.into_std());
                        match self.identified.hear(&message) {
                            Ok(About::Work) => SessionEvent::Said(message),
                            Ok(About::Trust) => {
                                self.report_now(self.identified.event()).await;
                                continue;
                            }
                            Err(problem) => SessionEvent::Dismissed(GoAwayReason::ProtocolError, problem),
                        }
                    }
                },
                () = sleep_until(Instant::from_std(self.session.wake_at())) => SessionEvent::Tick,
            };
            if let Some(end) = self.take(event, reports).await {
                return end;
            }
        }
    }

    /// Takes what happened with all that follows from it; gives the reason if the session is over.
    async fn take(&mut self, event: SessionEvent, reports: &mut EventBuffer) -> Option<String> {
        let had_lease = self.session.has_lease();
        let mut effects = VecDeque::from(self.step(event));
        if !had_lease
            && self.session.has_lease()
            && let Err((reason, message)) = membership(&*self.admission, self.identified.certificate()).await
        {
            // Asked once more now that the session has the lease: from here on whoever takes the membership away ends the
            // session, so that no moment is left in between.
            effects = self.step(SessionEvent::Dismissed(reason, message)).into();
        }
        while let Some(effect) = effects.pop_front() {
            match effect {
                SessionEffect::RaiseEpoch(term) => {
                    let answer = match self.epochs.raise_above(term).await {
                        Ok(_) => SessionEvent::EpochRaised,
                        Err(error) => SessionEvent::EpochFailed(error.to_string()),
                    };
                    effects.extend(self.step(answer));
                }
                SessionEffect::Send(message) if is_of_an_epoch(&message) && !self.epochs.is_in_force() => {
                    return Some("this hub does not hold its lease at this moment".to_owned());
                }
                SessionEffect::Send(message) => {
                    record(&message, self.identified.certificate());
                    if self.outbound.send(message).is_err() {
                        return Some(DEAF.to_owned());
                    }
                }
                SessionEffect::Report(LinkEvent::Duplicate { cluster, message }) => {
                    let message = format!("{message} (from {})", self.address);
                    tracing::warn!(%cluster, problem = message, "two agents with one identity");
                    // Fails only when the hub itself ends.
                    drop(self.events.send(LinkEvent::Duplicate { cluster, message }).await);
                }
                SessionEffect::Report(event) => {
                    if let Some(event) = reports.push(event) {
                        let begins = matches!(event, LinkEvent::Connected { .. });
                        self.report_now(event).await;
                        if begins {
                            self.report_now(self.identified.event()).await;
                            if !tell_trust(&mut self.identified, &self.outbound) {
                                return Some(DEAF.to_owned());
                            }
                        }
                    }
                }
                SessionEffect::Count(count) => {
                    if count == Count::Welcomed {
                        tracing::info!(cluster = %self.session.cluster(), "spoke connected");
                    }
                    self.counters.count(count);
                }
                SessionEffect::Close(end) => return Some(end),
            }
            if effects.is_empty() && self.is_one_too_many() {
                effects.extend(self.step(SessionEvent::Busy));
            }
        }
        None
    }

    /// Whether this spoke's index would have to be waited for beside too many others.
    fn is_one_too_many(&mut self) -> bool {
        if !self.session.is_indexing() {
            self.permit = None;
        } else if self.permit.is_none() {
            self.permit = self.indexing.clone().try_acquire_owned().ok();
            return self.permit.is_none();
        }
        false
    }

    fn step(&mut self, event: SessionEvent) -> Vec<SessionEffect> {
        self.session.on(event, &self.epochs.current(), Instant::now().into_std(), Timestamp::now())
    }

    /// Reports that the session is up, in order with the reports of other sessions of the cluster.
    async fn report_now(&self, event: LinkEvent) {
        let _reporting = self.session.reporting().await;
        if self.session.is_ours() {
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

/// Tells the spoke which CAs to trust, if that is news to it. `false` if it cannot be told.
fn tell_trust(identified: &mut Identified, outbound: &Lanes) -> bool {
    identified.news().is_none_or(|message| outbound.send(message).is_ok())
}
