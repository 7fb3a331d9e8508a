//! What people ask of the hub and no object holds: an API of its own, `query.nimfleet.io/v1alpha1`, that the hub's API server
//! passes on (an APIService). Answers come from memory; nothing is written to etcd.
//!
//! ```text
//! kubectl get nimassignments [-A]                      one row per placement and cluster
//! kubectl get placementexplanations NAME -o yaml       why there, and why nowhere else, by what is known now
//! kubectl get clustercapacities NAME -o yaml           all that a cluster reports; its GPUCluster shows the first rows
//! kubectl create -f simulation.yaml -o yaml            the same for what is not applied, or with clusters gone
//! ```
//!
//! Who asks is said by the API server, whose client certificate (that of its front proxy) every connection must show; whether
//! they may is asked of it by a SubjectAccessReview.

mod access;
mod answer;
mod api_service;
mod bounds;
mod capacity;
mod discovery;
mod endpoint;
mod front_proxy;
mod pace;
mod routes;
mod server;
mod simulation;
mod table;

pub(crate) use answer::Refusal;
pub(crate) use endpoint::Endpoint;
pub(crate) use server::{Query, serve};
pub(crate) use simulation::{SimulationSpec, manifests};

/// Group of the kinds that are asked for.
const GROUP: &str = "query.nimfleet.io";
/// Group and version.
const API_VERSION: &str = "query.nimfleet.io/v1alpha1";
