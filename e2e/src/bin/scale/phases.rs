//! What is measured, in this order: join, fill, place, tell, idle, storm, restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::process;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::board::Board;
use super::crowd::{self, COUNTED, Crowd};
use super::light::status;
use super::world::{self, Told};
use super::{Args, Figures};

/// Requests to the API server at once while the fleet is filled.
const AT_ONCE: usize = 16;
/// Between two tries.
const REST: Duration = Duration::from_millis(500);
/// Everything that is set off by a phase has ended.
const SETTLED: Duration = Duration::from_secs(5);
/// The fleet is in sync within this time, or never.
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A hub with its crowd of spokes.
pub(super) struct Scale {
    args: Args,
    fleet: Fleet,
    crowd: Crowd,
    board: Arc<Board>,
    /// In which the GPUClusters were made.
    accepting: Duration,
    /// Memory of this process before there were spokes, KiB.
    empty_kib: f64,
    /// Processor time of hubs that have ended, seconds.
    ended_cpu: f64,
    /// Highest peak of hubs that have ended, MiB.
    ended_peak: f64,
}

impl Scale {
    pub(super) async fn start(args: &Args) -> Result<Self, Failure> {
        eprintln!("building the hub, starting it, signing {} certificates", args.spokes);
        let fleet = Fleet::new().patient().start().await?;
        let board = Arc::new(Board::default());
        let empty_kib = kib(process::resident_bytes(std::process::id())?);
        let client = fleet.hub().cluster().client();
        let begun = Instant::now();
        // A certificate names the GPUCluster that it is for.
        let accepted = (0..args.spokes).map(async |number| {
            let name = crowd::name(number);
            world::accept(&client, &name).await.map(|uid| (name, uid))
        });
        let clusters: Vec<_> = stream::iter(accepted).buffered(AT_ONCE).try_collect().await?;
        let accepting = begun.elapsed();
        eprintln!("  {} GPUClusters made in {accepting:?}", args.spokes);
        let crowd = Crowd::sign(client, fleet.hub().link(), clusters, &board).await?;
        let (ended_cpu, ended_peak) = (0.0, 0.0);
        Ok(Self { args: args.clone(), fleet, crowd, board, accepting, empty_kib, ended_cpu, ended_peak })
    }

    /// All spokes connect; the time in which their GPUClusters were made and accepted is counted too.
    pub(super) async fn join(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        let begun = Instant::now();
        self.crowd.start()?;
        let joined = self.crowd.connected().await?;
        figures.add("join_all_s", (self.accepting + (joined - begun)).as_secs_f64());
        sleep(SETTLED).await;
        let grown = kib(process::resident_bytes(std::process::id())?) - self.empty_kib;
        figures.add("spoke_rss_kib", grown / f64::from(self.args.spokes));
        Ok(())
    }

    /// All placements but those that are measured.
    pub(super) async fn fill(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        let bulk = self.args.placements.saturating_sub(self.args.tries);
        let client = self.client();
        let begun = Instant::now();
        let clusters = self.args.clusters_per_placement;
        let names: Vec<String> = (0..bulk).map(|number| format!("bulk-{number}")).collect();
        let places = names.iter().map(|name| world::place(&client, name, clusters));
        stream::iter(places).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        for name in &names {
            self.board.until(name, clusters).await?;
        }
        figures.add("fill_s", begun.elapsed().as_secs_f64());
        self.steady(bulk).await?;
        figures.add("fill_told_s", begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// One model after the other: made on the hub, until each of its clusters has taken it.
    pub(super) async fn place(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        let client = self.client();
        let mut took = Vec::new();
        for number in 0..self.args.tries.min(self.args.placements) {
            sleep(REST).await;
            let name = format!("try-{number}");
            let begun = Instant::now();
            world::place(&client, &name, self.args.clusters_per_placement).await?;
            let last = self.board.until(&name, self.args.clusters_per_placement).await?;
            took.push((last - begun).as_secs_f64() * 1000.0);
        }
        figures.add_spread("place", "ms", took);
        Ok(())
    }

    /// One status after the other: said by a spoke, until the hub's own object says it.
    pub(super) async fn tell(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        let tries = self.args.tries.min(self.args.placements);
        self.steady(self.args.placements).await?;
        let mut told = Told::start(&self.client()).await?;
        let mut took = Vec::new();
        for number in 0..tries {
            sleep(REST).await;
            let (name, word) = (format!("try-{number}"), format!("told-{number}"));
            let found = self.crowd.spokes.iter().find_map(|spoke| Some((spoke, spoke.cluster.held(&name)?)));
            let (spoke, held) = found.ok_or_else(|| Failure::new(format!("nobody holds {name}")))?;
            let begun = Instant::now();
            spoke.cluster.statuses.put(status(held.clone(), false, &word));
            took.push((told.until(&name, &word).await? - begun).as_secs_f64() * 1000.0);
            spoke.cluster.statuses.put(status(held, true, "it serves"));
        }
        figures.add_spread("status", "ms", took);
        self.steady(self.args.placements).await
    }

    /// Nothing happens: what travels all the same, and what the hub does.
    pub(super) async fn idle(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        if self.args.idle_seconds == 0 {
            return Ok(());
        }
        sleep(SETTLED).await;
        let (passed, cpu) = (self.crowd.relay.passed(), self.fleet.hub().daemon().cpu_seconds()?);
        sleep(Duration::from_secs(self.args.idle_seconds)).await;
        let per_minute = 60.0 / Duration::from_secs(self.args.idle_seconds).as_secs_f64();
        let counted = COUNTED.min(self.crowd.spokes.len());
        let bytes = number(self.crowd.relay.passed() - passed) / number(counted as u64);
        figures.add("idle_bytes_per_spoke_min", bytes * per_minute);
        let used = self.fleet.hub().daemon().cpu_seconds()? - cpu;
        figures.add("hub_idle_cpu_s_per_min", used * per_minute);
        figures.add("hub_steady_rss_mib", mib(self.fleet.hub().daemon().resident_bytes()?));
        Ok(())
    }

    /// All connections are lost, something changes, and all come back at the same moment.
    pub(super) async fn storm(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        self.crowd.stop().await;
        sleep(SETTLED).await;
        let changed = (self.args.placements > 0).then(|| "bulk-0".to_owned());
        if let Some(name) = &changed {
            self.board.forget(name);
            world::change(&self.client(), name, "2.0.0").await?;
            sleep(SETTLED).await;
        }
        let begun = Instant::now();
        self.crowd.start()?;
        let mut last = self.crowd.connected().await?;
        if let Some(name) = &changed {
            last = last.max(self.board.until(name, self.args.clusters_per_placement).await?);
        }
        figures.add("storm_synced_s", (last - begun).as_secs_f64());
        self.steady(self.args.placements).await
    }

    /// The hub is killed and started again, until all spokes are connected and it counts every placement as ready again.
    pub(super) async fn restart(&mut self, figures: &mut Figures) -> Result<(), Failure> {
        let daemon = self.fleet.hub().daemon();
        self.ended_cpu = daemon.cpu_seconds()?;
        self.ended_peak = mib(daemon.peak_resident_bytes()?);
        let delivered = self.board.total();
        self.fleet.hub().kill();
        let begun = Instant::now();
        self.fleet.hub().restart()?;
        self.steady(self.args.placements).await?;
        self.crowd.connected().await?;
        figures.add("restart_converged_s", begun.elapsed().as_secs_f64());
        let again = self.board.total() - delivered;
        if again > 0 {
            return Err(Failure::new(format!(
                "{again} objects were sent again after a restart without a change"
            )));
        }
        let daemon = self.fleet.hub().daemon();
        figures.add("hub_cpu_s", self.ended_cpu + daemon.cpu_seconds()?);
        figures.add("hub_peak_rss_mib", self.ended_peak.max(mib(daemon.peak_resident_bytes()?)));
        Ok(())
    }

    /// Returns when the hub counts all spokes as connected and so many placements as ready.
    async fn steady(&self, placements: u32) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        let (spokes, placements) = (self.args.spokes.to_string(), placements.to_string());
        loop {
            let metrics = self.fleet.hub().daemon().metrics().await.unwrap_or_default();
            let counts = |metric: &str, wanted: &str| {
                let found = metrics.lines().find_map(|line| line.strip_prefix(metric)).map(str::trim);
                found.unwrap_or("0") == wanted
            };
            if counts("nimfleet_hub_connected_clusters", &spokes)
                && counts("nimfleet_hub_placements{reason=\"Ready\"}", &placements)
            {
                return Ok(());
            }
            if Instant::now() > until {
                let of_interest: Vec<&str> = metrics
                    .lines()
                    .filter(|line| line.contains("hub_placements{") || line.contains("connected_clusters "))
                    .collect();
                return Err(Failure::new(format!("not steady after {PATIENCE:?}: {of_interest:?}")));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn client(&self) -> kube::Client {
        self.fleet.hub().cluster().client()
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

fn kib(bytes: u64) -> f64 {
    number(bytes) / 1024.0
}

fn mib(bytes: u64) -> f64 {
    kib(bytes) / 1024.0
}
