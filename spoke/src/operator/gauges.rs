//! Counts of NIM objects by state, taken from the watch caches when they are asked for.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use super::engine::kind::Kind;
use super::engine::world::World;
use super::rival::Rival;

/// Name of the gauge that tells of a refusal.
const REFUSED: &str = "nimfleet_operator_refused";

/// One gauge per kind, with a series per state, `Unknown` for none, and `all`; and one that tells whether the operator
/// refuses to work.
#[derive(Debug)]
pub struct StateGauges {
    rows: Vec<Row>,
    rival: watch::Receiver<Rival>,
}

/// One kind.
pub(super) struct Row {
    gauge: &'static str,
    states: &'static [&'static str],
    store: Option<Store<DynamicObject>>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.gauge)
    }
}

impl Row {
    pub(super) fn of<K: Kind>(world: &World) -> Self {
        let store = world.subjects.get(K::KIND).map(|cache| cache.store.clone());
        Self { gauge: K::GAUGE, states: K::STATES, store }
    }
}

impl StateGauges {
    pub(super) fn new(rows: Vec<Row>, rival: watch::Receiver<Rival>) -> Self {
        Self { rows, rival }
    }
}

impl Collector for StateGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for row in &self.rows {
            let objects = row.store.as_ref().map(Store::state).unwrap_or_default();
            let counts = count(
                row.states,
                objects.iter().map(|o| o.data["status"]["state"].as_str().unwrap_or_default()),
            );
            let mut family =
                encoder.encode_descriptor(row.gauge, "Objects by state", None, MetricType::Gauge)?;
            for (state, count) in counts {
                ConstGauge::new(count).encode(family.encode_family(&[("status", state)])?)?;
            }
        }
        let (operator, hub) = match *self.rival.borrow() {
            Rival::Seen(_) => (1, 0),
            Rival::Hub(_) => (0, 1),
            Rival::Unknown | Rival::None => (0, 0),
        };
        let help = "1 while the operator makes nothing from objects of the cluster's people, by reason";
        let mut family = encoder.encode_descriptor(REFUSED, help, None, MetricType::Gauge)?;
        ConstGauge::new(operator).encode(family.encode_family(&[("reason", "AnotherOperator")])?)?;
        ConstGauge::new(hub).encode(family.encode_family(&[("reason", "HubCluster")])?)
    }
}

/// Objects per state. Every known state has a number, so that no series is left behind when its last object goes.
fn count<'a>(states: &[&'static str], objects: impl Iterator<Item = &'a str>) -> BTreeMap<&'static str, i64> {
    let mut counts: BTreeMap<&'static str, i64> = states.iter().map(|state| (*state, 0)).collect();
    counts.extend([("Unknown", 0), ("all", 0)]);
    for state in objects {
        let known = states.iter().find(|known| **known == state).copied().unwrap_or("Unknown");
        *counts.entry(known).or_default() += 1;
        *counts.entry("all").or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::operator::nemo::Nemo;
    use crate::operator::nemocustomizer::Customizers;
    use crate::operator::nemoevaluator::Evaluators;
    use crate::operator::nemoguardrail::Guardrails;
    use crate::operator::nimbuild::NimBuilds;
    use crate::operator::nimcache::NimCaches;
    use crate::operator::nimpipeline::NimPipelines;
    use crate::operator::nimservice::NimServices;

    /// A kind of which there is no object yet.
    fn row<K: Kind>() -> Row {
        Row { gauge: K::GAUGE, states: K::STATES, store: None }
    }

    #[test]
    fn accept_metrics_have_the_names_that_dashboards_know() {
        let (_, rival) = watch::channel(Rival::None);
        let rows = vec![row::<NimServices>(), row::<NimCaches>(), row::<NimPipelines>(), row::<NimBuilds>()];
        let mut registry = Registry::default();
        registry.register_collector(Box::new(StateGauges::new(rows, rival)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for name in ["nimService_status_total", "nimCache_status_total", "nimPipeline_status_total"] {
            for state in ["Ready", "Failed", "Unknown", "all"] {
                let series = format!("{name}{{status=\"{state}\"}} 0");
                assert!(text.contains(&series), "{series} is missing in\n{text}");
            }
        }
        assert!(text.contains("nimfleet_operator_refused{reason=\"AnotherOperator\"} 0"), "{text}");
    }

    #[test]
    fn nemo_b12_every_kind_of_microservice_is_counted_by_its_own_gauge() {
        let registered = crate::operator::kinds();
        for (kind, gauge, expected) in [
            (Nemo::<Customizers>::KIND, Nemo::<Customizers>::GAUGE, "nemo_customizer_status_total"),
            (Nemo::<Evaluators>::KIND, Nemo::<Evaluators>::GAUGE, "nemo_evaluator_status_total"),
            (Nemo::<Guardrails>::KIND, Nemo::<Guardrails>::GAUGE, "nemo_guardrail_status_total"),
        ] {
            assert_eq!(gauge, expected);
            assert_eq!(registered.iter().filter(|one| one.kind == kind).count(), 1, "{kind} is not run");
        }
    }

    #[test]
    fn b26_every_state_is_counted_and_unknown_ones_too() {
        let counts = count(&["Ready", "Failed"], ["Ready", "", "Ready", "other"].into_iter());
        let expected = BTreeMap::from([("Ready", 2), ("Failed", 0), ("Unknown", 2), ("all", 4)]);
        assert_eq!(counts, expected);
    }
}
