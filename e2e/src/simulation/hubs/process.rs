//! A hub process: what it holds in memory, its start and its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use hub::link::DesiredState;
use hub_core::epoch::Epoch;
use hub_core::fleet_state::FleetState;
use hub_core::placement::assignments::Assignments;
use hub_core::placement::grants::grants;
use hub_scheduler::Decision;
use hub_scheduler::fleet::{Admin, FleetEvent};
use hub_scheduler::need::Need;

use super::sessions::Session;
use super::store::{Store, key};
use super::{Event, control};
use crate::simulation::agenda::Time;
use crate::simulation::mutant::Mutant;
use crate::simulation::stage::Stage;

/// Both sides give a sign of life this often.
pub(in crate::simulation) const HEARTBEAT: Duration = Duration::from_secs(10);

/// One hub.
pub(in crate::simulation) struct HubSite {
    pub(in crate::simulation) index: usize,
    pub(in crate::simulation) store: Store,
    pub(in crate::simulation) process: Option<Process>,
    /// Number of the current process.
    pub(in crate::simulation) life: u64,
    /// Wrongness of its clock, milliseconds.
    pub(in crate::simulation) skew: i64,
    /// Earlier states, the oldest first.
    pub(in crate::simulation) backups: Vec<Store>,
    /// Switched off for good.
    pub(in crate::simulation) retired: bool,
    /// Writes of a thousand that fail.
    pub(in crate::simulation) failing: u32,
}

/// What a hub process holds in memory.
pub(in crate::simulation) struct Process {
    pub(in crate::simulation) epoch: Epoch,
    pub(in crate::simulation) desired: DesiredState,
    pub(in crate::simulation) live: FleetState,
    pub(in crate::simulation) books: BTreeMap<String, Book>,
    /// By stream.
    pub(in crate::simulation) sessions: BTreeMap<u64, Session>,
    /// When each cluster was last heard by the session that speaks for it.
    pub(in crate::simulation) heard: BTreeMap<String, Time>,
    /// What the hub does not know and a spoke holds, as it was last told.
    pub(in crate::simulation) orphans: BTreeMap<String, BTreeSet<String>>,
    /// Placements that will be looked at.
    pub(super) dirty: BTreeSet<String>,
}

/// What the hub remembers of one placement.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Book {
    pub(in crate::simulation) decision: Option<Decision>,
    /// Hash sent, by cluster and uid.
    pub(in crate::simulation) sent: BTreeMap<(String, String), String>,
    /// The rows that were decided last, whether or not they could be written.
    pub(super) planned: Assignments,
    pub(super) needs: HashMap<String, Need>,
    pub(super) listed: BTreeSet<(String, String)>,
}

impl HubSite {
    pub(in crate::simulation) fn new(index: usize, store: Store) -> Self {
        Self {
            index,
            store,
            process: None,
            life: 0,
            skew: 0,
            backups: Vec::new(),
            retired: false,
            failing: 0,
        }
    }

    /// Begins a new term, and takes up what the rows say, before anything is sent.
    pub(in crate::simulation) fn start(&mut self, stage: &mut Stage) {
        if self.retired || self.process.is_some() {
            return;
        }
        self.life = stage.number();
        let Some(next) = self.store.epoch.next_above(0, stage.dice.word()) else { return };
        self.store.epoch = next;
        let mut process = Process {
            epoch: self.store.epoch.clone(),
            desired: DesiredState::default(),
            live: FleetState::default(),
            books: BTreeMap::new(),
            sessions: BTreeMap::new(),
            heard: BTreeMap::new(),
            orphans: BTreeMap::new(),
            dirty: BTreeSet::new(),
        };
        let at = stage.wall(self.skew);
        for name in &self.store.clusters {
            let Ok(cluster) = name.parse::<hub_scheduler::fleet::ClusterName>() else { continue };
            let admin = Admin { accepted: true, ..Admin::default() };
            process.live.fleet.apply(FleetEvent::Admin { cluster: cluster.clone(), admin });
            process.live.fleet.apply(FleetEvent::Disconnected { cluster, at });
        }
        for (name, placement) in &self.store.placements {
            let claims = placement.selected.iter().map(|uid| (uid.clone(), key(name)));
            process.live.claims.extend(claims);
        }
        for (name, rows) in &self.store.rows {
            let book = process.books.entry(name.clone()).or_default();
            book.planned = rows.clone();
            let policy = self.store.placements.get(name).map(|placement| placement.policy.clone());
            for object in self.store.objects.values() {
                if let Ok(need) = hub_scheduler::need::need(&object.json, None) {
                    let need = policy.clone().unwrap_or_default().narrow(&need);
                    book.needs.insert(object.identity.uid.clone(), need);
                }
            }
            if !stage.is(Mutant::ForgetGrants) {
                let grants = grants(rows, |_, uid| book.needs.get(uid), 0);
                process.live.fleet.apply(FleetEvent::Granted { placement: key(name), grants });
            }
        }
        stage.note(|| format!("hub {} starts with term {}", self.index, process.epoch.term));
        self.process = Some(process);
        stage.plan_between(20, 1500, Event::HubOpens { hub: self.index, life: self.life });
    }

    /// Everything has been looked at once: spokes are let in.
    pub(in crate::simulation) fn open(&mut self, stage: &mut Stage) {
        let names: Vec<String> =
            self.store.placements.keys().chain(self.store.rows.keys()).cloned().collect();
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            control::reconcile(self, &name, stage);
        }
        if let Some(process) = &self.process {
            process.desired.open();
        }
    }

    /// The process dies; its streams die with it.
    pub(in crate::simulation) fn die(&mut self, stage: &mut Stage) {
        let Some(process) = self.process.take() else { return };
        stage.note(|| format!("hub {} dies", self.index));
        for stream in process.sessions.keys() {
            super::sessions::hang_up(*stream, stage);
        }
    }

    /// Looks at a placement.
    pub(in crate::simulation) fn reconcile(&mut self, placement: &str, stage: &mut Stage) {
        control::reconcile(self, placement, stage);
    }

    /// Has a placement looked at soon.
    pub(in crate::simulation) fn touch(&mut self, placement: &str, stage: &mut Stage) {
        let (hub, life) = (self.index, self.life);
        let Some(process) = &mut self.process else { return };
        if process.dirty.insert(placement.to_owned()) {
            let placement = placement.to_owned();
            stage.plan_between(5, 120, Event::Reconcile { hub, life, placement });
        }
    }
}
