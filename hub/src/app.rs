//! The process: what starts in which order, and how it ends.

mod check;
mod connect;
mod identity;
mod join;
mod raise_term;
mod rotate;
mod serve;

use std::net::SocketAddr;

use hub_scheduler::fleet::InvalidClusterName;
use runtime::cluster::ConfigError;
use runtime::lease::LeaseError;
use runtime::{CallError, logs};

use crate::args::{Args, CHARTS, Command};
use crate::epoch::EpochError;
use crate::link::ServeError;
use crate::pki::{AuthorityError, JoinError, SecretError};

/// Why the hub does not start, or ended. One line: what, value, remedy.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Nothing says where the API server is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server does not answer as it should.
    #[error("API server: {url}: {problem}: check the address and the credentials in the kubeconfig")]
    ApiServer {
        /// Its address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Kinds are missing.
    #[error(
        "CRDs: {missing}: not installed in {url}: install them with `helm install nimfleet-crds {}/nimfleet-crds`",
        CHARTS
    )]
    Kinds {
        /// Address of the API server.
        url: String,
        /// Which.
        missing: String,
    },
    /// A port cannot be listened on.
    #[error("{flag}: {address}: {problem}: choose another address or port with {flag}")]
    Listen {
        /// Flag that chooses it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        problem: String,
    },
    /// The address for spokes cannot be used.
    #[error(
        "--advertise: {value}: {problem}: give the host:port that spokes reach the hub at, for example hub.example.com:7443"
    )]
    Advertise {
        /// What was given.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The name of a cluster cannot be used.
    #[error(transparent)]
    ClusterName(#[from] InvalidClusterName),
    /// The lease cannot be had, or was lost.
    #[error("lease: {}", runtime::chain(.0))]
    Lease(LeaseError),
    /// The epoch cannot be had.
    #[error("state: {}", runtime::chain(.0))]
    Epoch(EpochError),
    /// The CA cannot be had.
    #[error("certificate authority: {}", runtime::chain(.0))]
    Authority(AuthorityError),
    /// What keeps hashes of Secrets from telling anything cannot be had.
    #[error("salt: {}", runtime::chain(.0))]
    Salt(SecretError),
    /// What proves epochs cannot be had.
    #[error("epoch key: {}", runtime::chain(.0))]
    EpochKey(SecretError),
    /// What clusters know this hub by is missing.
    #[error(
        "lost: clusters have joined this hub ({joined}), and it does not start without what they know it by: restore it from a \
         backup. Missing: {lost}"
    )]
    Lost {
        /// What, where, which flag makes it anew, and what follows.
        lost: String,
        /// How many clusters have joined, with names.
        joined: String,
    },
    /// The token cannot be made.
    #[error("join token: {}", runtime::chain(.0))]
    Join(JoinError),
    /// The link's server ended.
    #[error("link: {}", runtime::chain(.0))]
    Link(ServeError),
    /// What was done is not in the audit trail.
    #[error(
        "audit trail: {}: what this command did is done and not recorded; what it would have printed is left out. Run it again \
         once the API server takes Secrets", runtime::chain(.0)
    )]
    Audit(SecretError),
    /// What was asked for by `check` is not so.
    #[error("{0}")]
    Check(String),
    /// Output cannot be written.
    #[error("standard output: {0}: check where it is sent to")]
    Output(std::io::Error),
    /// The process cannot listen for signals, or a part of it has ended.
    #[error("process: {0}: restart the hub; if it happens again, its log says more")]
    Process(String),
}

impl AppError {
    /// Whether it may pass by itself: the API server cannot be asked or does not answer; or it has just started, and refuses
    /// (403) or does not know (kinds) what it will once it has read its roles and definitions.
    fn may_pass(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::ApiServer { .. } | Self::Kinds { .. } => return true,
            Self::Epoch(error) => Some(error),
            Self::Authority(error) => Some(error),
            Self::Salt(error) | Self::EpochKey(error) => Some(error),
            _ => None,
        };
        while let Some(error) = cause {
            match error.downcast_ref() {
                Some(kube::Error::Api(status)) => return matches!(status.code, 403 | 429 | 500..),
                Some(kube::Error::Service(_)) => return true,
                _ => {}
            }
            if matches!(error.downcast_ref(), Some(CallError::Timeout(_))) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Runs the command.
pub async fn run(args: Args) -> Result<(), AppError> {
    match args.command {
        Command::Serve(_) => logs::start(args.common.log_format),
        // Standard error is the terminal of whoever runs it.
        _ => logs::start_command(),
    }
    runtime::panics::install();
    // Only the first call in a process can succeed; the others find it done.
    drop(rustls::crypto::ring::default_provider().install_default());
    match args.command {
        Command::Serve(serve) => serve::serve(&args.common, &serve).await,
        Command::JoinCommand(join) => join::print(&args.common, &join).await,
        Command::RotateCa(rotate) => rotate::rotate(&args.common, &rotate).await,
        Command::Check(check) => check::check(&check).await,
        Command::RaiseTerm(raise) => raise_term::raise(&args.common, &raise).await,
    }
}
