//! What is held, compared with what is wanted, in a few bytes.
//!
//! A set's fingerprint is the sum of its objects', so that one change costs one addition, however many objects there are. It
//! finds differences between two sides that trust each other to count their own: it is no signature.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest, Sha256};

/// A set of objects in a few bytes. Equal sets have equal fingerprints; others differ but for one chance in 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    sum: u128,
    count: u32,
}

impl Fingerprint {
    /// How many objects.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// As it travels.
    #[must_use]
    pub fn to_wire(&self) -> crate::v1::Fingerprint {
        crate::v1::Fingerprint { sum: self.sum.to_le_bytes().to_vec(), count: self.count }
    }

    /// What the other side said; none if it is not 16 bytes long.
    #[must_use]
    pub fn from_wire(wire: &crate::v1::Fingerprint) -> Option<Self> {
        let sum = u128::from_le_bytes(wire.sum.as_slice().try_into().ok()?);
        Some(Self { sum, count: wire.count })
    }

    fn add(&mut self, object: u128) {
        self.sum = self.sum.wrapping_add(object);
        self.count = self.count.wrapping_add(1);
    }

    fn remove(&mut self, object: u128) {
        self.sum = self.sum.wrapping_sub(object);
        self.count = self.count.wrapping_sub(1);
    }
}

/// A set of objects by bucket: says where two sets differ. Empty buckets take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    all: Fingerprint,
    each: BTreeMap<u8, Fingerprint>,
}

impl Buckets {
    /// An object that is not in the set yet comes in.
    pub fn add(&mut self, uid: &str, generation: i64, hash: &str) {
        let object = fingerprint(uid, generation, hash);
        self.all.add(object);
        self.each.entry(bucket(uid)).or_default().add(object);
    }

    /// An object leaves; it has to be in the set exactly so.
    pub fn remove(&mut self, uid: &str, generation: i64, hash: &str) {
        let (object, number) = (fingerprint(uid, generation, hash), bucket(uid));
        self.all.remove(object);
        let left = self.each.entry(number).or_default();
        left.remove(object);
        if *left == Fingerprint::default() {
            self.each.remove(&number);
        }
    }

    /// The fingerprint of the whole set.
    #[must_use]
    pub fn all(&self) -> Fingerprint {
        self.all
    }

    /// The buckets as they travel in a Compare.
    #[must_use]
    pub fn to_wire(&self) -> HashMap<u32, u64> {
        self.each.iter().map(|(number, bucket)| (u32::from(*number), low(bucket))).collect()
    }

    /// The buckets in which this set is not what the other side said of its own.
    #[must_use]
    pub fn differing(&self, theirs: &HashMap<u32, u64>) -> BTreeSet<u8> {
        let ours = |number: u8| self.each.get(&number).map(low);
        (0..=u8::MAX).filter(|number| ours(*number) != theirs.get(&u32::from(*number)).copied()).collect()
    }
}

/// The bucket of an object, by its uid.
#[must_use]
pub fn bucket(uid: &str) -> u8 {
    Sha256::digest(uid)[0]
}

fn low(bucket: &Fingerprint) -> u64 {
    let [bytes @ .., _, _, _, _, _, _, _, _] = bucket.sum.to_le_bytes();
    u64::from_le_bytes(bytes)
}

fn fingerprint(uid: &str, generation: i64, hash: &str) -> u128 {
    let mut digest = Sha256::new();
    digest.update(uid);
    digest.update([0]);
    digest.update(generation.to_le_bytes());
    digest.update(hash);
    let mut first = [0; 16];
    first.copy_from_slice(&digest.finalize()[..16]);
    u128::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Objects = BTreeMap<String, (i64, String)>;

    fn objects() -> impl Strategy<Value = Objects> {
        prop::collection::btree_map("[a-f]{1,2}", (0..3_i64, "[01]"), 0..40)
    }

    fn buckets(objects: &Objects) -> Buckets {
        let mut buckets = Buckets::default();
        for (uid, (generation, hash)) in objects {
            buckets.add(uid, *generation, hash);
        }
        buckets
    }

    proptest! {
        #[test]
        fn sets_differ_in_exactly_the_buckets_of_what_differs(ours in objects(), theirs in objects()) {
            let (a, b) = (buckets(&ours), buckets(&theirs));
            let differ = |uid: &&String| ours.get(*uid) != theirs.get(*uid);
            let expected: BTreeSet<u8> =
                ours.keys().chain(theirs.keys()).filter(differ).map(|uid| bucket(uid)).collect();
            prop_assert_eq!(a.all() == b.all(), expected.is_empty());
            prop_assert_eq!(a.differing(&b.to_wire()), expected);
        }

        #[test]
        fn it_does_not_matter_how_a_set_came_about(ours in objects(), theirs in objects()) {
            let mut way = buckets(&ours);
            for (uid, (generation, hash)) in &ours {
                way.remove(uid, *generation, hash);
            }
            prop_assert_eq!(&way, &Buckets::default());
            for (uid, (generation, hash)) in theirs.iter().rev() {
                way.add(uid, *generation, hash);
            }
            prop_assert_eq!(way, buckets(&theirs));
        }
    }

    #[test]
    fn a_fingerprint_travels() {
        let all = buckets(&Objects::from([("a".into(), (1, "h".into()))])).all();
        assert_eq!(Fingerprint::from_wire(&all.to_wire()), Some(all));
        assert_eq!(Fingerprint::from_wire(&crate::v1::Fingerprint { sum: vec![1], count: 1 }), None);
    }

    /// The other side may be of another version: this value must never change.
    #[test]
    fn the_formula_is_part_of_the_protocol() {
        let all = buckets(&Objects::from([("uid".into(), (7, "hash".into()))])).all();
        let expected = {
            let digest = Sha256::digest(b"uid\0\x07\0\0\0\0\0\0\0hash");
            digest[..16].to_vec()
        };
        assert_eq!(all.to_wire().sum, expected);
        assert_eq!(bucket("uid"), Sha256::digest(b"uid")[0]);
    }

    #[test]
    fn a_compare_of_a_full_fleet_is_small() {
        let many = (0..10_000).map(|n| (format!("{n:08x}-7b4a-4c1e-8b3f-7d9f0a1b2c3d"), (1, "h".repeat(64))));
        let wire = crate::v1::Compare { buckets: buckets(&many.collect()).to_wire() };
        assert!(prost::Message::encoded_len(&wire) < 4096, "{}", prost::Message::encoded_len(&wire));
    }
}
