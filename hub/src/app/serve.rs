//! `nimfleet-hub serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hub_scheduler::failover::Limits;
use jiff::SignedDuration;
use runtime::lease::{self, Fence, REFUSED_FOR};
use runtime::{Ended, Endings, Health, Identity, Tasks, admin, shutdown};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connect::{check_kinds, connect};
use super::identity::{self, HubIdentity};
use super::{AppError, join};
use crate::args::{CommonArgs, ServeArgs};
use crate::audit;
use crate::controllers::{self, Doorkeeper, Setup};
use crate::epoch::EpochKeeper;
use crate::leadership::{self, keep_label};
use crate::link::{Counters, DesiredState, HEARTBEAT, Server};
use crate::metrics::Metrics;
use crate::pki::{CERTIFICATE_LIFE, KubeSecrets, Tokens};
use crate::query::{self, Endpoint, Query};

/// What sessions have said and the hub has not taken in yet; sessions hold back, latest per object, while it is full.
const HEARD: usize = 1024;

/// The pause between two attempts to start.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long spokes have to hang up when the hub stops; a live one does at once.
const HANG_UP: Duration = Duration::from_secs(3);

/// Runs the hub until it is told to stop: as a standby, and as the leader once it holds the lease.
pub(super) async fn serve(common: &CommonArgs, args: &ServeArgs) -> Result<(), AppError> {
    let broken = |error: std::io::Error| AppError::Process(error.to_string());
    let names = join::hosts(&common.advertise)?;
    let admins = listen("--metrics-addr", args.metrics_addr)?;
    let asked = shutdown::asked().map_err(broken)?;
    let counters = Counters::default();
    let (metrics, health) = (Metrics::new(&counters), Health::default());
    let shown = metrics.clone();
    let mut admin = admin::serve(admins, health.clone(), move || shown.encode()).map_err(broken)?;
    tracing::info!(metrics = %args.metrics_addr, version = env!("CARGO_PKG_VERSION"), "hub started");

    let work = async {
        health.lacks("API server", "it has not answered yet");
        let connecting = patiently(&asked, async || {
            let (client, url) = connect(common.kubeconfig.as_deref()).await?;
            check_kinds(&client, &url).await?;
            Ok(client)
        });
        let Some(client) = connecting.await? else { return Ok(()) };
        health.has("API server");
        let process = Process { client, names, counters, metrics, health: health.clone() };
        process.run(common, args, &asked).await
    };
    let ended = tokio::select! {
        ended = work => ended,
        ended = admin.ended() => Err(AppError::Process(ended)),
    };
    admin.stop().await;
    ended
}

/// Repeats an attempt whose error may pass, for [`REFUSED_FOR`] at most; `None` when `asked` to stop meanwhile. The process does
/// not end instead, because the kubelet pauses for up to five minutes between two starts.
async fn patiently<T>(
    asked: &CancellationToken,
    attempt: impl AsyncFn() -> Result<T, AppError>,
) -> Result<Option<T>, AppError> {
    let (begun, mut said) = (Instant::now(), String::new());
    loop {
        let outcome = tokio::select! {
            () = asked.cancelled() => return Ok(None),
            outcome = attempt() => outcome,
        };
        let error = match outcome {
            Ok(done) => return Ok(Some(done)),
            Err(error) if error.may_pass() && begun.elapsed() < REFUSED_FOR => error.to_string(),
            Err(error) => return Err(error),
        };
        if error != said {
            tracing::warn!(error, at_most = ?REFUSED_FOR, "the hub cannot start yet; tried again");
        }
        said = error;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// What the process starts with, whether it leads or stands by.
struct Process {
    client: kube::Client,
    names: Vec<String>,
    counters: Counters,
    metrics: Metrics,
    health: Health,
}

impl Process {
    /// Stands by until this process holds the lease, then leads. A standby is ready: to take over is all that it is for.
    async fn run(
        self,
        common: &CommonArgs,
        args: &ServeArgs,
        asked: &CancellationToken,
    ) -> Result<(), AppError> {
        let (tasks, mut endings) = Tasks::new(self.health.clone());
        let identity = Identity::new(common.pod_name.as_deref(), &Uuid::new_v4().to_string());
        let name = identity.to_string();
        let fence = Fence::closed();
        let claim = leadership::claim(&common.namespace, identity, &fence);
        let held = tokio::select! {
            held = lease::acquire(self.client.clone(), claim, asked) => held,
            ended = endings.next() => return Err(ended_unasked(&ended)),
        };
        let Some(held) = held.map_err(AppError::Lease)? else { return Ok(()) };
        audit::hub_is(&name);
        let leaving = CancellationToken::new();
        let mut keeping = tokio::spawn(self.health.watched("task lease", held.keep(leaving.clone())));
        self.metrics.set_leading(true);
        let leader =
            Leader { client: fence.guard(self.client.clone()), fence, process: self, tasks, endings };
        let lost = async {
            match (&mut keeping).await {
                Ok(Ok(())) => {
                    AppError::Process("task lease has ended: the lease is not kept any more".to_owned())
                }
                Ok(Err(lost)) => AppError::Lease(lost),
                Err(error) => AppError::Process(format!("task lease has ended: {error}")),
            }
        };
        let ended = leader.lead(common, args, asked, lost).await;
        leaving.cancel();
        if !keeping.is_finished() {
            drop(keeping.await);
        }
        ended
    }
}

/// What a leader starts with.
struct Leader {
    /// Its writes ask the fence.
    client: kube::Client,
    fence: Fence,
    process: Process,
    tasks: Tasks,
    endings: Endings,
}

impl Leader {
    /// Does the work of the hub until it is asked to stop, or until the lease is `lost`.
    async fn lead(
        self,
        common: &CommonArgs,
        args: &ServeArgs,
        asked: &CancellationToken,
        lost: impl Future<Output = AppError>,
    ) -> Result<(), AppError> {
        let Self { client, fence, process, tasks, mut endings } = self;
        let Process { names, counters, metrics, health, .. } = process;
        health.lacks("state", "the hub has not read its CAs and its epoch yet");
        let spokes = listener("--listen", args.listen)?;
        let secrets = KubeSecrets::new(client.clone(), &common.namespace);
        let reading =
            patiently(asked, async || identity::load(&client, &common.namespace, common.ca_life, args).await);
        let Some(HubIdentity { authorities, salt, epoch_key }) = reading.await? else { return Ok(()) };
        let epochs = EpochKeeper::begin(client.clone(), &common.namespace, fence, epoch_key)
            .await
            .map_err(AppError::Epoch)?;
        let epochs = Arc::new(epochs);

        let stop = CancellationToken::new();
        let (following, stopped) = (epochs.clone(), stop.clone());
        tasks.spawn("term", async move { following.follow(stopped).await });
        tasks.spawn("audit", audit::follow(secrets.clone(), stop.clone()));
        if let Some(pod) = &common.pod_name {
            let keeping = keep_label(client.clone(), common.namespace.clone(), pod.clone(), stop.clone());
            tasks.spawn("leader label", keeping);
        }
        let (events, heard) = mpsc::channel(HEARD);
        let desired = DesiredState::default();
        let unreachable_after =
            SignedDuration::try_from(args.unreachable_after).unwrap_or(SignedDuration::from_secs(30));
        let limits = limits(args, unreachable_after);
        let return_within = SignedDuration::try_from(args.return_within).unwrap_or(SignedDuration::MAX);
        let asking = client.clone();
        let setup = Setup {
            client,
            desired: desired.clone(),
            metrics,
            salt,
            unreachable_after,
            limits,
            trust: authorities.subscribe(),
            return_within,
            namespace: common.namespace.clone(),
            standards: args.standards,
            health: health.clone(),
        };
        let hub = controllers::run(setup, heard, &tasks, &stop);
        health.has("state");
        if let Some(address) = args.query_listen {
            let name = format!("{}.{}.svc", args.query_service, common.namespace);
            let endpoint = args.pod_ip.map(|pod| Endpoint {
                address: pod,
                port: address.port(),
                service: args.query_service.clone(),
                namespace: common.namespace.clone(),
            });
            let query =
                Query { hub: hub.clone(), client: asking, trust: authorities.subscribe(), name, endpoint };
            tasks.spawn("query", query::serve(query, listener("--query-listen", address)?, stop.clone()));
        }
        let link = Server {
            desired,
            events,
            admission: Arc::new(Doorkeeper { hub }),
            epochs,
            authorities: Arc::new(authorities),
            certificate_life: SignedDuration::try_from(args.certificate_life).unwrap_or(CERTIFICATE_LIFE),
            return_within,
            tokens: Tokens::new(secrets),
            names,
            heartbeat: HEARTBEAT,
            counters,
        };
        let mut link = tokio::spawn(health.watched("task link", link.serve(spokes, stop.clone())));
        tracing::info!(listen = %args.listen, "leading");

        let ended = tokio::select! {
            () = asked.cancelled() => Ok(()),
            lost = lost => Err(lost),
            outcome = &mut link => match outcome {
                Ok(Ok(())) => Err(AppError::Process("task link has ended".to_owned())),
                Ok(Err(error)) => Err(AppError::Link(error)),
                Err(error) => Err(AppError::Process(format!("task link has ended: {error}"))),
            },
            // A watch or a worker ends only when it is told to, or by a fault: then a fresh start is the remedy.
            ended = endings.next() => Err(ended_unasked(&ended)),
        };
        tracing::info!("stopping");
        health.lacks("process", "the hub stops");
        stop.cancel();
        tasks.shutdown(HANG_UP).await;
        if !link.is_finished() {
            // A spoke that does not hang up must not keep the lease from the next hub.
            if timeout(HANG_UP, &mut link).await.is_err() {
                link.abort();
            }
        }
        ended
    }
}

/// A task has ended by itself.
fn ended_unasked(ended: &Ended) -> AppError {
    tracing::error!(
        task = ended.task,
        panic = ended.panic.as_ref().map(ToString::to_string),
        "a task has ended unasked: the hub ends"
    );
    AppError::Process(ended.to_string())
}

fn limits(args: &ServeArgs, noticed_after: SignedDuration) -> Limits {
    let defaults = Limits::default();
    Limits {
        noticed_after,
        stable_after: SignedDuration::try_from(args.failover.stable_after).unwrap_or(defaults.stable_after),
        brake_percent: args.failover.failover_brake,
        per_minute: args.failover.failover_rate,
    }
}

fn listen(flag: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, AppError> {
    runtime::listen::bind(address).map_err(|error| unusable(flag, address, &error))
}

/// The same for the link and the query API.
fn listener(flag: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let listener = listen(flag, address)?;
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    listener.map_err(|error| unusable(flag, address, &error))
}

fn unusable(flag: &'static str, address: SocketAddr, error: &std::io::Error) -> AppError {
    let problem = match error.kind() {
        std::io::ErrorKind::AddrInUse => "is in use by another process".to_owned(),
        _ => error.to_string(),
    };
    AppError::Listen { flag, address, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> AppError {
        let status = kube::core::Status { code, ..kube::core::Status::default() };
        let source = kube::Error::Api(Box::new(status)).into();
        AppError::Salt(crate::pki::SecretError::Call { name: "salt".to_owned(), source })
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_at_the_start_is_waited_out_for_some_minutes_and_no_other_fault() {
        let asked = CancellationToken::new();
        let begun = Instant::now();
        let outcome = patiently(&asked, async || {
            if begun.elapsed() < Duration::from_mins(2) { Err(refused(403)) } else { Ok(7) }
        });
        assert!(matches!(outcome.await, Ok(Some(7))));
        let (begun, refusing) = (Instant::now(), async || Err::<(), _>(refused(403)));
        let error = patiently(&asked, refusing).await.unwrap_err();
        assert!(matches!(error, AppError::Salt(_)) && begun.elapsed() >= REFUSED_FOR, "{error}");
        let begun = Instant::now();
        patiently(&asked, async || Err::<(), _>(refused(422))).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let waiting = patiently(&asked, refusing);
        asked.cancel();
        assert!(matches!(waiting.await, Ok(None)));
    }
}
