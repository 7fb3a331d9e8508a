//! What NemoDatastores become.

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::decide::{Decision, Seen, decide};
use crate::operator::engine::kind::Rendered;
use crate::operator::nemo::Verdict;
use crate::operator::nemo::need::Found;
use crate::operator::nemo::tests::{
    bodies, child, failure, found, kinds, rendered, sample, subject, template, variable,
};

/// The Secrets of the sample.
const SECRETS: [&str; 6] = [
    "nemo-ms-nemo-datastore",
    "nemo-ms-nemo-datastore-init",
    "nemo-ms-nemo-datastore-inline-config",
    "gitea-admin-credentials",
    "nemo-ms-nemo-datastore--lfs-jwt",
    "datastore-pg-existing-secret",
];

/// Every key that a data store reads of some Secret.
const KEYS: &[(&str, &str)] = &[
    ("password", "word"),
    ("jwtSecret", "jwt"),
    ("GITEA_ADMIN_USERNAME", "admin"),
    ("GITEA_ADMIN_PASSWORD", "word"),
];

fn store(patch: &Value) -> NemoDatastore {
    let mut spec = json!({
        "image": {"repository": "datastore", "tag": "25.08"},
        "databaseConfig": {"host": "pg", "databaseName": "d", "credentials": {"user": "u", "secretName": "pg"}},
        "secrets": {"giteaAdminSecret": "admin", "lfsJwtSecret": "jwt", "datastoreInitSecret": "init",
                    "datastoreConfigSecret": "config", "datastoreInlineConfigSecret": "inline"},
    });
    for (key, value) in patch.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoDatastore", "metadata": {"name": "sample"}, "spec": spec,
    }))
    .unwrap()
}

fn of(patch: &Value) -> Rendered<Verdict> {
    rendered::<Datastores>(&store(patch), &Found::default())
}

fn object_store(more: &Value) -> Value {
    let mut store = json!({"endpoint": "minio:9000", "bucketName": "lfs", "region": "us", "ssl": true,
        "credentials": {"user": "me", "secretName": "s3", "passwordKey": "key"}});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        store[key] = value;
    }
    json!({"objectStoreConfig": store})
}

/// A variable of a container that runs before.
fn before_env<'a>(rendered: &'a Rendered<Verdict>, at: usize, name: &str) -> Vec<&'a Value> {
    let env = template(rendered)["spec"]["initContainers"][at]["env"].as_array().unwrap();
    env.iter().filter(|var| var["name"] == name).collect()
}

#[test]
fn nemo_accept_samples_of_data_stores_become_these_objects() {
    for (release, yaml) in [
        (
            "25.04",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.04/apps_v1alpha1_nemodatastore.yaml"),
        ),
        (
            "25.06",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/25.06/apps_v1alpha1_nemodatastore.yaml"),
        ),
        (
            "latest",
            include_str!("../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemodatastore.yaml"),
        ),
    ] {
        let here = found(&SECRETS.map(|name| (Thing::Secret, name, KEYS)));
        let rendered = rendered::<Datastores>(&sample::<Datastores>(yaml), &here);
        assert!(rendered.complete, "{release}");
        insta::assert_json_snapshot!(format!("datastore_{release}"), bodies(&rendered));
    }
}

#[test]
fn nemo_b01_a_data_store_without_a_claim_keeps_its_data_with_the_pod() {
    let rendered = of(&json!({}));
    assert!(rendered.complete && !kinds(&rendered).contains(&ChildKind::PersistentVolumeClaim));
    let volumes = template(&rendered)["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.last().unwrap(), &json!({"name": "data", "emptyDir": {}}));
}

#[test]
fn nemo_b02_clients_can_be_kept_from_the_object_store() {
    for (more, said) in [
        (json!({}), "true"),
        (json!({"serveDirect": true}), "true"),
        (json!({"serveDirect": false}), "false"),
    ] {
        let rendered = of(&object_store(&more));
        assert_eq!(before_env(&rendered, 0, "GITEA__LFS__SERVE_DIRECT")[0]["value"], said, "{more}");
    }
}

#[test]
fn nemo_b24_every_variable_of_the_object_store_is_said_once() {
    let rendered = of(&object_store(&json!({})));
    for at in 0..3 {
        let env = template(&rendered)["spec"]["initContainers"][at]["env"].as_array().unwrap();
        let mut names: Vec<_> = env.iter().map(|var| var["name"].as_str().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(before_env(&rendered, at, "GITEA__LFS__MINIO_LOCATION")[0]["value"], "us");
    }
    let key =
        &variable(&rendered, "GITEA__LFS__MINIO_SECRET_ACCESS_KEY").unwrap()["valueFrom"]["secretKeyRef"];
    assert_eq!(*key, json!({"name": "s3", "key": "key"}));
    assert!(variable(&rendered, "GITEA__LFS__MINIO_BUCKET").is_none(), "the server reads it from its file");
}

#[test]
fn the_group_of_the_files_is_the_users_or_1000_and_no_user_is_set() {
    for (patch, group) in [(json!({}), 1000), (json!({"groupID": 7, "userID": 5}), 7)] {
        assert_eq!(template(&of(&patch))["spec"]["securityContext"], json!({"fsGroup": group}));
    }
}

#[test]
fn a_folder_of_the_claim_is_mounted_for_the_server_and_what_sets_it_up() {
    let claim =
        json!({"create": true, "size": "10Gi", "volumeAccessMode": "ReadWriteOnce", "subPath": "git"});
    let rendered = of(&json!({"pvc": claim}));
    assert_eq!(child(&rendered, ChildKind::PersistentVolumeClaim)["metadata"]["name"], "sample-pvc");
    let pod = &template(&rendered)["spec"];
    for container in [&pod["containers"][0], &pod["initContainers"][0], &pod["initContainers"][2]] {
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert_eq!(mounts.last().unwrap(), &json!({"name": "data", "mountPath": "/data", "subPath": "git"}));
    }
}

#[test]
fn a_secret_that_is_not_named_is_said_by_its_field() {
    let mut object = store(&json!({}));
    object.spec.secrets.gitea_admin_secret.clear();
    let rendered = rendered::<Datastores>(&object, &Found::default());
    let why = failure(&rendered);
    assert_eq!(why.reason, "InvalidSpec");
    assert!(why.message.starts_with("spec.secrets.giteaAdminSecret is empty"), "{}", why.message);
}

#[test]
fn what_a_data_store_depends_on_is_named_while_it_is_missing() {
    let object = store(&object_store(&json!({})));
    let missing = Found::default().missing(&Datastores::needs(&object, &subject::<Datastores>("sample")));
    for word in ["Secret pg", "Secret admin", "Secret jwt", "Secret init", "Secret config", "Secret s3"] {
        assert!(missing.iter().any(|line| line.starts_with(word)), "{word} is not in {missing:?}");
    }
    assert!(missing.contains(&"Service minio (spec.objectStoreConfig.endpoint)".to_owned()), "{missing:?}");
}

#[test]
fn nemo_b07_changed_scripts_replace_the_pods_of_a_data_store() {
    let checksum = |script: &str| {
        let whole = ["admin", "jwt", "config", "inline", "pg"].map(|name| (Thing::Secret, name, KEYS));
        let mut here = found(&whole);
        here.contents.extend(found(&[(Thing::Secret, "init", &[("configure_gitea.sh", script)])]).contents);
        template(&rendered::<Datastores>(&store(&json!({})), &here))["metadata"]["annotations"]
            ["nimfleet.io/config-checksum"]
            .clone()
    };
    assert!(checksum("one").is_string());
    assert_ne!(checksum("one"), checksum("other"));
}

#[test]
fn nemo_b18_a_claim_that_is_made_goes_with_its_object_and_one_that_was_there_stays() {
    let claim = json!({"create": true, "name": "data", "size": "1Gi", "volumeAccessMode": "ReadWriteOnce"});
    let rendered = of(&json!({"pvc": claim}));
    let wanted = rendered.children.iter().find(|one| one.kind == ChildKind::PersistentVolumeClaim).unwrap();
    let owner = subject::<Datastores>("sample").owner;
    let stamped = wanted.stamped(&owner);
    assert_eq!(stamped.body["metadata"]["ownerReferences"][0]["uid"], "u1");
    let theirs = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "uid": "x"}, "spec": {"resources": {"requests": {"storage": "9Gi"}}}});
    let theirs: kube::core::DynamicObject = serde_json::from_value(theirs).unwrap();
    assert_eq!(
        decide(
            wanted,
            &stamped,
            &owner,
            Seen { live: Some(&theirs), looked: true, usable: true, ..Seen::default() }
        ),
        Decision::Leave
    );
}
