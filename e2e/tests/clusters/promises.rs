//! The promises of the fleet, one per module, each proved on real Kubernetes API servers.

mod absence;
mod admission;
mod bad_input;
mod control_plane;
mod demo;
mod docs;
mod identity;
mod joining;
mod limits;
mod nemo;
mod ownership;
mod placing;
mod plugin;
mod refusals;
mod secrets;
