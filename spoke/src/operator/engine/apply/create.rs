//! Makes a child, or takes on one that is there and has no owner.

use crds::marks::LOCAL_ANNOTATION;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{Applier, MANAGER};
use crate::operator::engine::call::{CallError, call};
use crate::operator::engine::child::{Child, Stamped};
use crate::operator::engine::template;

/// A resourceVersion that no object has: the revisions of etcd begin with 1, which is that of the empty store. Who applies an
/// object with it makes one; where there is one of that name already, it is a conflict.
const OF_NOTHING: &str = "1";

impl Applier<'_> {
    /// Makes a child, or nothing when one of that name is there, which is a conflict.
    ///
    /// A workload is applied, so that its first change is one request, as every later one is. All other children are
    /// posted, which costs the API server a fifth less: they change seldom, and their fields are taken over before the
    /// first change. `looked` says that the API server was asked and has none of that name: a workload is posted then as
    /// well, in case this API server makes nothing of an apply with a resourceVersion.
    pub(super) async fn create(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        stamped: &Stamped,
        looked: bool,
    ) -> Result<DynamicObject, CallError> {
        let name = &child.name;
        let what = || format!("create {} {name}", child.kind.resource().kind);
        let mut body = child.sent(stamped, None);
        let key = (self.owner.namespace.clone(), name.clone());
        if let Some(cache) = self.world.children.get(&child.kind) {
            cache.fresh.expect(key.clone());
        }
        let made = if template::is_known(child.kind) && !looked {
            body["metadata"]["resourceVersion"] = Value::from(OF_NOTHING);
            let params = PatchParams::apply(MANAGER).force();
            call(what, api.patch(name, &params, &Patch::Apply(&body))).await
        } else {
            let body = serde_json::from_value(body).map_err(kube::Error::SerdeError);
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            call(what, async { api.create(&params, &body?).await }).await
        };
        if let (Some(cache), Err(_)) = (self.world.children.get(&child.kind), &made) {
            cache.fresh.forget(&key);
        }
        made
    }

    /// Makes an object without owner our child, and changes nothing else of it.
    pub(super) async fn adopt(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        live: &DynamicObject,
    ) -> Result<DynamicObject, CallError> {
        let (resource, name) = (child.kind.resource(), &child.name);
        let mut body = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": name, "namespace": self.owner.namespace, "uid": live.metadata.uid,
                "ownerReferences": [self.owner.reference()],
            },
        });
        if let Some(mark) = child.body["metadata"]["annotations"].get(LOCAL_ANNOTATION) {
            body["metadata"]["annotations"] = json!({ LOCAL_ANNOTATION: mark });
        }
        let what = || format!("adopt {} {name}", resource.kind);
        call(what, api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body))).await
    }
}
