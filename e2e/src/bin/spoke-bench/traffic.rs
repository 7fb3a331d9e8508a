//! What one identity asked of an API server, from its audit log.

use std::collections::BTreeMap;

use e2e::cluster::audit::{AuditLog, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Requests of one identity in one span of time, leases left out.
pub(super) struct Traffic {
    requests: Vec<Request>,
}

impl Traffic {
    /// Reads what `user` asked for from `since` until now.
    pub(super) fn of(audit: &AuditLog, user: &str, since: Timestamp) -> Self {
        let ours =
            |request: &Request| request.user == user && request.time >= since && request.resource != "leases";
        Self { requests: audit.requests().into_iter().filter(ours).collect() }
    }

    pub(super) fn writes(&self) -> usize {
        self.requests.iter().filter(|request| request.is_write()).count()
    }

    pub(super) fn lists(&self) -> usize {
        self.requests.iter().filter(|request| request.verb == "list").count()
    }

    /// Requests per service: together, by verb, and by verb and resource. Watches are connections and not counted.
    pub(super) fn per(&self, services: u32) -> Value {
        let mut verbs: BTreeMap<&str, u32> = BTreeMap::new();
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        let mut all = 0_u32;
        for request in self.requests.iter().filter(|request| request.verb != "watch") {
            all += 1;
            *verbs.entry(&request.verb).or_default() += 1;
            *kinds.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
        let each = |count: u32| hundredths(f64::from(count) / f64::from(services));
        let verbs: BTreeMap<_, _> = verbs.into_iter().map(|(verb, count)| (verb, each(count))).collect();
        let kinds: BTreeMap<_, _> = kinds.into_iter().map(|(kind, count)| (kind, each(count))).collect();
        json!({"all": each(all), "by_verb": verbs, "by_resource": kinds})
    }
}

pub(super) fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
