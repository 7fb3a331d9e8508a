//! Whether an API server takes the name of a Service, asked before anything of its object is made.

use kube::api::PostParams;

use super::{Applier, MANAGER};
use crate::operator::engine::call::call;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::Failure;
use crate::operator::engine::template;

impl Applier<'_> {
    /// Why the API server takes no Service of that name, asked before anything is made: a name that begins with a digit is
    /// one for some API servers (Kubernetes 1.36 and later) and none for others.
    pub(super) async fn refused_name(&self, children: &[Child]) -> Option<Failure> {
        let namespace = &self.owner.namespace;
        let is_there = |child: &Child| self.world.child(child.kind, namespace, &child.name).is_some();
        if children.iter().any(|child| template::is_known(child.kind) && is_there(child)) {
            return None;
        }
        let is_doubtful = |name: &str| name.starts_with(|first: char| !first.is_ascii_alphabetic());
        let service = children
            .iter()
            .find(|child| child.kind == ChildKind::Service && is_doubtful(&child.name) && !is_there(child))?;
        let body = serde_json::from_value(service.sent(&service.stamped(self.owner), None)).ok()?;
        let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
        let api = self.world.api(namespace, &ChildKind::Service.resource());
        let tried = call(|| format!("try Service {}", service.name), api.create(&params, &body)).await;
        let error = tried.err().filter(|error| error.code() == Some(422))?;
        let message = format!(
            "metadata.name is {:?}, and its Service has the same name: {error}: make it again under a name that begins with \
             a letter, or in a cluster of Kubernetes 1.36 or later",
            self.owner.name
        );
        Some(Failure::new("InvalidSpec", message))
    }
}
