//! Prometheus metrics of the spoke. Labels come from closed lists; no label names an object.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use runtime::admin::exposed;
use runtime::panics;

use crate::link::Counters;

/// All metrics of the spoke. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// The panics of this process, the operator's gauges, asked when the metrics are, and what the link counts: of these if
    /// there is one.
    #[must_use]
    pub fn new(operator: Option<impl Collector>, link: Option<&Counters>) -> Self {
        let mut registry = Registry::default();
        if let Some(operator) = operator {
            registry.register_collector(Box::new(operator));
        }
        let own = registry.sub_registry_with_prefix("nimfleet_spoke");
        own.register_collector(Box::new(panics::Panics));
        if let Some(link) = link {
            link.register(own);
        }
        Self { registry: Arc::new(registry) }
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        exposed(&self.registry)
    }
}
