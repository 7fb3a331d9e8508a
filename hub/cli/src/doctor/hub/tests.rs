//! What a hub's checks say of objects that are as they should be, and of such that are not.

use serde_json::{Value, json};

use super::*;

fn service(kind: &str, address: bool) -> Service {
    let ingress = if address { json!([{"ip": "192.0.2.1"}]) } else { Value::Null };
    serde_json::from_value(json!({
        "metadata": {"name": "nimfleet-hub", "namespace": "nimfleet"},
        "spec": {"type": kind}, "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .unwrap()
}

fn slice(ready: bool) -> EndpointSlice {
    serde_json::from_value(json!({
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    }))
    .unwrap()
}

#[test]
fn a_link_without_an_endpoint_or_an_address_is_told() {
    let judge = |service: &Service, slices: &[EndpointSlice]| judge_link("hub-link", service, slices).outcome;
    assert_eq!(judge(&service("ClusterIP", false), &[slice(true)]), Outcome::Ok);
    assert_eq!(judge(&service("LoadBalancer", true), &[slice(true)]), Outcome::Ok);
    assert_eq!(judge(&service("LoadBalancer", false), &[slice(true)]), Outcome::Warning);
    assert_eq!(judge(&service("ClusterIP", false), &[slice(false)]), Outcome::Failed);
    assert_eq!(judge(&service("ClusterIP", false), &[]), Outcome::Failed);
}

#[test]
fn an_api_that_is_not_available_says_what_the_api_server_says() {
    let now = Timestamp::UNIX_EPOCH;
    let found = |status: &str| {
        let api: APIService = serde_json::from_value(json!({
            "metadata": {"name": QUERY},
            "status": {"conditions": [{"type": "Available", "status": status, "message": "no endpoints"}]},
        }))
        .unwrap();
        judge_query(Some(&api), now).0
    };
    assert_eq!(found("True").outcome, Outcome::Ok);
    let away = found("False");
    assert_eq!(away.outcome, Outcome::Failed);
    assert!(away.found.ends_with("no endpoints") && away.remedy.is_some(), "{away:?}");
    assert_eq!(judge_query(None, now).0.outcome, Outcome::Warning);
}

/// A CA that ends on 2036-11-28.
const CA: &[u8] = include_bytes!("ca.pem");

#[test]
fn a_ca_is_told_of_before_it_ends() {
    for (now, outcome) in [
        ("2026-12-01T00:00:00Z", Outcome::Ok),
        ("2036-11-10T00:00:00Z", Outcome::Warning),
        ("2037-01-01T00:00:00Z", Outcome::Failed),
    ] {
        assert_eq!(judge_authority(CA, now.parse().unwrap()).outcome, outcome, "{now}");
    }
    assert_eq!(judge_authority(b"", Timestamp::UNIX_EPOCH).outcome, Outcome::Unknown);
}
