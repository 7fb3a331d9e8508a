//! Runs one session on one stream.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{PollNext, select_with_strategy};
use proto::v1;
use proto::v1::fleet_sync_client::FleetSyncClient;
use proto::v1::hub_message::Message as FromHub;
use proto::v1::spoke_message::Message as ToHub;
use runtime::panics::caught;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

use super::credentials::Credentials;
use super::lasting::Lasting;
use super::machine::{Act, Happening, Machine};
use super::news::News;
use super::session::{End, Judgement};
use super::work::Workers;
use super::{Counters, IdentityStore, LinkState, Settings};
use crate::deliver::{AcceptError, Deliver, DeliverError, Epoch, HeldObject};
use crate::facts::CapacityReport;
use crate::report::Outbox;

/// Answers, signs of life and the index. The hub limits how much it waits for, and it is read first.
const CONTROL: usize = 8192;
/// Statuses and capacity: what waits longer is better joined at the source.
const BULK: usize = 2;
/// For the hub to open its side of the stream.
const OPENING: Duration = Duration::from_secs(15);

/// What a session works with.
pub(super) struct Connection<'a, D, S> {
    pub(super) settings: &'a Settings,
    pub(super) credentials: &'a Credentials<S>,
    /// Held by the one session that delivers.
    pub(super) turn: Arc<Mutex<()>>,
    /// Ends the session that this one follows; to be done when the hub has welcomed this one.
    pub(super) before: Option<CancellationToken>,
    pub(super) deliver: &'a Arc<D>,
    pub(super) statuses: &'a Outbox,
    pub(super) capacity: &'a watch::Receiver<Option<CapacityReport>>,
    pub(super) state: &'a watch::Sender<LinkState>,
    pub(super) counters: &'a Counters,
    pub(super) lasting: &'a Lasting,
}

struct Wires {
    control: mpsc::Sender<v1::SpokeMessage>,
    bulk: mpsc::Sender<v1::SpokeMessage>,
    inbound: Streaming<v1::HubMessage>,
}

/// The work of a session, and what comes of it.
struct Desk<D> {
    workers: Workers<D>,
    done: mpsc::UnboundedSender<Happening>,
    /// The right to deliver: asked for once the hub is obeyed, given back when all calls have ended. So no call of a session
    /// arrives after one of the session that follows it.
    turn: watch::Sender<Option<OwnedMutexGuard<()>>>,
}

impl<D: Deliver, S: IdentityStore> Connection<'_, D, S> {
    /// Runs until the session ends, for whatever reason; also says how long it was live.
    pub(super) async fn run(self, channel: Channel, stop: &CancellationToken) -> (End, Duration) {
        let (highest, held) = match self.memory().await {
            Ok(memory) => memory,
            Err(error) => return (End::Lost(error.to_string()), Duration::ZERO),
        };
        let (mut machine, hello) = Machine::new(highest, held, self.settings, Instant::now().into_std());
        let (done, mut answers) = mpsc::unbounded_channel();
        let turn = watch::channel(None).0;
        let workers =
            Workers::new(self.deliver.clone(), done.clone(), turn.subscribe(), self.counters.clone());
        let desk = Desk { workers, done, turn };
        let mut wires = match self.open(channel, hello).await {
            Ok(wires) => wires,
            Err(end) => return (end, Duration::ZERO),
        };
        let (mut live_since, mut news) = (None, None);
        let end = loop {
            if machine.is_live() && live_since.is_none() {
                live_since = Some(Instant::now());
                self.lasting.welcomed(machine.longest_wait());
                self.take_turn(&desk);
                news = Some(self.live(machine.most_bytes()));
            }
            let happening = tokio::select! {
                biased;
                () = stop.cancelled() => break End::Lost("this spoke stops".to_owned()),
                Some(happening) = answers.recv() => happening,
                said = wires.inbound.message() => match said {
                    Ok(Some(v1::HubMessage { message: Some(FromHub::TrustBundle(bundle)) })) => {
                        match self.trust(bundle, &wires).await {
                            Ok(()) => continue,
                            Err(end) => break end,
                        }
                    }
                    Ok(Some(message)) => Happening::Said(message),
                    Ok(None) => break End::Lost("the hub closed the stream".to_owned()),
                    Err(status) => break End::Lost(format!("the stream broke: {}", status.message())),
                },
                () = sleep_until(Instant::from_std(machine.wake_at())) => Happening::Tick,
                end = tell(&mut news, &wires.bulk) => break end,
            };
            if let Some(end) = self.take(&mut machine, happening, &desk, &wires).await {
                break end;
            }
        };
        drop(wires);
        desk.workers.end().await;
        (end, live_since.map(|since| since.elapsed()).unwrap_or_default())
    }

    /// What this cluster remembers: the highest epoch, what it holds of that hub, and for a new process what was deleted lately.
    async fn memory(&self) -> Result<(Option<Epoch>, Vec<HeldObject>), DeliverError> {
        let highest = self.deliver.highest_epoch().await?;
        let held = if highest.is_some() { self.deliver.held().await? } else { Vec::new() };
        if !self.lasting.guard().is_restored() {
            let releases = self.deliver.releases().await?;
            self.lasting.guard().restore(releases, Instant::now().into_std());
        }
        Ok((highest, held))
    }

    /// Asks for the right to deliver, which the session before still has until its calls have ended.
    fn take_turn(&self, desk: &Desk<D>) {
        if let Some(before) = &self.before {
            before.cancel();
        }
        let (turn, ours) = (self.turn.clone(), desk.turn.clone());
        tokio::spawn(async move { ours.send_replace(Some(turn.lock_owned().await)) });
    }

    async fn open(&self, channel: Channel, hello: Vec<Act>) -> Result<Wires, End> {
        let (control, answers) = mpsc::channel(CONTROL);
        let (bulk, news) = mpsc::channel(BULK);
        for act in hello {
            if let Act::Send(mut message) = act {
                if let Some(ToHub::Hello(hello)) = &mut message.message {
                    hello.trusted_authorities = self.credentials.trusted().await;
                }
                // The channel is new and empty.
                drop(control.try_send(message));
            }
        }
        let outbound =
            select_with_strategy(ReceiverStream::new(answers), ReceiverStream::new(news), |(): &mut ()| {
                PollNext::Left
            });
        let mut client = FleetSyncClient::new(channel).max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
        let opened = timeout(OPENING, client.connect(outbound)).await;
        match opened {
            Ok(Ok(inbound)) => Ok(Wires { control, bulk, inbound: inbound.into_inner() }),
            Ok(Err(status)) => Err(End::Lost(format!("the hub does not connect: {}", status.message()))),
            Err(_) => Err(End::Lost(format!("the hub does not connect within {} s", OPENING.as_secs()))),
        }
    }

    /// Trusts what the hub says, and says so once it is kept.
    async fn trust(&self, bundle: v1::TrustBundle, wires: &Wires) -> Result<(), End> {
        let trusted = self.credentials.trust(&bundle.ca_pem).await.map_err(|error| {
            End::Lost(format!("what the hub wants to be known by could not be kept: {error}"))
        })?;
        tracing::info!(authorities = trusted.join(", "), "the hub's CAs are kept");
        if bundle.renew_within_seconds > 0 {
            self.credentials.renew_within(bundle.renew_within_seconds);
        }
        let taken = v1::TrustTaken { trusted_authorities: trusted };
        let taken = v1::SpokeMessage { message: Some(ToHub::TrustTaken(taken)) };
        wires.control.try_send(taken).map_err(|_| End::Lost("the hub does not read, or has gone".to_owned()))
    }

    fn live(&self, most: usize) -> News {
        tracing::info!(hub = %self.settings.address, cluster = self.settings.cluster, "connected to the hub");
        self.counters.sessions.inc();
        self.state.send_replace(LinkState::Connected);
        self.counters.connected.set(1);
        News::new(self.statuses.clone(), self.capacity.clone(), most)
    }

    /// Takes what happened with all that follows from it; gives the end if the session is over.
    async fn take(
        &self,
        machine: &mut Machine,
        happening: Happening,
        desk: &Desk<D>,
        wires: &Wires,
    ) -> Option<End> {
        let now = || Instant::now().into_std();
        let mut acts = VecDeque::from(machine.on(happening, &mut self.lasting.guard(), self.settings, now()));
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Send(message) => {
                    if wires.control.try_send(message).is_err() {
                        return Some(End::Lost("the hub does not read, or has gone".to_owned()));
                    }
                }
                Act::Deliver(work, epoch) => desk.workers.start(work, epoch),
                Act::GiveUp(uid) => desk.workers.give_up(&uid),
                Act::AcceptEpoch(epoch) => {
                    let judged = match self.deliver.accept_epoch(&epoch).await {
                        Ok(()) => Happening::EpochJudged(Judgement::Obeyed),
                        Err(AcceptError::Refused(refused)) => {
                            self.counters.epochs_refused.inc();
                            tracing::error!(%epoch, hub_id = epoch.hub_id, %refused, "hub refused");
                            Happening::EpochJudged(Judgement::Refused(refused.to_string()))
                        }
                        Err(AcceptError::Store(error)) => Happening::Failed(error.to_string()),
                    };
                    acts.extend(machine.on(judged, &mut self.lasting.guard(), self.settings, now()));
                }
                Act::StoreReleases(version, releases) => {
                    let stored = match self.deliver.store_releases(&releases).await {
                        Ok(()) => Happening::ReleasesStored(version),
                        Err(error) => Happening::Failed(error.to_string()),
                    };
                    acts.extend(machine.on(stored, &mut self.lasting.guard(), self.settings, now()));
                }
                Act::ReadHeld => {
                    // Many objects may take a while to list; the hub's signs of life are read meanwhile.
                    let (deliver, done) = (self.deliver.clone(), desk.done.clone());
                    tokio::spawn(async move {
                        let held = caught(deliver.held()).await;
                        let held = held.unwrap_or_else(|panic| Err(DeliverError::Panic(panic)));
                        if let Err(error) = &held {
                            tracing::debug!(%error, "what is held could not be read; it is read again later");
                        }
                        // Fails only when the session has ended.
                        drop(done.send(Happening::Held(held.ok())));
                    });
                }
                Act::Close(end) => return Some(end),
            }
        }
        None
    }
}

/// Sends what is news, ends only with the stream. May be dropped at any wait.
async fn tell(news: &mut Option<News>, bulk: &mpsc::Sender<v1::SpokeMessage>) -> End {
    let Some(news) = news else { return pending().await };
    loop {
        let Ok(permit) = bulk.reserve().await else { return End::Lost("the stream ended".to_owned()) };
        permit.send(news.next().await);
    }
}
