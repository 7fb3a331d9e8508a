//! The standalone platform: a Deployment, or a LeaderWorkerSet over several nodes, and what it needs around it.

use super::network::{Ports, selected};
use super::pod::pod;
use super::scene::{Scene, complete, fails, partial};
use super::storage::{self, Gate};
use super::{Verdict, claims, exposure, gpu, identity, monitor, multi_node, profile};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::Rendered;
use crate::operator::microservice::{autoscaling, deployment, readiness, service};

/// All objects. What does not depend on the model's storage is made before it is there.
pub(super) fn render(scene: &Scene<'_>) -> Rendered<Verdict> {
    let Scene { subject, spec, .. } = *scene;
    let of = scene.microservice();
    let mut children = identity::children(&of).to_vec();
    children.push(service::child(&of, &Ports::of(spec).all(), selected(subject, spec)));
    match exposure::children(scene) {
        Ok(more) => children.extend(more),
        Err(why) => return fails(children, why),
    }
    match autoscaling::child(&of) {
        Ok(more) => children.extend(more),
        Err(why) => return fails(children, why),
    }
    children.extend(monitor::child(&of, spec));
    let store = match storage::choose(subject, spec, scene.cache()) {
        Ok(store) => store,
        Err(Gate::Waits(why)) => return partial(children, Verdict::Waits(why)),
        Err(Gate::Fails(why)) => return fails(children, why),
    };
    if let Err(why) = profile::check(spec, scene.cache()) {
        return fails(children, why);
    }
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
    let pod = pod(scene, &store, resources);
    // A startup probe of the user's own may take longer than a Deployment is given; what upstream's takes is told.
    let own = spec.startup_probe.as_ref().and_then(|wanted| wanted.probe.as_ref());
    let deadline = own.and_then(|_| readiness::progress_deadline(&pod));
    children.push(deployment::child(&of, pod, of.annotations(), deadline));
    complete(children, ChildKind::Deployment)
}
