//! Who is who: the hub's CA, the certificates it issues, and the tokens that let a new spoke ask for one.
//!
//! A spoke's identity is the URI `nimfleet://cluster/<name>` in its certificate's SAN. A spoke trusts the hub by
//! the CA's hash in the join line first, by the CA itself afterwards.

mod authority;
mod join;
mod salt;
mod secrets;
mod token;
mod tokens;

pub use authority::{Authority, AuthorityError, CERTIFICATE_DAYS, Issued, SpokeKey, identity_of};
pub use join::JoinLine;
pub use salt::Salt;
pub use secrets::{KubeSecrets, SecretError, Secrets, Stored};
pub use token::{Token, TokenRecord, TokenRefused, check};
pub use tokens::{DEFAULT_TTL, JoinError, Tokens};
