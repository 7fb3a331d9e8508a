//! Whether the kinds are installed, and as this version defines them.

use crds::compare::differences;
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Check;
use crate::failure::Failure;
use crate::session::{Session, call};

const ID: &str = "definitions";
/// So many names and fields are told.
const TOLD: usize = 3;

pub(super) async fn check(session: &Session) -> Result<Check, Failure> {
    let wanted = wanted()?;
    Ok(judge(&wanted, &live(session, &wanted).await?))
}

/// The definitions of this version.
pub(crate) fn wanted() -> Result<Vec<CustomResourceDefinition>, Failure> {
    crds::all().map_err(|error| Failure::Refused(format!("the definitions of this plugin: {error}")))
}

/// Those of them that the cluster has, as it has them. Others are not read: a cluster can have hundreds.
pub(crate) async fn live(
    session: &Session,
    wanted: &[CustomResourceDefinition],
) -> Result<Vec<CustomResourceDefinition>, Failure> {
    let api: &Api<CustomResourceDefinition> = &Api::all(session.client());
    let get = |name: String| async move {
        call(format!("CustomResourceDefinition {name}"), api.get_opt(&name)).await
    };
    let found = try_join_all(wanted.iter().map(|definition| get(definition.name_any()))).await?;
    Ok(found.into_iter().flatten().collect())
}

fn judge(wanted: &[CustomResourceDefinition], live: &[CustomResourceDefinition]) -> Check {
    let remedy = format!(
        "helm upgrade --install nimfleet-crds oci://registry.nimfleet.io/charts/nimfleet-crds --version {}",
        env!("CARGO_PKG_VERSION")
    );
    let (mut missing, mut others, mut away) = (Vec::new(), Vec::new(), Vec::new());
    for definition in wanted {
        let name = definition.name_any();
        let Some(found) = live.iter().find(|found| found.name_any() == name) else {
            missing.push(name);
            continue;
        };
        let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if !conditions.into_iter().any(|known| known.type_ == "Established" && known.status == "True") {
            away.push(name);
        } else if let Some(path) = first_difference(definition, found) {
            others.push(format!("{name} at {path}"));
        }
    }
    let kinds = wanted.len();
    if !missing.is_empty() {
        return Check::failed(
            ID,
            format!("{} of {kinds} are not installed: {}", missing.len(), told(&missing)),
            remedy,
        );
    }
    if !away.is_empty() {
        let found = format!("the API server does not serve {}", told(&away));
        return Check::failed(ID, found, format!("kubectl describe crd {}", away[0]));
    }
    if !others.is_empty() {
        let found = format!(
            "{} of {kinds} are not those of version {}: {}",
            others.len(),
            env!("CARGO_PKG_VERSION"),
            told(&others)
        );
        return Check::warning(ID, found, remedy);
    }
    Check::ok(ID, format!("{kinds} kinds, as version {} defines them", env!("CARGO_PKG_VERSION")))
}

fn told(names: &[String]) -> String {
    let more = if names.len() > TOLD { ", …" } else { "" };
    format!("{}{more}", names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", "))
}

/// Where the schema that is served is another one, or lacks or adds something.
fn first_difference(wanted: &CustomResourceDefinition, found: &CustomResourceDefinition) -> Option<String> {
    let schema = |definition: &CustomResourceDefinition| -> Value {
        let version = definition.spec.versions.first();
        version.and_then(|version| serde_json::to_value(&version.schema).ok()).unwrap_or_default()
    };
    let (wanted, found) = (schema(wanted), schema(found));
    let both = differences(&wanted, &found).into_iter().chain(differences(&found, &wanted));
    let path = |path: String| {
        path.replace("openAPIV3Schema.", "").replace("properties.", "").trim_start_matches('.').to_owned()
    };
    both.map(|difference| path(difference.path)).next()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinitionCondition, CustomResourceDefinitionStatus,
    };

    use super::*;
    use crate::doctor::Outcome;

    fn established(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
        let condition = CustomResourceDefinitionCondition {
            type_: "Established".to_owned(),
            status: "True".to_owned(),
            ..Default::default()
        };
        let conditions = Some(vec![condition]);
        definition.status = Some(CustomResourceDefinitionStatus { conditions, ..Default::default() });
        definition
    }

    #[test]
    fn a_kind_that_is_missing_and_one_of_another_version_are_named() {
        let wanted = crds::all().unwrap();
        let mut live: Vec<_> = wanted.iter().cloned().map(established).collect();
        assert_eq!(judge(&wanted, &live).outcome, Outcome::Ok);

        let clusters = live.iter_mut().find(|one| one.name_any() == "gpuclusters.nimfleet.io").unwrap();
        let schema = clusters.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        schema
            .properties
            .as_mut()
            .unwrap()
            .get_mut("spec")
            .unwrap()
            .properties
            .as_mut()
            .unwrap()
            .remove("drain");
        let older = judge(&wanted, &live);
        assert_eq!(older.outcome, Outcome::Warning);
        assert!(older.found.contains("gpuclusters.nimfleet.io at spec.drain"), "{older:?}");

        live.retain(|one| one.name_any() != "gpuclusters.nimfleet.io");
        let missing = judge(&wanted, &live);
        assert_eq!(missing.outcome, Outcome::Failed);
        assert!(missing.found.contains("gpuclusters.nimfleet.io"), "{missing:?}");
        assert!(missing.remedy.unwrap().contains("nimfleet-crds"));
    }
}
