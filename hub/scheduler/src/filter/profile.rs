//! Filter: the GPUs run one of the cached profiles that the NIM may choose.

use std::borrow::Cow;

use crds::gpu_product;

use super::{Reason, Verdict, refuse};
use crate::{
    Workload,
    fleet::{Capacity, Cluster, Pool, UNKNOWN_PRODUCT},
    need::{GpuNeed, Need, Profile, Profiles, Signature},
    room,
};

/// Most profiles that a refusal names.
const NAMED: usize = 5;

pub(super) fn check(workloads: &[Workload], capacity: &Capacity) -> Verdict {
    workloads.iter().try_for_each(|workload| of_one(workload, capacity))
}

/// The profiles that objects most likely run with in a cluster, for the message of a decision: of those that its GPUs
/// run, the one on most GPUs. Empty where nobody knows them.
pub(crate) fn served(workloads: &[Workload], cluster: &Cluster) -> String {
    let Some(capacity) = &cluster.capacity else { return String::new() };
    let told = workloads.iter().filter_map(|workload| {
        let profile = runnable(&workload.need, capacity)?;
        let gpus = if profile.gpus() == 1 { "1 GPU".to_owned() } else { format!("{} GPUs", profile.gpus()) };
        let Signature { precision, engine } = &profile.signature;
        let rest = [precision, engine].into_iter().filter(|word| !word.is_empty());
        let words: Vec<_> = std::iter::once(&gpus).chain(rest).map(String::as_str).collect();
        Some(format!("; {} with profile {} ({})", workload.title(), profile.name, words.join(", ")))
    });
    told.collect()
}

fn runnable<'a>(need: &'a Need, capacity: &'a Capacity) -> Option<Cow<'a, Profile>> {
    let (profiles, gpu) = (need.profiles.as_ref()?, need.gpu.as_ref()?);
    let pools = pools(need, gpu, capacity);
    let choices = choices(need, profiles, capacity).into_iter();
    let runs = choices.filter(|choice| lacks(choice, profiles, gpu, &pools).is_none());
    runs.max_by_key(|choice| (!choice.product.is_empty(), choice.gpus()))
}

fn of_one(workload: &Workload, capacity: &Capacity) -> Verdict {
    let need = &workload.need;
    let (Some(profiles), Some(gpu)) = (&need.profiles, &need.gpu) else { return Ok(()) };
    let choices = choices(need, profiles, capacity);
    if choices.is_empty() {
        return Ok(());
    }
    let pools = pools(need, gpu, capacity);
    let mut lacking = Vec::new();
    for choice in &choices {
        match lacks(choice, profiles, gpu, &pools) {
            None => return Ok(()),
            Some(why) => lacking.push(format!("{} {why}", choice.name)),
        }
    }
    let more = lacking.len().saturating_sub(NAMED);
    lacking.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let message = format!(
        "none of {} cached profiles of {} runs here: {}{more}",
        choices.len(),
        workload.title(),
        lacking.join("; ")
    );
    refuse(Reason::NoProfileFits, message)
}

/// What the cluster's own cache holds, where that is known; else what it will hold, where the cache names it.
fn choices<'a>(need: &Need, profiles: &'a Profiles, capacity: &Capacity) -> Vec<Cow<'a, Profile>> {
    let held = need.cache.as_ref().and_then(|key| capacity.cache(key));
    let told = held.into_iter().flat_map(|held| &held.profiles).filter(|profile| !profile.tags.is_empty());
    let told: Vec<_> = told.map(|profile| Cow::Owned(Profile::new(&profile.name, &profile.tags))).collect();
    if told.is_empty() && profiles.named {
        profiles.choices.iter().map(Cow::Borrowed).collect()
    } else {
        told
    }
}

/// Pools that the object's pods may use.
fn pools<'a>(need: &Need, gpu: &GpuNeed, capacity: &'a Capacity) -> Vec<&'a Pool> {
    capacity.pools.iter().filter(|pool| pool.capacity > 0 && room::suits(pool, gpu, &need.kind)).collect()
}

/// Why a profile is not run, naming the tag; none if it is.
fn lacks(profile: &Profile, profiles: &Profiles, gpu: &GpuNeed, pools: &[&Pool]) -> Option<String> {
    if let Some(wanted) = &profiles.signature {
        let served = &profile.signature;
        let differs = |what: &str, wanted: &str, served: &str| {
            (wanted != served).then(|| {
                format!("has {what} {served:?}, not {wanted:?}: set spec.gpu.profileChange to Allow if it may change")
            })
        };
        let differs = differs("precision", &wanted.precision, &served.precision)
            .or_else(|| differs("engine", &wanted.engine, &served.engine));
        if differs.is_some() {
            return differs;
        }
    }
    if profile.gpus() > gpu.total() {
        return Some(format!(
            "spreads over {} GPUs (tp {} × pp {}), a replica has {}",
            profile.gpus(),
            profile.tensor,
            profile.pipeline,
            gpu.total()
        ));
    }
    // What a product is that no label names speaks against nothing.
    let built_for = |pool: &&Pool| {
        profile.product.is_empty()
            || pool.product == UNKNOWN_PRODUCT
            || gpu_product::is_named(&pool.product, &profile.product)
    };
    if !pools.iter().any(built_for) {
        let found: std::collections::BTreeSet<_> = pools.iter().map(|pool| pool.product.as_str()).collect();
        let found = found.into_iter().collect::<Vec<_>>().join(", ");
        return Some(format!("is for gpu {}, the cluster has {found}", profile.product));
    }
    None
}
