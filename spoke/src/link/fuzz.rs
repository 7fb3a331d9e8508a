//! What no hub would say, in every order. In `cargo test` each target runs for a moment, over its corpus in `__fuzz__` and
//! over random input; `cargo bolero test --sanitizer NONE -T 10m <test>` searches for longer, led by coverage.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use prost::Message as _;
use proto::v1;
use proto::v1::hub_message::Message;

use super::deletion_guard::DeletionGuard;
use super::machine::{Act, Happening, Machine};
use super::proxy::Proxy;
use super::session::Judgement;
use super::settings::{KEEPALIVE, Settings};
use super::wire;
use crate::deliver::{HeldObject, HoldReason, ObjectRef, Outcome, RejectionClass};

#[test]
fn fuzz_what_a_hub_says_is_read_or_refused() {
    bolero::check!(name = "hub-message").for_each(|input: &[u8]| {
        let Ok(message) = v1::HubMessage::decode(input) else { return };
        let again = v1::HubMessage::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&message));
        drop(wire::from_hub(message));
    });
}

/// What is done to a session, read from bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let most = usize::from(self.byte()?) * 256 + usize::from(self.byte()?);
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }

    /// One of a few.
    fn name(&mut self) -> Option<String> {
        Some(format!("u{}", self.byte()? % 6))
    }

    fn object(&mut self) -> Option<v1::ObjectRef> {
        let uid = self.name()?;
        Some(v1::ObjectRef { name: uid.clone(), uid, kind: "NIMService".into(), ..v1::ObjectRef::default() })
    }

    fn epoch(&mut self) -> Option<v1::Epoch> {
        let term = u64::from(self.byte()? % 3);
        Some(v1::Epoch { hub_id: "hub".into(), term, incarnation: "i".into(), proof: Vec::new() })
    }

    fn said(&mut self, op: u8) -> Option<v1::HubMessage> {
        let message = match op {
            0..4 => return v1::HubMessage::decode(self.bytes()?).ok(),
            4 => Message::Welcome(v1::Welcome {
                epoch: Some(self.epoch()?),
                heartbeat_seconds: u32::from(self.byte()?),
                server_time_ms: 1_700_000_000_000,
                capabilities: vec![
                    proto::capability::COMPARE_BY_HASH.into(),
                    proto::capability::DELETION_GUARD.into(),
                ],
                max_message_bytes: u32::from(self.byte()?),
                ..v1::Welcome::default()
            }),
            5 | 6 => {
                let upserts = (0..self.byte()? % 4).map_while(|_| {
                    let hash = (self.byte()? % 3).to_string();
                    Some(v1::Upsert {
                        object: Some(self.object()?),
                        generation: 1,
                        hash,
                        payload: vec![],
                        gang: None,
                    })
                });
                let upserts = upserts.collect();
                let tombstones = (0..self.byte()? % 8).map_while(|_| {
                    let (policy, cause) = (i32::from(self.byte()? % 4), i32::from(self.byte()? % 4));
                    let decided_ms = i64::from(self.byte()?) * 10_000_000_000;
                    Some(v1::Tombstone {
                        object: Some(self.object()?),
                        policy,
                        reason: String::new(),
                        decided_ms,
                        cause,
                    })
                });
                let tombstones = tombstones.collect();
                let (delta_id, epoch) = (u64::from(self.byte()?), Some(self.epoch()?));
                Message::Desired(v1::DesiredDelta { delta_id, epoch, upserts, tombstones })
            }
            7 => Message::Compare(v1::Compare {
                buckets: (0..self.byte()?).map(|bucket| (u32::from(bucket) * 3, u64::from(bucket))).collect(),
            }),
            8 => Message::GoAway(v1::GoAway { reason: i32::from(self.byte()?), ..v1::GoAway::default() }),
            _ => Message::Heartbeat(v1::Heartbeat::default()),
        };
        Some(v1::HubMessage { message: Some(message) })
    }
}

/// A session, and what its cluster does.
struct Play {
    machine: Machine,
    settings: Settings,
    guard: DeletionGuard,
    now: Instant,
    /// Objects whose work is under way.
    busy: BTreeSet<String>,
    judging: bool,
    storing: Option<u64>,
    reading: bool,
    closed: bool,
    last: Option<v1::HubMessage>,
    /// What it may keep: of each object that can be named, work under way, the next, a deletion that is gathered or let
    /// through and one that is held back; and 64 deltas that wait for their epoch.
    most: usize,
}

fn held(number: u8) -> HeldObject {
    let (kind, name) = ("NIMService".to_owned(), format!("u{number}"));
    let object =
        ObjectRef { uid: name.clone(), api_version: String::new(), kind, namespace: String::new(), name };
    HeldObject { object, generation: 1, hash: "0".to_owned() }
}

impl Play {
    fn new(count: u8, input: usize) -> Self {
        let settings = Settings {
            address: "hub:7443".parse().unwrap(),
            ca_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            cluster: "east".to_owned(),
            token: None,
            cluster_uid: String::new(),
            capabilities: Vec::new(),
            limits: String::new(),
            instance: (String::new(), 0),
            proxy: Proxy::default(),
            keepalive: KEEPALIVE,
        };
        let (now, guard) = (Instant::now(), DeletionGuard::default());
        let (machine, _) = Machine::new(None, (0..count).map(held).collect(), &settings, now);
        let (busy, most) = (BTreeSet::new(), 4 * (6 + input) + 64);
        let (judging, storing, reading, closed) = (false, None, false, false);
        Self { machine, settings, guard, now, busy, judging, storing, reading, closed, last: None, most }
    }

    fn on(&mut self, happening: Happening) {
        for act in self.machine.on(happening, &mut self.guard, &self.settings, self.now) {
            assert!(!self.closed, "it is over: {act:?}");
            match act {
                Act::Deliver(work, _) => {
                    assert!(self.busy.insert(work.uid().to_owned()), "two at once on {}", work.uid());
                }
                Act::GiveUp(uid) => assert!(self.busy.contains(&uid), "nothing is done for {uid}"),
                Act::AcceptEpoch(_) => self.judging = true,
                Act::StoreReleases(version, _) => self.storing = Some(version),
                Act::ReadHeld => self.reading = true,
                Act::Close(_) => self.closed = true,
                Act::Send(_) => {}
            }
        }
        assert!(self.machine.size() <= self.most, "{:?}", self.machine);
    }

    fn done(&mut self, uid: String, kind: u8) {
        let message = String::new();
        let outcome = match kind % 6 {
            0 | 1 => Outcome::Accepted,
            2 => Outcome::Gone,
            3 => Outcome::Rejected { class: RejectionClass::Invalid, message },
            4 => return self.on(Happening::Retrying { uid, message }),
            _ => {
                self.busy.remove(&uid);
                return self.on(Happening::GivenUp { uid });
            }
        };
        self.busy.remove(&uid);
        self.on(Happening::Delivered { uid, outcome });
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let op = script.byte()? % 16;
        match op {
            0..10 => {
                let said = script.said(op)?;
                self.last = Some(said.clone());
                self.on(Happening::Said(said));
            }
            10 => {
                let (uid, kind) = (script.name()?, script.byte()?);
                if self.busy.contains(&uid) {
                    self.done(uid, kind);
                }
            }
            11 => {
                // Whatever an answer belongs to.
                let reason = HoldReason::Stale;
                let outcome = Outcome::Held { reason, message: String::new() };
                self.on(Happening::Delivered { uid: "stranger".to_owned(), outcome });
            }
            12 => {
                self.now += Duration::from_millis(u64::from(script.byte()?) * 200);
                self.on(Happening::Tick);
            }
            13 if std::mem::take(&mut self.judging) => {
                let judgement = match script.byte()? % 4 {
                    0 => Judgement::Refused(String::new()),
                    _ => Judgement::Obeyed,
                };
                self.on(Happening::EpochJudged(judgement));
            }
            14 if std::mem::take(&mut self.reading) => {
                let count = script.byte()? % 8;
                self.on(Happening::Held((count < 6).then(|| (0..count).map(held).collect())));
            }
            13 | 14 => {
                if let Some(version) = self.storing.take() {
                    self.on(Happening::ReleasesStored(version));
                }
            }
            _ => {
                for _ in 0..100 {
                    self.on(Happening::Said(self.last.clone()?));
                }
            }
        }
        Some(())
    }
}

#[test]
fn fuzz_sessions_with_any_hub_end_or_stay_bounded_and_do_one_thing_at_a_time() {
    bolero::check!(name = "spoke-session").for_each(|input: &[u8]| {
        let mut script = Script(input);
        let mut play = Play::new(script.byte().unwrap_or_default() % 6, input.len());
        while play.step(&mut script).is_some() {}
    });
}
