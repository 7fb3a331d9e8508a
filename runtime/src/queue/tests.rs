//! What a queue promises: one worker and one deadline per key, back-off, isolation, and memory that does not grow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

fn queue() -> Queue<String> {
    Queue::new("tests")
}

async fn fail(queue: &Queue<String>, ending: Ending) -> Duration {
    let before = Instant::now();
    let key = queue.take().await;
    queue.done(&key, ending);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_worked_on_by_one_and_again_if_asked_meanwhile() {
    let queue = queue();
    queue.add("a".into());
    queue.add("a".into());
    assert_eq!(queue.take().await, "a");
    assert!(queue.take().now_or_never().is_none(), "asked for twice is once");
    queue.add("a".into());
    assert!(queue.take().now_or_never().is_none(), "two workers on one key");
    queue.done(&"a".into(), Ending::Done);
    assert_eq!(queue.take().await, "a", "what was asked for meanwhile is lost");
    queue.done(&"a".into(), Ending::Done);
    assert!(queue.is_idle() && queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_later_and_later_and_success_forgets_them() {
    let queue = queue();
    queue.add("a".into());
    let mut last = Duration::ZERO;
    for failures in 0..13 {
        let waited = fail(&queue, Ending::Refused).await;
        if failures > 0 {
            assert!(waited >= FASTEST, "{failures}: {waited:?}");
            assert!(
                waited >= last.mul_f64(1.5) || waited >= LONGEST,
                "{failures}: {waited:?} after {last:?}"
            );
        }
        last = waited;
    }
    assert!(last >= LONGEST && last <= LONGEST.mul_f64(1.26), "{last:?}");
    fail(&queue, Ending::Done).await;
    queue.add("a".into());
    assert_eq!(fail(&queue, Ending::Refused).await, Duration::ZERO);
    assert!(fail(&queue, Ending::Done).await <= FASTEST.mul_f64(1.26));
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn wishes_for_a_key_that_fails_make_it_neither_hot_nor_many() {
    let queue = queue();
    queue.add("a".into());
    let (begun, mut failures) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_hours(1) {
        tokio::select! {
            key = queue.take() => {
                failures += 1;
                queue.done(&key, Ending::Refused);
            }
            () = tokio::time::sleep(Duration::from_millis(50)) => queue.add("a".into()),
        }
    }
    // 1 s four times, then 2, 4, 8, 16, 32 and every 37.5 s.
    assert!((90..=110).contains(&failures), "{failures} failures in an hour of 72 000 wishes");
    assert_eq!((queue.len(), queue.lock().line.len()), (1, 1), "each wish was kept");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_object_itself_is_looked_at_within_a_second_however_often_it_failed() {
    let queue = queue();
    queue.add("a".into());
    for _ in 0..12 {
        fail(&queue, Ending::Refused).await;
    }
    queue.add_anew("a".into());
    let waited = fail(&queue, Ending::Refused).await;
    assert!(waited <= FASTEST, "{waited:?}");
    let waited = fail(&queue, Ending::Refused).await;
    assert!((FASTEST..=FASTEST * 2).contains(&waited), "the delays begin anew: {waited:?}");
    let key = queue.take().await;
    queue.add_anew(key.clone());
    queue.done(&key, Ending::Refused);
    let waited = fail(&queue, Ending::Done).await;
    assert!((FASTEST..=FASTEST * 2).contains(&waited), "changed while it was worked on: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_answers_a_key_comes_back_soon_however_long_that_is() {
    let queue = queue();
    queue.add("a".into());
    fail(&queue, Ending::Away).await;
    for _ in 0..50 {
        let waited = fail(&queue, Ending::Away).await;
        assert!((FASTEST..=FASTEST * 2 + Duration::from_millis(2)).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_wishes_the_earliest_counts_and_others_pass() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("slow".into(), Duration::from_hours(72));
    queue.add_after("slow".into(), Duration::from_secs(5));
    queue.add_after("slow".into(), Duration::from_mins(1));
    queue.add("fast".into());
    assert_eq!(queue.take().await, "fast");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(queue.take().await, "slow");
    assert!((5000..5010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    queue.done(&"slow".into(), Ending::Done);
    queue.done(&"fast".into(), Ending::Done);
    assert!(queue.is_empty(), "a later wish was kept beside an earlier one");
    queue.add_after("far".into(), Duration::MAX);
    assert!(tokio::time::timeout(FURTHEST * 2, queue.take()).await.is_ok(), "nothing is too far ahead");
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_the_order_of_the_wishes() {
    let queue = Queue::<u32>::new("tests");
    let wished: Vec<u32> = (0..100).map(|number| number * 37 % 100).collect();
    for key in &wished {
        queue.add_soon(*key);
    }
    let mut served = Vec::new();
    for _ in 0..100 {
        served.push(queue.take().await);
    }
    assert_eq!(served, wished);
}

#[tokio::test(start_paused = true)]
async fn a_shower_of_wishes_is_served_once_after_it() {
    let queue = queue();
    let start = Instant::now();
    for _ in 0..100 {
        queue.add_soon("a".into());
    }
    assert_eq!(queue.take().await, "a");
    assert!(start.elapsed() >= DEBOUNCE);
    queue.done(&"a".into(), Ending::Done);
    assert!(queue.is_empty(), "each wish was kept");
    queue.add_soon("a".into());
    assert_eq!(queue.take().await, "a", "a wish after the shower is lost");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_rests_is_served_once_after_it_and_at_once_when_rested() {
    let queue = queue();
    let rest = Duration::from_millis(200);
    let start = Instant::now();
    queue.add("a".into());
    queue.done(&queue.take().await, Ending::Rest(rest));
    assert!(queue.is_idle(), "what rests is worked on by nobody");
    for _ in 0..10 {
        queue.add("a".into());
    }
    assert_eq!(queue.take().await, "a");
    assert!(start.elapsed() >= rest, "it was not left to rest");
    queue.done(&"a".into(), Ending::Rest(rest));
    assert!(tokio::time::timeout(rest * 10, queue.take()).await.is_err(), "each wish was served");
    assert!(queue.is_empty(), "what has rested is remembered");
    let rested = Instant::now();
    queue.add("a".into());
    assert_eq!(queue.take().await, "a");
    assert_eq!(rested.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_key_is_its_own_failure_and_work_without_end_is_dropped() {
    let queue = queue();
    for key in ["bad", "endless", "good"] {
        queue.add(key.into());
    }
    let (goods, outcomes) = (Arc::new(AtomicU32::new(0)), Mutex::new(Vec::new()));
    let work = |key: String| {
        let goods = goods.clone();
        async move {
            match key.as_str() {
                "bad" => assert_eq!(key, "good", "as it happens"),
                "endless" => std::future::pending().await,
                _ => drop(goods.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    let judge = |key: &String, outcome: Result<(), Broken>, _: Duration| {
        outcomes.lock().unwrap().push((key.clone(), outcome.clone()));
        match outcome {
            Ok(()) => {
                queue.add_after(key.clone(), Duration::from_mins(1));
                Ending::Done
            }
            Err(_) => Ending::Refused,
        }
    };
    let run = queue.run(2, work, judge);
    assert!(tokio::time::timeout(Duration::from_mins(10), run).await.is_err(), "the queue has ended");
    assert_eq!(goods.load(Ordering::Relaxed), 10, "others went on");
    let outcomes = outcomes.into_inner().unwrap();
    let of = |name: &str| outcomes.iter().filter(|(key, _)| key == name).collect::<Vec<_>>();
    assert!((7..=10).contains(&of("bad").len()), "it backs off: {}", of("bad").len());
    let Err(Broken::Panic(panic)) = &of("bad")[0].1 else { panic!("{outcomes:?}") };
    assert!(panic.message.contains("as it happens"), "{panic}");
    assert_eq!(of("endless")[0].1, Err(Broken::Overdue(LONGEST_WORK)));
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_what_it_has_begun_and_begins_nothing() {
    let queue = queue();
    queue.add("a".into());
    queue.add_after("b".into(), Duration::from_secs(2));
    let ended = Mutex::new(BTreeSet::new());
    let work = |key: String| async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        key
    };
    let judge = |_: &String, outcome: Result<String, Broken>, _: Duration| {
        ended.lock().unwrap().extend(outcome);
        Ending::Done
    };
    let closing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.close();
    };
    let start = Instant::now();
    tokio::join!(queue.run(4, work, judge), closing);
    assert!((10..11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(ended.into_inner().unwrap(), BTreeSet::from(["a".to_owned()]));
}

#[tokio::test]
async fn a_queue_that_does_not_turn_and_work_that_blocks_are_named() {
    let queue = queue();
    let later = std::time::Instant::now() + Duration::from_mins(2);
    assert!(queue.inner.stuck(later).is_empty(), "it does not run");
    queue.add("ns/a".into());
    let stuck = Arc::new(Mutex::new(Vec::new()));
    let (seen, inner) = (stuck.clone(), queue.inner.clone());
    let work = move |_: String| {
        let (seen, inner) = (seen.clone(), inner.clone());
        async move { *seen.lock().unwrap() = inner.stuck(later) }
    };
    let judge = |_: &String, _: Result<(), Broken>, _: Duration| {
        queue.close();
        Ending::Done
    };
    queue.run(1, work, judge).await;
    let stuck = stuck.lock().unwrap().join("\n");
    assert!(stuck.contains("queue tests has not turned for 1"), "{stuck}");
    assert!(stuck.contains("queue tests: work on ns/a has blocked its thread for 1"), "{stuck}");
    assert!(queue.inner.stuck(later).is_empty(), "it has ended");
}

/// A cluster's life as its key sees it: asked for at every heartbeat, and each time for the end of its certificate.
#[tokio::test(start_paused = true)]
async fn a_simulated_day_of_heartbeats_leaves_one_deadline_per_key() {
    const CLUSTERS: u32 = 150;
    let queue = Queue::<u32>::new("clusters");
    let heartbeat = Duration::from_secs(100);
    let (mut after_an_hour, mut ticks) = (None, 0_u32);
    let mut beats = tokio::time::interval(heartbeat / CLUSTERS);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_hours(24) {
        beats.tick().await;
        ticks += 1;
        let key = ticks % CLUSTERS;
        queue.add(key);
        if ticks.is_multiple_of(97) {
            queue.add_soon(key);
        }
        while let Some(key) = queue.take().now_or_never() {
            queue.add_after(key, Duration::from_hours(72));
            queue.add_after(key, Duration::from_secs(30));
            let refused = key % 100 == 1;
            queue.done(&key, if refused { Ending::Refused } else { Ending::Done });
        }
        if begun.elapsed() >= Duration::from_hours(1) && after_an_hour.is_none() {
            after_an_hour = Some(queue.bytes());
        }
    }
    assert!(ticks > 120_000, "{ticks}");
    assert_eq!(queue.len(), CLUSTERS as usize);
    assert_eq!(queue.lock().line.len(), CLUSTERS as usize);
    assert_eq!(Some(queue.bytes()), after_an_hour, "the tables have grown");
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8, u16),
    Renew(u8),
    Pass(u16),
    Take,
    End(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8, 0..5000_u16).prop_map(|(key, delay)| Step::Ask(key, delay)),
        (0..6_u8).prop_map(Step::Renew),
        (0..4000_u16).prop_map(Step::Pass),
        Just(Step::Take),
        (0..6_u8, 0..4_u8).prop_map(|(key, ending)| Step::End(key, ending)),
    ]
}

proptest! {
    /// Whatever is asked: no key is with two workers, none runs within a second of its failure, none is lost, and none is
    /// remembered that nobody asked for.
    #[test]
    fn no_key_is_lost_doubled_or_hot(steps in prop::collection::vec(step(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queue = Queue::<u8>::new("tests");
            let (mut working, mut wanted) = (BTreeSet::new(), BTreeSet::new());
            let mut failed: HashMap<u8, Instant> = HashMap::new();
            for step in steps {
                match step {
                    Step::Ask(key, delay) => {
                        queue.add_after(key, Duration::from_millis(delay.into()));
                        wanted.insert(key);
                    }
                    Step::Renew(key) => {
                        queue.add_anew(key);
                        wanted.insert(key);
                    }
                    Step::Pass(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
                    Step::Take => if let Some(key) = queue.take().now_or_never() {
                        assert!(working.insert(key), "{key} has two workers");
                        assert!(wanted.remove(&key), "nobody asked for {key}");
                        let since = failed.remove(&key).map(|at| at.elapsed());
                        assert!(since.is_none_or(|since| since >= FASTEST), "{key} runs {since:?} after it failed");
                    },
                    Step::End(key, ending) => if working.remove(&key) {
                        let ending = match ending {
                            0 => Ending::Done,
                            1 => Ending::Rest(Duration::from_millis(700)),
                            2 => Ending::Refused,
                            _ => Ending::Away,
                        };
                        if matches!(ending, Ending::Refused | Ending::Away) {
                            failed.insert(key, Instant::now());
                            wanted.insert(key);
                        }
                        queue.done(&key, ending);
                    },
                }
                let state = queue.lock();
                assert_eq!(state.line.len() + working.len(), state.keys.len());
                assert!(state.keys.len() <= 6);
            }
            for key in working {
                queue.done(&key, Ending::Done);
            }
            while !wanted.is_empty() {
                let key = tokio::time::timeout(LONGEST * 2, queue.take()).await.expect("a wish is lost");
                wanted.remove(&key);
                queue.done(&key, Ending::Done);
            }
            tokio::time::advance(LONGEST).await;
            assert!(queue.take().now_or_never().is_none());
            assert!(queue.is_empty(), "a key is remembered for nothing");
        });
    }
}
