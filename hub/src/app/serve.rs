//! `nimfleet-hub serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connect::{check_kinds, connect};
use super::{AppError, join};
use crate::admin::{self, Stage};
use crate::args::{CommonArgs, ServeArgs};
use crate::controllers::{self, Doorkeeper, Setup};
use crate::epoch::EpochKeeper;
use crate::link::{Counters, Fleetbox, HEARTBEAT, Server};
use crate::metrics::Metrics;
use crate::pki::{Authority, KubeSecrets, Tokens};

/// What sessions have said and the hub has not taken in yet; sessions hold back, latest per object, while it is full.
const HEARD: usize = 1024;

/// Runs the hub until it is told to stop.
pub(super) async fn serve(common: &CommonArgs, args: &ServeArgs) -> Result<(), AppError> {
    let names = common.advertise.as_deref().map(join::host).transpose()?.into_iter().collect();
    let (client, url) = connect(common.kubeconfig.as_deref()).await?;
    check_kinds(&client, &url).await?;
    let spokes = listen("--listen", args.listen).await?;
    let admins = listen("--metrics-addr", args.metrics_addr).await?;
    let secrets = KubeSecrets::new(client.clone(), &common.namespace);
    let authority =
        Authority::load_or_create(&secrets, Timestamp::now()).await.map_err(AppError::Authority)?;
    let epochs = EpochKeeper::begin(client.clone(), &common.namespace).await.map_err(AppError::Epoch)?;

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let counters = Counters::default();
    let metrics = Metrics::new(&counters);
    let (stage, shown) = watch::channel(Stage::Syncing);
    let (events, heard) = mpsc::channel(HEARD);
    let fleetbox = Fleetbox::default();
    let unreachable_after =
        SignedDuration::try_from(args.unreachable_after).unwrap_or(SignedDuration::from_secs(30));
    let setup = Setup { client, fleetbox: fleetbox.clone(), metrics: metrics.clone(), unreachable_after };
    let hub = controllers::run(setup, heard, stage, &mut tasks, &stop);
    let link = Server {
        fleetbox,
        events,
        admission: Arc::new(Doorkeeper { hub }),
        epochs: Arc::new(epochs),
        authority: Arc::new(authority),
        tokens: Tokens::new(secrets),
        names,
        heartbeat: HEARTBEAT,
        counters,
    };
    let admin = tokio::spawn(admin::serve(admins, shown, metrics, stop.clone()));
    let mut link = tokio::spawn(link.serve(spokes, stop.clone()));
    tracing::info!(listen = %args.listen, metrics = %args.metrics_addr, version = env!("CARGO_PKG_VERSION"), "hub started");

    let ended = tokio::select! {
        asked = stopped() => asked,
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
        drop(link.await);
    }
    drop(admin.await);
    ended
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

async fn stopped() -> Result<(), AppError> {
    let broken = |error: std::io::Error| AppError::Process(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
