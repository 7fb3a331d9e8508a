//! The hub's epoch: the right to change spokes, kept in the ConfigMap `nimfleet-hub-state` of the hub's namespace.
//!
//! The hub ID is made once. The term rises whenever a process begins to lead, and above whatever a spoke reports; the incarnation is
//! random and new with every term, so that a hub restored from a backup cannot repeat an epoch.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::time::timeout;
use uuid::Uuid;

use crate::leadership::Fence;
use crate::link::{EpochStore, PortError};

/// Name of the ConfigMap.
pub const STATE: &str = "nimfleet-hub-state";
const FIELD_MANAGER: &str = "nimfleet-hub";
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever leads writes it alone; losing to another writer more often than this is a fault to show.
const ATTEMPTS: u32 = 5;

/// The right to change a spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Made once per hub.
    pub hub_id: String,
    /// Rises whenever a process begins to lead.
    pub term: u64,
    /// Random, new with every term.
    pub incarnation: String,
}

impl Epoch {
    fn first() -> Self {
        Self { hub_id: random(), term: 1, incarnation: random() }
    }

    /// The epoch that follows, at least `term`. `incarnation` is random.
    #[must_use]
    pub fn next(&self, term: u64, incarnation: String) -> Self {
        Self { hub_id: self.hub_id.clone(), term: term.max(self.term.saturating_add(1)), incarnation }
    }

    fn data(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("hubID".to_owned(), self.hub_id.clone()),
            ("term".to_owned(), self.term.to_string()),
            ("incarnation".to_owned(), self.incarnation.clone()),
        ])
    }

    fn parse(map: &ConfigMap) -> Result<Self, EpochError> {
        let field = |key: &'static str| {
            let value = map.data.as_ref().and_then(|data| data.get(key));
            value.filter(|value| !value.is_empty()).ok_or(EpochError::Field { key })
        };
        Ok(Self {
            hub_id: field("hubID")?.clone(),
            term: field("term")?.parse().map_err(|_| EpochError::Field { key: "term" })?,
            incarnation: field("incarnation")?.clone(),
        })
    }
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
    /// The API server refused.
    #[error("ConfigMap {STATE} could not be read or written")]
    Api(#[from] kube::Error),
    /// The API server was silent.
    #[error("ConfigMap {STATE}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// Somebody else writes the same ConfigMap.
    #[error("ConfigMap {STATE} is written by another process: let the hub alone write it")]
    Contended,
}

/// The epoch in force and where it is kept.
pub struct EpochKeeper {
    api: Api<ConfigMap>,
    fence: Fence,
    current: RwLock<Epoch>,
    /// One raise at a time.
    raising: tokio::sync::Mutex<()>,
}

impl EpochKeeper {
    /// Begins a new term and persists it. Nothing may be sent to a spoke before.
    pub async fn begin(client: Client, namespace: &str, fence: Fence) -> Result<Self, EpochError> {
        let api = Api::namespaced(client, namespace);
        let epoch = advance(&api, 0).await?;
        Ok(Self { api, fence, current: RwLock::new(epoch), raising: tokio::sync::Mutex::default() })
    }
}

impl EpochStore for EpochKeeper {
    fn is_in_force(&self) -> bool {
        self.fence.is_open()
    }

    fn current(&self) -> Epoch {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn raise_above(&self, term: u64) -> Result<Epoch, PortError> {
        let _one = self.raising.lock().await;
        let current = EpochStore::current(self);
        if current.term > term {
            return Ok(current);
        }
        let epoch = advance(&self.api, term.saturating_add(1)).await?;
        self.current.write().unwrap_or_else(PoisonError::into_inner).clone_from(&epoch);
        tracing::info!(term = epoch.term, reported = term, "epoch raised above what a spoke has seen");
        Ok(epoch)
    }
}

/// Persists and returns the next epoch, with a term of at least `term`. The resourceVersion read guards the write.
async fn advance(api: &Api<ConfigMap>, term: u64) -> Result<Epoch, EpochError> {
    for _ in 0..ATTEMPTS {
        let stored = bounded(api.get_opt(STATE)).await?;
        let epoch = match &stored {
            Some(map) => Epoch::parse(map)?.next(term, random()),
            None => Epoch { term: term.max(1), ..Epoch::first() },
        };
        let version = stored.and_then(|map| map.metadata.resource_version);
        match write(api, &epoch, version).await {
            Ok(()) => return Ok(epoch),
            Err(EpochError::Api(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Err(EpochError::Contended)
}

async fn write(api: &Api<ConfigMap>, epoch: &Epoch, version: Option<String>) -> Result<(), EpochError> {
    let create = version.is_none();
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(STATE.to_owned()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some(epoch.data()),
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
    Ok(timeout(CALL_TIMEOUT, call).await.map_err(|_| EpochError::Timeout)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_keeps_the_hub_and_rises_above_both() {
        let epoch = Epoch { hub_id: "h".into(), term: 4, incarnation: "i".into() };
        for (asked, term) in [(0, 5), (5, 5), (9, 9)] {
            let next = epoch.next(asked, random());
            assert_eq!((next.hub_id.as_str(), next.term), ("h", term), "asked for at least {asked}");
            assert_ne!(next.incarnation, epoch.incarnation);
        }
    }

    #[test]
    fn a_stored_epoch_reads_back_and_a_damaged_one_names_the_field() {
        let epoch = Epoch::first();
        let mut map = ConfigMap { data: Some(epoch.data()), ..ConfigMap::default() };
        assert_eq!(Epoch::parse(&map).unwrap(), epoch);
        map.data.as_mut().unwrap().insert("term".into(), "many".into());
        assert!(Epoch::parse(&map).unwrap_err().to_string().contains("field term"));
        map.data = None;
        assert!(Epoch::parse(&map).unwrap_err().to_string().contains("field hubID"));
    }
}
