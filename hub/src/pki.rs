//! Who is who: the hub's CAs, the certificates they sign, and the tokens that let a new spoke ask for one.
//!
//! A spoke's identity is the URI `nimfleet://cluster/<name>` in its certificate's SAN. A spoke trusts the hub by
//! the CA's hash in the join line first, by the CAs themselves afterwards.

mod authorities;
mod authority;
mod certificate;
mod epoch_key;
mod join;
mod own_secret;
mod salt;
mod secrets;
mod token;
mod tokens;
mod trust;

pub use authorities::{Authorities, Rotation};
pub use authority::{AUTHORITY_LIFE, Authority, AuthorityError, CERTIFICATE_LIFE, Issued, SpokeKey, Subject};
pub use epoch_key::{EPOCH_KEY_SECRET, load_epoch_key, load_or_create_epoch_key};
pub use join::JoinLine;
pub use salt::Salt;
#[cfg(test)]
pub(crate) use secrets::memory;
pub use secrets::{KubeSecrets, SecretError, Secrets, Stored};
pub use token::{Token, TokenRecord, TokenRefused, check};
pub use tokens::{DEFAULT_TTL, JoinError, Tokens};
pub use trust::Trust;
