//! What the programs of a real node are told: addresses, flags and configuration files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::keys::Keys;
use super::namespaces::PREFIX;
use super::{CONTAINERD, at, images, requirements};
use crate::cluster::authority::FRONT_PROXY;
use crate::failure::Failure;

/// Bearer token of tests (`system:masters`).
const ADMIN_TOKEN: &str = "admin-token";

/// Names, addresses and places of one node.
pub(super) struct Settings {
    pub(super) name: String,
    /// Third part of its addresses.
    number: u8,
    /// The node's own, at `eth0`.
    pub(super) address: String,
    /// Of this process and node alone: cgroups belong to the whole machine.
    pub(super) cgroup: String,
    pub(super) folder: PathBuf,
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

impl Settings {
    pub(super) fn of(name: &str, number: u8, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            number,
            address: format!("10.89.{number}.2"),
            cgroup: format!("{PREFIX}{}-{name}", std::process::id()),
            folder: folder.to_owned(),
        }
    }

    /// The network of the node's address.
    pub(super) fn network(&self) -> String {
        format!("10.89.{}.0/24", self.number)
    }

    /// Where packets for elsewhere are sent. Nobody is there; without a route, connects to addresses of Services would fail
    /// before kube-proxy's rules see them.
    pub(super) fn gateway(&self) -> String {
        format!("10.89.{}.1", self.number)
    }

    fn pods(&self) -> String {
        format!("10.88.{}.0/24", self.number)
    }

    /// An address of Services: 1 is the API server's, 10 that of DNS.
    pub(super) fn service_address(&self, last: u8) -> String {
        format!("10.96.{}.{last}", self.number)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes every file that the programs read.
    pub(super) fn write(&self, keys: &Keys) -> Result<(), Failure> {
        let admin = json!({"token": ADMIN_TOKEN});
        let kubelet = json!({"client-certificate": keys.kubelet.certificate, "client-key": keys.kubelet.key});
        let files = [
            ("kubeconfig", self.access(keys, &admin).to_string()),
            ("kubelet.kubeconfig", self.access(keys, &kubelet).to_string()),
            ("tokens.csv", format!("{ADMIN_TOKEN},admin,1,system:masters\n")),
            ("containerd.toml", self.containerd_settings()),
            ("cni/10-bridge.conflist", self.network_settings().to_string()),
            ("resolv.conf", format!("nameserver {}\n", self.service_address(10))),
            ("kubelet.yaml", self.kubelet_settings(keys).to_string()),
            ("kube-proxy.yaml", self.kube_proxy_settings().to_string()),
            ("Corefile", self.corefile()),
        ];
        for (name, text) in files {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(at(&path))?;
        }
        Ok(())
    }

    fn access(&self, keys: &Keys, user: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {
                "server": format!("https://{}:6443", self.address), "certificate-authority": keys.authority,
            }}],
            "users": [{"name": "x", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        })
    }

    pub(super) fn etcd(&self) -> Vec<String> {
        vec![
            flag("data-dir", self.path("etcd")),
            flag("listen-client-urls", "http://127.0.0.1:2379"),
            flag("advertise-client-urls", "http://127.0.0.1:2379"),
            flag("listen-peer-urls", "http://127.0.0.1:2380"),
            flag("unsafe-no-fsync", true),
            flag("log-level", "error"),
        ]
    }

    pub(super) fn api_server(&self, keys: &Keys) -> Vec<String> {
        let file = |path: &Path| path.display().to_string();
        vec![
            flag("etcd-servers", "http://127.0.0.1:2379"),
            flag("bind-address", "0.0.0.0"),
            flag("advertise-address", &self.address),
            flag("secure-port", 6443),
            flag("tls-cert-file", file(&keys.api_server.certificate)),
            flag("tls-private-key-file", file(&keys.api_server.key)),
            flag("client-ca-file", file(&keys.authority)),
            flag("kubelet-client-certificate", file(&keys.api_server_as_client.certificate)),
            flag("kubelet-client-key", file(&keys.api_server_as_client.key)),
            flag("kubelet-certificate-authority", file(&keys.authority)),
            flag("kubelet-preferred-address-types", "InternalIP"),
            flag("service-account-issuer", "https://kubernetes.default.svc"),
            flag("service-account-key-file", file(&keys.account_public_key)),
            flag("service-account-signing-key-file", file(&keys.account_key)),
            flag("service-cluster-ip-range", format!("10.96.{}.0/24", self.number)),
            flag("token-auth-file", self.path("tokens.csv")),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction,OwnerReferencesPermissionEnforcement"),
            flag("allow-privileged", true),
            flag("requestheader-client-ca-file", file(&keys.authority)),
            flag("requestheader-allowed-names", FRONT_PROXY),
            flag("requestheader-username-headers", "X-Remote-User"),
            flag("requestheader-group-headers", "X-Remote-Group"),
            flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            flag("proxy-client-cert-file", file(&keys.front_proxy.certificate)),
            flag("proxy-client-key-file", file(&keys.front_proxy.key)),
        ]
    }

    pub(super) fn controller_manager(&self, keys: &Keys) -> Vec<String> {
        vec![
            flag("kubeconfig", self.kubeconfig().display()),
            flag("leader-elect", false),
            flag("secure-port", 0),
            flag("service-account-private-key-file", keys.account_key.display()),
            flag("root-ca-file", keys.authority.display()),
            flag("use-service-account-credentials", true),
        ]
    }

    pub(super) fn scheduler(&self) -> Vec<String> {
        vec![
            flag("kubeconfig", self.kubeconfig().display()),
            flag("leader-elect", false),
            flag("secure-port", 0),
        ]
    }

    pub(super) fn containerd(&self) -> Vec<String> {
        vec![flag("config", self.path("containerd.toml"))]
    }

    fn containerd_settings(&self) -> String {
        let (root, cni, pause, plugins) =
            (self.path("containerd"), self.path("cni"), images::PAUSE, requirements::CNI);
        // Without CAP_SYS_RESOURCE no process may make itself less likely to be ended, so none is asked to.
        format!(
            "version = 3
root = '{root}'
state = '/run/containerd'
[grpc]
address = '{CONTAINERD}'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.runtime']
enable_selinux = false
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = 'runc'
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{plugins}']
conf_dir = '{cni}'
"
        )
    }

    fn network_settings(&self) -> Value {
        json!({"cniVersion": "1.0.0", "name": "node", "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "ranges": [[{"subnet": self.pods()}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]})
    }

    pub(super) fn kubelet(&self) -> Vec<String> {
        vec![
            flag("config", self.path("kubelet.yaml")),
            flag("kubeconfig", self.path("kubelet.kubeconfig")),
            flag("node-ip", &self.address),
            flag("hostname-override", &self.name),
            flag("cert-dir", self.path("keys")),
        ]
    }

    fn kubelet_settings(&self, keys: &Keys) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", self.cgroup),
            "cgroupsPerQOS": true, "enforceNodeAllocatable": ["pods"], "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": keys.authority},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": keys.kubelet.certificate, "tlsPrivateKeyFile": keys.kubelet.key,
            "address": self.address,
            "clusterDomain": "cluster.local", "clusterDNS": [self.service_address(10)], "resolvConf": self.path("resolv.conf"),
            // A full disk of the machine is no reason to remove images that no registry has.
            "evictionHard": {
                "memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99, "imageMaximumGCAge": "0s",
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        })
    }

    pub(super) fn kube_proxy(&self) -> Vec<String> {
        vec![flag("config", self.path("kube-proxy.yaml"))]
    }

    fn kube_proxy_settings(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "mode": "nftables", "clientConnection": {"kubeconfig": self.kubeconfig()}, "clusterCIDR": self.pods(),
            "hostnameOverride": self.name, "nodePortAddresses": ["primary"],
            // These would be set for the whole machine.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        })
    }

    pub(super) fn coredns(&self) -> Vec<String> {
        vec!["-conf".to_owned(), self.path("Corefile")]
    }

    fn corefile(&self) -> String {
        let kubeconfig = self.kubeconfig();
        format!(
            ".:53 {{\n  bind {}\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {} x\n  }}\n}}\n",
            self.address,
            kubeconfig.display()
        )
    }

    /// Leads the usual address of a cluster's DNS to the node's.
    pub(super) fn dns_service(&self) -> Value {
        let ports = json!([
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]);
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
                "spec": {"clusterIP": self.service_address(10), "ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"},
                },
                "addressType": "IPv4", "ports": ports,
                "endpoints": [{"addresses": [self.address], "conditions": {"ready": true}}],
            },
        ]})
    }
}
