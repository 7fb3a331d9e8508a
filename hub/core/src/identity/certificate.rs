//! What a spoke's certificate says, and the hash by which a CA is known.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::fleet::ClusterName;

/// Bytes of one half of a serial number: the first is the family's, the second the certificate's own.
const HALF: usize = 8;

/// `sha256:` and the hash of a CA's SubjectPublicKeyInfo, as kubeadm writes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaHash(String);

impl CaHash {
    /// The hash of a CA's SubjectPublicKeyInfo, given as DER.
    #[must_use]
    pub fn of(spki: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(spki))))
    }

    /// A hash as a spoke reported it, unchecked.
    #[must_use]
    pub fn reported(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first half of a serial number, which all certificates share that follow from one another by renewal. Revoking it revokes
/// all of them, those included that a thief has renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family([u8; HALF]);

impl Family {
    /// A family of its own, from a random number.
    #[must_use]
    pub fn new(random: u64) -> Self {
        // A serial number is positive and keeps its length: neither the highest bit nor the whole first byte is nought.
        let mut bytes = random.to_be_bytes();
        bytes[0] = (bytes[0] & 0x3f) | 0x40;
        Self(bytes)
    }

    /// The serial number of one of its certificates.
    #[must_use]
    pub fn serial(self, number: u64) -> [u8; 2 * HALF] {
        let mut serial = [0; 2 * HALF];
        serial[..HALF].copy_from_slice(&self.0);
        serial[HALF..].copy_from_slice(&number.to_be_bytes());
        serial
    }
}

/// What a spoke's certificate says. Whoever makes one has verified its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpokeCertificate {
    /// Whose it is.
    pub cluster: ClusterName,
    /// `metadata.uid` of the cluster's kube-system namespace; `None` in one that was issued before these had it.
    pub cluster_uid: Option<String>,
    /// `metadata.uid` of the GPUCluster that it was issued for; `None` in one that was issued before these had it.
    pub object_uid: Option<String>,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// The CA that signed it.
    pub authority: CaHash,
    /// End of its life.
    pub expires: Timestamp,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key_hash: [u8; 32],
}

impl SpokeCertificate {
    /// Whether a certificate of that serial number follows from this one, or this one from it, by renewal.
    #[must_use]
    pub fn is_kin_of(&self, serial: &str) -> bool {
        let have_families = self.serial.len() == 4 * HALF && serial.len() == 4 * HALF;
        self.serial == serial || have_families && self.serial.get(..2 * HALF) == serial.get(..2 * HALF)
    }

    /// What its successors share with it. One that was issued before serial numbers had families founds one.
    #[must_use]
    pub fn family(&self) -> Family {
        let mut bytes = [0; HALF];
        match self.serial.get(..2 * HALF).map(|half| hex::decode_to_slice(half, &mut bytes)) {
            Some(Ok(())) if self.serial.len() == 4 * HALF => Family(bytes),
            _ => Family::new(u64::from_be_bytes(bytes)),
        }
    }
}

/// Whether a list of revoked certificates has the one of that serial number: by the whole of it, or by the first half,
/// which is its family's.
#[must_use]
pub fn is_revoked(serial: &str, revoked: &[String]) -> bool {
    revoked.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        entry.len() >= 2 * HALF && serial.starts_with(&entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: &str) -> SpokeCertificate {
        SpokeCertificate {
            cluster: "east".parse().unwrap(),
            cluster_uid: None,
            object_uid: None,
            serial: serial.to_owned(),
            authority: CaHash::of(b""),
            expires: Timestamp::UNIX_EPOCH,
            key_hash: [0; 32],
        }
    }

    #[test]
    fn a_list_revokes_a_certificate_or_its_family() {
        let family = Family::new(0x0102_0304_0506_0708);
        let (one, other) = (hex::encode(family.serial(1)), hex::encode(family.serial(2)));
        let stranger = hex::encode(Family::new(9).serial(1));
        let table = [
            (vec![], &one, false),
            (vec![one.clone()], &one, true),
            (vec![one.to_uppercase()], &one, true),
            (vec![one.clone()], &other, false),
            (vec![one[..16].to_owned()], &other, true),
            (vec![one[..16].to_owned()], &stranger, false),
            (vec![one[..15].to_owned()], &one, false),
            (vec![String::new()], &one, false),
            (vec![stranger.clone(), one.clone()], &one, true),
        ];
        for (revoked, serial, expected) in table {
            assert_eq!(is_revoked(serial, &revoked), expected, "{revoked:?} {serial}");
        }
    }

    #[test]
    fn a_serial_number_is_positive_keeps_its_length_and_its_family() {
        for random in [0, 1, u64::MAX, 0x80 << 56, 0x3f << 56] {
            let family = Family::new(random);
            let serial = family.serial(u64::MAX);
            assert!(serial[0] > 0 && serial[0] < 0x80, "{serial:?}");
            assert_eq!(certificate(&hex::encode(serial)).family(), family);
        }
        // A certificate of before: what follows from it is a family all the same.
        let old = certificate(&"ab".repeat(20));
        assert_eq!(old.family(), old.family());
    }
}
