//! A cluster joins by its own token alone, once, in time, and when its admin says so.

use std::time::Duration;

use e2e::failure::Failure;
use e2e::fleet::{Fleet, Invitation, NAMESPACE};
use e2e::objects;

const SOON: Duration = Duration::from_mins(2);

async fn refused_for(
    fleet: &Fleet,
    cluster: &str,
    invitation: &Invitation,
    word: &str,
) -> Result<(), Failure> {
    let member = fleet.cluster(cluster)?;
    member.start_spoke(invitation)?;
    fleet
        .eventually(&format!("{cluster} is told of {word:?}"), SOON, || async {
            let log = std::fs::read_to_string(member.spoke().log())?;
            if log.contains(word) && log.contains("join-command") {
                Ok(())
            } else {
                Err(Failure::new("its log does not say it"))
            }
        })
        .await?;
    member.spoke().kill();
    std::fs::write(member.spoke().log(), "")?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_an_expired_a_used_and_a_foreign_token_are_refused() -> Result<(), Failure> {
    let fleet =
        Fleet::new().cluster("east").cpu_nodes(1).cluster("west").cpu_nodes(1).not_joined().start().await?;
    let hub = fleet.hub();

    let good = hub.invite("west").await?;
    let secret = good.token.replace(|c: char| c != '.', "x");
    let wrong = Invitation { token: secret, ..good.clone() };
    refused_for(&fleet, "west", &wrong, "wrong").await?;

    let expired = hub.invite_for("west", "1s").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    refused_for(&fleet, "west", &expired, "expired").await?;

    let foreign = Invitation { cluster: "west".into(), ..hub.invite("north").await? };
    refused_for(&fleet, "west", &foreign, "north").await?;

    // A token is bound to the first key that showed it: another key of the same cluster comes too late.
    let used = hub.invite("east").await?;
    let east = fleet.cluster("east")?;
    east.spoke().kill();
    east.forget_identity().await?;
    east.start_spoke(&used)?;
    fleet
        .eventually("east has a certificate again", SOON, || async {
            let identity = "nimfleet-spoke-identity";
            let secret = objects::get(east.cluster(), "Secret", NAMESPACE, identity).await?;
            secret["data"]["tls.crt"].as_str().map(drop).ok_or_else(|| Failure::new("only a key yet"))
        })
        .await?;
    east.spoke().kill();
    east.forget_identity().await?;
    refused_for(&fleet, "east", &used, "used").await?;

    // None of these attempts made `west` a member.
    objects::absent(hub.cluster(), "GPUCluster", "", "north").await?;
    fleet.join("west").await
}

#[tokio::test]
async fn a_cluster_waits_for_its_admin_and_pins_the_hub() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").cpu_nodes(1).not_joined().start().await?;
    let hub = fleet.hub();
    let invitation = hub.invite("east").await?;

    let other_hub = Invitation { ca_hash: format!("sha256:{}", "0".repeat(64)), ..invitation.clone() };
    let member = fleet.cluster("east")?;
    member.start_spoke(&other_hub)?;
    fleet
        .eventually("the spoke refuses a hub of another CA", SOON, || async {
            let log = std::fs::read_to_string(member.spoke().log())?;
            if log.contains(&other_hub.ca_hash) { Ok(()) } else { Err(Failure::new(log)) }
        })
        .await?;
    objects::absent(hub.cluster(), "GPUCluster", "", "east").await?;

    member.start_spoke(&invitation)?;
    fleet
        .eventually("east waits to be accepted", SOON, || async {
            let cluster = objects::get(hub.cluster(), "GPUCluster", "", "east").await?;
            objects::expect(&cluster, "Accepted", "False")
        })
        .await?;
    assert!(hub.connected("east").await.is_err(), "connected without having been accepted");
    hub.accept("east").await?;
    fleet.eventually("east is connected", SOON, || hub.connected("east")).await
}
