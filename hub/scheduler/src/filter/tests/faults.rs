//! All that can be wrong with one cluster for one request, one thing at a time: at least one for every reason that a filter
//! gives.

use super::world::{EAST, HUB_UID, Wish, World, taint};
use crate::{
    Denied, Reason,
    fleet::{Access, Effect, Namespaces, Sharing, Taint, UNKNOWN_PRODUCT, properties},
    tests::builder::{H100, L40S, at},
};

/// Something that is wrong.
#[derive(Debug)]
pub(super) struct Fault {
    /// The filter that finds it.
    pub(super) filter: &'static str,
    pub(super) reason: Reason,
    /// What the sentence says of this fault and of none that comes later.
    pub(super) says: &'static str,
    /// Whether it can be wrong for what a request takes.
    pub(super) concerns: fn(Wish) -> bool,
    /// Breaks it, and nothing else.
    pub(super) breaks: fn(&mut World),
}

const fn fault(filter: &'static str, reason: Reason, says: &'static str, breaks: fn(&mut World)) -> Fault {
    Fault { filter, reason, says, concerns: |_| true, breaks }
}

impl Fault {
    const fn of(self, concerns: fn(Wish) -> bool) -> Self {
        Self { concerns, ..self }
    }
}

/// All faults, in the order in which filters find them.
pub(super) const FAULTS: &[Fault] = &[
    fault("affinity", Reason::Excluded, "spec.clusterAffinity.exclude", |world| {
        world.request.policy.affinity.exclude.push(EAST.into());
    }),
    fault("affinity", Reason::AffinityMismatch, "not among spec.clusterAffinity.clusterNames", |world| {
        world.request.policy.affinity.cluster_names = vec!["west".into()];
    }),
    fault("affinity", Reason::AffinityMismatch, "match no term of spec.clusterAffinity.required", |world| {
        world.label("tier", "tin");
    }),
    fault("tier", Reason::NotInTier, "in no tier of spec.tiers (first)", |world| {
        world.label("ring", "outer");
    }),
    fault("joined", Reason::HubItself, "the hub's own cluster", |world| world.link.cluster_uid = HUB_UID),
    fault("joined", Reason::NotAccepted, "set spec.accepted", |world| world.admin.accepted = false),
    fault("joined", Reason::Unreachable, "has been silent since", |world| world.link.is_silent = true),
    fault("joined", Reason::Settling, "came back a moment ago", |world| world.link.came_back = true),
    fault("joined", Reason::Unreachable, "has never connected", |world| world.link.has_joined = false),
    fault("drain", Reason::Draining, "spec.drain of the GPUCluster is true", |world| {
        world.admin.drain = true;
    }),
    fault("agent", Reason::AgentTooOld, "upgrade nimfleet-spoke", |world| {
        world.capabilities = vec!["apps.nvidia.com/v1alpha1/NIMCache".into()];
    }),
    fault("taint", Reason::UntoleratedTaint, "taint lab:NoSchedule", |world| {
        let (key, value) = ("lab".into(), String::new());
        world.admin.taints.push(Taint { key, value, effect: Effect::NoSchedule });
    }),
    fault("taint", Reason::UntoleratedTaint, "taint broken=fan:NoExecute", |world| {
        let (key, value) = ("broken".into(), "fan".into());
        world.admin.taints.push(Taint { key, value, effect: Effect::NoExecute });
    }),
    fault("namespace", Reason::NamespaceNotAllowed, "nothing new is admitted", |world| {
        world.admin.allowed_namespaces = Namespaces::Unreadable("no such operator".into());
    }),
    fault("namespace", Reason::NamespaceNotAllowed, "is not known to the hub yet", |world| {
        world.namespace = None;
    }),
    fault("namespace", Reason::NamespaceNotAllowed, "the labels of nim do not match", |world| {
        world.namespace = world.namespace.as_ref().map(|_| [("team".into(), "web".into())].into());
    }),
    fault("report", Reason::CapacityUnknown, "has not reported", |world| world.has_reported = false),
    fault("report", Reason::CapacityStale, "it is believed for 30 minutes", |world| {
        world.capacity.received_at = at(-31 * 60);
    }),
    fault("topology", Reason::TopologySpread, "has no topology.kubernetes.io/region", |world| {
        world.admin.labels.remove(properties::REGION);
    }),
    fault(
        "expression",
        Reason::ExpressionFalse,
        "expressions[0] (cluster.labels.site == 'a') is false",
        |world| {
            world.label("site", "b");
        },
    ),
    fault(
        "expression",
        Reason::ExpressionFalse,
        "expressions[1] (cluster.labels.rack != '0') has no value",
        |world| {
            world.admin.labels.remove("rack");
        },
    ),
    fault("overrides", Reason::InvalidOverride, "spec.overrides[0].jsonPatch[0]", |world| {
        let why = "nim/chat: spec.overrides[0].jsonPatch[0] at /spec/nope: path is invalid".to_owned();
        world.request.variants.add(Err(why), [EAST.parse().unwrap()]);
    }),
    fault("platform", Reason::PlatformMissing, "needs platform kserve", |world| {
        world.capacity.platforms.retain(|platform| platform.name != "kserve");
    }),
    fault(
        "platform",
        Reason::PlatformVersionMissing,
        "needs kserve v1beta1; the cluster serves v1alpha1",
        |world| {
            world.serve("kserve", &["v1alpha1"]);
        },
    ),
    fault("platform", Reason::PlatformMissing, "needs platform lws", |world| {
        world.capacity.platforms.retain(|platform| platform.name != "lws");
    }),
    fault(
        "platform",
        Reason::PlatformVersionMissing,
        "needs lws v1; the cluster serves v1alpha1, v1beta1",
        |world| {
            world.serve("lws", &["v1alpha1", "v1beta1"]);
        },
    ),
    fault("denied", Reason::NoRoom, "the largest fit is", |world| {
        let message = "two nodes are needed; the largest fit is one".into();
        world.request.denied.insert(EAST.into(), Denied { reason: Reason::NoRoom, message, stays: false });
    }),
    fault("gpu_kind", Reason::NoGPU, "needs a GPU; the cluster has no GPU", |world| world.has_gpus = false),
    fault("gpu_kind", Reason::NoGPU, "only nvidia.com/mig-1g.10gb", |world| {
        world.pool.resource = "nvidia.com/mig-1g.10gb".into();
    }),
    fault("gpu_kind", Reason::GPUProductMismatch, "runs on h100; the cluster has NVIDIA-L40S", |world| {
        world.pool.product = L40S.into();
    }),
    fault("gpu_kind", Reason::GPUUnknown, "product and memory are not known", |world| {
        if world.pool.product == H100 {
            world.pool.product = UNKNOWN_PRODUCT.into();
        }
    }),
    fault("gpu_kind", Reason::GPUMemoryTooSmall, "needs 40960 MiB on each GPU", |world| {
        world.pool.memory_mib = 24_576;
    }),
    fault("gpu_kind", Reason::GPUsShared, "by time slices", |world| {
        world.pool.sharing = Sharing::TimeSlicing;
    }),
    fault("gpu_kind", Reason::InsufficientGPUs, "jobs of NIMService tune take 9999 GPUs", |world| {
        world.request.workloads[1].need.jobs.as_mut().unwrap().per_pod = 9999;
    }),
    fault("nodes", Reason::NoMatchingNode, "no node has label ring=outer", |world| {
        world.selects("ring", "outer");
    }),
    fault("nodes", Reason::TaintNotTolerated, "800 GPUs of NVIDIA", |world| {
        world.taint("sku");
    }),
    fault("profile", Reason::NoProfileFits, "has precision \"int4\", not \"fp8\"", |world| {
        world.profile().signature.precision = "int4".into();
    }),
    fault("profile", Reason::NoProfileFits, "spreads over", |world| world.profile().tensor = 99),
    fault("profile", Reason::NoProfileFits, "is for gpu B200", |world| {
        world.profile().product = "B200".into();
    }),
    fault("devices", Reason::DeviceClassMissing, "no DeviceClass nic.example.com", |world| {
        world.devices().class = "fpga.example.com".into();
    }),
    fault("devices", Reason::InsufficientDevices, "none is of driver nic.example.com", |world| {
        world.devices().driver = "fpga.example.com".into();
    }),
    fault("devices", Reason::InsufficientDevices, "none has nic.example.com/speed = 400G", |world| {
        world.devices().attributes.insert("nic.example.com/speed".into(), "100G".into());
    }),
    fault(
        "devices",
        Reason::TaintNotTolerated,
        "of class nic.example.com on nodes with taint sku",
        |world| {
            world.devices().taints = vec![taint("sku")];
        },
    ),
    fault("devices", Reason::InsufficientDevices, "7 of 999 are free, 1 at most on one node", |world| {
        world.devices().free = 7;
        world.devices().free_per_node = [(1, 7)].into();
    }),
    fault(
        "storage",
        Reason::StorageClassMissing,
        "no storage class shared; there are: slow, local",
        |world| {
            world.class(0).name = "slow".into();
        },
    ),
    fault(
        "storage",
        Reason::NoSharedStorage,
        "spec.shared.volumeAccessMode: volumes of storage class shared",
        |world| {
            world.class(0).access = Some(Access::OneNode);
        },
    ),
    fault("storage", Reason::InsufficientStorage, "the largest volume it can make is 49999 MiB", |world| {
        world.class(0).largest_mib = Some(49_999);
    }),
    fault("storage", Reason::NoSharedStorage, "pods share the volume of spec.local", |world| {
        world.class(1).access = Some(Access::OneNode);
    })
    .of(|wish| wish.pods * wish.at_once() > 1),
    fault("locality", Reason::ModelNotCached, "NIMCache nim/weights is not ready here", |world| {
        world.capacity.caches.clear();
    }),
    fault("free_block", Reason::InsufficientGPUs, "promised and not in use yet", |world| {
        world.promised = 9999;
    }),
    fault("free_block", Reason::InsufficientGPUs, "not within the quotas of Kueue", |world| {
        world.pool.quota_left = Some(0);
    }),
    fault("free_block", Reason::InsufficientGPUs, "largest free block is", |world| world.node.free -= 1),
    fault("free_block", Reason::InsufficientGPUs, "of one product; largest fit is", |world| {
        let pods = world.request.workloads[0].need.gpu.as_ref().unwrap().pods;
        world.node.nodes = pods - 1;
    })
    .of(|wish| wish.pods > 1),
    fault("free_block", Reason::InsufficientGPUs, "room for 1, with", |world| {
        world.node.nodes = world.node.nodes.min(1);
    })
    .of(|wish| wish.pods == 1 && wish.at_once() > 1),
    fault("free_block", Reason::InsufficientNodeResources, "the best has 3999m CPU", |world| {
        world.node.millicores = 3999;
    }),
    fault(
        "free_block",
        Reason::InsufficientNodeResources,
        "the best has 4000m CPU and 32767 MiB free",
        |world| {
            world.node.memory_mib = 32_767;
        },
    ),
    fault("quota", Reason::QuotaExceeded, "16 of 16 GPUs are used", |world| {
        world.request.over_quota.insert(EAST.into(), "quota team: 16 of 16 GPUs are used".into());
    }),
    fault("denied", Reason::PolicyDenied, "ask the owner", |world| {
        let message = "limits.hostPaths is []: ask the owner".into();
        let denied = Denied { reason: Reason::PolicyDenied, message, stays: false };
        // A spoke gives one answer at a time.
        world.request.denied.entry(EAST.into()).or_insert(denied);
    }),
];
