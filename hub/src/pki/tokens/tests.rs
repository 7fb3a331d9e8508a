//! Tokens and the CA over Secrets in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::pki::{Authority, identity_of};

/// Secrets with versions; `race` is played once, between the next read and the write that follows.
#[derive(Clone, Default)]
struct Memory {
    secrets: Arc<Mutex<BTreeMap<String, Stored>>>,
    race: Arc<Mutex<Option<Race>>>,
}

type Race = Box<dyn FnOnce(&mut BTreeMap<String, Stored>) + Send>;

impl Memory {
    fn race(&self, play: impl FnOnce(&mut BTreeMap<String, Stored>) + Send + 'static) {
        *self.race.lock().unwrap() = Some(Box::new(play));
    }

    fn start_race(&self) {
        if let Some(play) = self.race.lock().unwrap().take() {
            play(&mut self.secrets.lock().unwrap());
        }
    }
}

fn next(version: &str) -> String {
    (version.parse::<u32>().unwrap() + 1).to_string()
}

impl Secrets for Memory {
    async fn get(&self, name: &str) -> Result<Option<Stored>, SecretError> {
        Ok(self.secrets.lock().unwrap().get(name).cloned())
    }

    async fn create(
        &self,
        name: &str,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        self.start_race();
        let mut secrets = self.secrets.lock().unwrap();
        if secrets.contains_key(name) {
            return Ok(false);
        }
        secrets.insert(name.to_owned(), Stored { name: name.to_owned(), version: "1".to_owned(), data });
        Ok(true)
    }

    async fn update(
        &self,
        old: &Stored,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        self.start_race();
        let mut secrets = self.secrets.lock().unwrap();
        match secrets.get_mut(&old.name) {
            Some(stored) if stored.version == old.version => {
                *stored = Stored { name: old.name.clone(), version: next(&old.version), data };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn list(&self, _: (&str, &str)) -> Result<Vec<Stored>, SecretError> {
        Ok(self.secrets.lock().unwrap().values().cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<(), SecretError> {
        self.secrets.lock().unwrap().remove(name);
        Ok(())
    }
}

fn key() -> SpokeKey {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    SpokeKey::of_request(&request.pem().unwrap()).unwrap()
}

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
}

#[tokio::test]
async fn a_token_joins_one_key_and_that_key_may_come_again() {
    let tokens = Tokens::new(Memory::default());
    let token = tokens.create(&name("east"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    let (mine, other) = (key(), key());
    tokens.redeem(&token, &name("east"), &mine, at(0)).await.unwrap();
    tokens.redeem(&token, &name("east"), &mine, at(5)).await.unwrap();
    let refused = tokens.redeem(&token, &name("east"), &other, at(0)).await;
    assert!(matches!(refused, Err(JoinError::Refused(TokenRefused::Used { .. }))), "{refused:?}");
}

#[tokio::test]
async fn the_secret_does_not_hold_the_token() {
    let memory = Memory::default();
    let tokens = Tokens::new(memory.clone());
    let token = tokens.create(&name("east"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    let stored = memory.get(&format!("nimfleet-join-{}", &token[..6])).await.unwrap().unwrap();
    let secret = &token[7..];
    assert!(stored.data.values().all(|value| !String::from_utf8_lossy(value).contains(secret)));
}

#[tokio::test]
async fn who_loses_the_race_for_a_token_is_refused() {
    let memory = Memory::default();
    let tokens = Tokens::new(memory.clone());
    let token = tokens.create(&name("east"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    let (mine, faster) = (key(), key());
    let faster = hex::encode(faster.hash()).into_bytes();
    memory.race(move |secrets| {
        for stored in secrets.values_mut() {
            stored.version = next(&stored.version);
            stored.data.insert(USED_BY.to_owned(), faster.clone());
        }
    });
    let refused = tokens.redeem(&token, &name("east"), &mine, at(0)).await;
    assert!(matches!(refused, Err(JoinError::Refused(TokenRefused::Used { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_record_is_not_an_unused_one() {
    let memory = Memory::default();
    let tokens = Tokens::new(memory.clone());
    let token = tokens.create(&name("east"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    for stored in memory.secrets.lock().unwrap().values_mut() {
        stored.data.insert(USED_BY.to_owned(), b"?".to_vec());
    }
    let refused = tokens.redeem(&token, &name("east"), &key(), at(0)).await;
    assert!(matches!(refused, Err(JoinError::Refused(TokenRefused::Wrong))), "{refused:?}");
}

#[tokio::test]
async fn what_nobody_can_use_any_more_is_cleared_away() {
    let memory = Memory::default();
    let tokens = Tokens::new(memory.clone());
    tokens.create(&name("unused"), DEFAULT_TTL, at(0)).await.unwrap();
    let used = tokens.create(&name("used"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    tokens.redeem(&used, &name("used"), &key(), at(0)).await.unwrap();
    tokens.create(&name("later"), DEFAULT_TTL, at(2)).await.unwrap();
    let left: Vec<_> = memory.secrets.lock().unwrap().values().map(|s| s.data[CLUSTER].clone()).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&b"used".to_vec()) && left.contains(&b"later".to_vec()));
}

#[tokio::test]
async fn a_token_without_life_is_not_made() {
    let tokens = Tokens::new(Memory::default());
    for ttl in [SignedDuration::ZERO, SignedDuration::from_secs(-1), SignedDuration::MAX] {
        let made = tokens.create(&name("east"), ttl, at(0)).await;
        assert!(matches!(made, Err(JoinError::Ttl { .. })), "{ttl}: {made:?}");
    }
}

#[tokio::test]
async fn the_ca_is_made_once_even_by_two_hubs() {
    let memory = Memory::default();
    let first = Authority::load_or_create(&memory, at(0)).await.unwrap();
    let again = Authority::load_or_create(&memory, at(1)).await.unwrap();
    assert_eq!(first.hash(), again.hash());

    let (late, theirs) = (Memory::default(), memory.get("nimfleet-hub-ca").await.unwrap().unwrap());
    late.race(move |secrets| drop(secrets.insert(theirs.name.clone(), theirs)));
    let second = Authority::load_or_create(&late, at(0)).await.unwrap();
    assert_eq!(second.hash(), first.hash(), "the one that is stored wins");
}

#[tokio::test]
async fn a_damaged_ca_is_named_with_its_remedy_and_not_replaced() {
    let memory = Memory::default();
    Authority::load_or_create(&memory, at(0)).await.unwrap();
    let other = Memory::default();
    Authority::load_or_create(&other, at(0)).await.unwrap();
    let foreign_key = other.secrets.lock().unwrap()["nimfleet-hub-ca"].data["tls.key"].clone();
    let cases = [("tls.key", b"?".to_vec()), ("tls.crt", b"?".to_vec()), ("tls.key", foreign_key)];
    for (field, value) in cases {
        let damaged = Memory::default();
        *damaged.secrets.lock().unwrap() = memory.secrets.lock().unwrap().clone();
        damaged.secrets.lock().unwrap().get_mut("nimfleet-hub-ca").unwrap().data.insert(field.into(), value);
        let error = Authority::load_or_create(&damaged, at(0)).await.err().unwrap().to_string();
        assert!(error.contains("Secret nimfleet-hub-ca") && error.contains("restore it"), "{error}");
    }
}

#[tokio::test]
async fn the_hub_writes_the_name_and_the_spoke_only_gives_its_key() {
    let authority = Authority::load_or_create(&Memory::default(), at(0)).await.unwrap();
    let pair = KeyPair::generate().unwrap();
    let asked = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
    let request = asked.serialize_request(&pair).unwrap().pem().unwrap();
    let issued = authority.issue(&SpokeKey::of_request(&request).unwrap(), &name("east"), at(0)).unwrap();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    assert_eq!(identity_of(&der), Some((name("east"), issued.expires)));
    assert_eq!(issued.expires, at(90 * 24));
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1, "nothing that the request asked for");
    let usage = parsed.extended_key_usage().unwrap().unwrap();
    assert!(usage.value.client_auth && !usage.value.server_auth);
}

#[test]
fn what_is_no_request_is_refused() {
    let error = SpokeKey::of_request("?").unwrap_err().to_string();
    assert!(error.contains("PKCS#10"), "{error}");
}
