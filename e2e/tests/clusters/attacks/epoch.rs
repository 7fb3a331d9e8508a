//! What a hostile spoke says of the epoch, and a hub that lost its key.

use std::time::Duration;

use e2e::failure::Failure;
use e2e::fleet::{Fleet, NAMESPACE};
use e2e::objects;
use proto::v1;
use proto::v1::hub_message::Message as FromHub;
use serde_json::json;

use super::hostile_spoke::{HostileSpoke, goodbye};

const SOON: Duration = Duration::from_mins(1);

/// The hub's epoch as it is stored: hub ID and term.
async fn stored(fleet: &Fleet) -> Result<(String, u64), Failure> {
    let map = objects::get(fleet.hub().cluster(), "ConfigMap", NAMESPACE, "nimfleet-hub-state").await?;
    let field = |key: &str| map["data"][key].as_str().unwrap_or_default().to_owned();
    Ok((field("hubID"), field("term").parse().map_err(|error| Failure::new(format!("{error}")))?))
}

async fn shows(fleet: &Fleet, cluster: &str, status: &str, reason: &str) -> Result<String, Failure> {
    fleet
        .eventually(&format!("{cluster} shows EpochProven={status}: {reason}"), SOON, || async {
            let found = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
            match objects::condition(&found, "EpochProven") {
                Some((is, why, message)) if is == status && why == reason => Ok(message),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}

#[tokio::test]
async fn an_epoch_that_is_not_proven_raises_nothing_and_is_shown() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").cpu_nodes(1).start().await?;
    let hub = fleet.hub();
    let (mallory, _) = HostileSpoke::joined(&fleet, "mallory", "uid").await?;
    let (hub_id, term) = stored(&fleet).await?;
    let claim = |term| v1::Epoch {
        hub_id: hub_id.clone(),
        term,
        incarnation: "made-up".into(),
        ..Default::default()
    };

    // An agent of the version before proves nothing, and need not while its epoch is not above the hub's.
    let word = mallory.answer(Some(claim(term - 1))).await;
    assert!(matches!(word, FromHub::Welcome(_)), "{word:?}");

    let word = mallory.answer(Some(claim(u64::MAX))).await;
    assert!(goodbye(&word).message.contains(&u64::MAX.to_string()), "{word:?}");
    assert_eq!(
        stored(&fleet).await?,
        (hub_id.clone(), term),
        "the term of all clusters follows one spoke's word"
    );
    let message = shows(&fleet, "mallory", "False", "EpochUnproven").await?;
    let (theirs, ours) = (u64::MAX.to_string(), format!("term {term}"));
    assert!(
        message.contains(&theirs) && message.contains(&ours) && message.contains("revokedCertificates"),
        "{message}"
    );
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await?;

    // A term that could be: the admin is told the command, and its word counts under the hub that runs.
    let lost = term + 40;
    let word = mallory.answer(Some(claim(lost))).await;
    assert_eq!(goodbye(&word).reason(), v1::GoAwayReason::EpochUnproven, "{word:?}");
    fleet
        .eventually("the command is named", SOON, || async {
            let message = shows(&fleet, "mallory", "False", "EpochUnproven").await?;
            let command = format!("`nimfleet-hub raise-term {lost}`");
            if message.contains(&command) { Ok(()) } else { Err(Failure::new(message)) }
        })
        .await?;
    assert_eq!(stored(&fleet).await?, (hub_id.clone(), term));
    let refused = hub.raise_term(u64::MAX).await.unwrap_err().to_string();
    assert!(refused.contains("EpochProven"), "{refused}");
    let said = hub.raise_term(lost).await?;
    assert!(said.contains(&format!("raised: the hub is at term {}", lost + 1)), "{said}");
    // The command ends when the term is stored; the hub takes it up and records it after that.
    recorded(&fleet, "raise-term").await?;
    let welcomed = || async {
        match mallory.answer(Some(claim(lost))).await {
            FromHub::Welcome(welcome) => Ok(welcome),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    };
    let welcome = fleet.eventually("it is let in", SOON, welcomed).await?;
    let offered = welcome.epoch.clone().unwrap_or_default();
    assert_eq!((offered.term, offered.proof.len()), (lost + 1, 32));
    shows(&fleet, "mallory", "True", "EpochProven").await?;

    // Its proof is of no use with another term, nor to another cluster.
    let forged = v1::Epoch { term: offered.term + 1, ..offered.clone() };
    assert!(goodbye(&mallory.answer(Some(forged)).await).message.contains("did not make"));
    let (eve, _) = HostileSpoke::joined(&fleet, "eve", "uid").await?;
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await?;

    // The next start of the hub is obeyed by the others as ever.
    hub.kill();
    hub.restart()?;
    fleet.eventually("the hub leads again", SOON, || hub.ready()).await?;
    let (_, term) = stored(&fleet).await?;
    assert_eq!(term, lost + 2);
    let east = fleet.cluster("east")?.cluster();
    fleet
        .eventually("east has accepted the term, and keeps its proof", SOON, || async {
            let state = objects::get(east, "ConfigMap", NAMESPACE, "nimfleet-spoke-state").await?;
            let proof = state["data"]["proof"].as_str().unwrap_or_default();
            let is_kept = state["data"]["term"].as_str() == Some(&term.to_string()) && proof.len() == 64;
            if is_kept { Ok(()) } else { Err(Failure::new(state["data"].to_string())) }
        })
        .await?;

    // A hub restored from before that start knows its own epoch again, by the spoke that was offered it, and by no other.
    let FromHub::Welcome(welcome) = mallory.answer(Some(offered)).await else { panic!("it is let in") };
    let latest = welcome.epoch.unwrap_or_default();
    hub.kill();
    let older = json!({"data": {"term": lost.to_string(), "incarnation": "restored"}});
    objects::patch(hub.cluster(), "ConfigMap", NAMESPACE, "nimfleet-hub-state", older).await?;
    east_sleeps(&fleet)?;
    hub.restart()?;
    fleet.eventually("the restored hub leads", SOON, || hub.ready()).await?;
    let copied = goodbye(&eve.answer(Some(latest.clone())).await).message.clone();
    assert!(copied.contains("did not make"), "{copied}");
    let FromHub::Welcome(welcome) = mallory.answer(Some(latest.clone())).await else {
        panic!("it is proven")
    };
    assert_eq!(welcome.epoch.unwrap_or_default().term, latest.term + 1);
    Ok(())
}

/// Waits until the log of the hub has an audit record of this act.
async fn recorded(fleet: &Fleet, act: &str) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{act} is recorded"), SOON, || async {
            let log = std::fs::read_to_string(fleet.hub().daemon().log())?;
            if log.contains(act) && log.contains("audit") {
                Ok(())
            } else {
                Err(Failure::new("the act is not recorded"))
            }
        })
        .await
}

/// Keeps the cluster's own spoke from raising the term first.
fn east_sleeps(fleet: &Fleet) -> Result<(), Failure> {
    fleet.cluster("east")?.kill_spoke();
    Ok(())
}

/// Takes what clusters know the hub by, and gives it back.
struct Kept {
    kind: &'static str,
    name: &'static str,
    flag: &'static str,
}

const KEPT: [Kept; 4] = [
    Kept { kind: "Secret", name: "nimfleet-hub-ca", flag: "ca" },
    Kept { kind: "ConfigMap", name: "nimfleet-hub-state", flag: "identity" },
    Kept { kind: "Secret", name: "nimfleet-hub-salt", flag: "salt" },
    Kept { kind: "Secret", name: "nimfleet-hub-epoch-key", flag: "epoch-key" },
];

/// That the hub ends by itself and says so many words.
async fn refuses_to_start(fleet: &Fleet, words: &[String]) -> Result<(), Failure> {
    let daemon = fleet.hub().daemon();
    std::fs::write(daemon.log(), "")?;
    fleet.hub().restart()?;
    fleet
        .eventually("the hub refuses to start", SOON, || async {
            daemon.ended().map(drop).ok_or_else(|| Failure::new("it runs"))
        })
        .await?;
    let log = std::fs::read_to_string(daemon.log())?;
    for word in words {
        assert!(log.contains(word), "{word:?} is not in: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_hub_that_lost_what_clusters_know_it_by_refuses_to_start() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").cpu_nodes(1).start().await?;
    let (hub, api) = (fleet.hub(), fleet.hub().cluster());
    let mut saved = Vec::new();
    for Kept { kind, name, .. } in &KEPT {
        let mut object = objects::get(api, kind, NAMESPACE, name).await?;
        object["metadata"] = json!({"name": name, "namespace": NAMESPACE});
        saved.push(object.to_string());
    }
    let before = stored(&fleet).await?;

    // One after the other, and all at once.
    hub.kill();
    for (Kept { kind, name, flag }, saved) in KEPT.iter().zip(&saved) {
        objects::delete(api, kind, NAMESPACE, name).await?;
        let place = format!("{kind} {NAMESPACE}/{name}");
        refuses_to_start(&fleet, &[place, format!("--begin-anew={flag}"), "1: east".to_owned()]).await?;
        objects::absent(api, kind, NAMESPACE, name).await?;
        objects::apply(api, saved).await?;
    }
    for Kept { kind, name, .. } in &KEPT {
        objects::delete(api, kind, NAMESPACE, name).await?;
    }
    let flags: Vec<_> = KEPT.iter().map(|kept| format!("--begin-anew={}", kept.flag)).collect();
    refuses_to_start(&fleet, &flags).await?;
    let refused = hub.invite("west").await.unwrap_err().to_string();
    assert!(refused.contains("--begin-anew=ca"), "a command makes no CA either: {refused}");
    objects::absent(api, "Secret", NAMESPACE, "nimfleet-hub-ca").await?;

    // Restored, it is the hub that it was; and without its key, when the admin says so.
    for saved in &saved {
        objects::apply(api, saved).await?;
    }
    hub.restart()?;
    fleet.eventually("the hub leads", SOON, || hub.ready()).await?;
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await?;
    let (hub_id, term) = stored(&fleet).await?;
    assert_eq!((hub_id, term), (before.0, before.1 + 1));
    hub.kill();
    objects::delete(api, "Secret", NAMESPACE, "nimfleet-hub-epoch-key").await?;
    std::fs::write(hub.daemon().log(), "")?;
    hub.restart_with("begin-anew", "epoch-key")?;
    fleet.eventually("the hub leads", SOON, || hub.ready()).await?;
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await?;
    recorded(&fleet, "begin-anew").await
}
