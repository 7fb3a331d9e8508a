//! Tokens over Secrets in memory.

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::pki::secrets::memory::{Memory, next};

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
async fn a_token_is_spent_for_one_certificate() {
    let tokens = Tokens::new(Memory::default());
    let token = tokens.create(&name("east"), DEFAULT_TTL, at(0)).await.unwrap().to_string();
    let (east, mine, other) = (name("east"), key(), key());
    assert_eq!(tokens.redeem(&token, &east, &mine, at(0)).await.unwrap(), None);
    assert_eq!(tokens.redeem(&token, &east, &mine, at(5)).await.unwrap(), None, "its admin is waited for");
    assert_eq!(tokens.spend(&token, &east, &mine, "one", at(5)).await.unwrap(), None);
    let again = tokens.spend(&token, &east, &mine, "two", at(5)).await.unwrap();
    assert_eq!(again.as_deref(), Some("one"), "of two answers at once, one counts");
    assert_eq!(tokens.redeem(&token, &east, &mine, at(6)).await.unwrap().as_deref(), Some("one"));
    for refused in [
        tokens.redeem(&token, &east, &other, at(0)).await,
        tokens.spend(&token, &east, &other, "three", at(0)).await,
    ] {
        assert!(matches!(refused, Err(JoinError::Refused(TokenRefused::Used { .. }))), "{refused:?}");
    }
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
    assert_eq!(memory.secrets.lock().unwrap().len(), 3, "to make one is to look at no other");
    tokens.clear(at(2)).await.unwrap();
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

#[test]
fn what_is_no_request_is_refused() {
    let error = SpokeKey::of_request("?").unwrap_err().to_string();
    assert!(error.contains("PKCS#10"), "{error}");
}
