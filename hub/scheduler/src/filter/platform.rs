//! Filter: the platforms that the objects run on are in the cluster, in the version that they are made in.

use super::{Reason, Verdict, refuse};
use crate::{Workload, fleet::Capacity};

/// The API versions in which spokes make objects of a platform.
const VERSIONS: [(&str, &str); 3] = [("dra", "v1"), ("kserve", "v1beta1"), ("lws", "v1")];

pub(super) fn check(workloads: &[Workload], capacity: &Capacity) -> Verdict {
    for workload in workloads {
        for name in &workload.need.platforms {
            let Some(platform) = capacity.platforms.iter().find(|platform| platform.name == *name) else {
                let found: Vec<_> =
                    capacity.platforms.iter().map(|platform| platform.name.as_str()).collect();
                let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                let message = format!("{} needs platform {name}; found: {found}", workload.title());
                return refuse(Reason::PlatformMissing, message);
            };
            let version = VERSIONS.iter().find(|(of, _)| of == name).map(|(_, version)| *version);
            // An agent that does not list versions is not asked for one.
            if let Some(version) = version.filter(|_| !platform.served.is_empty())
                && !platform.served.iter().any(|served| served == version)
            {
                let served = platform.served.join(", ");
                let message =
                    format!("{} needs {name} {version}; the cluster serves {served}", workload.title());
                return refuse(Reason::PlatformVersionMissing, message);
            }
        }
    }
    Ok(())
}
