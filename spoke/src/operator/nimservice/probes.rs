//! Probes of the serving container: the user's own, or the defaults, or none.

use crds::nim::Probe as Wanted;
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const LIVE: &str = "/v1/health/live";
const READY: &str = "/v1/health/ready";

/// Is the model server alive?
pub(super) fn liveness(wanted: Option<&Wanted>) -> Option<Probe> {
    chosen(wanted, || default(LIVE, 15, 3))
}

/// Does it serve?
pub(super) fn readiness(wanted: Option<&Wanted>) -> Option<Probe> {
    chosen(wanted, || default(READY, 15, 3))
}

/// Has it loaded the model? 120 failures 10 s apart: twenty minutes.
pub(super) fn startup(wanted: Option<&Wanted>) -> Option<Probe> {
    chosen(wanted, || default(READY, 30, 120))
}

fn chosen(wanted: Option<&Wanted>, default: impl FnOnce() -> Probe) -> Option<Probe> {
    match wanted {
        Some(Wanted { enabled: Some(false), .. }) => None,
        Some(Wanted { probe: Some(own), .. }) => Some(own.clone()),
        _ => Some(default()),
    }
}

fn default(path: &str, delay: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("api".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(delay),
        timeout_seconds: Some(1),
        period_seconds: Some(10),
        success_threshold: Some(1),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_the_users_or_the_default_or_none() {
        let own = Probe { period_seconds: Some(3), ..Probe::default() };
        for (wanted, period) in [
            (None, Some(10)),
            (Some(Wanted::default()), Some(10)),
            (Some(Wanted { enabled: Some(true), probe: None }), Some(10)),
            (Some(Wanted { enabled: None, probe: Some(own.clone()) }), Some(3)),
            (Some(Wanted { enabled: Some(false), probe: Some(own) }), None),
        ] {
            assert_eq!(liveness(wanted.as_ref()).map(|probe| probe.period_seconds.unwrap()), period);
        }
        assert_eq!(startup(None).unwrap().failure_threshold, Some(120));
    }
}
