//! One hub: what its API server keeps, and a process with sessions, fleet model, scheduler and rows as they ship.

mod control;
mod process;
mod sessions;
mod store;

pub(super) use process::{HEARTBEAT, HubSite, Process};
pub(super) use store::{Object, Placement, Store};

use super::agenda::Event;
use super::spokes::{API_VERSION, NAMESPACE};
