//! The endpoint picker: a Deployment that chooses the replica for each request, and the InferencePool that it serves.

mod config;
mod deployment;
mod identity;
mod pool;
mod ports;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::router;
use crate::operator::engine::child::Child;
use crate::operator::engine::kind::Failure;
use crate::operator::microservice::metadata::Map;
use crate::operator::nimservice::scene::Scene;

/// All objects, if the spec asks for a picker.
pub(super) fn children(scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    let Some(wanted) = router(scene).and_then(|router| router.epp_config.as_ref()) else {
        return Ok(Vec::new());
    };
    let source = config::source(scene, wanted)?;
    let mut children = identity::children(scene).to_vec();
    children.extend(config::child(scene, wanted)?);
    children.push(ports::service(scene, wanted));
    children.push(deployment::child(scene, wanted, &source));
    children.push(pool::child(scene, wanted));
    Ok(children)
}

/// Name of the picker's objects; its pods are selected by it.
fn name(scene: &Scene<'_>) -> String {
    format!("{}-epp", scene.name())
}

/// Metadata of a picker's object. It has the labels of all children, but nothing of the pods' annotations.
fn metadata(scene: &Scene<'_>, name: &str) -> ObjectMeta {
    let metadata = scene.microservice().meta(Map::new());
    ObjectMeta { name: Some(name.to_owned()), ..metadata }
}

/// What selects the picker's pods.
fn selector(scene: &Scene<'_>) -> Map {
    Map::from([("app".to_owned(), name(scene))])
}
