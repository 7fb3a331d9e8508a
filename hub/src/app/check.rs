//! `nimfleet-hub check`.

use std::io::Write as _;

use runtime::check::{accepts, ready};

use super::AppError;
use crate::args::CheckArgs;

/// Connections that are tried. If the Service led to one standby too, all of them would reach the leader once in 2^20 checks.
const CONNECTIONS: usize = 20;

/// Succeeds when a hub is ready and every connection to the link is accepted.
pub(super) async fn check(args: &CheckArgs) -> Result<(), AppError> {
    ready(&args.ready, args.within).await.map_err(AppError::Check)?;
    accepts(&args.link, CONNECTIONS, args.within).await.map_err(AppError::Check)?;
    let text = format!("{} is ready, and {} accepts connections", args.ready, args.link);
    writeln!(std::io::stdout(), "{text}").map_err(AppError::Output)
}
