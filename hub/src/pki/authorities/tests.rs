//! The CAs over Secrets in memory: made once, damaged, led from one to the next.

use hub_core::identity::Family;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::pki::secrets::memory::Memory;
use crate::pki::{AUTHORITY_LIFE, CERTIFICATE_LIFE, Issued, SpokeKey, Subject};

const A_YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
}

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

async fn load(memory: &Memory) -> Authorities<Memory> {
    Authorities::load_or_create(memory.clone(), at(0), AUTHORITY_LIFE).await.unwrap()
}

fn key() -> SpokeKey {
    let asked = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
    let request = asked.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    SpokeKey::of_request(&request).unwrap()
}

fn issue(trust: &Trust, life: SignedDuration) -> Issued {
    let east = name("east");
    let subject =
        Subject { cluster: &east, cluster_uid: "uid", object_uid: "object", family: Family::new(7) };
    trust.signer().issue(&key(), &subject, 1, at(0), life).unwrap()
}

fn member(trusted: &[CaHash], authority: &CaHash) -> Member {
    let (trusted, authority) = (trusted.to_vec(), Some(authority.clone()));
    Member { cluster: name("east"), trusted, authority, connected: true }
}

#[tokio::test]
async fn the_ca_is_made_once_even_by_two_hubs() {
    let memory = Memory::default();
    let first = load(&memory).await.current();
    assert_eq!(first.hashes(), load(&memory).await.current().hashes());

    let (late, theirs) = (Memory::default(), memory.get(SECRET).await.unwrap().unwrap());
    late.race(move |secrets| drop(secrets.insert(theirs.name.clone(), theirs)));
    assert_eq!(load(&late).await.current().hashes(), first.hashes(), "the one that is stored wins");
}

#[tokio::test]
async fn a_damaged_ca_is_named_with_its_remedy_and_not_replaced() {
    let memory = Memory::default();
    load(&memory).await;
    let other = Memory::default();
    load(&other).await;
    let foreign_key = other.secrets.lock().unwrap()[SECRET].data["tls.key"].clone();
    let cases = [("tls.key", b"?".to_vec()), ("tls.crt", b"?".to_vec()), ("tls.key", foreign_key)];
    for (field, value) in cases {
        let damaged = Memory::default();
        *damaged.secrets.lock().unwrap() = memory.secrets.lock().unwrap().clone();
        damaged.secrets.lock().unwrap().get_mut(SECRET).unwrap().data.insert(field.into(), value);
        let error = Authorities::load_or_create(damaged, at(0), A_YEAR).await.err().unwrap().to_string();
        assert!(error.contains("Secret nimfleet-hub-ca") && error.contains("restore it"), "{error}");
    }
}

#[tokio::test]
async fn the_hub_writes_the_name_and_the_spoke_only_gives_its_key() {
    let trust = load(&Memory::default()).await.current();
    let issued = issue(&trust, CERTIFICATE_LIFE);
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let read = trust.read(&der).unwrap();
    assert_eq!(read, issued.certificate);
    assert_eq!((read.cluster, read.cluster_uid.as_deref()), (name("east"), Some("uid")));
    assert_eq!(read.object_uid.as_deref(), Some("object"));
    assert_eq!(read.expires, at(72));
    assert_eq!(read.authority, *trust.signer().hash());
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 3, "nothing that the request asked for");
    let usage = parsed.extended_key_usage().unwrap().unwrap();
    assert!(usage.value.client_auth && !usage.value.server_auth);
}

#[tokio::test]
async fn a_clock_that_is_behind_finds_the_certificate_valid_and_no_certificate_outlives_its_ca() {
    let authorities = Authorities::load_or_create(Memory::default(), at(0), A_YEAR).await.unwrap();
    let trust = authorities.current();
    let table = [
        (SignedDuration::from_hours(72), 3600, 72 * 3600),
        (SignedDuration::from_secs(60), 15, 60),
        (A_YEAR * 2, 3600, A_YEAR.as_secs()),
    ];
    for (life, backdated, lasts) in table {
        let der = CertificateDer::from_pem_slice(issue(&trust, life).certificate_pem.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let now = at(0).as_second();
        assert_eq!(parsed.validity().not_before.timestamp(), now - backdated, "{life}");
        assert_eq!(parsed.validity().not_after.timestamp(), now + lasts, "{life}");
    }
}

#[tokio::test]
async fn a_rollover_goes_from_a_to_a_and_b_to_b_and_waits_in_between() {
    let memory = Memory::default();
    let hub = load(&memory).await;
    let a = hub.current().signer().hash().clone();
    let of_a = issue(&hub.current(), CERTIFICATE_LIFE);

    // Another process begins it; the hub sees that when it looks.
    let Rotation::Began(b) = load(&memory).await.rotate(at(1), A_YEAR, &[]).await.unwrap() else {
        panic!("one is under way")
    };
    hub.refresh().await.unwrap();
    let trust = hub.current();
    assert_eq!((trust.stage(), trust.hashes()), (Stage::Introducing, vec![a.clone(), b.clone()]));
    assert_eq!((trust.signer().hash(), trust.coming()), (&a, &b));
    assert_eq!(trust.bundle_pem().matches("BEGIN CERTIFICATE").count(), 2);

    assert_eq!(
        hub.advance(&[member(std::slice::from_ref(&a), &a)]).await.unwrap(),
        None,
        "it would be left behind"
    );
    let both = [a.clone(), b.clone()];
    assert_eq!(hub.advance(&[member(&both, &a)]).await.unwrap(), Some(Stage::Retiring));
    let trust = hub.current();
    assert_eq!((trust.signer().hash(), trust.hashes()), (&b, vec![b.clone(), a.clone()]));
    assert_eq!(trust.once_issued(&of_a.certificate_pem), Some(of_a.certificate.clone()));
    let of_b = issue(&trust, CERTIFICATE_LIFE);
    assert_eq!(of_b.certificate.authority, b);

    assert_eq!(hub.advance(&[member(&both, &a)]).await.unwrap(), None, "its certificate would be void");
    assert_eq!(hub.advance(&[member(&both, &b)]).await.unwrap(), Some(Stage::Stable));
    let trust = hub.current();
    assert_eq!((trust.signer().hash(), trust.hashes()), (&b, vec![b.clone()]));
    assert_eq!(trust.once_issued(&of_a.certificate_pem), None);
    assert_eq!(trust.once_issued(&of_b.certificate_pem), Some(of_b.certificate));
    assert_eq!(hub.advance(&[]).await.unwrap(), None, "nothing is under way");
    let fields: Vec<_> = memory.secrets.lock().unwrap()[SECRET].data.keys().cloned().collect();
    assert_eq!(fields, ["tls.crt", "tls.key"]);
    assert_eq!(load(&memory).await.current().hashes(), [b], "a restarted hub reads the same");
}

#[tokio::test]
async fn a_rollover_is_one_at_a_time_and_leaves_behind_whom_the_admin_names() {
    let memory = Memory::default();
    let hub = load(&memory).await;
    let a = hub.current().signer().hash().clone();
    let Rotation::Began(b) = hub.rotate(at(1), A_YEAR, &[]).await.unwrap() else { panic!("under way") };
    let behind = member(std::slice::from_ref(&a), &a);
    assert_eq!(hub.advance(std::slice::from_ref(&behind)).await.unwrap(), None);
    let again = hub.rotate(at(2), A_YEAR, &[name("east")]).await.unwrap();
    assert_eq!(again, Rotation::UnderWay(b.clone()));
    assert_eq!(hub.advance(std::slice::from_ref(&behind)).await.unwrap(), Some(Stage::Retiring));
    let restarted = load(&memory).await;
    assert_eq!(restarted.current().without(), [name("east")], "a restart does not forget it");
    assert_eq!(restarted.advance(&[behind]).await.unwrap(), Some(Stage::Stable));
    assert!(!restarted.current().trusts(&a) && restarted.current().trusts(&b));
    let next = restarted.rotate(at(3), A_YEAR, &[]).await.unwrap();
    assert!(matches!(next, Rotation::Began(c) if c != b));
    assert_eq!(restarted.current().without(), [], "the next one waits for all again");
}
