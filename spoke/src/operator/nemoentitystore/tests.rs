//! What NemoEntitystores become.

use serde_json::{Value, json};

use super::*;
use crate::operator::nemo::need::Found;
use crate::operator::nemo::tests::{bodies, found, rendered, sample, subject, template};
use crate::operator::references::Thing;

const SECRET: &str = "entity-store-pg-existing-secret";

fn store() -> NemoEntitystore {
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoEntitystore", "metadata": {"name": "sample"},
        "spec": {
            "image": {"repository": "entity-store", "tag": "25.08"},
            "databaseConfig": {"host": "pg.nemo.svc", "port": 5433, "databaseName": "d",
                               "credentials": {"user": "u", "secretName": "pg"}},
            "datastore": {"endpoint": "http://data.nemo.svc.cluster.local:8000"},
        },
    }))
    .unwrap()
}

#[test]
fn nemo_accept_samples_of_entity_stores_become_these_objects() {
    for (release, yaml) in [
        (
            "25.04",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.04/apps_v1alpha1_nemoentitystore.yaml"),
        ),
        (
            "25.06",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.06/apps_v1alpha1_nemoentitystore.yaml"),
        ),
        (
            "latest",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoentitystore.yaml"),
        ),
    ] {
        let here = found(&[(Thing::Secret, SECRET, &[("password", "word")])]);
        let rendered = rendered::<Entitystores>(&sample::<Entitystores>(yaml), &here);
        assert!(rendered.complete, "{release}");
        insta::assert_json_snapshot!(format!("entitystore_{release}"), bodies(&rendered));
    }
}

#[test]
fn the_database_reaches_the_server_and_its_migration_alike() {
    let rendered = rendered::<Entitystores>(&store(), &Found::default());
    let pod = &template(&rendered)["spec"];
    let of = |list: &str, at: usize| -> Vec<Value> {
        let env = pod[list][at]["env"].as_array().unwrap().clone();
        env.into_iter().filter(|var| var["name"].as_str().unwrap().starts_with("POSTGRES_")).collect()
    };
    assert_eq!(of("containers", 0), of("initContainers", 1));
    assert_eq!(of("containers", 0).len(), 5);
    let wait = &pod["initContainers"][0];
    let server = json!([{"name": "DATABASE_HOST", "value": "pg.nemo.svc"}, {"name": "DATABASE_PORT", "value": "5433"}]);
    assert_eq!(wait["env"], server);
    let script = wait["command"][2].as_str().unwrap();
    assert!(script.starts_with("until nc -z -- \"$DATABASE_HOST\" \"$DATABASE_PORT\";"), "{script}");
}

#[test]
fn what_an_entity_store_depends_on_is_named_while_it_is_missing() {
    let subject = subject::<Entitystores>("sample");
    let missing = Found::default().missing(&Entitystores::needs(&store(), &subject));
    let expected = [
        "Secret pg (spec.databaseConfig.credentials.secretName)",
        "Service pg (spec.databaseConfig.host)",
        "Service data (spec.datastore.endpoint)",
    ];
    assert_eq!(missing, expected);
}

#[test]
fn nemo_b07_a_changed_password_replaces_the_pods_of_an_entity_store() {
    let checksum = |word: &str| {
        let here = found(&[(Thing::Secret, "pg", &[("password", word)])]);
        template(&rendered::<Entitystores>(&store(), &here))["metadata"]["annotations"]
            ["nimfleet.io/config-checksum"]
            .clone()
    };
    assert!(checksum("one").is_string());
    assert_ne!(checksum("one"), checksum("other"));
}
