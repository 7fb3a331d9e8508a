//! What goes wrong, and how it is mended.

use super::World;
use super::agenda::Event;
use super::hubs::{HubSite, Store};
use super::mutant::Mutant;
use super::net::Direction;

/// What mends a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mend {
    /// A path carries again.
    Path { spoke: usize },
    /// A path is as fast as before.
    Speed { spoke: usize },
    /// The reader of a stream reads again.
    Reader { spoke: usize, stream: u64 },
    /// A cluster's API server answers again.
    Kube { spoke: usize },
    /// A hub's API server answers again.
    Store { hub: usize },
    /// Other people's pods go.
    Room { spoke: usize, node: usize },
}

impl World {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) {
        let spoke = self.stage.dice.index(self.spokes.len());
        let hub = self.stage.dice.index(self.hubs.len());
        let what = self.stage.dice.up_to(99);
        if self.stage.is(Mutant::ObeyAnyEpoch) && self.hubs.len() == 1 {
            // Whom to obey matters where there are two.
            return self.second_hub();
        }
        match what {
            // What waits for a spoke that does not read is what large objects are for.
            _ if self.plan.heavy && what < 60 => self.deafen(spoke),
            0..14 => self.cut(spoke),
            14..20 => {
                let slow = self.stage.dice.between(50, 3000);
                self.stage.note(|| format!("the path of spoke {spoke} is slow"));
                self.stage.net.slow.insert(spoke, slow);
                self.stage.plan_between(1000, 20_000, Event::Mend(Mend::Speed { spoke }));
            }
            20..28 => self.deafen(spoke),
            28..42 => self.restart_agent(spoke),
            42..54 => self.restart_hub(hub),
            54..64 => self.skew(spoke, hub),
            64..74 => {
                let failing = 100 + self.stage.dice.up_to(900);
                self.stage
                    .note(|| format!("API server of spoke {spoke} fails {failing} calls of a thousand"));
                self.spokes[spoke].kube.failing = failing;
                self.stage.plan_between(500, 20_000, Event::Mend(Mend::Kube { spoke }));
            }
            74..79 => {
                self.hubs[hub].failing = 500;
                self.stage.note(|| format!("API server of hub {hub} fails"));
                self.stage.plan_between(500, 10_000, Event::Mend(Mend::Store { hub }));
            }
            79..85 => self.take_room(spoke),
            85..90 => self.restore(hub),
            90..95 => self.second_hub(),
            _ => {
                let to = self.stage.dice.index(self.hubs.len());
                self.stage.note(|| format!("the address of spoke {spoke} leads to hub {to}"));
                self.spokes[spoke].address = to;
            }
        }
        self.stage.disturb(spoke);
    }

    /// A path swallows: both ways, or one.
    fn cut(&mut self, spoke: usize) {
        let which = self.stage.dice.up_to(3);
        self.stage.note(|| format!("the path of spoke {spoke} is cut (way {which})"));
        if which != 1 {
            self.stage.net.cut(spoke, Direction::Up);
        }
        if which != 2 {
            self.stage.net.cut(spoke, Direction::Down);
        }
        self.stage.plan_between(200, 60_000, Event::Mend(Mend::Path { spoke }));
    }

    /// An agent stops reading, and pretends that all is well.
    fn deafen(&mut self, spoke: usize) {
        let session = self.spokes[spoke].agent.as_ref().and_then(|agent| agent.session.as_ref());
        let Some(stream) = session.map(|session| session.stream) else { return };
        self.stage.note(|| format!("agent {spoke} does not read stream {stream}"));
        let now = self.stage.now;
        self.stage.net.set_unread(stream, true, now, &mut self.stage.agenda);
        self.stage.plan_between(2000, 90_000, Event::Mend(Mend::Reader { spoke, stream }));
    }

    fn restart_agent(&mut self, spoke: usize) {
        self.spokes[spoke].die(&mut self.stage);
        self.stage.plan_between(200, 15_000, Event::AgentStarts { spoke });
    }

    fn restart_hub(&mut self, hub: usize) {
        self.hubs[hub].die(&mut self.stage);
        self.disturb_all();
        self.stage.plan_between(200, 20_000, Event::HubStarts { hub });
    }

    /// A clock jumps, forward or back.
    fn skew(&mut self, spoke: usize, hub: usize) {
        let jump = i64::try_from(self.stage.dice.between(0, 1_200_000)).unwrap_or_default() - 600_000;
        if self.stage.dice.per_mille(800) {
            self.stage.note(|| format!("the clock of spoke {spoke} is {jump} ms wrong"));
            self.spokes[spoke].skew = jump;
        } else {
            self.stage.note(|| format!("the clock of hub {hub} is {} ms wrong", jump / 100));
            self.hubs[hub].skew = jump / 100;
        }
    }

    /// Other people's pods take GPUs of a node, as far as they are free.
    fn take_room(&mut self, spoke: usize) {
        let free = self.spokes[spoke].kube.free();
        let node = self.stage.dice.index(free.len());
        let taken = self.stage.dice.up_to(free[node]);
        self.spokes[spoke].kube.foreign[node] += taken;
        self.stage.plan_between(500, 2000, Event::Observe { spoke });
        self.stage.plan_between(5000, 60_000, Event::Mend(Mend::Room { spoke, node }));
    }

    /// A hub is restored from an old backup.
    fn restore(&mut self, hub: usize) {
        let backups = self.hubs[hub].backups.len();
        if backups == 0 || self.hubs[hub].retired {
            return;
        }
        let backup = self.hubs[hub].backups[self.stage.dice.index(backups)].clone();
        self.stage.note(|| format!("hub {hub} is restored from a backup of term {}", backup.epoch.term));
        self.hubs[hub].die(&mut self.stage);
        self.hubs[hub].store = backup;
        self.forgetful = true;
        self.disturb_all();
        self.stage.plan_between(200, 10_000, Event::HubStarts { hub });
    }

    /// Beside the first hub there is a second: a copy of its backup, or an empty one of another hub ID.
    fn second_hub(&mut self) {
        if self.hubs.len() > 1 {
            return;
        }
        let backups = self.hubs[0].backups.len();
        let store = if backups > 0 && self.stage.dice.per_mille(600) {
            self.stage.note(|| "a second hub starts from a backup of the first".to_owned());
            self.hubs[0].backups[self.stage.dice.index(backups)].clone()
        } else {
            self.stage.note(|| "a second hub starts with nothing".to_owned());
            Store::new(self.stage.dice.word(), self.hubs[0].store.clusters.clone())
        };
        self.forgetful = true;
        self.hubs.push(HubSite::new(1, store));
        self.stage.plan(10, Event::HubStarts { hub: 1 });
    }

    fn disturb_all(&mut self) {
        for spoke in 0..self.spokes.len() {
            self.stage.disturb(spoke);
        }
    }

    /// Something is mended.
    pub(super) fn mend(&mut self, mend: Mend) {
        let now = self.stage.now;
        match mend {
            Mend::Path { spoke } => {
                let dead = self.stage.dice.per_mille(400);
                self.stage.note(|| format!("the path of spoke {spoke} carries again (streams dead: {dead})"));
                self.stage.net.mend(spoke, dead, now, &mut self.stage.agenda);
                self.stage.disturb(spoke);
            }
            Mend::Speed { spoke } => {
                self.stage.net.slow.remove(&spoke);
                self.stage.disturb(spoke);
            }
            Mend::Reader { spoke, stream } => {
                self.stage.note(|| format!("agent {spoke} reads stream {stream} again"));
                self.stage.net.set_unread(stream, false, now, &mut self.stage.agenda);
                self.stage.disturb(spoke);
            }
            Mend::Kube { spoke } => {
                self.stage.note(|| format!("API server of spoke {spoke} is well"));
                self.spokes[spoke].kube.failing = 0;
                self.stage.disturb(spoke);
            }
            Mend::Store { hub } => self.hubs[hub].failing = 0,
            Mend::Room { spoke, node } => {
                self.spokes[spoke].kube.foreign[node] = 0;
                self.stage.plan_between(50, 500, Event::Operate { spoke });
                self.stage.plan_between(500, 2000, Event::Observe { spoke });
            }
        }
    }

    /// No more faults: whatever is broken is mended, one hub is the hub, and where it is another than before each
    /// cluster is handed over as the refusal says.
    pub(super) fn calm(&mut self) {
        self.stage.note(|| "calm".to_owned());
        self.calm = true;
        for spoke in 0..self.spokes.len() {
            self.mend(Mend::Path { spoke });
            self.mend(Mend::Speed { spoke });
            self.mend(Mend::Kube { spoke });
            let session = self.spokes[spoke].agent.as_ref().and_then(|agent| agent.session.as_ref());
            if let Some(stream) = session.map(|session| session.stream) {
                self.mend(Mend::Reader { spoke, stream });
            }
            self.spokes[spoke].kube.foreign.iter_mut().for_each(|taken| *taken = 0);
            self.stage.plan_between(50, 500, Event::Operate { spoke });
            self.stage.plan_between(500, 2000, Event::Observe { spoke });
        }
        self.survivor = self.stage.dice.index(self.hubs.len());
        for hub in 0..self.hubs.len() {
            self.hubs[hub].failing = 0;
            if hub == self.survivor {
                self.stage.plan(100, Event::HubStarts { hub });
            } else {
                self.hubs[hub].retired = true;
                self.hubs[hub].die(&mut self.stage);
            }
        }
        let hub_id = self.hubs[self.survivor].store.epoch.hub_id.clone();
        self.stage.note(|| format!("hub {} is the hub", self.survivor));
        for spoke in 0..self.spokes.len() {
            self.spokes[spoke].address = self.survivor;
            if self.spokes[spoke].is_imposter {
                self.spokes[spoke].die(&mut self.stage);
                continue;
            }
            let obeyed = self.spokes[spoke].kube.epoch.as_ref().map(|epoch| epoch.hub_id.clone());
            if obeyed.is_some_and(|obeyed| obeyed != hub_id) {
                self.stage.note(|| format!("spoke {spoke} is handed over"));
                self.spokes[spoke].kube.epoch = None;
                self.handed_over.insert(spoke);
                self.spokes[spoke].die(&mut self.stage);
            }
            self.stage.plan(100, Event::AgentStarts { spoke });
        }
    }
}
