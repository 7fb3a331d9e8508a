//! The checks of a hub.

use crds::marks::HUB_LEASE;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use x509_parser::pem::Pem;

use super::{Check, Outcome, definitions, installed};
use crate::args::Side;
use crate::failure::Failure;
use crate::session::{Scope, Session, call};
use crate::status::{self, Severity};
use crate::table::count;

/// Name of the APIService.
const QUERY: &str = "v1alpha1.query.nimfleet.io";
/// A CA that ends sooner is to be replaced: its alert comes as early.
const CA_LEFT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Looks at everything; what cannot be looked at is unknown.
pub(super) async fn checks(session: &Session) -> Vec<Check> {
    let (definitions, runs, leader, link, query, rights, others, members) = tokio::join!(
        definitions::check(session),
        installed::runs(session, Side::Hub, "hub-deployment"),
        leader(session),
        link(session),
        query(session),
        rights(session),
        nvidias_operator(session),
        members(session),
    );
    let (api, authority) = match query {
        Ok(checks) => checks,
        Err(failure) => (Check::from("query-api", Err(failure)), None),
    };
    let mut checks = vec![
        Check::from("definitions", definitions),
        Check::from("hub-deployment", runs),
        Check::from("hub-leader", leader),
        Check::from("hub-link", link),
        api,
    ];
    checks.extend(authority);
    checks.push(Check::from("query-rights", rights));
    checks.push(Check::from("other-operator", others));
    match members {
        Ok(members) => checks.extend(members),
        Err(failure) => checks.push(Check::from("clusters", Err(failure))),
    }
    checks
}

async fn leader(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "hub-leader";
    let namespace = session.installed_in();
    let found = installed::lease(session, HUB_LEASE).await?;
    let remedy = format!(
        "kubectl --namespace {namespace} logs --selector app.kubernetes.io/name=nimfleet-hub --prefix: a hub that cannot \
         lead says why"
    );
    let Some(found) = found else {
        return Ok(Check::failed(
            ID,
            format!("Lease {namespace}/{HUB_LEASE} is not there: no hub has ever led"),
            remedy,
        ));
    };
    if let Some(holder) = installed::holder(&found, Timestamp::now()) {
        return Ok(Check::ok(ID, format!("{holder} leads")));
    }
    let renewed = found.spec.and_then(|spec| spec.renew_time).map(|at| format!("{:.0}", at.0));
    let since = renewed.map(|at| format!(" since {at}")).unwrap_or_default();
    let found = format!("no hub leads: Lease {namespace}/{HUB_LEASE} is not renewed{since}");
    Ok(Check::failed(ID, found, remedy))
}

/// The Service that spokes dial leads to a hub, from outside.
async fn link(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "hub-link";
    let namespace = session.installed_in();
    let services: Api<Service> = Api::namespaced(session.client(), namespace);
    let labelled = ListParams::default().labels(&installed::labels(Side::Hub));
    let found = call(format!("Services: list in namespace {namespace}"), services.list(&labelled)).await?;
    let is_link = |service: &&Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.into_iter().any(|port| port.name.as_deref() == Some("link"))
    };
    let service = found.items.iter().find(is_link);
    let Some(service) = service else {
        return Ok(Check::failed(
            ID,
            format!(
                "namespace {namespace} has no Service of the link: no spoke from outside reaches the hub"
            ),
            "install the chart nimfleet-hub, or name its namespace with --installed-in",
        ));
    };
    let slices: Api<EndpointSlice> = Api::namespaced(session.client(), namespace);
    let of_service =
        ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name_any()));
    let slices =
        call(format!("EndpointSlices: list in namespace {namespace}"), slices.list(&of_service)).await?;
    Ok(judge_link(ID, service, &slices.items))
}

fn judge_link(id: &'static str, service: &Service, slices: &[EndpointSlice]) -> Check {
    let place = format!("Service {}/{}", service.namespace().unwrap_or_default(), service.name_any());
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|known| known.ready).unwrap_or(true))
        .map(|endpoint| endpoint.addresses.len())
        .sum::<usize>();
    if ready == 0 {
        return Check::failed(
            id,
            format!(
                "{place} has no endpoint: no pod of the hub is ready and labelled nimfleet.io/leader=true"
            ),
            "look at hub-deployment and hub-leader; the label is written by the hub that leads",
        );
    }
    let spec = service.spec.clone().unwrap_or_default();
    let balancers = service.status.iter().flat_map(|status| &status.load_balancer);
    let has_address = balancers.flat_map(|balancer| balancer.ingress.iter().flatten()).next().is_some();
    if spec.type_.as_deref() == Some("LoadBalancer") && !has_address {
        return Check::warning(
            id,
            format!("{place} is of type LoadBalancer and has no address yet"),
            "where nothing makes load balancers, set link.service.type of the hub's chart to NodePort or ClusterIP",
        );
    }
    Check::ok(id, format!("{place} leads to {}", count(ready, "endpoint")))
}

/// Whether the API server passes questions on, and how long the CA by which it knows the hub lasts.
async fn query(session: &Session) -> Result<(Check, Option<Check>), Failure> {
    let api: Api<APIService> = Api::all(session.client());
    let found = call(format!("APIService {QUERY}"), api.get_opt(QUERY)).await?;
    Ok(judge_query(found.as_ref(), Timestamp::now()))
}

fn judge_query(found: Option<&APIService>, now: Timestamp) -> (Check, Option<Check>) {
    const ID: &str = "query-api";
    let Some(found) = found else {
        let check = Check::warning(
            ID,
            format!("APIService {QUERY} is not there: why, simulate, get and describe know less"),
            "set query.enabled of the hub's chart to true",
        );
        return (check, None);
    };
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let available = conditions.into_iter().find(|known| known.type_ == "Available");
    let check = match available {
        Some(known) if known.status == "True" => Check::ok(ID, format!("APIService {QUERY} is available")),
        known => {
            let message = known.and_then(|known| known.message.clone()).unwrap_or_default();
            Check::failed(
                ID,
                format!("APIService {QUERY} is not available: {message}"),
                "a hub has to lead (hub-leader); beyond that the API server has to reach port 6443 of its pod: look for \
                 network policies and firewalls between the control plane and the nodes",
            )
        }
    };
    let bundle = found.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
    (check, bundle.map(|bundle| judge_authority(&bundle.0, now)))
}

fn judge_authority(bundle_pem: &[u8], now: Timestamp) -> Check {
    const ID: &str = "hub-ca";
    let ends = Pem::iter_from_buffer(bundle_pem).filter_map(|pem| {
        let pem = pem.ok()?;
        let certificate = pem.parse_x509().ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    });
    // During a rollover there are two: the one that lasts counts.
    let Some(end) = ends.max() else {
        return Check::unknown(
            ID,
            "the CA bundle of the APIService cannot be read",
            "wait until the hub has written it",
        );
    };
    let left = end.duration_since(now);
    let days = left.as_hours() / 24;
    if left <= SignedDuration::ZERO {
        return Check::failed(
            ID,
            format!("the CA of the hub ended at {end:.0}"),
            "have it made anew: docs/operate.md, beginAnew: [ca]",
        );
    }
    if left <= CA_LEFT {
        return Check::warning(
            ID,
            format!("the CA of the hub ends in {days} days, at {end:.0}"),
            "kubectl --namespace nimfleet exec deploy/nimfleet-hub -- nimfleet-hub rotate-ca",
        );
    }
    Check::ok(ID, format!("the CA of the hub lasts {days} days more"))
}

/// Whether the caller may ask the hub.
async fn rights(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "query-rights";
    let namespace = match session.scope() {
        Scope::All => None,
        Scope::Context(namespace) | Scope::Namespace(namespace) => Some(namespace.clone()),
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(session.client());
    let mut refused = Vec::new();
    for (verb, resource) in
        [("list", "nimassignments"), ("get", "placementexplanations"), ("create", "placementsimulations")]
    {
        let attributes = ResourceAttributes {
            group: Some("query.nimfleet.io".to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let answer = call("SelfSubjectAccessReview", api.create(&PostParams::default(), &review)).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            refused.push(format!("{verb} {resource}"));
        }
    }
    let place = namespace.map_or("all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    Ok(if refused.is_empty() {
        Check::ok(ID, format!("you may ask the hub about {place}"))
    } else {
        Check::warning(
            ID,
            format!("you may not {} in {place}", refused.join(", ")),
            "have the ClusterRole nimfleet-hub-query bound to you, or view, edit or admin, which include it",
        )
    })
}

async fn nvidias_operator(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "other-operator";
    Ok(match installed::nvidias_operator(session).await? {
        None => Check::ok(ID, "NVIDIA's NIM Operator does not run in the hub's cluster"),
        Some(sign) => Check::failed(
            ID,
            format!(
                "NVIDIA's NIM Operator runs in the hub's cluster ({sign}): it would run here what is meant for the fleet"
            ),
            "uninstall it here; its definitions and objects stay. Where models are to run, install a spoke in its place",
        ),
    })
}

/// Clusters that wait, are silent, or have something else.
async fn members(session: &Session) -> Result<Vec<Check>, Failure> {
    const ID: &str = "clusters";
    let clusters = session.clusters().await?;
    if let Some(hidden) = clusters.hidden {
        return Ok(vec![Check::unknown(ID, hidden, "run this as somebody who may list gpuclusters")]);
    }
    let problems: Vec<_> = clusters.items.iter().flat_map(status::of_cluster).collect();
    if clusters.items.is_empty() {
        return Ok(vec![Check::warning(ID, "no cluster has joined", "kubectl nimfleet join NAME")]);
    }
    if problems.is_empty() {
        let number = count(clusters.items.len(), "cluster");
        return Ok(vec![Check::ok(ID, format!("{number}: accepted, connected, and nothing is wrong"))]);
    }
    let check = |problem: status::Problem| Check {
        id: ID,
        outcome: match problem.severity {
            Severity::Error => Outcome::Failed,
            Severity::Warning => Outcome::Warning,
        },
        found: format!("{} {}: {}", problem.object, problem.reason, problem.message),
        remedy: Some(problem.remedy.unwrap_or_else(|| format!("kubectl describe {}", problem.object))),
    };
    Ok(problems.into_iter().map(check).collect())
}

#[cfg(test)]
mod tests;
