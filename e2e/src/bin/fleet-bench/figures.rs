//! What was measured, and its medians.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Args, Mode};

/// Samples by name. The name ends in the unit.
#[derive(Default)]
pub(super) struct Figures {
    samples: BTreeMap<&'static str, Vec<f64>>,
}

impl Figures {
    /// Adds samples, and tells them as progress.
    pub(super) fn add(&mut self, name: &'static str, samples: impl IntoIterator<Item = f64>) {
        for sample in samples {
            eprintln!("  {name} {}", hundredths(sample));
            self.samples.entry(name).or_default().push(sample);
        }
    }

    /// The median of each, with its range and number beside it.
    pub(super) fn result(self, args: &Args) -> Value {
        let (mut result, mut ranges) = (Map::new(), Map::new());
        for (name, mut samples) in self.samples {
            samples.sort_by(f64::total_cmp);
            let (least, most) = (samples[0], samples[samples.len() - 1]);
            result.insert(name.to_owned(), json!(hundredths(median(&samples))));
            ranges.insert(name.to_owned(), json!([hundredths(least), hundredths(most), samples.len()]));
        }
        result.insert("min_max_n".to_owned(), Value::Object(ranges));
        result.insert("clusters".to_owned(), json!(args.clusters));
        result.insert("objects".to_owned(), json!(args.objects));
        result
            .insert("mode".to_owned(), json!(if args.mode == Mode::Native { "native" } else { "delegate" }));
        result.insert("profile".to_owned(), json!(e2e::fleet::own_profile()));
        Value::Object(result)
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
