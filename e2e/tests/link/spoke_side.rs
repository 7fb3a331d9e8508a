//! A spoke's link with memory in place of its cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::pki::JoinLine;
use runtime::CallError;
use spoke::deliver::{
    AcceptError, Deliver, DeliverError, Epoch, EpochRefused, HeldObject, ObjectRef, Outcome, Release,
    Tombstone, Upsert,
};
use spoke::link::{
    Counters, Identity, IdentityError, IdentityStore, KEEPALIVE, Link, LinkState, Proxy, Settings,
};
use spoke::report::{ObjectStatus, Outbox};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster that remembers what it was told.
#[derive(Default)]
pub(crate) struct Cluster(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    held: BTreeMap<String, HeldObject>,
    epoch: Option<Epoch>,
    calls: u32,
    failures: u32,
}

impl Cluster {
    pub(crate) fn hash_of(&self, uid: &str) -> Option<String> {
        self.0.lock().unwrap().held.get(uid).map(|held| held.hash.clone())
    }

    /// Objects applied or removed so far.
    pub(crate) fn calls(&self) -> u32 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn accept(&self, epoch: Epoch) {
        self.0.lock().unwrap().epoch = Some(epoch);
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.0.lock().unwrap().epoch.clone()
    }

    /// The API server does not answer this many calls.
    pub(crate) fn fail_next(&self, calls: u32) {
        self.0.lock().unwrap().failures = calls;
    }

    fn call(&self, what: &str) -> Result<std::sync::MutexGuard<'_, Memory>, DeliverError> {
        let mut memory = self.0.lock().unwrap();
        memory.calls += 1;
        if let Some(left) = memory.failures.checked_sub(1) {
            memory.failures = left;
            return Err(DeliverError::Call {
                what: what.to_owned(),
                source: CallError::Timeout(Duration::from_secs(1)),
            });
        }
        Ok(memory)
    }
}

impl Deliver for Cluster {
    async fn held(&self) -> Result<Vec<HeldObject>, DeliverError> {
        Ok(self.0.lock().unwrap().held.values().cloned().collect())
    }

    async fn highest_epoch(&self) -> Result<Option<Epoch>, DeliverError> {
        Ok(self.epoch())
    }

    async fn accept_epoch(&self, epoch: &Epoch) -> Result<(), AcceptError> {
        let mut memory = self.0.lock().unwrap();
        if let Some(ours) = &memory.epoch {
            if ours.hub_id != epoch.hub_id {
                let (ours, theirs) = (ours.hub_id.clone(), epoch.hub_id.clone());
                return Err(EpochRefused::OtherHub { ours, theirs }.into());
            }
            if ours.term > epoch.term {
                return Err(EpochRefused::OlderTerm { ours: ours.term, theirs: epoch.term }.into());
            }
        }
        memory.epoch = Some(epoch.clone());
        Ok(())
    }

    async fn releases(&self) -> Result<Vec<Release>, DeliverError> {
        Ok(Vec::new())
    }

    async fn store_releases(&self, _: &[Release]) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn upsert(&self, upsert: &Upsert, _: &Epoch) -> Result<Outcome, DeliverError> {
        let mut memory = self.call("apply")?;
        let Upsert { object, generation, hash, .. } = upsert.clone();
        memory.held.insert(object.uid.clone(), HeldObject { object, generation, hash });
        Ok(Outcome::Accepted)
    }

    async fn remove(&self, tombstone: &Tombstone, _: &Epoch) -> Result<Outcome, DeliverError> {
        self.call("delete")?.held.remove(&tombstone.object.uid);
        Ok(Outcome::Gone)
    }
}

/// A Secret that outlives the process.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Identity>>>);

impl IdentityStore for Kept {
    async fn load(&self) -> Result<Option<Identity>, IdentityError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        *self.0.lock().unwrap() = Some(identity.clone());
        Ok(())
    }
}

/// A spoke's link that can be started and stopped.
pub(crate) struct Spoke {
    pub(crate) settings: Settings,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) statuses: Outbox,
    pub(crate) counters: Counters,
    identity: Kept,
    state: watch::Receiver<LinkState>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Spoke {
    pub(crate) fn of(join: &JoinLine) -> Self {
        let settings = Settings {
            address: join.address.parse().unwrap(),
            ca_hash: join.ca_hash.as_str().parse().unwrap(),
            cluster: join.cluster.to_string(),
            token: Some(join.token.to_string()),
            cluster_uid: "uid".to_owned(),
            capabilities: vec![],
            limits: String::new(),
            instance: ("first".to_owned(), 1),
            proxy: Proxy::new("", "").unwrap(),
            keepalive: KEEPALIVE,
        };
        Self {
            settings,
            cluster: Arc::default(),
            statuses: Outbox::default(),
            counters: Counters::default(),
            identity: Kept::default(),
            state: watch::channel(LinkState::Connecting { problem: String::new() }).1,
            running: None,
        }
    }

    /// Another process with the same identity, started that much later.
    pub(crate) fn twin(&self, later_ms: i64) -> Self {
        let instance = ("twin".to_owned(), self.settings.instance.1 + later_ms);
        Self {
            settings: Settings { instance, ..self.settings.clone() },
            cluster: self.cluster.clone(),
            statuses: Outbox::default(),
            counters: Counters::default(),
            identity: self.identity.clone(),
            state: self.state.clone(),
            running: None,
        }
    }

    pub(crate) fn start(&mut self) {
        let (told, state) = watch::channel(LinkState::Connecting { problem: String::new() });
        let link = Link {
            settings: self.settings.clone(),
            identity: self.identity.clone(),
            deliver: self.cluster.clone(),
            statuses: self.statuses.clone(),
            capacity: watch::channel(None).1,
            state: told,
            counters: self.counters.clone(),
        };
        let stop = CancellationToken::new();
        self.state = state;
        self.running = Some((stop.clone(), tokio::spawn(link.run(stop))));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            stop.cancel();
            tokio::time::timeout(PATIENCE, task).await.expect("the spoke stops").unwrap();
        }
    }

    /// Whether the link is so now.
    pub(crate) fn is(&self, is_it: impl Fn(&LinkState) -> bool) -> bool {
        is_it(&self.state.borrow())
    }

    /// Waits for a state of the link.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&LinkState) -> bool) {
        let found =
            tokio::time::timeout(PATIENCE, self.state.wait_for(is_it)).await.map(|state| state.is_ok());
        assert_eq!(found, Ok(true), "{what}; last: {:?}", *self.state.borrow());
    }
}

pub(crate) fn status(uid: &str, state: &str) -> ObjectStatus {
    ObjectStatus {
        object: ObjectRef {
            uid: uid.to_owned(),
            api_version: "apps.nvidia.com/v1alpha1".to_owned(),
            kind: "NIMService".to_owned(),
            namespace: "models".to_owned(),
            name: uid.to_owned(),
        },
        generation: 1,
        hash: "1".to_owned(),
        state: state.to_owned(),
        conditions: vec![],
        ready_replicas: 1,
        wanted_replicas: 1,
        observed_at_ms: 0,
        profiles: vec![],
        unschedulable: None,
        claim: String::new(),
        services: vec![],
    }
}
