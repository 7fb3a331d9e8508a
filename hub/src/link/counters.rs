//! What the link counts.

use hub_core::link::Count;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Label `class`: one of the classes of refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByClass {
    /// `Invalid`, `Conflict`, `PolicyDenied`, `NoRoom`, …
    pub class: &'static str,
}

/// What the link counts.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Sessions that were welcomed.
    pub sessions: Counter,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: Counter,
    /// Enrolments that were refused.
    pub refused_enrolments: Counter,
    /// Requests to enrol that came too fast.
    pub throttled_enrolments: Counter,
    /// Certificates issued.
    pub certificates: Counter,
    /// Certificates that were issued in place of a valid one.
    pub renewals: Counter,
    /// Renewals that were refused.
    pub refused_renewals: Counter,
    /// Agents turned away because a newer one of the same identity is connected.
    pub duplicate_agents: Counter,
    /// Sessions refused because the agent does not prove the epoch that it says it has accepted.
    pub unproven_epochs: Counter,
    /// Clusters that the rollover of the CA waits for.
    pub rollover_awaits: Gauge,
    /// Seconds until the CA that signs ends.
    pub authority_expires_seconds: Gauge,
    /// Objects sent to be applied.
    pub upserts: Counter,
    /// Objects sent to be removed.
    pub tombstones: Counter,
    /// Objects that a spoke refused, by class.
    pub rejections: Family<ByClass, Counter>,
    /// Deletions that a spoke held back.
    pub deletions_held: Counter,
    /// Objects that a spoke could neither apply nor refuse at first.
    pub retried: Counter,
    /// Assignments, and bytes of words, that spokes said beyond what the hub keeps.
    pub cut: Counter,
    /// Times that what a spoke holds was not what was wanted, and was compared.
    pub comparisons: Counter,
    /// Spokes that were told to come again because too many came at once.
    pub turned_away: Counter,
}

impl Counters {
    /// Counts what a session counts.
    pub(super) fn count(&self, count: Count) {
        match count {
            Count::Welcomed => drop(self.sessions.inc()),
            Count::DuplicateAgent => drop(self.duplicate_agents.inc()),
            Count::UnprovenEpoch => drop(self.unproven_epochs.inc()),
            Count::Upserts(count) => drop(self.upserts.inc_by(count)),
            Count::Tombstones(count) => drop(self.tombstones.inc_by(count)),
            Count::Comparison => drop(self.comparisons.inc()),
            Count::Rejection(class) => drop(self.rejections.get_or_create(&ByClass { class }).inc()),
            Count::HeldDeletion => drop(self.deletions_held.inc()),
            Count::Retry => drop(self.retried.inc()),
            Count::Cut(count) => drop(self.cut.inc_by(count)),
        }
    }

    /// Makes the counters visible as `link_*`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("link");
        let table = [
            ("sessions", "Sessions that were welcomed", &self.sessions),
            ("failed_handshakes", "TLS handshakes that failed or took too long", &self.failed_handshakes),
            ("refused_enrolments", "Enrolments that were refused", &self.refused_enrolments),
            ("throttled_enrolments", "Requests to enrol that came too fast", &self.throttled_enrolments),
            ("certificates", "Certificates issued", &self.certificates),
            ("renewals", "Certificates issued in place of a valid one", &self.renewals),
            ("refused_renewals", "Renewals that were refused", &self.refused_renewals),
            (
                "duplicate_agents",
                "Agents turned away because a newer one of the same identity is connected",
                &self.duplicate_agents,
            ),
            (
                "unproven_epochs",
                "Sessions refused because the agent does not prove the epoch that it says it has accepted",
                &self.unproven_epochs,
            ),
            ("upserts", "Objects sent to be applied", &self.upserts),
            ("tombstones", "Objects sent to be removed", &self.tombstones),
            ("deletions_held", "Deletions that a spoke held back", &self.deletions_held),
            ("retried", "Objects that a spoke could neither apply nor refuse at first", &self.retried),
            ("cut", "Assignments, and bytes of words, that spokes said beyond what the hub keeps", &self.cut),
            ("comparisons", "Comparisons of what a spoke holds with what is wanted", &self.comparisons),
            ("turned_away", "Spokes told to come again because too many came at once", &self.turned_away),
        ];
        for (name, help, counter) in table {
            registry.register(name, help, counter.clone());
        }
        registry.register("rejections", "Objects that a spoke refused, by class", self.rejections.clone());
        let gauges = [
            ("rollover_awaits", "Clusters that the rollover of the CA waits for", &self.rollover_awaits),
            (
                "authority_expires_seconds",
                "Seconds until the CA that signs ends",
                &self.authority_expires_seconds,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }
}
