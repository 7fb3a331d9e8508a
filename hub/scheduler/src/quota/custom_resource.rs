//! GPUQuota, the custom resource, to and from quotas.

use crds::condition::{self, Finding};
use crds::fleet as crd;
use jiff::Timestamp;
use kube::ResourceExt;

use super::{Limit, Quota};

/// GPUs that are charged under a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The limit.
    pub limit: Limit,
    /// GPUs.
    pub used: u32,
}

impl From<&crd::GPUQuota> for Quota {
    fn from(quota: &crd::GPUQuota) -> Self {
        let limit = |limit: &crd::QuotaLimit| Limit {
            product: limit.product.clone(),
            gpus: u32::try_from(limit.gpus).unwrap_or_default(),
        };
        Self { name: quota.name_any(), limits: quota.spec.limits.iter().map(limit).collect() }
    }
}

/// Status of a GPUQuota whose limits stand at `uses`.
#[must_use]
pub fn status(quota: &crd::GPUQuota, uses: &[Use], now: Timestamp) -> crd::GPUQuotaStatus {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let generation = quota.metadata.generation;
    let mut conditions = quota.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let enforced = "placements that would exceed it are refused before anything is sent";
    let over: Vec<String> = uses.iter().filter(|one| one.used > one.limit.gpus).map(Use::to_string).collect();
    let exceeded = if over.is_empty() {
        Finding::new("Exceeded", false, "WithinQuota", "no limit is exceeded")
    } else {
        let over = over.join(", ");
        let message =
            format!("{over}: it was lowered, or came later; what runs stays, and nothing more is given");
        Finding::new("Exceeded", true, "QuotaExceeded", message)
    };
    // It counts from the moment the hub has read it, so it is never waited for.
    let ready = Finding::new(condition::READY, true, "Enforced", enforced);
    for finding in [ready, Finding::new("Enforced", true, "Enforced", enforced), exceeded] {
        condition::set(&mut conditions, finding, generation, now);
    }
    let limits = uses.iter().map(|one| crd::QuotaUse {
        product: one.limit.product.clone(),
        used: number(one.used),
        limit: number(one.limit.gpus),
    });
    crd::GPUQuotaStatus {
        observed_generation: generation,
        conditions,
        limits: limits.collect(),
        summary: Some(uses.iter().map(Use::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}/{}", self.limit.product, self.used, self.limit.gpus)
    }
}
