//! `nimfleet-hub serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connect::{check_kinds, connect};
use super::identity::{self, HubIdentity};
use super::{AppError, join};
use crate::admin::{self, Stage};
use crate::args::{CommonArgs, ServeArgs};
use crate::audit;
use crate::controllers::{self, Doorkeeper, Setup};
use crate::epoch::EpochKeeper;
use crate::failover::Limits;
use crate::leadership::{self, Fence, Identity};
use crate::link::{Counters, Fleetbox, HEARTBEAT, Server};
use crate::metrics::Metrics;
use crate::pki::{CERTIFICATE_LIFE, KubeSecrets, Tokens};
use crate::query::{self, Endpoint, Query};

/// What sessions have said and the hub has not taken in yet; sessions hold back, latest per object, while it is full.
const HEARD: usize = 1024;

/// How long spokes have to hang up when the hub stops; a live one does at once.
const HANG_UP: Duration = Duration::from_secs(3);

/// Runs the hub until it is told to stop: as a standby, and as the leader once it holds the lease.
pub(super) async fn serve(common: &CommonArgs, args: &ServeArgs) -> Result<(), AppError> {
    let names = common.advertise.as_deref().map(join::host).transpose()?.into_iter().collect();
    let (client, url) = connect(common.kubeconfig.as_deref()).await?;
    check_kinds(&client, &url).await?;
    let admins = listen("--metrics-addr", args.metrics_addr).await?;
    let asked = asked_to_stop()?;
    let counters = Counters::default();
    let metrics = Metrics::new(&counters);
    let (stage, shown) = watch::channel(Stage::Standby);
    let stop = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(admins, shown, metrics.clone(), stop.clone()));
    tracing::info!(metrics = %args.metrics_addr, version = env!("CARGO_PKG_VERSION"), "hub started");

    let identity = Identity::new(args.pod_name.as_deref(), &Uuid::new_v4().to_string());
    let name = identity.to_string();
    let held = leadership::acquire(client.clone(), &common.namespace, identity, &asked).await;
    let ended = match held {
        Ok(None) => Ok(()),
        Err(error) => Err(AppError::Lease(error)),
        Ok(Some(held)) => {
            audit::hub_is(&name);
            let (fence, leaving) = (held.fence(), CancellationToken::new());
            let mut keeping = tokio::spawn(held.keep(leaving.clone()));
            metrics.set_leading(true);
            stage.send_replace(Stage::Syncing);
            let leader = Leader { client: fence.guard(client), fence, names, counters, metrics, stage };
            let lost = async {
                match (&mut keeping).await {
                    Ok(Ok(())) => AppError::Process("the lease is not kept any more".to_owned()),
                    Ok(Err(lost)) => AppError::Lease(lost),
                    Err(error) => AppError::Process(error.to_string()),
                }
            };
            let ended = leader.lead(common, args, &asked, lost).await;
            leaving.cancel();
            if !keeping.is_finished() {
                drop(keeping.await);
            }
            ended
        }
    };
    stop.cancel();
    drop(admin.await);
    ended
}

/// What a leader starts with.
struct Leader {
    /// Its writes ask the fence.
    client: kube::Client,
    fence: Fence,
    names: Vec<String>,
    counters: Counters,
    metrics: Metrics,
    stage: watch::Sender<Stage>,
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
        let Self { client, fence, names, counters, metrics, stage } = self;
        let spokes = listen("--listen", args.listen).await?;
        let secrets = KubeSecrets::new(client.clone(), &common.namespace);
        let HubIdentity { authorities, salt, epoch_key } =
            identity::load(&client, &common.namespace, common.ca_life, args).await?;
        let epochs = EpochKeeper::begin(client.clone(), &common.namespace, fence, epoch_key)
            .await
            .map_err(AppError::Epoch)?;
        let epochs = Arc::new(epochs);

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (following, stopped) = (epochs.clone(), stop.clone());
        tasks.spawn(async move { following.follow(stopped).await });
        let (events, heard) = mpsc::channel(HEARD);
        let fleetbox = Fleetbox::default();
        let unreachable_after =
            SignedDuration::try_from(args.unreachable_after).unwrap_or(SignedDuration::from_secs(30));
        let limits = limits(args, unreachable_after);
        let return_within = SignedDuration::try_from(args.return_within).unwrap_or(SignedDuration::MAX);
        let asking = client.clone();
        let setup = Setup {
            client,
            fleetbox: fleetbox.clone(),
            metrics,
            salt,
            unreachable_after,
            limits,
            trust: authorities.subscribe(),
            return_within,
            namespace: common.namespace.clone(),
            standards: args.standards,
        };
        let hub = controllers::run(setup, heard, stage, &mut tasks, &stop);
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
            tasks.spawn(query::serve(query, listen("--query-listen", address).await?, stop.clone()));
        }
        let link = Server {
            fleetbox,
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
        let mut link = tokio::spawn(link.serve(spokes, stop.clone()));
        tracing::info!(listen = %args.listen, "leading");

        let ended = tokio::select! {
            () = asked.cancelled() => Ok(()),
            lost = lost => Err(lost),
            outcome = &mut link => match outcome {
                Ok(Ok(())) => Err(AppError::Process("the link has ended".to_owned())),
                Ok(Err(error)) => Err(AppError::Link(error)),
                Err(error) => Err(AppError::Process(error.to_string())),
            },
            // A watch or the worker ends only when it is told to, or by a bug: then a fresh start is the remedy.
            Some(task) = tasks.join_next() => Err(AppError::Process(match task {
                Ok(()) => "a controller has ended".to_owned(),
                Err(error) => error.to_string(),
            })),
        };
        tracing::info!("stopping");
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        if !link.is_finished() {
            // A spoke that does not hang up must not keep the lease from the next hub.
            if timeout(HANG_UP, &mut link).await.is_err() {
                link.abort();
            }
        }
        ended
    }
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

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| {
        let problem = match error.kind() {
            std::io::ErrorKind::AddrInUse => "is in use by another process".to_owned(),
            _ => error.to_string(),
        };
        AppError::Listen { flag, address, problem }
    })
}

/// Cancelled when the process is asked to stop.
fn asked_to_stop() -> Result<CancellationToken, AppError> {
    let broken = |error: std::io::Error| AppError::Process(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let asked = CancellationToken::new();
    let told = asked.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(asked)
}
