//! The state of delivered objects, upward to the hub.

mod outbox;
mod status;

pub use outbox::Outbox;
pub use status::{CachedProfile, Condition, ObjectStatus};
