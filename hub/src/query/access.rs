//! Whether somebody may ask: the API server is asked, as it was when it passed the request on. Whoever else holds a
//! certificate of the front proxy's CA gains nothing by it.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use runtime::call::within;

use super::GROUP;
use super::answer::Refusal;
use super::front_proxy::User;

/// Longest wait for the API server's word.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    /// None: in all namespaces.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

/// Refuses unless `user` may do what is asked.
pub(super) async fn check(client: &Client, user: User, asked: Asked<'_>) -> Result<(), Refusal> {
    let attributes = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some("v1alpha1".to_owned()),
        resource: Some(asked.resource.to_owned()),
        verb: Some(asked.verb.to_owned()),
        namespace: asked.namespace.map(str::to_owned),
        name: asked.name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        groups: Some(user.groups),
        extra: Some(user.extra),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let unavailable = |problem: String| {
        Refusal::unavailable(format!("the API server does not say whether {} may: {problem}", user.name))
    };
    let answer = within(PATIENCE, api.create(&PostParams::default(), &review)).await;
    let answer = answer.map_err(|error| unavailable(error.words()))?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    let place =
        asked.namespace.map_or("all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    let (verb, resource) = (asked.verb, asked.resource);
    Err(Refusal::forbidden(format!("{} cannot {verb} {resource}.{GROUP} in {place}", user.name)))
}
