//! A model of a spoke's API server: delivered objects with their marks, the stored epoch, nodes with GPUs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time as MetaTime};
use serde_json::Value;
use spoke::deliver::{Epoch, ObjectRef, marks_of};

use crate::simulation::agenda::Time;
use crate::simulation::stage::{Fact, Stage};

/// Kind and name of an object; all are in one namespace.
pub(in crate::simulation) type Key = (String, String);

/// GPUs of every node.
pub(in crate::simulation) const PER_NODE: u32 = 8;

/// What the cluster's operator reads of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::simulation) struct Spec {
    pub(in crate::simulation) gpus: u32,
    pub(in crate::simulation) replicas: u32,
    /// The API server refuses it.
    pub(in crate::simulation) invalid: bool,
    /// The API server does not answer in time.
    pub(in crate::simulation) hangs: bool,
}

impl Spec {
    pub(in crate::simulation) fn read(manifest: &Value) -> Self {
        let number = |pointer: &str| {
            let number = manifest.pointer(pointer).and_then(Value::as_u64);
            number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
        };
        Self {
            gpus: number("/spec/resources/limits/nvidia.com~1gpu"),
            replicas: number("/spec/replicas"),
            invalid: manifest.pointer("/spec/invalid").is_some(),
            hangs: manifest.pointer("/spec/hangs").is_some(),
        }
    }
}

/// An object that is there.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Live {
    pub(in crate::simulation) meta: ObjectMeta,
    /// Its uid in this cluster.
    pub(in crate::simulation) local: u64,
    pub(in crate::simulation) spec: Spec,
    /// Nodes of its pods.
    pub(in crate::simulation) pods: Vec<usize>,
    pub(in crate::simulation) ready: u32,
}

impl Live {
    /// The uid on the hub, if it is delivered.
    pub(in crate::simulation) fn uid(&self) -> Option<String> {
        marks_of(&self.meta).map(|marks| marks.uid)
    }
}

/// A call that changes something.
#[derive(Clone, Debug)]
pub(in crate::simulation) enum Call {
    /// Server-side apply. `guard` is the version that was judged; none where there was no object.
    Apply { object: ObjectRef, meta: Box<ObjectMeta>, spec: Spec, guard: Option<String>, judged: Judged },
    /// Delete, if it is still the object that was judged.
    Delete { object: ObjectRef, guard: Option<String>, judged: Judged },
    /// Take the marks off, if it is still the object that was judged.
    Release {
        object: ObjectRef,
        annotations: BTreeMap<String, String>,
        guard: Option<String>,
        judged: Judged,
    },
}

/// By which right a call is made.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Judged {
    /// The epoch that asked for it.
    pub(in crate::simulation) epoch: Epoch,
    /// The epoch that was stored when it was judged.
    pub(in crate::simulation) stored: Option<Epoch>,
    pub(in crate::simulation) generation: i64,
    /// Whether the deletion guard has a say.
    pub(in crate::simulation) guarded: bool,
}

/// Why a call changed nothing.
#[derive(Clone, Debug)]
pub(in crate::simulation) enum Refused {
    /// Not the version that was judged.
    Conflict,
    /// The object is wrong.
    Invalid,
}

/// The cluster.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Kube {
    pub(in crate::simulation) objects: BTreeMap<Key, Live>,
    pub(in crate::simulation) epoch: Option<Epoch>,
    /// What the deletion guard let through lately, with the time.
    pub(in crate::simulation) releases: Vec<(Time, ObjectRef)>,
    /// GPUs of every node that other people's pods take.
    pub(in crate::simulation) foreign: Vec<u32>,
    /// Calls of a thousand that fail.
    pub(in crate::simulation) failing: u32,
    version: u64,
}

pub(in crate::simulation) fn key(object: &ObjectRef) -> Key {
    (object.kind.clone(), object.name.clone())
}

impl Kube {
    pub(in crate::simulation) fn new(nodes: usize) -> Self {
        Self { foreign: vec![0; nodes], ..Self::default() }
    }

    pub(in crate::simulation) fn get(&self, object: &ObjectRef) -> Option<&Live> {
        self.objects.get(&key(object))
    }

    /// Carries a call out, whoever made it and whenever.
    pub(in crate::simulation) fn perform(
        &mut self,
        spoke: usize,
        call: &Call,
        stage: &mut Stage,
    ) -> Result<(), Refused> {
        match call {
            Call::Apply { object, meta, spec, guard, judged } => {
                self.apply(object, meta, spec, guard.as_ref(), stage)?;
                stage.facts.push(Fact::Applied {
                    spoke,
                    uid: object.uid.clone(),
                    term: judged.epoch.term,
                    generation: judged.generation,
                });
                stage.plan_between(50, 800, super::Event::Operate { spoke });
            }
            Call::Delete { object, guard, judged } => {
                let Some(live) = self.objects.get_mut(&key(object)) else { return Ok(()) };
                check(live, guard.as_ref())?;
                if live.meta.deletion_timestamp.is_none() {
                    live.meta.deletion_timestamp = Some(MetaTime(jiff::Timestamp::UNIX_EPOCH));
                    self.version += 1;
                    live.meta.resource_version = Some(self.version.to_string());
                    let most = if stage.dice.per_mille(30) { 15_000 } else { 1500 };
                    let local = live.local;
                    stage.plan_between(20, most, super::Event::Vanish { spoke, local });
                    stage.facts.push(removed(spoke, object, judged));
                }
            }
            Call::Release { object, annotations, guard, judged } => {
                let Some(live) = self.objects.get_mut(&key(object)) else { return Ok(()) };
                check(live, guard.as_ref())?;
                live.meta.annotations = Some(annotations.clone());
                self.version += 1;
                live.meta.resource_version = Some(self.version.to_string());
                stage.facts.push(removed(spoke, object, judged));
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        object: &ObjectRef,
        meta: &ObjectMeta,
        spec: &Spec,
        guard: Option<&String>,
        stage: &mut Stage,
    ) -> Result<(), Refused> {
        let found = self.objects.get(&key(object));
        if let (Some(_), None) = (guard, found) {
            return Err(Refused::Conflict);
        }
        if let (Some(live), Some(_)) = (found, guard) {
            check(live, guard)?;
        }
        if spec.invalid {
            return Err(Refused::Invalid);
        }
        self.version += 1;
        let version = Some(self.version.to_string());
        if let Some(live) = self.objects.get_mut(&key(object)) {
            let deletion_timestamp = live.meta.deletion_timestamp.clone();
            live.meta = ObjectMeta { resource_version: version, deletion_timestamp, ..meta.clone() };
            if live.spec.gpus != spec.gpus {
                // Its pods are made anew, wherever there is room.
                live.pods.clear();
                live.ready = 0;
            }
            live.spec = spec.clone();
        } else {
            let live = Live {
                meta: ObjectMeta { resource_version: version, ..meta.clone() },
                local: stage.number(),
                spec: spec.clone(),
                pods: Vec::new(),
                ready: 0,
            };
            self.objects.insert(key(object), live);
        }
        Ok(())
    }

    /// Free GPUs of every node.
    pub(in crate::simulation) fn free(&self) -> Vec<u32> {
        let mut free: Vec<u32> = self.foreign.iter().map(|taken| PER_NODE.saturating_sub(*taken)).collect();
        for live in self.objects.values() {
            for node in &live.pods {
                free[*node] = free[*node].saturating_sub(live.spec.gpus);
            }
        }
        free
    }
}

fn check(live: &Live, guard: Option<&String>) -> Result<(), Refused> {
    if live.meta.resource_version.as_ref() == guard { Ok(()) } else { Err(Refused::Conflict) }
}

fn removed(spoke: usize, object: &ObjectRef, judged: &Judged) -> Fact {
    Fact::Removed {
        spoke,
        uid: object.uid.clone(),
        epoch: judged.epoch.clone(),
        stored: judged.stored.clone(),
        guarded: judged.guarded,
    }
}
