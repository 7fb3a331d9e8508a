//! Everything that rendering a NIMService looks at.

use crds::nim::NIMServiceSpec;

use super::running::Running;
use super::storage::CacheView;
use super::volumes::certificates;
use super::{PART_OF, Verdict, claims, kserve};
use crate::operator::cluster::ClusterFacts;
use crate::operator::diagnosis::Diagnosis;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Failure, Rendered, Subject};
use crate::operator::microservice::{Microservice, OlderIngress};
use crate::operator::models::Answer;

/// What a NIMService points at, as observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refs {
    /// The NIMCache it names, if there is one.
    pub(super) cache: Option<CacheView>,
    /// Without one: the image is a native NIM.
    pub(super) native: bool,
    /// KServe as it is set up in this cluster; empty on the standalone platform.
    pub(super) kserve: kserve::Seen,
    /// Resource claims and compute domains as they are.
    pub(super) claims: claims::Seen,
    /// What its endpoint answers, of a service that is ready.
    pub(super) model: Option<Answer>,
    /// Why its pods do not start.
    pub(super) diagnosis: Diagnosis,
    /// A digest of what the NIMCache tells.
    pub(super) referred: String,
    /// What the spec names and the namespace lacks, in words.
    pub(super) missing: Vec<String>,
    /// Of a service with a NIMCache: its workload, if there is one.
    pub(super) running: Option<Running>,
}

/// One NIMService with all that its objects are made from.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) subject: &'a Subject,
    pub(super) spec: &'a NIMServiceSpec,
    pub(super) refs: &'a Refs,
    pub(super) facts: &'a ClusterFacts,
}

impl<'a> Scene<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.subject.owner.name
    }

    pub(super) fn namespace(&self) -> &'a str {
        &self.subject.owner.namespace
    }

    /// What it has in common with every microservice.
    pub(super) fn microservice(&self) -> Microservice<'a> {
        let spec = self.spec;
        let expose = spec.expose.as_ref();
        let older = expose.and_then(|expose| expose.ingress.as_ref());
        Microservice {
            subject: self.subject,
            part_of: PART_OF,
            scc: scc(spec),
            labels: spec.labels.as_ref(),
            annotations: spec.annotations.as_ref(),
            service: expose.and_then(|expose| expose.service.as_ref()),
            ingress: older.filter(|older| older.enabled == Some(true)).map(|older| OlderIngress {
                annotations: older.annotations.as_ref(),
                spec: older.spec.clone().unwrap_or_default(),
            }),
            router: expose.and_then(|expose| expose.router.as_ref()),
            scale: spec.scale.as_ref(),
            metrics: spec.metrics.as_ref(),
            replicas: spec.replicas,
        }
    }

    pub(super) fn cache(&self) -> Option<&'a CacheView> {
        self.refs.cache.as_ref()
    }

    /// True when the model lies in the layout of native NIMs.
    pub(super) fn is_native(&self) -> bool {
        self.cache().map_or(self.refs.native, CacheView::is_native)
    }
}

/// The constraints that the pods need: the one that is granted is the one that is demanded.
fn scc(spec: &NIMServiceSpec) -> &'static str {
    if certificates(spec).is_some() {
        "anyuid"
    } else if spec.storage.host_path.as_deref().is_some_and(|path| !path.is_empty()) {
        "hostmount-anyuid"
    } else {
        "nonroot"
    }
}

/// Some of the children, since the rest has to wait or cannot be made; nothing is pruned.
pub(super) fn partial(children: Vec<Child>, verdict: Verdict) -> Rendered<Verdict> {
    Rendered {
        children,
        remove: Vec::new(),
        complete: false,
        notes: Vec::new(),
        amendments: Vec::new(),
        verdict,
    }
}

/// The same, for good.
pub(super) fn fails(children: Vec<Child>, why: Failure) -> Rendered<Verdict> {
    partial(children, Verdict::Fails(why))
}

/// Everything, with the kind of the object that serves.
pub(super) fn complete(children: Vec<Child>, workload: ChildKind) -> Rendered<Verdict> {
    Rendered { complete: true, ..partial(children, Verdict::Complete { workload }) }
}
