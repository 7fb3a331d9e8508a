//! What travels between hub and spoke: the `fleet.v1` protocol, compiled from `fleet/v1/*.proto`.

/// Messages and services of `fleet.v1`; the `.proto` files hold their documentation.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("fleet.v1");
}

/// Largest message either side accepts, bytes. Kubernetes objects are at most 1.5 MiB (etcd's request limit), so
/// one object always fits; larger deltas are cut.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
