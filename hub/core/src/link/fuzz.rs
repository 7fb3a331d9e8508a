//! What no spoke would say, in every order. In `cargo test` each target runs for a moment, over its corpus in `__fuzz__` and
//! over random input; `cargo bolero test --sanitizer NONE -T 10m <test>` searches for longer, led by coverage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prost::Message as _;
use proto::v1;
use proto::v1::spoke_message::Message;

use super::cluster_link::ClusterLink;
use super::machine::{Machine, SessionEffect, SessionEvent};
use super::object::{Cause, DesiredObject, GoAwayReason, Removal, RemovalPolicy};
use super::terms::Terms;
use super::{bounds, wire};
use crate::epoch::Epoch;
use crate::fleet::ObjectRef;
use crate::identity::EpochKey;

/// Bytes of what a message may hold of the hub's memory beside its own length: the rows are larger than they travel.
const ROW: usize = 64;

#[test]
fn fuzz_what_a_spoke_says_is_read_or_refused() {
    bolero::check!(name = "spoke-message").for_each(|input: &[u8]| {
        let Ok(message) = v1::SpokeMessage::decode(input) else { return };
        let again = v1::SpokeMessage::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&message));
        let Some(mut said) = wire::from_spoke(message, Timestamp::UNIX_EPOCH) else { return };
        drop(bounds::cut(&mut said));
        // Debug text escapes each byte to a few.
        assert!(format!("{said:?}").len() <= 16 * (input.len() + 1) * ROW);
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
        let kind = if self.byte()?.is_multiple_of(2) { "NIMService" } else { "NIMCache" };
        Some(v1::ObjectRef { name: uid.clone(), uid, kind: kind.into(), ..v1::ObjectRef::default() })
    }

    fn hash(&mut self) -> Option<String> {
        Some((self.byte()? % 3).to_string())
    }

    fn fingerprint(&mut self) -> Option<v1::Fingerprint> {
        let byte = self.byte()?;
        (byte % 3 > 0).then(|| v1::Fingerprint { sum: vec![byte; 16], count: u32::from(byte) })
    }

    /// Proven or not.
    fn epoch(&mut self) -> Option<v1::Epoch> {
        let hub_id = if self.byte()?.is_multiple_of(4) { "other" } else { "hub" }.to_owned();
        let byte = self.byte()?;
        let epoch = Epoch { hub_id, term: u64::from(byte % 8), incarnation: "i".into() };
        let is_proven = byte & 8 == 0;
        let proof = is_proven.then(|| key().prove(&epoch, &"east".parse().unwrap(), "").to_vec());
        let Epoch { hub_id, term, incarnation } = epoch;
        Some(v1::Epoch { hub_id, term, incarnation, proof: proof.unwrap_or_default() })
    }

    fn said(&mut self, op: u8) -> Option<v1::SpokeMessage> {
        let message = match op {
            0..4 => return v1::SpokeMessage::decode(self.bytes()?).ok(),
            4 => Message::Hello(v1::Hello {
                cluster: "east".into(),
                instance: self.name()?,
                highest_epoch: Some(self.epoch()?),
                held: self.fingerprint(),
                ..v1::Hello::default()
            }),
            5 => {
                let held = (0..self.byte()? % 8).map_while(|_| {
                    Some(v1::HeldObject { object: Some(self.object()?), generation: 1, hash: self.hash()? })
                });
                let held = held.collect();
                let (last, whole) = (self.byte()?.is_multiple_of(2), self.byte()?.is_multiple_of(2));
                Message::Index(v1::Index {
                    held,
                    last,
                    buckets: if whole { (0..256).collect() } else { vec![] },
                })
            }
            6 => {
                use v1::result::Outcome;
                let outcome = match self.byte()? % 5 {
                    0 => Outcome::Accepted(v1::Accepted {}),
                    1 => Outcome::Gone(v1::Gone {}),
                    2 => Outcome::Rejected(v1::Rejected {
                        class: i32::from(self.byte()? % 7),
                        ..v1::Rejected::default()
                    }),
                    3 => Outcome::Held(v1::Held::default()),
                    _ => Outcome::Retrying(v1::Retrying::default()),
                };
                let result = v1::Result { uid: self.name()?, hash: self.hash()?, outcome: Some(outcome) };
                Message::Ack(v1::Ack { delta_id: u64::from(self.byte()? % 16), results: vec![result] })
            }
            7 => {
                let status = v1::ObjectStatus {
                    object: Some(self.object()?),
                    hash: self.hash()?,
                    ..v1::ObjectStatus::default()
                };
                Message::Status(v1::StatusBatch { items: vec![status] })
            }
            _ => Message::Heartbeat(v1::Heartbeat { held: self.fingerprint() }),
        };
        Some(v1::SpokeMessage { message: Some(message) })
    }
}

fn key() -> EpochKey {
    EpochKey::new([7; 32])
}

/// A session, and what its hub outbox.
struct Play {
    machine: Machine,
    link: ClusterLink,
    epoch: Epoch,
    now: Instant,
    doomed: BTreeSet<String>,
    closed: bool,
    last: Option<v1::SpokeMessage>,
    /// What it may keep: an index as long as any cluster's, and for each object that can be named a few things.
    most: usize,
}

impl Play {
    fn new(input: usize) -> Self {
        let (link, now) = (ClusterLink::default(), Instant::now());
        let terms = Terms::of(1, Duration::from_secs(10), [0.5; 2]);
        let machine = Machine::new("east".parse().unwrap(), Timestamp::MAX, terms, key(), now);
        let epoch = Epoch { hub_id: "hub".into(), term: 3, incarnation: "i".into() };
        let (doomed, most) = (BTreeSet::new(), 10_000 + 1000 + 8 + 4 * (6 + input));
        Self { machine, link, epoch, now, doomed, closed: false, last: None, most }
    }

    fn on(&mut self, event: SessionEvent) {
        let effects = self.machine.on(event, &mut self.link, &self.epoch, self.now, Timestamp::UNIX_EPOCH);
        assert!(!self.closed || effects.is_empty(), "it is over: {effects:?}");
        for effect in effects {
            match effect {
                SessionEffect::Send(v1::HubMessage {
                    message: Some(v1::hub_message::Message::Desired(delta)),
                }) => {
                    for tombstone in delta.tombstones {
                        let uid = tombstone.object.unwrap_or_default().uid;
                        assert!(self.doomed.contains(&uid), "nobody wanted {uid} away");
                    }
                }
                SessionEffect::Close(_) => self.closed = true,
                SessionEffect::Send(_)
                | SessionEffect::RaiseEpoch(_)
                | SessionEffect::Report(_)
                | SessionEffect::Count(_) => {}
            }
        }
        while !self.closed && self.machine.is_woken(&self.link) {
            self.on(SessionEvent::Woken);
        }
        assert!(self.machine.size() <= self.most, "{:?}", self.machine);
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let op = script.byte()? % 16;
        match op {
            0..9 => {
                let said = script.said(op)?;
                self.last = Some(said.clone());
                self.on(SessionEvent::Said(said));
            }
            9 => {
                let (object, hash) = (object(script.object()?), script.hash()?);
                self.doomed.remove(&object.uid);
                let payload = Arc::from(vec![0; usize::from(script.byte()?) * 512]);
                self.link.set_desired(DesiredObject { object, generation: 1, hash, payload, gang: None });
            }
            10 => {
                let object = object(script.object()?);
                self.doomed.insert(object.uid.clone());
                let policy = if script.byte()?.is_multiple_of(2) {
                    RemovalPolicy::Delete
                } else {
                    RemovalPolicy::Retain
                };
                let (reason, decided, cause) = (String::new(), Timestamp::UNIX_EPOCH, Cause::Admin);
                self.link.set_removal(Removal { object, policy, reason, decided, cause });
            }
            11 => self.link.forget(&script.name()?),
            12 => {
                self.now += Duration::from_millis(u64::from(script.byte()?) * 200);
                self.on(SessionEvent::Tick);
            }
            13 => {
                let event = match script.byte()? % 8 {
                    0 => SessionEvent::EpochFailed("no".into()),
                    1 => SessionEvent::Busy,
                    2 => SessionEvent::Stopping,
                    3 => SessionEvent::Dismissed(GoAwayReason::Revoked, "no".into()),
                    4 => {
                        assert!(self.link.confirm_held_back() <= 6, "more than are wanted away");
                        SessionEvent::Woken
                    }
                    _ => {
                        self.epoch.term += 1;
                        SessionEvent::EpochRaised
                    }
                };
                self.on(event);
            }
            14 => drop(self.link.claim(&super::message::Instance {
                id: script.name()?,
                started_ms: i64::from(script.byte()?),
            })),
            _ => {
                for _ in 0..100 {
                    self.on(SessionEvent::Said(self.last.clone()?));
                }
            }
        }
        Some(())
    }
}

fn object(object: v1::ObjectRef) -> ObjectRef {
    let v1::ObjectRef { uid, api_version, kind, namespace, name } = object;
    ObjectRef { uid, api_version, kind, namespace, name }
}

#[test]
fn fuzz_sessions_of_any_spoke_end_or_stay_bounded_and_delete_nothing_unasked() {
    bolero::check!(name = "hub-session").for_each(|input: &[u8]| {
        let (mut play, mut script) = (Play::new(input.len()), Script(input));
        while play.step(&mut script).is_some() {}
    });
}
