//! Mount, PID, network, IPC and UTS namespaces of one node, and its part of the cgroup hierarchies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::at;
use super::settings::Settings;
use crate::failure::Failure;
use crate::process::{Process, Program, last_lines};

pub(super) const NSENTER: &str = "/usr/bin/nsenter";
const UNSHARE: &str = "/usr/bin/unshare";
/// Hierarchies of cgroup v1 that kubelet and runc use.
const HIERARCHIES: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
const CGROUPS: &str = "/sys/fs/cgroup";
/// How names of cgroups and folders of nodes begin; the id of their process follows.
pub(super) const PREFIX: &str = "nimfleet-node-";
/// How long the first process may take, on a busy machine.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// The namespaces of a node; dropping them ends every process in them.
pub(super) struct Namespaces {
    // The first process of the PID namespace ends with this one, and all others with it.
    first: Process,
    id: u32,
    cgroup: String,
}

impl Namespaces {
    /// Makes the namespaces with their mounts, network and cgroups.
    pub(super) fn enter(settings: &Settings) -> Result<Self, Failure> {
        let begun = settings.folder.join("begun");
        if begun.exists() {
            fs::remove_file(&begun).map_err(at(&begun))?;
        }
        let log = settings.folder.join("log/namespaces.log");
        // A shell that waits collects what orphans leave.
        let first = format!("echo > {}; sleep infinity & wait", begun.display());
        let first = [
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            &first,
        ]
        .iter()
        .fold(Program::new(UNSHARE, &log), Program::arg)
        .start()?;
        let until = Instant::now() + BEGUN_WITHIN;
        while !begun.exists() {
            if Instant::now() > until {
                let said = last_lines(&log, 5);
                return Err(Failure::new(format!(
                    "no namespaces for {} within {BEGUN_WITHIN:?}: {said}",
                    settings.name
                )));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", first.id()));
        let text = fs::read_to_string(&children).map_err(at(&children))?;
        // A watcher of ours is a child as well, and is in the machine's namespaces.
        let id = text.split_whitespace().filter_map(|id| id.parse().ok()).find(|id| is_apart(*id));
        let id =
            id.ok_or_else(|| Failure::new(format!("{}: no first process: {text:?}", children.display())))?;
        let namespaces = Self { first, id, cgroup: settings.cgroup.clone() };
        namespaces.make_cgroups()?;
        namespaces.set_up(settings)?;
        Ok(namespaces)
    }

    /// The first process, as the machine counts it.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Arguments of [`NSENTER`] that run a command in the namespaces.
    pub(super) fn arguments(&self, environment: &[(&str, String)], command: &[&str]) -> Vec<String> {
        let id = self.id.to_string();
        let enter = ["--target", &id, "--mount", "--pid", "--net", "--ipc", "--uts", "--", "env"];
        let mut arguments: Vec<String> = enter.map(str::to_owned).to_vec();
        arguments.extend(environment.iter().map(|(name, value)| format!("{name}={value}")));
        arguments.extend(command.iter().map(|word| (*word).to_owned()));
        arguments
    }

    /// Mounts and network, as a machine has them after its start.
    fn set_up(&self, settings: &Settings) -> Result<(), Failure> {
        let Settings { name, address, folder, .. } = settings;
        let own = folder.join("own");
        let own = own.display();
        let gateway = settings.gateway();
        // kubelet sets these for the whole machine unless it finds them set: it finds files that say so.
        let script = format!(
            "hostname {name}
             mount --make-rshared /
             for setting in vm/overcommit_memory kernel/panic kernel/panic_on_oops; do
               wanted=1; [ $setting = kernel/panic ] && wanted=10
               file={own}/$(echo $setting | tr / .); echo $wanted > $file; mount --bind $file /proc/sys/$setting
             done
             for place in /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods /opt/containerd; do
               mkdir -p $place {own}$place; mount --bind {own}$place $place
             done
             mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock
             ip link set lo up
             ip link add eth0 type veth peer name eth0-peer
             ip link set eth0-peer up; ip addr add {address}/24 dev eth0; ip link set eth0 up
             ip route add default via {gateway} dev eth0
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables"
        );
        let arguments = self.arguments(&[], &["sh", "-euc", &script]);
        let output = Command::new(NSENTER).args(arguments).output().map_err(at(Path::new(NSENTER)))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(format!("{name}: setting up mounts and network failed: {said}")))
    }

    /// Two kubelets under one cgroup would each end the other's pods as orphans.
    fn make_cgroups(&self) -> Result<(), Failure> {
        for hierarchy in HIERARCHIES {
            let folder = Path::new(CGROUPS).join(hierarchy).join(&self.cgroup);
            fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        // A cpuset without processors takes no process.
        let cpuset = Path::new(CGROUPS).join("cpuset");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let all = fs::read(cpuset.join(file)).map_err(at(&cpuset))?;
            let own = cpuset.join(&self.cgroup).join(file);
            fs::write(&own, all).map_err(at(&own))?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.first.kill();
        // The kernel ends the rest of the namespace's processes meanwhile; a cgroup can be removed when it is empty.
        let until = Instant::now() + BEGUN_WITHIN;
        while !remove_cgroups(|name| name == self.cgroup) && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Removes what nodes of processes that were killed have left: their names carry the process's id.
pub(super) fn sweep() {
    let is_left = |name: &str| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
    };
    remove_cgroups(is_left);
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if is_left(&entry.file_name().to_string_lossy()) {
            // Another process may be sweeping too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes cgroups by name from every hierarchy; whether none is left.
fn remove_cgroups(is_named: impl Fn(&str) -> bool) -> bool {
    let folders = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let mut gone = true;
    for hierarchy in folders(Path::new(CGROUPS)) {
        for cgroup in folders(&hierarchy.path()) {
            if is_named(&cgroup.file_name().to_string_lossy()) {
                gone &= remove_folders(&cgroup.path());
            }
        }
    }
    gone
}

/// Whether none of a process's namespaces is the machine's: what is run in them must never reach the machine.
fn is_apart(id: u32) -> bool {
    ["mnt", "pid", "net", "ipc", "uts"].iter().all(|kind| {
        let own = fs::read_link(format!("/proc/self/ns/{kind}"));
        let other = fs::read_link(format!("/proc/{id}/ns/{kind}"));
        matches!((own, other), (Ok(own), Ok(other)) if own != other)
    })
}

/// Removes a cgroup with those below it, whose files go by themselves; whether all are gone.
fn remove_folders(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok()
}
