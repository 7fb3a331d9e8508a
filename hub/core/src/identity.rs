//! Who is who, as data: certificates of spokes, hashes of CAs, the rollover of a CA, and the key that proves epochs. The process
//! `hub` reads certificates and keeps keys; nothing here can.

mod certificate;
mod epoch_key;
mod rollover;

pub use certificate::{CaHash, Family, SpokeCertificate, is_revoked};
pub use epoch_key::{EpochKey, EpochProof};
pub use rollover::{Member, Stage, awaited};
