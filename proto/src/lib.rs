//! What travels between hub and spoke: the `fleet.v1` protocol, compiled from `fleet/v1/*.proto`.

mod fingerprint;

pub use fingerprint::{Buckets, Fingerprint, bucket};

/// Messages of `fleet.v1`, and with feature `grpc` its services; the `.proto` files hold their documentation.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/fleet.v1.rs"));
}

impl std::fmt::Debug for v1::Upsert {
    /// Not the payload: it may be a Secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upsert")
            .field("object", &self.object)
            .field("generation", &self.generation)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Largest message either side accepts, bytes. Kubernetes objects are at most 1.5 MiB (etcd's request limit), so
/// one object always fits; larger deltas are cut.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a side can do beyond the least that every version can: said in Hello and Welcome. A spoke also lists the kinds
/// it can apply, as `apiVersion/kind`.
pub mod capability {
    /// Compares by fingerprints: the spoke says one in Hello, the hub asks for an Index with Compare.
    pub const COMPARE_BY_HASH: &str = "compare-by-hash";
    /// Of a spoke: holds back deletions that are many or old. Of a hub: understands the answer `Held`.
    pub const DELETION_GUARD: &str = "deletion-brake";
    /// Of a spoke: looks whether there is room for a gang before it takes it, and answers where there is none.
    pub const GANGS: &str = "gangs";
    /// Of a spoke: a tombstone of policy Retain takes the marks off and leaves the object.
    pub const RETAIN: &str = "retain";
}
