//! One spoke: a model of its cluster, and the agent's machine, outbox, rules and backoff as they ship.

mod agent;
mod known;
mod kube;
mod operator;
mod work;

use spoke::deliver::KINDS;
use spoke::link::{CaHash, HubAddress, KEEPALIVE, Proxy, Settings};

pub(super) use agent::Agent;
pub(super) use kube::{Call, Kube, Live};

use super::agenda::Event;
use super::stage::Stage;

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "models";
/// Of the kinds that are delivered.
pub(super) const API_VERSION: &str = "apps.nvidia.com/v1alpha1";

/// One spoke and its cluster.
pub(super) struct SpokeSite {
    pub(super) index: usize,
    /// Its name on the hub; two sites of one name share an identity.
    pub(super) cluster: String,
    /// Wrongness of its clock, milliseconds.
    pub(super) skew: i64,
    /// The hub that its agent's address leads to.
    pub(super) address: usize,
    pub(super) kube: Kube,
    pub(super) agent: Option<Agent>,
    /// Another cluster with the identity of one that is there already.
    pub(super) is_imposter: bool,
    /// Number of the current agent process.
    pub(super) life: u64,
    address_text: HubAddress,
    ca_hash: CaHash,
}

impl SpokeSite {
    pub(super) fn new(index: usize, cluster: String, nodes: usize, address: HubAddress, ca: CaHash) -> Self {
        Self {
            index,
            cluster,
            skew: 0,
            address: 0,
            kube: Kube::new(nodes),
            agent: None,
            is_imposter: false,
            life: 0,
            address_text: address,
            ca_hash: ca,
        }
    }

    /// A new agent process, unless there is one: a lease lets no two work in one cluster.
    pub(super) fn start(&mut self, stage: &mut Stage) {
        if self.agent.is_some() {
            return;
        }
        self.life = stage.number();
        let started_ms = stage.wall(self.skew).as_millisecond();
        let kinds = KINDS.into_iter().map(|kind| format!("{}/{}", kind.api_version(), kind.kind));
        let settings = Settings {
            address: self.address_text.clone(),
            ca_hash: self.ca_hash,
            cluster: self.cluster.clone(),
            token: None,
            cluster_uid: format!("cluster-{}", self.index),
            capabilities: kinds.chain(["retain".to_owned()]).collect(),
            limits: String::new(),
            instance: (stage.dice.word(), started_ms),
            proxy: Proxy::default(),
            keepalive: KEEPALIVE,
        };
        self.agent = Some(Agent::new(settings));
        stage.note(|| format!("agent {} starts", self.index));
        self.observe(stage);
        self.report_all(stage);
        stage.plan_between(1, 300, Event::Dial { spoke: self.index, life: self.life });
    }

    /// The process dies. Calls under way may still reach the API server, within the moment that it takes to notice.
    pub(super) fn die(&mut self, stage: &mut Stage) {
        let Some(agent) = self.agent.take() else { return };
        stage.note(|| format!("agent {} dies", self.index));
        stage.disturb(self.index);
        if let Some(session) = &agent.session {
            agent::hang_up(session.stream, stage);
        }
        for call in agent.calls() {
            if stage.dice.per_mille(500) {
                stage.plan_between(0, 30, Event::Late { spoke: self.index, call: Box::new(call) });
            }
        }
    }

    /// A call of a process that is gone.
    pub(super) fn late(&mut self, call: &Call, stage: &mut Stage) {
        let result = self.kube.perform(self.index, call, stage);
        stage.note(|| format!("a call of a dead agent {} arrives: {result:?}", self.index));
    }
}
