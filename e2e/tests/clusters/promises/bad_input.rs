//! Bad input gets an answer that names the thing and the remedy, where its author looks.

use std::path::Path;
use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::command;
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Fleet};
use e2e::{objects, sample};
use serde_json::json;

/// Runs a program that has to refuse, and gives back its exit status and what it said.
async fn refusal(program: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let run = tokio::time::timeout(Duration::from_mins(1), command::run(program, arguments, None));
    match run.await {
        Ok(Err(error)) => (error.code, error.said),
        Ok(Ok(printed)) => (Some(0), printed),
        Err(_) => (None, "it did not end".to_owned()),
    }
}

fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn wrong_objects_are_answered_on_the_object() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();

    // A field that does not exist, and a value that cannot be: refused at once, by name.
    let typo = sample::MANIFEST.replace("replicas: 1", "replica: 1");
    names(&objects::apply(hub, &typo).await.expect_err("refused").to_string(), &["replica"]);
    let negative = sample::MANIFEST.replace("replicas: 1", "replicas: -1");
    names(&objects::apply(hub, &negative).await.expect_err("refused").to_string(), &["spec.replicas", "-1"]);
    let neither = sample::placement("x", &json!({"resourceSelectors": [{"kind": "NIMService"}]}));
    names(
        &objects::apply(hub, &neither).await.expect_err("refused").to_string(),
        &["resourceSelectors", "name", "labelSelector"],
    );

    // A placement that selects nothing says what it looked for.
    objects::apply(hub, &sample::placement("nobody", &json!({}))).await?;
    let message = sample::says(&fleet, "nobody", "Scheduled", "NoObjectsSelected").await?;
    names(&message, &["NIMService", "nobody"]);

    // A cluster that never existed is named.
    sample::place(&fleet, sample::NAME, &json!({"clusterAffinity": {"clusterNames": ["atlantis"]}})).await?;
    sample::says(&fleet, sample::NAME, "Scheduled", "NoClusterFits").await?;
    let placement = sample::placed(&fleet, sample::NAME).await?;
    let refusals = placement["status"]["refusals"].as_array().cloned().unwrap_or_default();
    let refusal = refusals.iter().find(|r| r["reason"] == "ClusterNotFound").expect("atlantis is explained");
    assert_eq!(refusal["clusters"], json!(["atlantis"]));

    // Corrected, it runs: nothing was lost.
    let corrected = json!({"spec": {"clusterAffinity": {"clusterNames": ["east"]}}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, sample::NAME, corrected).await?;
    assert_eq!(sample::ready(&fleet, sample::NAME).await?, ["east"]);
    Ok(())
}

#[tokio::test]
async fn programs_refuse_to_start_in_one_line() -> Result<(), Failure> {
    let binaries = tokio::task::spawn_blocking(Binaries::ready).await??;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.to_string();
    let fleet = Fleet::new().start().await?;
    let kubeconfig = fleet.hub().cluster().kubeconfig();
    let kubeconfig = kubeconfig.to_string_lossy();

    for (program, first) in [(&binaries.hub, "serve"), (&binaries.spoke, "--no-hub")] {
        let (code, said) = refusal(program, &[first, "--kubeconfig", "/does/not/exist"]).await;
        assert_eq!(code, Some(1), "{said}");
        names(&said, &["error: ", "/does/not/exist", "kubeconfig"]);

        let (code, said) =
            refusal(program, &[first, "--kubeconfig", &kubeconfig, "--metrics-addr", &port]).await;
        assert_eq!(code, Some(1), "{said}");
        names(&said, &["error: ", &port, "--metrics-addr"]);

        let (code, said) = refusal(program, &[first, "--no-such-flag"]).await;
        assert_eq!(code, Some(2), "{said}");
        names(&said, &["--no-such-flag"]);
    }
    Ok(())
}
