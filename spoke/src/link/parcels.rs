//! News in messages that the hub takes: what is too long for one travels in several.

use prost::Message as _;
use proto::v1;
use proto::v1::spoke_message::Message;

use super::wire;
use crate::facts::CapacityReport;
use crate::report::ObjectStatus;

/// Of a message around its rows, at most.
const ENVELOPE: usize = 64;

/// Statuses in as few messages of at most `most` bytes as they need. A status that is longer by itself says so in place of
/// its conditions: it would end the stream, and every stream after it.
#[must_use]
pub fn statuses(statuses: Vec<ObjectStatus>, most: usize) -> Vec<v1::SpokeMessage> {
    let room = most.saturating_sub(ENVELOPE);
    let (mut batches, mut batch, mut size) = (Vec::new(), Vec::new(), 0);
    for status in statuses.into_iter().map(wire::to_status) {
        let (status, bytes) = fitting(status, room);
        if size + bytes > room && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            size = 0;
        }
        size += bytes;
        batch.push(status);
    }
    batches.push(batch);
    batches.into_iter().map(|items| said(Message::Status(v1::StatusBatch { items }))).collect()
}

/// What the cluster can run. Where it is longer than `most` bytes, the caches are left out: without them a model is
/// downloaded once more, and nothing else.
#[must_use]
pub fn capacity(report: CapacityReport, most: usize) -> v1::SpokeMessage {
    let mut report = wire::capacity::to_hub(report);
    if report.encoded_len() > most.saturating_sub(ENVELOPE) {
        tracing::error!(
            bytes = report.encoded_len(),
            most,
            "the hub takes no report that long: caches are left out"
        );
        report.caches.clear();
    }
    said(Message::Capacity(report))
}

/// The status, and the bytes that it takes as a row.
fn fitting(mut status: v1::ObjectStatus, room: usize) -> (v1::ObjectStatus, usize) {
    let row = |status: &v1::ObjectStatus| {
        let bytes = status.encoded_len();
        1 + prost::length_delimiter_len(bytes) + bytes
    };
    let bytes = row(&status);
    if bytes > room {
        status.profiles.clear();
        status.conditions = vec![v1::Condition {
            r#type: "Ready".to_owned(),
            status: "Unknown".to_owned(),
            reason: "StatusTooLarge".to_owned(),
            message: format!(
                "the status has {bytes} bytes, more than the {room} that the hub takes: look at it in the cluster"
            ),
            last_transition_ms: 0,
        }];
    }
    let bytes = row(&status);
    (status, bytes)
}

fn said(message: Message) -> v1::SpokeMessage {
    v1::SpokeMessage { message: Some(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::ObjectRef;
    use crate::report::Condition;

    fn status(uid: &str, bytes: usize) -> ObjectStatus {
        let condition = Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: String::new(),
            message: "x".repeat(bytes),
            last_transition_ms: 0,
        };
        ObjectStatus {
            object: ObjectRef {
                uid: uid.to_owned(),
                api_version: String::new(),
                kind: String::new(),
                namespace: String::new(),
                name: String::new(),
            },
            generation: 1,
            hash: String::new(),
            state: "Ready".to_owned(),
            conditions: vec![condition],
            ready_replicas: 1,
            wanted_replicas: 1,
            observed_at_ms: 1,
            profiles: vec![],
            unschedulable: None,
            claim: String::new(),
            services: Vec::new(),
        }
    }

    fn uids(messages: &[v1::SpokeMessage]) -> Vec<Vec<String>> {
        let rows = messages.iter().map(|message| match &message.message {
            Some(Message::Status(batch)) => {
                batch.items.iter().map(|item| item.object.clone().unwrap().uid).collect()
            }
            other => panic!("{other:?}"),
        });
        rows.collect()
    }

    #[test]
    fn statuses_travel_in_as_few_messages_as_the_hub_takes() {
        let most = 10_000;
        let table: [(&[usize], &[usize]); 5] = [
            (&[10, 10, 10], &[3]),
            (&[4000, 4000, 4000], &[2, 1]),
            (&[9000, 9000], &[1, 1]),
            (&[10, 50_000, 10], &[3]),
            (&[9880, 10], &[1, 1]),
        ];
        for (sizes, expected) in table {
            let all = sizes.iter().enumerate().map(|(uid, bytes)| status(&uid.to_string(), *bytes));
            let messages = statuses(all.collect(), most);
            let uids = uids(&messages);
            assert_eq!(uids.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{sizes:?}");
            assert_eq!(uids.concat(), (0..sizes.len()).map(|uid| uid.to_string()).collect::<Vec<_>>());
            assert!(messages.iter().all(|message| message.encoded_len() <= most), "{sizes:?}");
        }
    }

    #[test]
    fn a_status_longer_than_any_message_says_so_and_nothing_of_it_is_lost_but_words() {
        let messages = statuses(vec![status("a", 5 << 20)], proto::MAX_MESSAGE_BYTES);
        let [v1::SpokeMessage { message: Some(Message::Status(batch)) }] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((batch.items[0].state.as_str(), batch.items[0].ready_replicas), ("Ready", 1));
        assert_eq!(batch.items[0].conditions[0].reason, "StatusTooLarge");
    }

    #[test]
    fn a_capacity_report_longer_than_any_message_leaves_its_caches_out() {
        let cache = crate::facts::HeldCache {
            namespace: "x".repeat(1 << 20),
            name: String::new(),
            model: String::new(),
            profiles: vec![],
        };
        let report =
            CapacityReport { caches: vec![cache; 5], region: "eu".to_owned(), ..CapacityReport::default() };
        let message = capacity(report, proto::MAX_MESSAGE_BYTES);
        assert!(message.encoded_len() < 100);
    }
}
