//! The promises of the fleet, one per module, each proved on real Kubernetes API servers.

mod control_plane;
