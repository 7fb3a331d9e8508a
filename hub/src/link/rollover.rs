//! Leads the hub from one CA to the next, as far as its clusters have come.

use std::sync::Arc;
use std::time::Duration;

use hub_core::audit::{Act, Action, Actor};
use hub_core::identity::{Member, Stage, awaited};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Admission, Counters};
use crate::audit::RecordAct;
use crate::pki::{Authorities, AuthorityError, Secrets};

/// How often the hub looks whether an admin has begun a rollover, and whether the next step can be taken: one read of
/// one Secret.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled.
pub(super) async fn lead<A: Admission, S: Secrets>(
    authorities: Arc<Authorities<S>>,
    admission: Arc<A>,
    counters: Counters,
    stop: CancellationToken,
) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Shown::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        if let Err(error) = look(&authorities, &*admission, &counters, &mut shown).await {
            tracing::warn!(%error, source = ?std::error::Error::source(&error), "the CAs could not be looked at; trying again");
        }
    }
}

/// What was logged last: the same is not logged again.
#[derive(Default)]
struct Shown {
    awaited: Vec<String>,
}

async fn look<A: Admission, S: Secrets>(
    authorities: &Authorities<S>,
    admission: &A,
    counters: &Counters,
    shown: &mut Shown,
) -> Result<(), AuthorityError> {
    authorities.refresh().await?;
    let trust = authorities.current();
    let expires_in = trust.signer().expires().duration_since(Timestamp::now());
    counters.authority_expires_seconds.set(expires_in.as_secs());
    let members = admission.members();
    let waiting = awaited(trust.stage(), trust.coming(), &members, trust.without());
    counters.rollover_awaits.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    if !waiting.is_empty() {
        let names: Vec<_> = waiting.iter().map(|member| name(member)).collect();
        if names != shown.awaited {
            tracing::info!(ca = %trust.coming(), stage = ?trust.stage(), clusters = names.join(", "), "the rollover waits");
            shown.awaited = names;
        }
    } else if let Some(stage) = authorities.advance(&members).await? {
        shown.awaited.clear();
        let ca = trust.coming();
        let done = match stage {
            Stage::Retiring => "the new CA signs; the old one is trusted until all have renewed",
            Stage::Introducing | Stage::Stable => "the old CA is dropped; the rollover is done",
        };
        Act::new(Action::RotateCa, Actor::Hub, &format!("{ca}: {done}")).record();
    }
    Ok(())
}

fn name(member: &Member) -> String {
    let absent = if member.connected { "" } else { " (not connected)" };
    format!("{}{absent}", member.cluster)
}
