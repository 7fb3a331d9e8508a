//! Every value does something, and a value that cannot be used is refused with words that say why.

use std::collections::{BTreeMap, BTreeSet};

use e2e::failure::Failure;
use futures::StreamExt;
use serde_json::{Value, json};

use super::{folder, helm, manifests, object, rendered};

/// So many renderings at a time.
const AT_ONCE: usize = 4;

/// A value, what it is set to, and what the manifests say then and did not say before.
type Row = (&'static str, &'static str, &'static str);

/// Values that both charts have.
const SHARED: &[Row] = &[
    ("image.registry", r#""mirror.example""#, "image: \"mirror.example/nimfleet/"),
    ("image.repository", r#""other/name""#, "/other/name:0.1.0\""),
    ("image.tag", r#""9.9.9""#, ":9.9.9\""),
    (
        "image.digest",
        r#""sha256:1111111111111111111111111111111111111111111111111111111111111111""#,
        "@sha256:1111111111111111111111111111111111111111111111111111111111111111\"",
    ),
    ("image.pullPolicy", r#""Always""#, "imagePullPolicy: Always"),
    ("imagePullSecrets", r#"[{"name": "pull"}]"#, "- name: pull"),
    ("log.format", r#""text""#, "value: text"),
    ("log.level", r#""debug""#, "value: \"debug\""),
    ("serviceAccount.create", "false", ""),
    ("serviceAccount.name", r#""mine""#, "serviceAccountName: mine"),
    ("serviceAccount.annotations", r#"{"a": "b-account"}"#, "a: b-account"),
    ("fullnameOverride", r#""renamed""#, "name: renamed"),
    ("podAnnotations", r#"{"a": "b-pod"}"#, "a: b-pod"),
    ("podLabels", r#"{"a": "b-label"}"#, "a: b-label"),
    ("priorityClassName", r#""high""#, "priorityClassName: high"),
    ("extraEnv", r#"[{"name": "MORE", "value": "x"}]"#, "name: MORE"),
    ("resources", r#"{"limits": {"memory": "77Mi"}}"#, "memory: 77Mi"),
    ("nodeSelector", r#"{"a": "b-node"}"#, "a: b-node"),
    ("tolerations", r#"[{"key": "tainted"}]"#, "key: tainted"),
    ("affinity", r#"{"nodeAffinity": {}}"#, "nodeAffinity: {}"),
    (
        "topologySpreadConstraints",
        r#"[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]"#,
        "topologyKey: zone",
    ),
    ("metrics.serviceMonitor.enabled", "true", "kind: ServiceMonitor"),
    ("metrics.serviceMonitor.namespace", r#""monitoring""#, "namespace: monitoring"),
    ("metrics.serviceMonitor.interval", r#""17s""#, "interval: 17s"),
    ("metrics.serviceMonitor.scrapeTimeout", r#""7s""#, "scrapeTimeout: 7s"),
    ("metrics.serviceMonitor.labels", r#"{"a": "b-mon"}"#, "a: b-mon"),
    ("metrics.serviceMonitor.annotations", r#"{"a": "b-mon"}"#, "a: b-mon"),
    ("metrics.serviceMonitor.relabelings", r#"[{"action": "labeldrop"}]"#, "action: labeldrop"),
    ("metrics.serviceMonitor.metricRelabelings", r#"[{"action": "drop"}]"#, "action: drop"),
    ("metrics.podMonitor.enabled", "true", "kind: PodMonitor"),
    ("metrics.podMonitor.namespace", r#""monitoring""#, "namespace: monitoring"),
    ("metrics.podMonitor.interval", r#""17s""#, "interval: 17s"),
    ("metrics.podMonitor.scrapeTimeout", r#""7s""#, "scrapeTimeout: 7s"),
    ("metrics.podMonitor.labels", r#"{"a": "b-mon"}"#, "a: b-mon"),
    ("metrics.podMonitor.annotations", r#"{"a": "b-mon"}"#, "a: b-mon"),
    ("metrics.podMonitor.relabelings", r#"[{"action": "labeldrop"}]"#, "action: labeldrop"),
    ("metrics.podMonitor.metricRelabelings", r#"[{"action": "drop"}]"#, "action: drop"),
    ("metrics.prometheusRule.enabled", "true", "kind: PrometheusRule"),
    ("metrics.prometheusRule.namespace", r#""monitoring""#, "namespace: monitoring"),
    ("metrics.prometheusRule.labels", r#"{"a": "b-rule"}"#, "a: b-rule"),
    ("metrics.prometheusRule.annotations", r#"{"a": "b-rule"}"#, "a: b-rule"),
    ("metrics.prometheusRule.runbookURL", r#""https://books.example/x""#, "https://books.example/x/Nimfleet"),
    ("metrics.prometheusRule.alertLabels", r#"{"team": "gpu"}"#, "team: gpu"),
    ("metrics.prometheusRule.extraRules", r#"[{"record": "own", "expr": "1"}]"#, "record: own"),
    ("metrics.dashboards.enabled", "true", "grafana_dashboard: \"1\""),
    ("metrics.dashboards.namespace", r#""grafana""#, "namespace: grafana"),
    ("metrics.dashboards.labels", r#"{"grafana_dashboard": "yes"}"#, "grafana_dashboard: \"yes\""),
    ("metrics.dashboards.annotations", r#"{"folder": "GPU"}"#, "folder: GPU"),
    ("networkPolicy.enabled", "true", "kind: NetworkPolicy"),
    ("networkPolicy.metricsFrom", r#"[{"namespaceSelector": {}}]"#, "- namespaceSelector: {}"),
    ("networkPolicy.egress", r#"[{"ports": [{"port": 53}]}]"#, "- port: 53"),
    (
        "extraObjects",
        r#"["{apiVersion: v1, kind: ConfigMap, metadata: {name: of-{{ .Release.Namespace }}}}"]"#,
        "name: of-nimfleet",
    ),
];

const HUB: &[Row] = &[
    ("replicas", "3", "replicas: 3"),
    ("failover.stableAfter", r#""61s""#, "--stable-after=61s"),
    ("failover.brakePercent", "31", "--failover-brake=31"),
    ("failover.perMinute", "11", "--failover-rate=11"),
    (
        "link.advertise",
        r#"["a.example:1", "b.example:2"]"#,
        "\"a.example:1,b.example:2,nimfleet-hub.nimfleet.svc:7443,nimfleet-hub.nimfleet.svc.cluster.local:7443,",
    ),
    ("link.unreachableAfter", r#""31s""#, "--unreachable-after=31s"),
    ("link.service.type", r#""NodePort""#, "type: NodePort"),
    ("link.service.port", "443", "nimfleet-hub.nimfleet.svc:443,"),
    ("link.service.nodePort", "31443", "nodePort: 31443"),
    ("link.service.labels", r#"{"a": "b-link"}"#, "a: b-link"),
    ("link.service.annotations", r#"{"a": "b-link"}"#, "a: b-link"),
    ("link.service.clusterIP", r#""10.0.0.9""#, "clusterIP: \"10.0.0.9\""),
    ("link.service.externalIPs", r#"["192.0.2.1"]"#, "- 192.0.2.1"),
    ("link.service.externalTrafficPolicy", r#""Local""#, "externalTrafficPolicy: \"Local\""),
    ("link.service.internalTrafficPolicy", r#""Local""#, "internalTrafficPolicy: \"Local\""),
    ("link.service.ipFamilyPolicy", r#""PreferDualStack""#, "ipFamilyPolicy: \"PreferDualStack\""),
    ("link.service.ipFamilies", r#"["IPv6"]"#, "- IPv6"),
    ("link.service.allocateLoadBalancerNodePorts", "false", "allocateLoadBalancerNodePorts: false"),
    ("link.service.healthCheckNodePort", "31444", "healthCheckNodePort: 31444"),
    ("link.service.loadBalancerClass", r#""example.com/lb""#, "loadBalancerClass: \"example.com/lb\""),
    ("link.service.loadBalancerIP", r#""192.0.2.2""#, "loadBalancerIP: \"192.0.2.2\""),
    ("link.service.loadBalancerSourceRanges", r#"["192.0.2.0/24"]"#, "- 192.0.2.0/24"),
    ("clusterDomain", r#""corp.example""#, "nimfleet-hub.nimfleet.svc.corp.example:7443"),
    ("chartRegistry", r#""oci://mirror.example/charts""#, "value: \"oci://mirror.example/charts\""),
    ("standards.enabled", "false", "--standards=false"),
    ("query.enabled", "false", ""),
    ("certificates.life", r#""71h""#, "--certificate-life=71h"),
    ("certificates.returnWithin", r#""2161h""#, "--return-within=2161h"),
    ("certificates.caLife", r#""87601h""#, "value: \"87601h\""),
    ("beginAnew", r#"["salt"]"#, "--begin-anew=salt"),
    ("secrets.enabled", "false", ""),
    ("secrets.names", r#"["ngc-one"]"#, "- ngc-one"),
    ("admissionPolicy.enabled", "false", ""),
    ("networkPolicy.linkFrom", r#"[{"ipBlock": {"cidr": "192.0.2.0/24"}}]"#, "cidr: 192.0.2.0/24"),
    ("metrics.prometheusRule.disabled", r#"["NimfleetOrphans"]"#, ""),
];

const SPOKE: &[Row] = &[
    ("cluster.name", r#""west""#, "--cluster-name=west"),
    ("hub.enabled", "false", "--no-hub"),
    ("hub.address", r#""other.example:1""#, "--hub-address=other.example:1"),
    (
        "hub.caHash",
        r#""sha256:2222222222222222222222222222222222222222222222222222222222222222""#,
        "--hub-ca-hash=sha256:2222",
    ),
    ("hub.token", r#""abcdef.secret""#, "token: \"abcdef.secret\""),
    ("hub.existingTokenSecret", r#""my-token""#, "name: my-token"),
    ("limits.contact", r#""gpu-team@example.com""#, "contact: gpu-team@example.com"),
    ("limits.kinds", r#"["NemoGuardrail"]"#, "- NemoGuardrail"),
    ("limits.namespaces.allowed", r#"["zz-x"]"#, "- zz-x"),
    ("limits.namespaces.denied", r#"["zz-x"]"#, "- zz-x"),
    ("limits.images", r#"["zz-x"]"#, "- zz-x"),
    ("limits.secrets.referred", r#"["zz-x"]"#, "- zz-x"),
    ("limits.secrets.accepted", r#"["zz-x"]"#, "- zz-x"),
    ("limits.configMaps.referred", r#"["zz-x"]"#, "- zz-x"),
    ("limits.volumes.referred", r#"["zz-x"]"#, "- zz-x"),
    ("limits.serviceAccounts", r#"["zz-x"]"#, "- zz-x"),
    ("limits.hostPaths", r#"["/zz-x"]"#, "- /zz-x"),
    ("limits.hostNetwork", "true", "hostNetwork: true"),
    ("limits.privileged", "true", "privileged: true"),
    ("limits.extraContainers", "true", "extraContainers: true"),
    ("limits.annotations", r#"["zz-x"]"#, "- zz-x"),
    ("limits.labels", r#"["zz-x"]"#, "- zz-x"),
    ("limits.serviceTypes", r#"["zz-x"]"#, "- zz-x"),
    ("limits.services", r#"["zz-x"]"#, "- zz-x"),
    ("limits.hosts", r#"["zz-x"]"#, "- zz-x"),
    ("limits.commands", "true", "commands: true"),
    ("limits.runtimeClasses", r#"["zz-x"]"#, "- zz-x"),
    ("limits.storageClasses", r#"["zz-x"]"#, "- zz-x"),
    ("limits.schedulers", r#"["zz-x"]"#, "- zz-x"),
    ("limits.priorityClasses", r#"["zz-x"]"#, "- zz-x"),
    ("limits.deletions", "false", "deletions: false"),
    ("operator.mode", r#""delegate""#, "--mode=delegate"),
    ("operator.waitForPostgresImage", r#""mirror.example/busybox:1""#, "=mirror.example/busybox:1"),
    ("operator.modelCA.configMap", r#""cas""#, "name: cas"),
    ("operator.modelCA.key", r#""other.crt""#, "/other.crt"),
    ("admissionPolicy.enabled", "false", ""),
    ("admissionPolicy.localObjects", "false", ""),
    ("rbac.scope", r#""namespaces""#, "name: nimfleet-spoke-work"),
    ("rbac.removeNamespaces", "true", "[cronjobs, jobs]"),
    ("rbac.modelTokens", "true", "of the account the model runs as"),
    ("rbac.nemo", "true", "[run.ai]"),
    ("rbac.nemoListSecrets", "true", "--nemo-list-secrets=true"),
    ("metrics.prometheusRule.disabled", r#"["NimfleetModelsFailed"]"#, ""),
];

/// What else has to be set so that a value has something to act on.
fn needs(path: &str) -> &'static [&'static str] {
    match path {
        "link.service.healthCheckNodePort" => &["link.service.externalTrafficPolicy=Local"],
        "operator.modelCA.key" => &["operator.modelCA.configMap=cas"],
        "rbac.scope" => &["limits.namespaces.allowed={models}"],
        "rbac.nemoListSecrets" => &["rbac.nemo=true"],
        "networkPolicy.enabled"
        | "metrics.serviceMonitor.enabled"
        | "metrics.podMonitor.enabled"
        | "metrics.prometheusRule.enabled"
        | "metrics.dashboards.enabled" => &[],
        _ if path.starts_with("networkPolicy.") => &["networkPolicy.enabled=true"],
        _ if path.starts_with("metrics.serviceMonitor.") => &["metrics.serviceMonitor.enabled=true"],
        _ if path.starts_with("metrics.podMonitor.") => &["metrics.podMonitor.enabled=true"],
        _ if path.starts_with("metrics.prometheusRule.") => &["metrics.prometheusRule.enabled=true"],
        _ if path.starts_with("metrics.dashboards.") => &["metrics.dashboards.enabled=true"],
        _ => &[],
    }
}

/// The paths of all values of a schema, each of which has a description.
fn leaves(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    assert!(path.is_empty() || schema["description"].is_string(), "{path} has no description");
    match schema["properties"].as_object() {
        Some(properties) => {
            assert_eq!(schema["additionalProperties"], false, "{path} takes keys that it does not know");
            for (key, value) in properties {
                leaves(&format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), value, found);
            }
        }
        None => drop(found.insert(path.to_owned())),
    }
}

fn set<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| ["--set", pair]).collect()
}

#[tokio::test]
async fn every_value_does_what_it_says() -> Result<(), Failure> {
    for (chart, own) in [("nimfleet-hub", HUB), ("nimfleet-spoke", SPOKE)] {
        let rows: Vec<&Row> = SHARED.iter().chain(own).collect();
        let schema = std::fs::read_to_string(format!("{}/values.schema.json", folder(chart)))?;
        let mut described = BTreeSet::new();
        leaves("", &serde_json::from_str(&schema)?, &mut described);
        // Shared with a parent chart, and not read.
        described.remove("global");
        let tried: BTreeSet<String> = rows.iter().map(|row| row.0.to_owned()).collect();
        assert_eq!(described, tried, "{chart}: the schema, and what is tried here");

        let mut before = BTreeMap::new();
        for row in &rows {
            if !before.contains_key(needs(row.0)) {
                before.insert(needs(row.0), manifests(chart, &set(needs(row.0))).await?);
            }
        }
        let before = &before;
        let renderings = rows.into_iter().map(|(path, value, words)| async move {
            let value = format!("{path}={value}");
            let arguments = [&set(needs(path))[..], &["--set-json", &value]].concat();
            let after = manifests(chart, &arguments).await.map_err(|error| format!("{value}: {error}"))?;
            let before = &before[needs(path)];
            if after == *before {
                return Err(format!("{value} changes nothing"));
            }
            // The checksum of the limits alone would be no effect.
            if !after.contains(words) || (!words.is_empty() && before.contains(words)) {
                return Err(format!("{value}: {words:?} does not tell what it does"));
            }
            Ok(())
        });
        let failed: Vec<String> = futures::stream::iter(renderings)
            .buffer_unordered(AT_ONCE)
            .filter_map(|outcome| async move { outcome.err() })
            .collect()
            .await;
        assert!(failed.is_empty(), "{chart}:\n{}", failed.join("\n"));
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_cannot_be_used_is_refused_with_its_name_and_the_remedy() -> Result<(), Failure> {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("nimfleet-hub", &["--set", "link.service.nodeport=31443"], &["link", "service", "nodeport"]),
        ("nimfleet-hub", &["--set", "link.service.nodePort=131443"], &["nodePort", "65"]),
        ("nimfleet-hub", &["--set", "link.service.type=Ingress"], &["type", "ClusterIP", "LoadBalancer"]),
        ("nimfleet-hub", &["--set", "link.advertise={hub.example.com}"], &["advertise"]),
        ("nimfleet-hub", &["--set", "image.digest=latest"], &["digest"]),
        (
            "nimfleet-hub",
            &["--set", "link.service.type=ClusterIP,link.service.nodePort=31443"],
            &["link.service.nodePort", "31443", "ClusterIP", "leave this value out"],
        ),
        (
            "nimfleet-hub",
            &["--set", "link.service.type=NodePort,link.service.loadBalancerClass=x"],
            &["link.service.loadBalancerClass", "NodePort", "set the type to LoadBalancer"],
        ),
        (
            "nimfleet-hub",
            &["--set", "link.service.healthCheckNodePort=31444"],
            &["link.service.healthCheckNodePort", "31444", "externalTrafficPolicy=Local"],
        ),
        (
            "nimfleet-spoke",
            &["--set", "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true"],
            &["metrics.podMonitor.enabled", "scraped twice"],
        ),
        (
            "nimfleet-hub",
            &["--set", "metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled={Orphans}"],
            &["metrics.prometheusRule.disabled", "\"Orphans\"", "NimfleetOrphans"],
        ),
        ("nimfleet-spoke", &["--set", "hub.address="], &["hub.address", "join-command"]),
        ("nimfleet-spoke", &["--set", "metrics.serviceMonitor.interval=often"], &["interval"]),
        ("nimfleet-crds", &["--set", "adopt=maybe"], &["adopt"]),
    ];
    for (chart, arguments, words) in table {
        let said = manifests(chart, arguments).await.expect_err(&format!("{chart} takes {arguments:?}")).said;
        for word in *words {
            assert!(said.contains(word), "{chart} {arguments:?}: {word:?} is not in {said}");
        }
    }
    // Each chart says from which version of Kubernetes on it works.
    for chart in ["nimfleet-crds", "nimfleet-hub", "nimfleet-spoke"] {
        let said = manifests(chart, &["--kube-version", "1.30.9"]).await.expect_err(chart).said;
        assert!(said.contains("kubeVersion") && said.contains("1.31"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_charts_pass_helms_lint_with_and_without_everything() -> Result<(), Failure> {
    for (chart, flags) in
        [("nimfleet-crds", &[][..]), ("nimfleet-hub", &[][..]), ("nimfleet-spoke", &super::SPOKE[..])]
    {
        let all = if chart == "nimfleet-crds" { Vec::new() } else { set(&super::EVERYTHING) };
        for more in [Vec::new(), all] {
            helm(&[&["lint", "--strict", &folder(chart)][..], flags, &more[..]].concat()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_service_of_the_link_selects_the_leader_and_pods_are_as_a_node_wants_them() -> Result<(), Failure>
{
    let hub = rendered("nimfleet-hub", &[]).await?;
    let service = &object(&hub, "Service", "nimfleet-hub")["spec"];
    assert_eq!(service["selector"]["nimfleet.io/leader"], "true");
    let metrics = &object(&hub, "Service", "nimfleet-hub-metrics")["spec"];
    assert!(metrics["selector"]["nimfleet.io/leader"].is_null(), "standbys are scraped too");
    let spoke = rendered("nimfleet-spoke", &[]).await?;
    for (objects, name) in [(&hub, "nimfleet-hub"), (&spoke, "nimfleet-spoke")] {
        let pod = &object(objects, "Deployment", name)["spec"]["template"]["spec"];
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        let env = pod["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        let field = json!({"fieldRef": {"fieldPath": "metadata.name"}});
        assert!(
            env.iter().any(|one| one["name"] == "POD_NAME" && one["valueFrom"] == field),
            "{name}: {env:?}"
        );
        let test = object(objects, "Pod", &format!("{name}-test"));
        assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
        assert_eq!(test["spec"]["containers"][0]["image"], pod["containers"][0]["image"]);
        let selected = &object(objects, "Deployment", name)["spec"]["selector"]["matchLabels"];
        let labels = &test["metadata"]["labels"];
        assert_ne!(
            labels["app.kubernetes.io/name"], selected["app.kubernetes.io/name"],
            "the test's pod is none of {name}"
        );
    }
    Ok(())
}
