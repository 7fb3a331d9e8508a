//! The fleet without sockets and clocks: hubs and spokes by the machines that ship, with all that can go wrong, from one seed.
//!
//! ```text
//! admin ──► hubs ── store, rows, scheduler, desired, hub::link::Machine ──┐ encoded messages
//!           agenda, dice, faults                                          net
//!           spokes ─ spoke::link::Machine, rules of delivery, outbox ──────┘
//!                    kube, operator: a model of the cluster
//! invariants: I1 … I9, asked after every step
//! ```
//!
//! The same seed gives the same run, step by step. Time is simulated: minutes of a fleet take milliseconds.

mod admin;
mod agenda;
mod campaign;
mod dice;
mod faults;
mod hubs;
mod invariants;
mod mutant;
mod net;
mod spokes;
mod stage;

use std::collections::BTreeSet;
use std::fmt;

use spoke::deliver::marks_of;
use spoke::link::{CaHash, HubAddress, SettingsError};

pub use campaign::{Outcome, campaign};
pub use mutant::{Mutant, UnknownMutant};

use admin::Plan;
use agenda::{Event, Time};
use hubs::{HubSite, Store};
use invariants::Invariants;
use net::Direction;
use spokes::{Live, SpokeSite};
use stage::{Fact, Stage};

/// Changes and faults come for so long, milliseconds.
const TROUBLE: (Time, Time) = (40_000, 150_000);
/// Afterwards everything must be well within this, milliseconds: the longest waits of both sides, one after the other
/// (three silent heartbeats, a goodbye of 15 s, a backoff of 15 s and one of 30 s, and the settling of reports).
const WELL_WITHIN: Time = 180_000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A fault that is put in on purpose.
    pub mutant: Option<Mutant>,
    /// Whether to print everything that happens.
    pub trace: bool,
}

/// What a run that went well came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Things that happened.
    pub steps: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: u64,
    /// Objects written in spokes' clusters.
    pub applied: u64,
    /// Objects that left spokes' clusters.
    pub removed: u64,
}

/// A run in which an invariant did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Replays it.
    pub seed: u64,
    /// The step after which it did not hold.
    pub step: u64,
    /// Name and statement.
    pub invariant: &'static str,
    /// What broke it.
    pub how: String,
    /// What happened last.
    pub last: Vec<String>,
}

impl Violation {
    /// `I1` to `I9`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.invariant.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, invariant, how, last } = self;
        writeln!(f, "seed {seed}, step {step}: {how}\n  {invariant}\n  what happened last:")?;
        for line in last {
            writeln!(f, "    {line}")?;
        }
        write!(
            f,
            "  replay: cargo run --profile optimized -p e2e --bin simulate -- --seeds 1 --seed {seed} --trace"
        )
    }
}

/// A fleet and all that befalls it.
pub(crate) struct World {
    stage: Stage,
    hubs: Vec<HubSite>,
    spokes: Vec<SpokeSite>,
    plan: Plan,
    /// Faults and changes have ended.
    calm: bool,
    /// Everything must be well now.
    verdict: bool,
    /// The hub that is the hub in the end.
    survivor: usize,
    /// A hub was restored from a backup, there was a second one, or another cluster spoke for one of ours.
    forgetful: bool,
    /// Spokes whose epoch was deleted by an admin, as a refusal says.
    handed_over: BTreeSet<usize>,
}

/// Runs one seed.
pub fn run(options: Options) -> Result<Summary, Box<Violation>> {
    let violation = |step, invariant, how, stage: Option<&Stage>| {
        let last = stage.map(|stage| stage.last.iter().cloned().collect()).unwrap_or_default();
        Box::new(Violation { seed: options.seed, step, invariant, how, last })
    };
    let mut world = World::new(options)
        .map_err(|error| violation(0, "I0: a fleet can be made", error.to_string(), None))?;
    let mut invariants = Invariants::new();
    let mut summary = Summary::default();
    while let Some((at, event)) = world.stage.agenda.next() {
        world.stage.now = at;
        world.happen(event);
        summary.steps += 1;
        world.notice_disturbance();
        let facts = std::mem::take(&mut world.stage.facts);
        for fact in &facts {
            match fact {
                Fact::Applied { .. } => summary.applied += 1,
                Fact::Removed { .. } => summary.removed += 1,
                _ => {}
            }
        }
        if let Err((invariant, how)) = invariants.check(&facts, &world) {
            return Err(violation(summary.steps, invariant, how, Some(&world.stage)));
        }
        if world.verdict {
            break;
        }
    }
    summary.simulated_ms = world.stage.now;
    Ok(summary)
}

impl World {
    fn new(options: Options) -> Result<Self, SettingsError> {
        let mut stage = Stage::new(options.seed, options.mutant, options.trace);
        let address: HubAddress = "hub.example.com:7443".parse()?;
        let ca_hash: CaHash = format!("sha256:{}", "0".repeat(64)).parse()?;
        let heavy = options.mutant == Some(Mutant::ForgeAcks) || stage.dice.per_mille(40);
        let clearing = options.mutant == Some(Mutant::ForgetReleases) || stage.dice.per_mille(60);
        let plan = Plan { heavy, faulty: stage.dice.per_mille(600), clearing };
        let count = if heavy { 2 } else { 2 + stage.dice.index(4) };
        let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
        let mut spokes = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let nodes = 1 + stage.dice.index(3);
            spokes.push(SpokeSite::new(index, name.clone(), nodes, address.clone(), ca_hash));
        }
        let forgetful = stage.dice.per_mille(150);
        if forgetful {
            let mut imposter = SpokeSite::new(count, "c0".to_owned(), 1, address, ca_hash);
            imposter.is_imposter = true;
            spokes.push(imposter);
        }
        let store = Store::new(stage.dice.word(), names.into_iter().collect());
        let mut world = Self {
            stage,
            hubs: vec![HubSite::new(0, store)],
            spokes,
            plan,
            calm: false,
            verdict: false,
            survivor: 0,
            forgetful,
            handed_over: BTreeSet::new(),
        };
        world.stage.plan(0, Event::HubStarts { hub: 0 });
        for spoke in 0..world.spokes.len() {
            world.stage.plan_between(0, 5000, Event::AgentStarts { spoke });
        }
        world.stage.plan_between(500, 4000, Event::Admin);
        world.stage.plan_between(5000, 20_000, Event::Confirm);
        world.stage.plan_between(5000, 20_000, Event::Fault);
        let most = if world.plan.heavy { TROUBLE.0 + 20_000 } else { TROUBLE.1 };
        let trouble = world.stage.dice.between(TROUBLE.0, most);
        world.stage.plan(trouble, Event::Calm);
        world.stage.plan(trouble + WELL_WITHIN, Event::Verdict);
        Ok(world)
    }

    fn happen(&mut self, event: Event) {
        let stage = &mut self.stage;
        match event {
            Event::Arrive { stream, direction } => self.arrive(stream, direction),
            Event::HubStarts { hub } => self.hubs[hub].start(stage),
            Event::HubOpens { hub, life } if self.hubs[hub].life == life => self.hubs[hub].open(stage),
            Event::HubTick { hub, life, stream } if self.hubs[hub].life == life => {
                self.hubs[hub].tick(stream, stage);
            }
            Event::Reconcile { hub, life, placement } if self.hubs[hub].life == life => {
                self.hubs[hub].reconcile(&placement, stage);
            }
            Event::AgentStarts { spoke } if !(self.calm && self.spokes[spoke].is_imposter) => {
                self.spokes[spoke].start(stage);
            }
            Event::Dial { spoke, life } if self.spokes[spoke].life == life => {
                let hub = &self.hubs[self.spokes[spoke].address];
                let answers = hub.process.is_some().then_some(hub.life);
                self.spokes[spoke].dial(answers, stage);
            }
            Event::AgentTick { spoke, life, stream } if self.spokes[spoke].life == life => {
                self.spokes[spoke].tick(stream, stage);
            }
            Event::Held { spoke, life, stream, held } if self.spokes[spoke].life == life => {
                self.spokes[spoke].held(stream, held, stage);
            }
            Event::Work { spoke, life, ticket } if self.spokes[spoke].life == life => {
                self.spokes[spoke].work(ticket, stage);
            }
            Event::News { spoke, life, stream } if self.spokes[spoke].life == life => {
                self.spokes[spoke].news(stream, stage);
            }
            Event::Late { spoke, call } => self.spokes[spoke].late(&call, stage),
            Event::Operate { spoke } => self.spokes[spoke].operate(stage),
            Event::Ready { spoke, uid, replicas } => self.spokes[spoke].ready(&uid, replicas, stage),
            Event::Vanish { spoke, local } => self.spokes[spoke].vanish(local, stage),
            Event::Observe { spoke } => self.spokes[spoke].observe(stage),
            Event::Admin => self.administer(),
            Event::Confirm => self.confirm(),
            Event::Fault if !self.calm => {
                self.fault();
                self.stage.plan_between(500, 15_000, Event::Fault);
            }
            Event::Mend(mend) => self.mend(mend),
            Event::Calm => self.calm(),
            Event::Verdict => self.verdict = true,
            // It concerns a process that has gone.
            _ => {}
        }
    }

    fn arrive(&mut self, stream: u64, direction: Direction) {
        let Some(item) = self.stage.net.arrived(stream, direction, self.stage.now) else { return };
        let Some(found) = self.stage.net.stream(stream) else { return };
        let (hub, hub_life, spoke, agent_life, ghost) =
            (found.hub, found.hub_life, found.spoke, found.agent_life, found.ghost);
        let is_closed = matches!(item, net::Item::Closed);
        match direction {
            Direction::Up if self.hubs[hub].life == hub_life => {
                let cluster = self.spokes[spoke].cluster.clone();
                self.hubs[hub].arrived(stream, &cluster, item, &mut self.stage);
            }
            Direction::Up => {
                // Nobody is there any more, and says so.
                if !is_closed {
                    let (now, stage) = (self.stage.now, &mut self.stage);
                    let closed = (stream, Direction::Down);
                    stage.net.send(closed, net::Item::Closed, now, &mut stage.dice, &mut stage.agenda);
                }
            }
            Direction::Down if !ghost && self.spokes[spoke].life == agent_life => {
                self.spokes[spoke].arrived(stream, item, &mut self.stage);
                if is_closed {
                    self.stage.net.forget(stream);
                }
            }
            Direction::Down if is_closed => self.stage.net.forget(stream),
            Direction::Down => {}
        }
    }

    fn administer(&mut self) {
        if self.calm {
            return;
        }
        let hub = self.stage.dice.index(self.hubs.len());
        admin::act(&mut self.hubs[hub], self.plan, &mut self.stage);
        if self.stage.dice.per_mille(80) {
            let backup = self.hubs[hub].store.clone();
            self.hubs[hub].backups.push(backup);
            self.stage.note(|| format!("a backup of hub {hub} is taken"));
        }
        let most = if self.plan.heavy || self.plan.clearing { 1500 } else { 6000 };
        self.stage.plan_between(100, most, Event::Admin);
    }

    /// What a spoke holds back is confirmed, sooner or later.
    fn confirm(&mut self) {
        for hub in &self.hubs {
            let Some(process) = &hub.process else { continue };
            for cluster in &hub.store.clusters {
                let Ok(name) = cluster.parse() else { continue };
                if process.desired.held_back(&name).is_empty() || self.stage.dice.per_mille(300) {
                    continue;
                }
                let count = process.desired.confirm_held_back(&name);
                let index = hub.index;
                self.stage.note(|| format!("admin of hub {index} confirms {count} deletions of {cluster}"));
            }
        }
        for hub in &mut self.hubs {
            hub.settle(&mut self.stage);
        }
        self.stage.plan_between(2000, 20_000, Event::Confirm);
    }

    /// While something is wrong around a spoke, nothing is expected of it in time.
    fn notice_disturbance(&mut self) {
        for spoke in &self.spokes {
            let stream = spoke.agent.as_ref().and_then(|agent| agent.session.as_ref()).map(|s| s.stream);
            let unread =
                stream.and_then(|stream| self.stage.net.stream(stream)).is_some_and(|stream| stream.unread);
            if unread
                || stream.is_none()
                || spoke.kube.failing > 0
                || self.stage.net.is_cut(spoke.index)
                || self.stage.net.slow.contains_key(&spoke.index)
            {
                self.stage.disturbed.insert(spoke.index, self.stage.now);
            }
        }
    }

    /// Since when a hub process and the spoke of a cluster have been talking with nothing in the way; none: they do not.
    fn calm_since(&self, hub: usize, life: u64, cluster: &str) -> Option<Time> {
        let hub = self.hubs.get(hub).filter(|hub| hub.life == life && hub.failing == 0)?;
        let mut spokes = self.spokes.iter().filter(|spoke| spoke.cluster == cluster);
        let (Some(spoke), None) = (spokes.next(), spokes.next()) else { return None };
        let process = hub.process.as_ref()?;
        let session = process.sessions.values().find(|session| session.cluster.as_str() == cluster)?;
        let disturbed = self.stage.disturbed.get(&spoke.index).copied().unwrap_or_default();
        Some(disturbed.max(session.welcomed?))
    }

    /// Whether a cluster holds of an object what a hub wants there. What it held before it was wanted is not answered.
    fn is_carried_out(&self, hub: usize, cluster: &str, uid: &str) -> bool {
        let mut books = self.hubs[hub].process.iter().flat_map(|process| process.books.values());
        let entry = (cluster.to_owned(), uid.to_owned());
        let wanted = books.find_map(|book| book.sent.get(&entry));
        let marks = self.live(cluster, uid).and_then(|live| marks_of(&live.meta));
        marks.map(|marks| marks.hash).as_ref() == wanted
    }

    /// Whether the object is being deleted in that cluster, and still there.
    fn is_leaving(&self, cluster: &str, uid: &str) -> bool {
        self.live(cluster, uid).is_some_and(|live| live.meta.deletion_timestamp.is_some())
    }

    /// What a cluster has of an object of the hub.
    fn live(&self, cluster: &str, uid: &str) -> Option<&Live> {
        let spoke = self.spokes.iter().find(|spoke| spoke.cluster == cluster)?;
        spoke.kube.objects.values().find(|live| live.uid().as_deref() == Some(uid))
    }

    /// Whether another object has the name of this one, on the hub or on a spoke: it waits for that one.
    fn shares_name(&self, uid: &str) -> bool {
        let object = self.hubs.iter().find_map(|hub| hub.store.objects.get(uid));
        let Some(object) = object.map(|object| &object.identity) else { return true };
        let same = |kind: &str, name: &str| kind == object.kind && name == object.name;
        let on_hubs = self.hubs.iter().flat_map(|hub| hub.store.objects.values());
        let on_spokes = self.spokes.iter().flat_map(|spoke| &spoke.kube.objects);
        on_hubs
            .clone()
            .any(|other| other.identity.uid != uid && same(&other.identity.kind, &other.identity.name))
            || on_spokes
                .clone()
                .any(|((kind, name), live)| same(kind, name) && live.uid().as_deref() != Some(uid))
    }
}
