//! The marks that hub and spoke leave on objects: labels, annotations and finalizers.

/// Label on a hub's NIM objects: the name of the NIMPlacement that has taken them. Such an object is fleet intent; no
/// operator renders it, not even one that runs in the hub's own cluster.
pub const PLACEMENT_LABEL: &str = "nimfleet.io/placement";

/// Lease by which the replicas of a hub elect who leads. Where it is, the cluster is a hub's: what its people apply there is
/// fleet intent.
pub const HUB_LEASE: &str = "nimfleet-hub";

/// Label on the pod of the hub that leads: [`LEADER`]. The Service of the link selects by it.
pub const LEADER_LABEL: &str = "nimfleet.io/leader";

/// The value of [`LEADER_LABEL`].
pub const LEADER: &str = "true";

/// Finalizer on a hub's NIM objects and NIMPlacements: they go once they are gone from every cluster.
pub const FLEET_FINALIZER: &str = "nimfleet.io/fleet";

/// Label on a spoke's objects: [`DELIVERED`] means that it was applied for a hub. These objects are the spoke's memory.
pub const DELIVERED_LABEL: &str = "nimfleet.io/delivered";

/// The value of [`DELIVERED_LABEL`].
pub const DELIVERED: &str = "true";

/// Annotation on a delivered object: the uid of the hub's object.
pub const UID_ANNOTATION: &str = "nimfleet.io/uid";

/// Annotation on a delivered object: the generation of the hub's object that the payload was resolved from.
pub const GENERATION_ANNOTATION: &str = "nimfleet.io/generation";

/// Annotation on a delivered object: SHA-256 of the payload, in hex.
pub const HASH_ANNOTATION: &str = "nimfleet.io/hash";

/// Annotation on a delivered object: the identity of the hub that sent it.
pub const HUB_ID_ANNOTATION: &str = "nimfleet.io/hub-id";

/// Annotation on a delivered object: the epoch it was sent in, `<term>.<incarnation>`.
pub const EPOCH_ANNOTATION: &str = "nimfleet.io/epoch";

/// Annotation on a delivered object whose pods run on several nodes at once: what they take, as JSON. Until they are bound
/// the spoke gives it to no other.
pub const GANG_ANNOTATION: &str = "nimfleet.io/gang";

/// Annotation on an object that a hub gave up and left running: the identity of that hub. Only it may take it again.
pub const RETAINED_BY_ANNOTATION: &str = "nimfleet.io/retained-by";

/// Annotation on what a spoke's operator makes for a NIM object of its cluster's own people: `true`. Only the operator
/// writes it; the limits of the cluster's owner are about what it makes for a hub, which never has it.
pub const LOCAL_ANNOTATION: &str = "nimfleet.io/local";

/// Annotation on a GPUCluster, by its admin: `true` confirms that the cluster is lost, so that placements fail over
/// although it vanished together with many others. The hub takes it off when the cluster is back.
pub const CONFIRM_FAILOVER_ANNOTATION: &str = "nimfleet.io/confirm-failover";

/// Annotation on a GPUCluster, by its admin: the number of orphans that its condition `Orphans` shows, to have exactly
/// those deleted in the cluster. The hub takes it off when that is done.
pub const CONFIRM_ORPHAN_REMOVAL_ANNOTATION: &str = "nimfleet.io/confirm-orphan-removal";

/// On a NIMPlacement, with a value that it did not have before: choose clusters anew, as if it ran nowhere. Each value acts
/// once; the time is a good one.
pub const REBALANCE_ANNOTATION: &str = "nimfleet.io/rebalance";

/// Annotation that the admin sets on a GPUCluster to confirm the deletions its spoke holds back: the word that the
/// condition `DeletionHeld` names. Another word confirms nothing.
pub const CONFIRM_DELETIONS_ANNOTATION: &str = "nimfleet.io/confirm-deletions";

/// On a NIMCache, by whoever wants a failed download tried again at once, with a value that it did not have before; the time
/// is a good one. Set on the hub it travels to the clusters.
pub const RETRY_ANNOTATION: &str = "nimfleet.io/retry";
