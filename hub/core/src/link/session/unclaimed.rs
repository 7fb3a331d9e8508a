//! Statuses of what a spoke holds and no placement wants yet: a spoke reports them once, and a placement may want the object soon.

use std::collections::BTreeMap;

use crate::fleet::{Excess, ObjectStatus, Weight};

/// Bytes of all of them; 1000 statuses of a spoke that ships take about 2 MiB.
const MOST_BYTES: usize = 4 << 20;

/// The latest status of each object, by uid.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    by_uid: BTreeMap<String, ObjectStatus>,
    bytes: usize,
}

impl Unclaimed {
    /// The objects.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.by_uid.keys()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Keeps a status in place of what was known of the object, if there is room for it. An `Err` says how much is kept.
    pub(super) fn keep(&mut self, status: ObjectStatus) -> Result<(), Excess> {
        let uid = status.object.uid.clone();
        self.bytes -= self.by_uid.remove(&uid).map_or(0, |known| known.weight());
        let weight = status.weight();
        if self.bytes + weight > MOST_BYTES {
            let number = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
            return Err(Excess {
                what: "bytes of statuses of objects that nobody has placed there",
                reported: number(self.bytes + weight),
                kept: number(self.bytes),
            });
        }
        self.bytes += weight;
        self.by_uid.insert(uid, status);
        Ok(())
    }

    /// Takes those out that are asked for.
    pub(super) fn take(&mut self, mut is_taken: impl FnMut(&str) -> bool) -> Vec<ObjectStatus> {
        let taken: Vec<ObjectStatus> =
            self.by_uid.extract_if(.., |uid, _| is_taken(uid)).map(|(_, status)| status).collect();
        self.bytes -= taken.iter().map(Weight::weight).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fleet::ObjectRef;

    fn status(uid: usize, state: usize) -> ObjectStatus {
        let object = ObjectRef {
            uid: uid.to_string(),
            api_version: String::new(),
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
        };
        ObjectStatus {
            object,
            generation: 1,
            hash: String::new(),
            state: "s".repeat(state),
            conditions: Vec::new(),
            ready_replicas: 0,
            wanted_replicas: 0,
            observed_at: Timestamp::UNIX_EPOCH,
            profiles: Vec::new(),
            unschedulable: None,
            claim: String::new(),
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_what_is_taken_makes_room() {
        let mut unclaimed = Unclaimed::default();
        let kept = (0..100).filter(|uid| unclaimed.keep(status(*uid, 100_000)).is_ok()).count();
        assert_eq!((kept, unclaimed.len()), (41, 41));
        assert!(unclaimed.keep(status(0, 100_000)).is_ok(), "the same object again");
        assert_eq!(unclaimed.take(|uid| uid == "1").len(), 1);
        assert!(
            unclaimed.keep(status(200, 100_000)).is_ok() && unclaimed.keep(status(201, 100_000)).is_err()
        );
        unclaimed.take(|_| true);
        assert_eq!(unclaimed.bytes, 0);
    }
}
