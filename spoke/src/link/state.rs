//! How the link is: for readiness, logs and metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Where the link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// No connection yet, or none any more; the next attempt comes by itself. `problem` is empty before the first.
    Connecting {
        /// Why the last attempt or session ended, in one sentence.
        problem: String,
    },
    /// Enrolment waits for the fleet admin.
    Pending {
        /// What the admin has to do.
        message: String,
    },
    /// The hub or this spoke refuses the other; tried again slowly, but somebody has to act.
    Refused {
        /// Who, why and what to do.
        message: String,
    },
    /// A session is up.
    Connected,
}

impl LinkState {
    /// Whether a session is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }
}

/// Label `class`: one of the classes of refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByClass {
    /// `Invalid`, `Conflict`, `PolicyDenied`, `NoRoom`, …
    pub class: &'static str,
}

/// What the link counts.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// 1 while a session is up, else 0.
    pub connected: Gauge,
    /// Sessions that were welcomed.
    pub sessions: Counter,
    /// Attempts to connect or enrol that failed.
    pub failed_attempts: Counter,
    /// Certificates got by token or in place of one that was over.
    pub enrolments: Counter,
    /// Certificates got in place of a valid one.
    pub renewals: Counter,
    /// Attempts to renew that failed.
    pub failed_renewals: Counter,
    /// Welcomes of a hub that this spoke does not obey.
    pub epochs_refused: Counter,
    /// Objects applied or removed for the hub.
    pub objects_delivered: Counter,
    /// Objects refused, by class.
    pub objects_rejected: Family<ByClass, Counter>,
    /// Calls to deliver an object that failed and were tried again.
    pub delivery_retries: Counter,
}

impl Counters {
    /// Makes the counters visible as `link_*`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("link");
        let table = [
            ("sessions", "Sessions that were welcomed", &self.sessions),
            ("failed_attempts", "Attempts to connect or enrol that failed", &self.failed_attempts),
            ("enrolments", "Certificates got by token or in place of one that was over", &self.enrolments),
            ("renewals", "Certificates got in place of a valid one", &self.renewals),
            ("failed_renewals", "Attempts to renew that failed", &self.failed_renewals),
            ("epochs_refused", "Welcomes of a hub that this spoke does not obey", &self.epochs_refused),
            ("objects_delivered", "Objects applied or removed for the hub", &self.objects_delivered),
            ("delivery_retries", "Failed deliveries that were tried again", &self.delivery_retries),
        ];
        for (name, help, counter) in table {
            registry.register(name, help, counter.clone());
        }
        registry.register("connected", "Whether the session with the hub is up", self.connected.clone());
        registry.register("objects_rejected", "Objects refused, by class", self.objects_rejected.clone());
    }
}
