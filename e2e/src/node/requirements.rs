//! What a machine needs to be a node: rights, programs of its distribution, and a kernel with what containers use.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The variable that lets CI skip tests on a real node where the machine cannot be one. Elsewhere they are skipped anyway.
pub const ALLOW_SKIP: &str = "NIMFLEET_ALLOW_SKIP";

/// Programs that a node takes from its distribution: name, Debian's package.
const PROGRAMS: [(&str, &str); 8] = [
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("modprobe", "kmod"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("busybox", "busybox-static"),
];
/// Folder of CNI plugins as Debian has it.
pub(super) const CNI: &str = "/usr/lib/cni";

/// What this machine lacks to run a node, with the remedies; nothing where it can.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(name, _)| !on_path(name)).map(|(_, package)| *package).collect();
    if is_dynamic("busybox") {
        // Another package of Debian's has one of that name, which finds no library in a container.
        packages.push("busybox-static");
    }
    if !Path::new(CNI).join("bridge").exists() {
        packages.push("containernetworking-plugins");
    }
    if !packages.is_empty() {
        let packages = packages.join(" ");
        missing.push(format!(
            "programs (Debian and Ubuntu: apt-get install --no-install-recommends {packages})"
        ));
        return missing;
    }
    if !Path::new("/sys/fs/cgroup/memory").is_dir() {
        missing
            .push("cgroup v1 (/sys/fs/cgroup/memory): these nodes have been tried with it alone".to_owned());
    }
    // The very things that a node begins with.
    let tried = "ip link add name one type veth peer name two && mount -t tmpfs tmpfs /run";
    let unshare =
        ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--mount-proc", "sh", "-c", tried];
    match Command::new("unshare").args(unshare).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => missing.push(format!(
            "the right to make namespaces, mounts and veth devices (run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => missing.push(format!("unshare (Debian and Ubuntu: apt-get install util-linux): {error}")),
    }
    if missing.is_empty() && fs::create_dir_all(probe()).and_then(|()| fs::remove_dir(probe())).is_err() {
        missing.push("the right to make cgroups (/sys/fs/cgroup is read-only)".to_owned());
    }
    missing
}

fn probe() -> String {
    format!("/sys/fs/cgroup/memory/nimfleet-probe-{}", std::process::id())
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Whether a program of the PATH needs libraries.
fn is_dynamic(program: &str) -> bool {
    let ldd = Command::new("sh").args(["-c", &format!("ldd \"$(command -v {program})\"")]).output();
    ldd.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("=>"))
}
