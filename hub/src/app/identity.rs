//! What clusters know this hub by, read at its start. What is missing while clusters have joined was lost: it is made anew only
//! where the admin says so, because clusters then have to join again, or refuse this hub.

use std::time::Duration;

use crds::fleet::GPUCluster;
use hub_core::audit::{Act, Action, Actor};
use hub_core::identity::EpochKey;
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use runtime::call::{LIMIT, within};

use super::AppError;
use crate::args::{Keepsake, ServeArgs};
use crate::audit::RecordAct;
use crate::epoch::State;
use crate::pki::{
    AUTHORITY_LIFE, Authorities, EPOCH_KEY_SECRET, KubeSecrets, Salt, Secrets, load_epoch_key,
    load_or_create_epoch_key,
};

/// GPUClusters are read in pages of so many: each has a status of up to 256 KiB.
const PAGE: u32 = 100;
/// So many clusters that have joined are named.
const NAMED: usize = 5;

/// What clusters know a hub by, beside its epoch.
pub(super) struct HubIdentity {
    /// Sign certificates.
    pub(super) authorities: Authorities<KubeSecrets>,
    /// Salts the hashes of Secrets.
    pub(super) salt: Salt,
    /// Proves epochs.
    pub(super) epoch_key: EpochKey,
}

/// Reads everything. What is missing is made, unless it was lost and `args` do not say to begin anew with it.
pub(super) async fn load(
    client: &Client,
    namespace: &str,
    ca_life: Duration,
    args: &ServeArgs,
) -> Result<HubIdentity, AppError> {
    let secrets = KubeSecrets::new(client.clone(), namespace);
    let state = State::load(client.clone(), namespace).await.map_err(AppError::Epoch)?;
    let epoch_key = load_epoch_key(&secrets).await.map_err(AppError::EpochKey)?;
    let exists = async |name: &str| secrets.get(name).await.map(|found| found.is_some());
    let found = Found {
        ca: exists(Authorities::<KubeSecrets>::SECRET)
            .await
            .map_err(|error| AppError::Authority(error.into()))?,
        salt: exists(Salt::SECRET).await.map_err(AppError::Salt)?,
        state: state.as_ref(),
        epoch_key: epoch_key.as_ref(),
    };
    let missing = found.missing();
    for kept in args.begin_anew.iter().filter(|kept| !missing.contains(kept)) {
        tracing::warn!(
            flag = format!("--begin-anew={}", kept.as_str()),
            "nothing of that was lost: remove the flag, so that a loss is noticed"
        );
    }
    let joined = if missing.is_empty() { Vec::new() } else { joined(client).await? };
    if !joined.is_empty() {
        let (allowed, lost): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|kept| args.begin_anew.contains(kept));
        if !lost.is_empty() {
            return Err(lost_error(&lost, namespace, &joined));
        }
        for kept in allowed {
            let cause = format!(
                "--begin-anew={}: {} was lost while clusters had joined ({})",
                kept.as_str(),
                place(kept, namespace),
                named(&joined)
            );
            Act::new(Action::BeginAnew, Actor::Hub, &cause).count(joined.len() as u64).record();
        }
    }
    Ok(HubIdentity {
        authorities: made(secrets.clone(), ca_life).await?,
        salt: Salt::load_or_create(&secrets).await.map_err(AppError::Salt)?,
        epoch_key: load_or_create_epoch_key(&secrets).await.map_err(AppError::EpochKey)?,
    })
}

/// The CAs alone, for commands beside the hub: none is made in place of one that was lost.
pub(super) async fn authorities(
    client: &Client,
    namespace: &str,
    ca_life: Duration,
) -> Result<Authorities<KubeSecrets>, AppError> {
    let secrets = KubeSecrets::new(client.clone(), namespace);
    let found = secrets.get(Authorities::<KubeSecrets>::SECRET).await;
    if found.map_err(|error| AppError::Authority(error.into()))?.is_none() {
        let joined = joined(client).await?;
        if !joined.is_empty() {
            return Err(lost_error(&[Keepsake::Ca], namespace, &joined));
        }
    }
    made(secrets, ca_life).await
}

async fn made(secrets: KubeSecrets, ca_life: Duration) -> Result<Authorities<KubeSecrets>, AppError> {
    let life = SignedDuration::try_from(ca_life).unwrap_or(AUTHORITY_LIFE);
    Authorities::load_or_create(secrets, Timestamp::now(), life).await.map_err(AppError::Authority)
}

/// What is there at a start.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    ca: bool,
    salt: bool,
    state: Option<&'a State>,
    epoch_key: Option<&'a EpochKey>,
}

impl Found<'_> {
    /// What a hub that has worked before has, and this one lacks.
    fn missing(&self) -> Vec<Keepsake> {
        let known_key = match (self.state, self.epoch_key) {
            // A state without a key's name was written by a version before such keys.
            (Some(State { epoch_key: None, .. }), _) | (None, Some(_)) => true,
            (Some(State { epoch_key: Some(id), .. }), Some(key)) => key.id() == *id,
            (_, None) => false,
        };
        let all = [
            (Keepsake::Ca, self.ca),
            (Keepsake::Identity, self.state.is_some()),
            (Keepsake::Salt, self.salt),
            (Keepsake::EpochKey, known_key),
        ];
        all.into_iter().filter(|(_, is_there)| !is_there).map(|(kept, _)| kept).collect()
    }
}

/// Where it is kept.
fn place(kept: Keepsake, namespace: &str) -> String {
    let (kind, name) = match kept {
        Keepsake::Ca => ("Secret", Authorities::<KubeSecrets>::SECRET),
        Keepsake::Identity => ("ConfigMap", crate::epoch::STATE),
        Keepsake::Salt => ("Secret", Salt::SECRET),
        Keepsake::EpochKey => ("Secret", EPOCH_KEY_SECRET),
    };
    format!("{kind} {namespace}/{name}")
}

fn lost_error(lost: &[Keepsake], namespace: &str, joined: &[String]) -> AppError {
    let described = lost.iter().map(|kept| {
        let (what, follows) = match kept {
            Keepsake::Ca => (
                "the CA by which clusters and this hub know each other",
                "every cluster joins again with a new token and CA hash",
            ),
            Keepsake::Identity => (
                "hub ID and term",
                "this is another hub for every cluster, which refuses it until its ConfigMap nimfleet-spoke-state is deleted",
            ),
            Keepsake::Salt => ("the salt of the hashes of Secrets", "every listed Secret is sent once more"),
            Keepsake::EpochKey => (
                "the key that proves epochs, or the one that this hub worked with",
                "a cluster that has accepted a term above this hub's is let in after `nimfleet-hub raise-term`",
            ),
        };
        format!("{} ({what}); with --begin-anew={} it is made anew, and {follows}", place(*kept, namespace), kept.as_str())
    });
    AppError::Lost { lost: described.collect::<Vec<_>>().join(". "), joined: named(joined) }
}

/// How many there are, and the first of their names.
fn named(joined: &[String]) -> String {
    let names = joined.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = if joined.len() > NAMED { ", …" } else { "" };
    format!("{}: {names}{rest}", joined.len())
}

/// The clusters that have joined: those of which a hub has recorded which cluster or certificate it is.
async fn joined(client: &Client) -> Result<Vec<String>, AppError> {
    let api: Api<GPUCluster> = Api::all(client.clone());
    let problem = |problem: String| AppError::ApiServer { url: "GPUClusters".to_owned(), problem };
    let mut params = ListParams::default().limit(PAGE);
    let mut joined = Vec::new();
    loop {
        let page = within(LIMIT, api.list(&params)).await.map_err(|error| problem(error.words()))?;
        let has_joined = |cluster: &&GPUCluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.cluster_uid.is_some() || status.certificate_serial.is_some())
        };
        joined.extend(page.items.iter().filter(has_joined).map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(joined),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_core::epoch::Epoch;

    #[test]
    fn what_a_hub_had_before_is_missed_and_what_came_with_an_upgrade_is_not() {
        let (key, other) = (EpochKey::new([1; 32]), EpochKey::new([2; 32]));
        let state = |epoch_key: Option<&EpochKey>| State {
            epoch: Epoch { hub_id: "hub".into(), term: 3, incarnation: "i".into() },
            epoch_key: epoch_key.map(EpochKey::id),
            raise_above: None,
        };
        let (current, before) = (state(Some(&key)), state(None));
        let all = Found { ca: true, salt: true, state: Some(&current), epoch_key: Some(&key) };
        let table = [
            (all, vec![]),
            (Found { ca: false, ..all }, vec![Keepsake::Ca]),
            (Found { salt: false, ..all }, vec![Keepsake::Salt]),
            (Found { epoch_key: None, ..all }, vec![Keepsake::EpochKey]),
            (Found { epoch_key: Some(&other), ..all }, vec![Keepsake::EpochKey]),
            (Found { state: None, ..all }, vec![Keepsake::Identity]),
            (Found { state: None, epoch_key: None, ..all }, vec![Keepsake::Identity, Keepsake::EpochKey]),
            (Found { state: Some(&before), epoch_key: None, ..all }, vec![]),
            (Found { state: Some(&before), ..all }, vec![]),
        ];
        for (found, missing) in table {
            assert_eq!(found.missing(), missing, "{found:?}");
        }
    }

    #[test]
    fn a_loss_names_what_where_which_flag_and_what_follows() {
        let joined: Vec<String> = (0..7).map(|number| format!("c{number}")).collect();
        let all = [Keepsake::Ca, Keepsake::Identity, Keepsake::Salt, Keepsake::EpochKey];
        let error = lost_error(&all, "fleet", &joined).to_string();
        for words in [
            "Secret fleet/nimfleet-hub-ca",
            "ConfigMap fleet/nimfleet-hub-state",
            "Secret fleet/nimfleet-hub-salt",
            "Secret fleet/nimfleet-hub-epoch-key",
            "--begin-anew=ca ",
            "--begin-anew=identity ",
            "--begin-anew=salt ",
            "--begin-anew=epoch-key ",
            "7: c0, c1, c2, c3, c4, …",
            "raise-term",
        ] {
            assert!(error.contains(words), "{words:?} is not in {error}");
        }
    }
}
