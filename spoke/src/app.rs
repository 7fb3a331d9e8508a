//! The spoke, wired together.

pub mod agent;
mod cluster;
mod hub;
mod limits;
mod operation;
mod tenure;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Stage};
use crate::args::{Args, Mode};
use crate::lease::LeaseError;
use crate::link::Counters;
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::telemetry;

pub use cluster::ConfigError;
pub use limits::LimitsError;

/// Why the spoke does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The cluster's API server is not known.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The admin port cannot be had.
    #[error("metrics address: {address}: {source}: choose another with --metrics-addr")]
    Admin {
        /// As given.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A flag about the hub cannot be used.
    #[error("{0}")]
    Hub(String),
    /// What the cluster's owner allows cannot be read.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// This instance may not work in this cluster.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Signals cannot be listened to.
    #[error("signals: {0}: run on a system with SIGTERM")]
    Signals(io::Error),
}

/// Runs the spoke until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), AppError> {
    telemetry::start(args.log_format);
    let client = cluster::connect(args.kubeconfig.as_deref()).await?;
    let hub = hub::wanted(&args).map_err(AppError::Hub)?;
    let limits = limits::read(args.limits.as_deref())?;
    let address = args.metrics_addr;
    let listener = TcpListener::bind(address).await.map_err(|source| AppError::Admin { address, source })?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone()).map_err(AppError::Signals)?;
    let operator = (args.mode == Mode::Native).then(|| Operator::new(client.clone()));
    let counters = Counters::default();
    let metrics = Metrics::new(operator.as_ref().map(Operator::gauges), hub.is_some().then_some(&counters));
    let (stage, staged) = watch::channel(Stage::Waiting);
    // The admin port answers until everything else has ended.
    let ended = CancellationToken::new();
    let admin = admin::serve(listener, staged, metrics, ended.clone());
    let work = async {
        let tenure = tenure::acquire(&client, &args, &stop).await;
        let outcome = match tenure {
            Ok(Some(tenure)) => {
                stage.send_replace(Stage::Syncing);
                let (kept, (), ()) = tokio::join!(
                    tenure.keep(&stop),
                    hub::run(hub, client, &args.namespace, limits, counters, stop.clone()),
                    operation::run(operator, &stage, &stop),
                );
                kept
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        ended.cancel();
        outcome
    };
    let (served, worked) = tokio::join!(admin, work);
    worked?;
    served.map_err(|source| AppError::Admin { address, source })
}

fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => (),
            _ = interrupt.recv() => (),
        }
        tracing::info!("asked to stop");
        stop.cancel();
    });
    Ok(())
}
