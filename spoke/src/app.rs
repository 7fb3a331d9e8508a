//! The spoke, wired together.

pub mod agent;
mod cluster;
mod hub;
mod lease;
mod limits;
mod operation;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use runtime::cluster::ConfigError;
use runtime::lease::LeaseError;
use runtime::{Ended, Health, Tasks, admin, check, listen, logs, panics, shutdown};

use crate::args::{Args, Mode};
use crate::deliver::Warden;
use crate::link::Counters;
use crate::metrics::Metrics;
use crate::operator::Operator;

pub use limits::LimitsError;

/// How long what has begun may take to end when the spoke stops: a call to the API server, and less than Kubernetes gives
/// a pod (30 s).
const GRACE: Duration = Duration::from_secs(12);

/// How long `--check` tries.
const CHECK: Duration = Duration::from_mins(1);

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
    /// A part of the spoke has ended by itself.
    #[error("process: {0}: restart the spoke; if it happens again, its log says more")]
    Task(Ended),
    /// What was asked for by `--check` is not so.
    #[error("{0}")]
    Check(String),
    /// Signals cannot be listened to.
    #[error("signals: {0}: run on a system with SIGTERM")]
    Signals(io::Error),
}

/// Runs the spoke until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), AppError> {
    if let Some(address) = &args.check {
        return check::ready(address, CHECK).await.map_err(AppError::Check);
    }
    logs::start(args.log_format);
    panics::install();
    let client = cluster::connect(args.kubeconfig.as_deref()).await?;
    let hub = hub::wanted(&args).map_err(AppError::Hub)?;
    let limits = limits::read(args.limits.as_deref())?;
    let address = args.metrics_addr;
    let unusable = |source| AppError::Admin { address, source };
    let listener = listen::bind(address).map_err(unusable)?;
    let stop = shutdown::asked().map_err(AppError::Signals)?;
    let settings = operation::settings(&args);
    // Without a hub nothing is a hub's.
    let warden = hub.is_some().then(|| {
        let images = [settings.wait_for_postgres_image.as_str()];
        Arc::new(Warden::new(client.clone(), &args.namespace, limits.clone(), &images))
    });
    let operator = (args.mode == Mode::Native).then(|| Operator::new(client.clone(), settings));
    let operator = operator.map(|operator| match warden {
        Some(warden) => operator.judged_by(warden),
        None => operator,
    });
    let mutations = operator.as_ref().map(Operator::mutations).unwrap_or_default();
    let counters = Counters::default();
    let metrics = Metrics::new(operator.as_ref().map(Operator::gauges), hub.is_some().then_some(&counters));
    let health = Health::default();
    health.lacks("lease", "another instance has it, or it has not been asked for yet");
    // The admin port answers until everything else has ended.
    let mut admin = admin::serve(listener, health.clone(), move || metrics.encode()).map_err(unusable)?;
    let work = async {
        let Some(tenure) = lease::acquire(&client, &args, &stop).await? else { return Ok(()) };
        let (tasks, mut endings) = Tasks::new(health.clone());
        operation::start(operator, &health, &tasks, &stop);
        hub::start(hub, client, &args.namespace, (limits, mutations), counters, &tasks, &stop);
        health.has("lease");
        let mut keeping = pin!(health.watched("task lease", tenure.keep(&stop)));
        let ended = tokio::select! {
            // First, since everything ends when it is told to.
            biased;
            kept = &mut keeping => kept.map_err(AppError::from),
            ended = endings.next(), if !stop.is_cancelled() => {
                let unasked = !stop.is_cancelled();
                stop.cancel();
                let kept = keeping.await;
                if unasked {
                    let panic = ended.panic.as_ref().map(ToString::to_string);
                    tracing::error!(task = ended.task, panic, "a task has ended unasked: the spoke ends");
                    Err(AppError::Task(ended))
                } else {
                    kept.map_err(AppError::from)
                }
            }
        };
        health.lacks("process", "the spoke stops");
        tasks.shutdown(GRACE).await;
        ended
    };
    let ended = tokio::select! {
        ended = work => ended,
        ended = admin.ended() => Err(AppError::Admin { address, source: io::Error::other(ended) }),
    };
    admin.stop().await;
    ended
}
