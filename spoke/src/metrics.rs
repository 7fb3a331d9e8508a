//! Prometheus metrics of the spoke. Labels come from closed lists; no label names an object.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::link::Counters;

/// All metrics of the spoke. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// The operator's gauges, asked when the metrics are, and what the link counts: of each if there is one.
    #[must_use]
    pub fn new(operator: Option<impl Collector>, link: Option<&Counters>) -> Self {
        let mut registry = Registry::default();
        if let Some(operator) = operator {
            registry.register_collector(Box::new(operator));
        }
        if let Some(link) = link {
            link.register(registry.sub_registry_with_prefix("nimfleet_spoke"));
        }
        Self { registry: Arc::new(registry) }
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
