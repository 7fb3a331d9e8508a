//! The status of a NeMo microservice: the Deployment's own word, and what is missing of all that it depends on.

use super::Verdict;
use crate::operator::diagnosis::Diagnosis;
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::{Again, Failure, Outcome, Report, Subject};
use crate::operator::microservice::status::{self, DEPENDENCY_MISSING, Standing, with_missing};
use crate::operator::microservice::{gateway, live, readiness};

/// The whole status. Watches and references tell of what may change it; `again` is for what they do not.
pub(super) fn report(
    subject: &Subject,
    missing: &[String],
    diagnosis: &Diagnosis,
    verdict: &Verdict,
    outcome: &Outcome,
    again: Again,
) -> Report {
    let name = &subject.owner.name;
    let deployment = live(outcome, ChildKind::Deployment, name);
    let mut found = readiness::of(name, &deployment);
    let available = found.available;
    let failed = |why: &Failure| Standing::Failed { why: why.clone(), available };
    if let Some(why) = &outcome.failure {
        return status::report(subject, &failed(why), Again::Backoff);
    }
    if let Verdict::Fails(why) = verdict {
        return status::report(subject, &failed(why), again);
    }
    let hindrance = diagnosis.why(&deployment).filter(|_| !found.ready);
    let mut again = match again {
        Again::No => diagnosis.again(),
        again => again,
    };
    if hindrance.is_none()
        && let Some((words, next)) =
            readiness::still_starting(name, &deployment, &diagnosis.pods, subject.now)
    {
        found.message = words;
        again = Again::After(next);
    }
    let retiring = readiness::retiring(name, &deployment).filter(|_| found.ready);
    let ready = found.ready && retiring.is_none();
    let message = with_missing(retiring.unwrap_or_else(|| found.message.clone()), missing);
    if let Some(why) = &outcome.waits {
        let standing = Standing::NotReady { why: why.clone(), available: found.available };
        return status::report(subject, &standing, Again::Backoff);
    }
    let standing = if ready {
        Standing::Ready { message, available: found.available }
    } else if let Some(Failure { reason, message: why }) = hindrance {
        Standing::Hindered {
            why: Failure::new(reason, with_missing(why, missing)),
            progress: found.message,
            available: found.available,
        }
    } else {
        let reason = if missing.is_empty() { "NotReady" } else { DEPENDENCY_MISSING };
        Standing::NotReady { why: Failure::new(reason, message), available: found.available }
    };
    status::report(subject, &standing, again).unrouted(subject, gateway::refused(outcome).as_deref())
}
