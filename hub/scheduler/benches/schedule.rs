//! `cargo bench -p hub-scheduler`: decisions on fleets of 10, 1000 and 10 000 clusters, cold (nothing is placed) and warm (all is), and
//! what one changed cluster costs.

#![allow(missing_docs, reason = "criterion makes the public items")]

mod mix;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hub_scheduler::fleet::FleetEvent;
use hub_scheduler::schedule;

/// Decisions of one round: the mix, ten times over.
const ROUND: usize = 100;

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("schedule");
    group.sample_size(10);
    for clusters in [10, 1_000, 10_000] {
        let mut fleet = mix::fleet(clusters);
        let mut requests = mix::requests(ROUND);
        group.throughput(Throughput::Elements(ROUND as u64));
        group.bench_with_input(BenchmarkId::new("cold", clusters), &clusters, |b, _| {
            b.iter(|| requests.iter().for_each(|request| drop(black_box(schedule(request, &mut fleet)))));
        });
        for request in &mut requests {
            let decision = schedule(request, &mut fleet);
            mix::adopt(&mut fleet, request, &decision);
        }
        group.bench_with_input(BenchmarkId::new("warm", clusters), &clusters, |b, _| {
            b.iter(|| requests.iter().for_each(|request| drop(black_box(schedule(request, &mut fleet)))));
        });
        let mut used = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("one changed cluster", clusters), |b| {
            b.iter(|| {
                used = (used + 1) % 4;
                let capacity = mix::report(1, used, 2);
                fleet.apply(FleetEvent::Capacity { cluster: mix::name(1), capacity });
                black_box(schedule(&requests[1], &mut fleet))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
