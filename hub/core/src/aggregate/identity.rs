//! What a GPUCluster says of its agent's certificate: whether it is good, what the CA's rollover waits for, and whether
//! two agents use it.

use crds::condition::{self, Finding};
use crds::fleet::{GPUClusterSpec, GPUClusterStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Reason;
use crate::epoch::HIGHEST_RAISE;
use crate::identity::{CaHash, Stage, is_revoked};
use crate::link::UnprovenEpoch;

/// How long `DuplicateAgent` stays after an agent was turned away: such an agent asks again every 15 s or so.
pub const DUPLICATE_FOR: SignedDuration = SignedDuration::from_secs(60);

/// What is known beside the object itself.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// Whether a session is up.
    pub connected: bool,
    /// How far the rollover of the CA is.
    pub stage: Stage,
    /// The CA that comes, or is.
    pub coming: &'a CaHash,
    /// A spoke whose certificate ended no longer ago than this gets another by proof of its key.
    pub return_within: SignedDuration,
    /// When an agent was last turned away for being a second one, and what was said of it.
    pub duplicate: Option<&'a (Timestamp, String)>,
    /// The epoch for which its agent was turned away last, and has not been let in since.
    pub unproven: Option<UnprovenEpoch>,
}

/// Sets `CertificateValid`, `TrustUpToDate` and, once there was something to tell, `DuplicateAgent` and `EpochProven`. `status` holds what is known of
/// the certificate.
pub fn set_identity_conditions(
    conditions: &mut Vec<Condition>,
    spec: &GPUClusterSpec,
    status: &GPUClusterStatus,
    identity: &Identity<'_>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let findings = [
        certificate_valid(spec, status, identity, now),
        trust_up_to_date(status, identity),
        duplicate_agent(conditions, identity, now),
        epoch_proven(conditions, identity),
    ];
    for finding in findings.into_iter().flatten() {
        condition::set(conditions, finding, generation, now);
    }
}

fn certificate_valid(
    spec: &GPUClusterSpec,
    status: &GPUClusterStatus,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Option<Finding<'static>> {
    let kind = "CertificateValid";
    let expiry = status.certificate_expiry.as_ref()?.0;
    if status
        .certificate_serial
        .as_deref()
        .is_some_and(|serial| is_revoked(serial, &spec.revoked_certificates))
    {
        let message =
            "spec.revokedCertificates lists it: the agent needs a new token from `nimfleet-hub join-command`";
        return Some(Finding::new(kind, false, Reason::CertificateRevoked.as_str(), message));
    }
    if expiry > now || identity.connected {
        let message = "the agent renews it when two thirds of its life are over";
        return Some(Finding::new(kind, true, Reason::CertificateValid.as_str(), message));
    }
    let until = expiry.checked_add(identity.return_within).unwrap_or(Timestamp::MAX);
    let message = if until > now {
        format!(
            "it expired at {expiry:.0} while the agent was away: when the agent returns before {until:.0} it gets another \
             by proof of its key; what it runs is not touched"
        )
    } else {
        format!(
            "it expired at {expiry:.0}, too long ago to be replaced by proof of its key: the agent needs a new token from \
             `nimfleet-hub join-command`; what it runs is not touched"
        )
    };
    Some(Finding::new(kind, false, Reason::CertificateExpired.as_str(), message))
}

fn trust_up_to_date(status: &GPUClusterStatus, identity: &Identity<'_>) -> Option<Finding<'static>> {
    let kind = "TrustUpToDate";
    let authority = status.certificate_authority.as_deref()?;
    let coming = identity.coming.as_str();
    let trusts = status.trusted_authorities.iter().any(|hash| hash == coming);
    let waits = if identity.connected { "" } else { "; the agent is not connected" };
    Some(match identity.stage {
        _ if !trusts => {
            let message =
                format!("the agent does not trust the CA {coming} yet, and its rollover waits{waits}");
            Finding::new(kind, false, Reason::TrustAwaited.as_str(), message)
        }
        Stage::Retiring if authority != coming => {
            let message = format!(
                "the agent's certificate is not of the CA {coming} yet, and the rollover from {authority} waits{waits}"
            );
            Finding::new(kind, false, Reason::RenewalAwaited.as_str(), message)
        }
        _ => {
            let message = "the agent trusts the hub's CA";
            Finding::new(kind, true, Reason::TrustTaken.as_str(), message)
        }
    })
}

fn duplicate_agent(
    stored: &[Condition],
    identity: &Identity<'_>,
    now: Timestamp,
) -> Option<Finding<'static>> {
    let kind = "DuplicateAgent";
    match identity.duplicate {
        Some((at, message)) if now.duration_since(*at) < DUPLICATE_FOR => {
            let message = format!(
                "{message}; run one agent per cluster. If the other is not yours, list the first 16 digits of \
                 status.certificateSerial in spec.revokedCertificates and join the cluster with a new token"
            );
            Some(Finding::new(kind, true, Reason::DuplicateAgent.as_str(), message))
        }
        _ => condition::find(stored, kind).map(|_| {
            Finding::new(kind, false, Reason::OneAgent.as_str(), "no second agent has shown itself lately")
        }),
    }
}

fn epoch_proven(stored: &[Condition], identity: &Identity<'_>) -> Option<Finding<'static>> {
    let kind = "EpochProven";
    let Some(unproven) = identity.unproven else {
        // A hub that has just started knows nothing of it until the agent is let in.
        let told = condition::find(stored, kind).filter(|_| identity.connected)?;
        let message = "the agent has accepted no epoch above this hub's";
        return (told.status != "True")
            .then(|| Finding::new(kind, true, Reason::EpochProven.as_str(), message));
    };
    let theirs = unproven.theirs;
    let restored = if theirs > HIGHEST_RAISE {
        "no hub reaches that term, so what the agent says is wrong".to_owned()
    } else {
        format!(
            "if this hub was restored from a backup, run `nimfleet-hub raise-term {theirs}`; if not, the agent is wrong"
        )
    };
    let message = format!(
        "{unproven}; {restored}: list the first 16 digits of status.certificateSerial in spec.revokedCertificates, have its owner \
         delete the ConfigMap nimfleet-spoke-state of its cluster, and join the cluster with a new token"
    );
    Some(Finding::new(kind, false, Reason::EpochUnproven.as_str(), message))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    const SERIAL: &str = "40000000000000010000000000000001";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(authority: &str, trusted: &[&str]) -> GPUClusterStatus {
        GPUClusterStatus {
            certificate_expiry: Some(Time(at(1000))),
            certificate_serial: Some(SERIAL.into()),
            certificate_authority: Some(authority.into()),
            trusted_authorities: trusted.iter().map(|hash| (*hash).to_owned()).collect(),
            ..GPUClusterStatus::default()
        }
    }

    fn found(
        spec: &GPUClusterSpec,
        status: &GPUClusterStatus,
        identity: &Identity<'_>,
        now: i64,
    ) -> Vec<Condition> {
        let mut conditions = Vec::new();
        set_identity_conditions(&mut conditions, spec, status, identity, None, at(now));
        conditions
    }

    fn reason<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a str> {
        condition::find(conditions, kind).map(|condition| condition.reason.as_str())
    }

    #[test]
    fn a_certificate_is_valid_or_says_what_helps() {
        let coming = CaHash::reported("a");
        let identity = |connected| Identity {
            connected,
            stage: Stage::Stable,
            coming: &coming,
            return_within: SignedDuration::from_secs(100),
            duplicate: None,
            unproven: None,
        };
        let revoked = |list: &[&str]| GPUClusterSpec {
            revoked_certificates: list.iter().map(|entry| (*entry).to_owned()).collect(),
            ..GPUClusterSpec::default()
        };
        let table = [
            (true, 999, revoked(&[]), "CertificateValid", "renews it"),
            (false, 999, revoked(&[]), "CertificateValid", "renews it"),
            // The clock of the hub's API server may be ahead of the session's end.
            (true, 1000, revoked(&[]), "CertificateValid", "renews it"),
            (false, 1000, revoked(&[]), "CertificateExpired", "by proof of its key"),
            (false, 1100, revoked(&[]), "CertificateExpired", "needs a new token"),
            (true, 999, revoked(&[&SERIAL[..16]]), "CertificateRevoked", "needs a new token"),
            (false, 1100, revoked(&["4000000000000002"]), "CertificateExpired", "needs a new token"),
        ];
        for (connected, now, spec, expected, words) in table {
            let conditions = found(&spec, &status("a", &["a"]), &identity(connected), now);
            assert_eq!(reason(&conditions, "CertificateValid"), Some(expected), "at {now}");
            let message = &condition::find(&conditions, "CertificateValid").unwrap().message;
            assert!(message.contains(words), "{message}");
        }
        let never = found(&revoked(&[]), &GPUClusterStatus::default(), &identity(false), 0);
        assert!(never.is_empty(), "nothing is said of a certificate that was never seen: {never:?}");
    }

    #[test]
    fn a_rollover_names_whom_it_waits_for() {
        let coming = CaHash::reported("b");
        let table = [
            (Stage::Introducing, status("a", &["a"]), "TrustAwaited"),
            (Stage::Introducing, status("a", &["a", "b"]), "TrustTaken"),
            (Stage::Retiring, status("a", &["a", "b"]), "RenewalAwaited"),
            (Stage::Retiring, status("b", &["b", "a"]), "TrustTaken"),
            (Stage::Stable, status("b", &["b"]), "TrustTaken"),
            (Stage::Stable, status("a", &["a"]), "TrustAwaited"),
        ];
        for (stage, status, expected) in table {
            for connected in [true, false] {
                let identity = Identity {
                    connected,
                    stage,
                    coming: &coming,
                    return_within: SignedDuration::ZERO,
                    duplicate: None,
                    unproven: None,
                };
                let conditions = found(&GPUClusterSpec::default(), &status, &identity, 0);
                assert_eq!(reason(&conditions, "TrustUpToDate"), Some(expected), "{stage:?} {status:?}");
            }
        }
    }

    #[test]
    fn a_second_agent_shows_until_it_has_been_quiet_for_a_while() {
        let coming = CaHash::reported("a");
        let seen = (at(10), "an agent at 192.0.2.1".to_owned());
        let identity = |duplicate| Identity {
            connected: true,
            stage: Stage::Stable,
            coming: &coming,
            return_within: SignedDuration::ZERO,
            duplicate,
            unproven: None,
        };
        let (spec, status) = (GPUClusterSpec::default(), status("a", &["a"]));
        let mut conditions = found(&spec, &status, &identity(None), 9);
        assert_eq!(reason(&conditions, "DuplicateAgent"), None, "nothing is said while all is well");
        for (now, expected) in [(10, "DuplicateAgent"), (69, "DuplicateAgent"), (70, "OneAgent")] {
            set_identity_conditions(&mut conditions, &spec, &status, &identity(Some(&seen)), None, at(now));
            assert_eq!(reason(&conditions, "DuplicateAgent"), Some(expected), "at {now}");
        }
    }

    #[test]
    fn an_epoch_that_was_not_proven_shows_with_numbers_and_remedy_until_the_agent_is_let_in() {
        let coming = CaHash::reported("a");
        let identity = |connected, unproven| Identity {
            connected,
            stage: Stage::Stable,
            coming: &coming,
            return_within: SignedDuration::ZERO,
            duplicate: None,
            unproven,
        };
        let (spec, status) = (GPUClusterSpec::default(), status("a", &["a"]));
        let mut conditions = found(&spec, &status, &identity(true, None), 0);
        assert_eq!(reason(&conditions, "EpochProven"), None, "nothing is said while all is well");
        let table = [(41, "raise-term 41`"), (u64::MAX, "no hub reaches that term")];
        for (theirs, words) in table {
            let unproven = Some(UnprovenEpoch { theirs, ours: 7, has_proof: false });
            set_identity_conditions(&mut conditions, &spec, &status, &identity(false, unproven), None, at(0));
            let shown = condition::find(&conditions, "EpochProven").unwrap();
            let numbers = [format!("term {theirs} "), "term 7".to_owned(), "without a proof".to_owned()];
            assert_eq!((shown.status.as_str(), shown.reason.as_str()), ("False", "EpochUnproven"));
            assert!(numbers.iter().all(|word| shown.message.contains(word)), "{}", shown.message);
            assert!(shown.message.contains(words), "{}", shown.message);
        }
        set_identity_conditions(&mut conditions, &spec, &status, &identity(false, None), None, at(0));
        assert_eq!(reason(&conditions, "EpochProven"), Some("EpochUnproven"), "a restarted hub keeps it");
        set_identity_conditions(&mut conditions, &spec, &status, &identity(true, None), None, at(0));
        assert_eq!(reason(&conditions, "EpochProven"), Some("EpochProven"));
    }
}
