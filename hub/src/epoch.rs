//! Keeps the hub's epoch in the ConfigMap `nimfleet-hub-state` of the hub's namespace.
//!
//! The hub ID is made once. The term rises whenever a process begins to lead, above an epoch of this hub that a spoke proves,
//! and above what an admin says with `nimfleet-hub raise-term`. The incarnation is random and new with every term, so that a hub
//! restored from a backup cannot repeat an epoch.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use hub_core::audit::{Act, Action, Actor};
use hub_core::epoch::{Epoch, HIGHEST_RAISE};
use hub_core::identity::EpochKey;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use runtime::call::{CallError, LIMIT, within};
use runtime::lease::Fence;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::RecordAct;
use crate::link::{EpochStore, PortError};

/// Name of the ConfigMap.
pub const STATE: &str = "nimfleet-hub-state";
const FIELD_MANAGER: &str = "nimfleet-hub";
/// Of the one field that an admin's command writes.
const ADMIN_FIELD_MANAGER: &str = "nimfleet-hub-raise-term";
const HUB_ID: &str = "hubID";
const TERM: &str = "term";
const INCARNATION: &str = "incarnation";
const EPOCH_KEY: &str = "epochKey";
const RAISE_ABOVE: &str = "raiseAbove";
/// Whoever leads writes it alone; losing to another writer more often than this is a fault to show.
const ATTEMPTS: u32 = 5;
/// How often the hub looks whether an admin wants a higher term: one read of one ConfigMap.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// What the ConfigMap holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The epoch of the process that led last.
    pub epoch: Epoch,
    /// Names the key that proves epochs ([`EpochKey::id`]); `None` in what a version before such keys wrote.
    pub epoch_key: Option<String>,
    /// An admin wants a term above this one.
    pub raise_above: Option<u64>,
}

impl State {
    /// Reads what is stored.
    pub async fn load(client: Client, namespace: &str) -> Result<Option<Self>, EpochError> {
        let api = Api::namespaced(client, namespace);
        bounded(api.get_opt(STATE)).await?.map(|map| Self::parse(&map)).transpose()
    }

    /// What the hub itself writes; `raise_above` is the admin's.
    fn data(&self) -> BTreeMap<String, String> {
        let State { epoch, epoch_key, .. } = self;
        let own =
            [(HUB_ID, &epoch.hub_id), (TERM, &epoch.term.to_string()), (INCARNATION, &epoch.incarnation)];
        own.into_iter()
            .chain(epoch_key.iter().map(|id| (EPOCH_KEY, id)))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    fn parse(map: &ConfigMap) -> Result<Self, EpochError> {
        let found = |key: &'static str| {
            map.data.as_ref().and_then(|data| data.get(key)).filter(|value| !value.is_empty())
        };
        let field = |key: &'static str| found(key).ok_or(EpochError::Field { key });
        let number =
            |key: &'static str, text: &String| text.parse::<u64>().map_err(|_| EpochError::Field { key });
        let raise_above = found(RAISE_ABOVE).map(|text| number(RAISE_ABOVE, text)).transpose()?;
        if let Some(asked) = raise_above.filter(|asked| *asked > HIGHEST_RAISE) {
            return Err(EpochError::TooHigh { asked });
        }
        Ok(Self {
            epoch: Epoch {
                hub_id: field(HUB_ID)?.clone(),
                term: number(TERM, field(TERM)?)?,
                incarnation: field(INCARNATION)?.clone(),
            },
            epoch_key: found(EPOCH_KEY).cloned(),
            raise_above,
        })
    }
}

fn first_epoch() -> Epoch {
    Epoch { hub_id: random(), term: 1, incarnation: random() }
}

fn random() -> String {
    Uuid::new_v4().to_string()
}

/// Why there is no epoch.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The ConfigMap was edited by hand or damaged.
    #[error(
        "ConfigMap {STATE}: field {key} is missing or unreadable: restore it from a backup; a new hub ID would make \
         every spoke refuse this hub"
    )]
    Field {
        /// The field.
        key: &'static str,
    },
    /// There is no ConfigMap.
    #[error("ConfigMap {STATE} is not there: start the hub once, or restore it from a backup")]
    Missing,
    /// An admin asks for a term that no hub reaches.
    #[error(
        "term {asked} is above {HIGHEST_RAISE}, the highest that a hub can be raised above: no hub reaches it by itself, so \
         whoever says it has accepted it is wrong; leave that spoke out (condition EpochProven of its GPUCluster says how)"
    )]
    TooHigh {
        /// What was asked.
        asked: u64,
    },
    /// There is no higher term.
    #[error(
        "ConfigMap {STATE}: term {term} is the last one: restore the ConfigMap from a backup, or delete it and start the hub \
         with --begin-anew=identity; then every spoke waits until the ConfigMap nimfleet-spoke-state of its cluster is deleted"
    )]
    Exhausted {
        /// The term that is stored.
        term: u64,
    },
    /// The API server did not carry out a call.
    #[error("ConfigMap {STATE}: {0}")]
    Call(#[from] CallError),
    /// Somebody else writes the same ConfigMap.
    #[error("ConfigMap {STATE} is written by another process: let the hub alone write it")]
    Contended,
}

/// The epoch in force and where it is kept.
pub struct EpochKeeper {
    api: Api<ConfigMap>,
    fence: Fence,
    key: EpochKey,
    current: RwLock<Epoch>,
    /// One raise at a time.
    raising: tokio::sync::Mutex<()>,
}

impl EpochKeeper {
    /// Begins a new term, proven by `key`, and persists it; with a new hub ID where nothing is stored. Nothing may be sent to a
    /// spoke before.
    pub async fn begin(
        client: Client,
        namespace: &str,
        fence: Fence,
        key: EpochKey,
    ) -> Result<Self, EpochError> {
        let api = Api::namespaced(client, namespace);
        let epoch = advance(&api, None, &key, 0).await?;
        Ok(Self { api, fence, key, current: RwLock::new(epoch), raising: tokio::sync::Mutex::default() })
    }

    /// Raises the term whenever an admin wants it, until `stop` is cancelled.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut looks = interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, source = ?std::error::Error::source(&error), "the hub's term could not be looked at; trying again");
            }
        }
    }

    async fn look(&self) -> Result<(), EpochError> {
        let stored = bounded(self.api.get_opt(STATE)).await?.ok_or(EpochError::Missing)?;
        let Some(asked) = State::parse(&stored)?.raise_above else { return Ok(()) };
        self.raise(asked, "nimfleet-hub raise-term").await.map(drop)
    }

    async fn raise(&self, term: u64, why: &str) -> Result<Epoch, EpochError> {
        let _one = self.raising.lock().await;
        let current = EpochStore::current(self);
        if current.term > term {
            return Ok(current);
        }
        let epoch = advance(&self.api, Some(&current), &self.key, term).await?;
        self.current.write().unwrap_or_else(PoisonError::into_inner).clone_from(&epoch);
        let cause = format!("{why}: from term {} to one above {term}", current.term);
        Act::new(Action::RaiseTerm, Actor::Hub, &cause).term(epoch.term).record();
        Ok(epoch)
    }
}

impl EpochStore for EpochKeeper {
    fn is_in_force(&self) -> bool {
        self.fence.is_open()
    }

    fn current(&self) -> Epoch {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key(&self) -> EpochKey {
        self.key.clone()
    }

    async fn raise_above(&self, term: u64) -> Result<Epoch, PortError> {
        Ok(self.raise(term, "a spoke proved that it has accepted a higher epoch of this hub").await?)
    }
}

/// Asks the hub that leads, or leads next, to raise its term above `term`; gives what is stored.
pub async fn ask_to_raise(client: Client, namespace: &str, term: u64) -> Result<State, EpochError> {
    if term > HIGHEST_RAISE {
        return Err(EpochError::TooHigh { asked: term });
    }
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let stored = State::parse(&bounded(api.get_opt(STATE)).await?.ok_or(EpochError::Missing)?)?;
    if stored.epoch.term <= term {
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(STATE.to_owned()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([(RAISE_ABOVE.to_owned(), term.to_string())])),
            ..ConfigMap::default()
        };
        let params = PatchParams::apply(ADMIN_FIELD_MANAGER).force();
        bounded(api.patch(STATE, &params, &Patch::Apply(&map))).await?;
    }
    Ok(stored)
}

/// Persists and returns the next epoch, with a term above `term`. The resourceVersion read guards the write. What was deleted
/// while the hub works (`current`) is made again from what it knows.
async fn advance(
    api: &Api<ConfigMap>,
    current: Option<&Epoch>,
    key: &EpochKey,
    term: u64,
) -> Result<Epoch, EpochError> {
    for _ in 0..ATTEMPTS {
        let stored = bounded(api.get_opt(STATE)).await?;
        let version = stored.as_ref().and_then(|map| map.metadata.resource_version.clone());
        let state = stored.as_ref().map(State::parse).transpose()?;
        let raise_above = state.as_ref().and_then(|state| state.raise_above);
        let last = state.map(|state| state.epoch).or_else(|| current.cloned());
        let epoch = match last {
            Some(last) => last
                .next_above(term.max(raise_above.unwrap_or_default()), random())
                .ok_or(EpochError::Exhausted { term: last.term.max(term) })?,
            None => first_epoch(),
        };
        let state = State { epoch, epoch_key: Some(key.id()), raise_above };
        match write(api, &state, version).await {
            Ok(()) => return Ok(state.epoch),
            Err(EpochError::Call(error)) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Err(EpochError::Contended)
}

async fn write(api: &Api<ConfigMap>, state: &State, version: Option<String>) -> Result<(), EpochError> {
    let create = version.is_none();
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(STATE.to_owned()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some(state.data()),
        ..ConfigMap::default()
    };
    if create {
        // Not by apply: two first starts must not both believe that they made the hub ID.
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        bounded(api.create(&params, &map)).await?;
    } else {
        bounded(api.patch(STATE, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&map))).await?;
    }
    Ok(())
}

async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, EpochError> {
    Ok(within(LIMIT, call).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_without_terms_names_what_to_delete() {
        let error = EpochError::Exhausted { term: u64::MAX }.to_string();
        assert!(error.contains("--begin-anew=identity") && error.contains("nimfleet-spoke-state"), "{error}");
    }

    #[test]
    fn a_stored_state_reads_back_and_a_damaged_one_names_the_field() {
        let mut state = State { epoch: first_epoch(), epoch_key: Some("id".into()), raise_above: None };
        let mut map = ConfigMap { data: Some(state.data()), ..ConfigMap::default() };
        assert_eq!(State::parse(&map).unwrap(), state);
        let set = |map: &mut ConfigMap, key: &str, value: &str| {
            map.data.get_or_insert_default().insert(key.into(), value.into());
        };
        set(&mut map, RAISE_ABOVE, "41");
        state.raise_above = Some(41);
        assert_eq!(State::parse(&map).unwrap(), state);
        map.data.as_mut().unwrap().remove(EPOCH_KEY);
        assert_eq!(State::parse(&map).unwrap().epoch_key, None, "a version before wrote it");
        set(&mut map, RAISE_ABOVE, &u64::MAX.to_string());
        assert!(State::parse(&map).unwrap_err().to_string().contains(&u64::MAX.to_string()));
        set(&mut map, TERM, "many");
        set(&mut map, RAISE_ABOVE, "");
        assert!(State::parse(&map).unwrap_err().to_string().contains("field term"));
        map.data = None;
        assert!(State::parse(&map).unwrap_err().to_string().contains("field hubID"));
    }
}
