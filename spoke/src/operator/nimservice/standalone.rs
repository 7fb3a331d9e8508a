//! The standalone platform: a Deployment, or a LeaderWorkerSet over several nodes, and what it needs around it.

use super::scene::{Scene, complete, fails, partial};
use super::storage::{self, Gate};
use super::{Verdict, access, autoscaling, claims, deployment, exposure, gpu, monitor, multi_node, network};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::Rendered;

/// All objects. What does not depend on the model's storage is made before it is there.
pub(super) fn render(scene: &Scene<'_>) -> Rendered<Verdict> {
    let Scene { subject, spec, .. } = *scene;
    let mut children = access::children(subject, spec).to_vec();
    children.push(network::service(subject, spec));
    match exposure::children(scene) {
        Ok(more) => children.extend(more),
        Err(why) => return fails(children, why),
    }
    match autoscaling::child(scene) {
        Ok(more) => children.extend(more),
        Err(why) => return fails(children, why),
    }
    children.extend(monitor::child(scene));
    let store = match storage::choose(subject, spec, scene.cache()) {
        Ok(store) => store,
        Err(Gate::Waits(why)) => return partial(children, Verdict::Waits(why)),
        Err(Gate::Fails(why)) => return fails(children, why),
    };
    let resources = match gpu::resources(spec, scene.cache()) {
        Ok(resources) => resources,
        Err(why) => return fails(children, why),
    };
    match claims::children(scene) {
        Ok(more) => children.extend(more),
        Err(why) => return fails(children, why),
    }
    children.extend(store.claim.clone());
    if spec.over_nodes().is_some() {
        return match multi_node::children(scene, &store, resources) {
            Ok(more) => {
                children.extend(more);
                complete(children, ChildKind::LeaderWorkerSet)
            }
            Err(why) => fails(children, why),
        };
    }
    children.push(deployment::deployment(scene, &store, resources));
    complete(children, ChildKind::Deployment)
}
