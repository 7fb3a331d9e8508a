//! The key with which a hub proves its epochs to spokes, and recognises them when spokes return them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::epoch::Epoch;
use crate::fleet::ClusterName;

/// Bytes of a key: as many as SHA-256 gives.
const LENGTH: usize = 32;
/// Bytes of one block of SHA-256.
const BLOCK: usize = 64;
/// Bytes of [`EpochKey::id`].
const ID: usize = 8;
/// Before what is signed: a proof of this key means nothing anywhere else.
const DOMAIN: &[u8] = b"nimfleet epoch proof v1";

/// HMAC-SHA-256 over one epoch and one cluster.
pub type EpochProof = [u8; LENGTH];

/// The hub's key for epochs. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey([u8; LENGTH]);

impl EpochKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// Tells this key from another, and nothing of what it is: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update(b"nimfleet epoch key id v1").chain_update(self.0).finalize();
        hex::encode(&digest[..ID])
    }

    /// The proof that this hub offered `epoch` to a cluster.
    #[must_use]
    pub fn prove(&self, epoch: &Epoch, cluster: &ClusterName, cluster_uid: &str) -> EpochProof {
        self.mac(epoch, cluster, cluster_uid).finalize().into_bytes().into()
    }

    /// Whether `proof` is that of this epoch and cluster. Takes the same time wherever it differs.
    #[must_use]
    pub fn verifies(&self, proof: &[u8], epoch: &Epoch, cluster: &ClusterName, cluster_uid: &str) -> bool {
        self.mac(epoch, cluster, cluster_uid).verify_slice(proof).is_ok()
    }

    fn mac(&self, epoch: &Epoch, cluster: &ClusterName, cluster_uid: &str) -> Hmac<Sha256> {
        // HMAC fills a shorter key up to a block with zeros.
        let mut block = [0; BLOCK];
        block[..LENGTH].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        let texts = [epoch.hub_id.as_str(), epoch.incarnation.as_str(), cluster.as_str(), cluster_uid];
        mac.update(DOMAIN);
        mac.update(&epoch.term.to_be_bytes());
        for text in texts {
            // With its length, so that no two rows of texts read alike.
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        }
        mac
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(hub: &str, term: u64, incarnation: &str) -> Epoch {
        Epoch { hub_id: hub.to_owned(), term, incarnation: incarnation.to_owned() }
    }

    #[test]
    fn a_proof_is_of_one_hub_term_incarnation_and_cluster() {
        let key = EpochKey::new([7; 32]);
        let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
        let proof = key.prove(&epoch("hub", 5, "x"), &east, "uid");
        assert!(key.verifies(&proof, &epoch("hub", 5, "x"), &east, "uid"));
        let others = [
            (epoch("hub", 6, "x"), &east, "uid"),
            (epoch("hub", u64::MAX, "x"), &east, "uid"),
            (epoch("hub", 5, "y"), &east, "uid"),
            (epoch("other", 5, "x"), &east, "uid"),
            // What belongs to one text cannot be moved into the next.
            (epoch("hubx", 5, ""), &east, "uid"),
            (epoch("hub", 5, "xeast"), &"e".parse().unwrap(), "uid"),
            (epoch("hub", 5, "x"), &west, "uid"),
            (epoch("hub", 5, "x"), &east, "another"),
        ];
        for (epoch, cluster, uid) in others {
            assert!(!key.verifies(&proof, &epoch, cluster, uid), "{epoch:?} of {cluster} {uid}");
        }
        for wrong in [&[][..], &proof[..31], &[&proof[..], &[0]].concat(), &[0; 32]] {
            assert!(!key.verifies(wrong, &epoch("hub", 5, "x"), &east, "uid"), "{wrong:?}");
        }
        let another = EpochKey::new([8; 32]);
        assert!(!another.verifies(&proof, &epoch("hub", 5, "x"), &east, "uid"));
        assert_ne!(another.id(), key.id());
        assert!(!format!("{key:?}").contains('7'));
    }
}
