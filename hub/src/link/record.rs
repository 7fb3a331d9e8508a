//! What was sent to a spoke, as far as it is to be found in the audit records.

use hub_core::audit::{Act, Action, Actor};
use hub_core::identity::SpokeCertificate;
use hub_scheduler::fleet::ObjectRef;
use proto::v1;
use proto::v1::hub_message::Message;

use crate::audit::RecordAct;

/// Records every tombstone and every Secret of a message that goes to the holder of a certificate.
pub(super) fn record(message: &v1::HubMessage, certificate: &SpokeCertificate) {
    let Some(Message::Desired(delta)) = &message.message else { return };
    let term = delta.epoch.as_ref().map(|epoch| epoch.term).unwrap_or_default();
    let act = |action, cause, object: &ObjectRef, hash: Option<&str>| {
        let act = Act::new(action, Actor::Hub, cause).cluster(&certificate.cluster).object(object);
        let act = act.serial(&certificate.serial).term(term);
        hash.into_iter().fold(act, Act::hash).record();
    };
    for tombstone in &delta.tombstones {
        act(Action::Tombstone, &tombstone.reason, &object(tombstone.object.as_ref()), None);
    }
    for upsert in &delta.upserts {
        let object = object(upsert.object.as_ref());
        if object.kind == "Secret" {
            act(Action::DeliverSecret, "a placement in that cluster lists it", &object, Some(&upsert.hash));
        }
    }
}

fn object(object: Option<&v1::ObjectRef>) -> ObjectRef {
    let v1::ObjectRef { uid, api_version, kind, namespace, name } = object.cloned().unwrap_or_default();
    ObjectRef { uid, api_version, kind, namespace, name }
}

#[cfg(test)]
mod tests {
    use hub_core::identity::CaHash;
    use jiff::Timestamp;

    use super::*;
    use crate::audit::tests::written;

    #[test]
    fn tombstones_and_secrets_are_recorded_one_by_one_and_nothing_of_their_content() {
        let object = |kind: &str, name: &str| {
            Some(v1::ObjectRef { kind: kind.into(), name: name.into(), ..v1::ObjectRef::default() })
        };
        let upsert = |kind, name| v1::Upsert {
            object: object(kind, name),
            hash: "salted".into(),
            payload: b"canary".to_vec(),
            ..v1::Upsert::default()
        };
        let tombstone = v1::Tombstone {
            object: object("NIMCache", "weights"),
            reason: "NIMPlacement models/llama: Deleted".into(),
            ..v1::Tombstone::default()
        };
        let delta = v1::DesiredDelta {
            epoch: Some(v1::Epoch { term: 7, ..v1::Epoch::default() }),
            upserts: vec![upsert("Secret", "ngc"), upsert("NIMService", "llama")],
            tombstones: vec![tombstone.clone(), tombstone],
            ..v1::DesiredDelta::default()
        };
        let certificate = SpokeCertificate {
            cluster: "east".parse().unwrap(),
            serial: "0a".into(),
            expires: Timestamp::UNIX_EPOCH,
            cluster_uid: None,
            object_uid: None,
            authority: CaHash::reported("sha256:00"),
            key_hash: [0; 32],
        };
        let message = v1::HubMessage { message: Some(Message::Desired(delta)) };
        let lines = written(|| record(&message, &certificate));
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
                assert_eq!(
                    (line["term"].as_u64(), text("serial"), text("cluster")),
                    (Some(7), "0a".into(), "east".into())
                );
                (text("action"), text("kind"), text("name"), text("cause"))
            })
            .collect();
        let row = |action: &str, kind: &str, name: &str, cause: &str| {
            (action.to_owned(), kind.to_owned(), name.to_owned(), cause.to_owned())
        };
        let left = row("tombstone", "NIMCache", "weights", "NIMPlacement models/llama: Deleted");
        let sent = row("deliver-secret", "Secret", "ngc", "a placement in that cluster lists it");
        assert_eq!(told, [left.clone(), left, sent]);
        assert!(!format!("{lines:?}").contains("canary"));
        let alive = v1::HubMessage { message: Some(Message::Heartbeat(v1::Heartbeat::default())) };
        assert!(written(|| record(&alive, &certificate)).is_empty());
    }
}
