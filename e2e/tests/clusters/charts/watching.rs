//! Alerts and dashboards ask for metrics that the programs export, and each alert has a runbook.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use e2e::failure::Failure;
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store;
use serde_json::Value;
use spoke::operator::{Operator, Settings, WAIT_FOR_POSTGRES_IMAGE};

use super::{object, rendered};

/// Names of the samples in a text of OpenMetrics.
fn samples(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

/// What the hub exports once each of its families has a series.
fn of_the_hub() -> Result<BTreeSet<String>, Failure> {
    let counters = hub::link::Counters::default();
    counters.rejections.get_or_create(&hub::link::ByClass { class: "Invalid" }).inc();
    let metrics = hub::metrics::Metrics::new(&counters);
    metrics.placement_reason(None, Some("Ready"));
    metrics.failover_reason(None, Some("ManyClustersLost"));
    metrics.reconciled("placement", Duration::ZERO);
    metrics.fault("placement", "Timeout");
    metrics.show(store().0, store().0);
    Ok(samples(&metrics.encode()?))
}

/// What the spoke exports likewise, with its operator.
fn of_the_spoke() -> Result<BTreeSet<String>, Failure> {
    let nobody = tower::service_fn(|_: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(tower::BoxError::from("nobody is asked"))
    });
    let settings = Settings {
        wait_for_postgres_image: WAIT_FOR_POSTGRES_IMAGE.to_owned(),
        model_ca: None,
        nemo_list_secrets: false,
    };
    let operator = Operator::new(Client::new(nobody, "nimfleet"), settings);
    let counters = spoke::link::Counters::default();
    counters.objects_rejected.get_or_create(&spoke::link::ByClass { class: "Invalid" }).inc();
    Ok(samples(&spoke::metrics::Metrics::new(Some(operator.gauges()), Some(&counters)).encode()?))
}

/// The names of metrics in an expression.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("nim") && word.contains('_'))
}

/// Every `expr` in a JSON value.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn alerts_and_dashboards_ask_for_what_is_exported_and_alerts_have_runbooks() -> Result<(), Failure> {
    let on = ["--set", "metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true"];
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate");
    for (chart, exported) in [("nimfleet-hub", of_the_hub()?), ("nimfleet-spoke", of_the_spoke()?)] {
        let objects = rendered(chart, &on).await?;
        let rule = object(&objects, "PrometheusRule", chart);
        let dashboard = object(&objects, "ConfigMap", &format!("{chart}-dashboard"));
        let text = dashboard["data"][format!("{chart}.json")].as_str().unwrap_or_default();
        let dashboard: Value = serde_json::from_str(text)?;
        for (what, value, least) in [("alerts", rule, 5), ("dashboard", &dashboard, 10)] {
            let mut found = Vec::new();
            expressions(value, &mut found);
            assert!(found.len() >= least, "{chart}: {what}: {found:?}");
            for expression in found {
                let mut names = named(&expression).peekable();
                assert!(names.peek().is_some(), "{chart}: {what}: {expression} asks for nothing of ours");
                for name in names {
                    assert!(
                        exported.contains(name),
                        "{chart}: {what}: {name} is not exported: {exported:#?}"
                    );
                }
            }
        }
        let rules = rule["spec"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        for alert in rules {
            let name = alert["alert"].as_str().unwrap_or_default();
            let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
            assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity:?}");
            assert!(
                alert["annotations"]["summary"].is_string()
                    && alert["annotations"]["description"].is_string()
            );
            let url = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
            assert!(url.starts_with("https://") && url.ends_with(&format!("/{name}.md")), "{name}: {url}");
            let page = std::fs::read_to_string(runbooks.join(format!("{name}.md")))
                .map_err(|error| Failure::new(format!("the runbook of {name}: {error}")))?;
            assert!(page.starts_with(&format!("# {name}\n")), "the runbook of {name} begins otherwise");
            for part in ["## What it means", "## Look", "## Mend"] {
                assert!(page.contains(part), "the runbook of {name} has no part {part:?}");
            }
        }
    }
    Ok(())
}
