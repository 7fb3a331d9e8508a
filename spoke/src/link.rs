//! The spoke's end of the link: dials out to the hub, enrols once, renews its certificate, and keeps one session alive.
//!
//! `session` decides and knows no socket; `machine` is a session with messages as they travel, without a stream; `connect`
//! carries one on one stream; `wire` alone knows both the protocol and our own types. Whatever happens here, operator, facts and delivered objects go on.

mod backoff;
mod connect;
mod credentials;
mod deletion_guard;
mod dial;
mod enroll;
#[cfg(test)]
mod fuzz;
mod identity;
mod lasting;
mod machine;
mod message;
mod news;
mod parcels;
mod proxy;
mod renewal;
mod run;
mod session;
mod settings;
mod state;
mod succession;
mod tls;
mod wire;
mod work;

pub use backoff::Backoff;
pub use deletion_guard::DeletionGuard;
pub use identity::{Enrolled, Identity, IdentityError, IdentityStore, KubeIdentityStore};
pub use machine::{Act, Happening, Machine};
pub use message::{GoAway, GoAwayReason, Work};
pub use parcels::{capacity as capacity_message, statuses as status_messages};
pub use proxy::{Proxy, ProxyError};
pub use run::Link;
pub use session::{End, Judgement};
pub use settings::{CaHash, HubAddress, KEEPALIVE, Settings, SettingsError};
pub use state::{ByClass, Counters, LinkState};
