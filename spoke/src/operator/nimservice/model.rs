//! What the status tells of the served model: its name, and whether its endpoint answers.

use serde_json::{Value, json};

use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::Subject;
use crate::operator::models::Answer;

/// The condition.
const REACHABLE: &str = "ModelReachable";

/// Puts into the status of a ready service where it is reached, inside the cluster and from outside, and what its
/// endpoint answers. Readiness is the workload's own word: an endpoint that we cannot reach, through a mesh or a network
/// policy, may well be reached by those it is for.
pub(super) fn tell(
    subject: &Subject,
    status: &mut Value,
    (inside, outside): (String, String),
    answer: Option<&Answer>,
) {
    let known = subject.status["model"]["name"].as_str().unwrap_or_default();
    status["model"] = json!({"name": known, "clusterEndpoint": inside, "externalEndpoint": outside});
    let mut conditions = Conditions::read(status);
    match answer {
        None => return withdraw(status),
        Some(Answer::Asking) => return,
        Some(Answer::Served(name)) => {
            status["model"]["name"] = Value::from(name.as_str());
            let message = if name.is_empty() {
                "the endpoint answers and names no model".to_owned()
            } else {
                format!("the endpoint serves {name}")
            };
            conditions.set(REACHABLE, true, "ModelFound", &message, subject.moment());
        }
        Some(Answer::Unreachable(problem)) => {
            conditions.set(REACHABLE, false, "Unreachable", problem, subject.moment());
        }
    }
    status["conditions"] = conditions.to_value();
}

/// Of a service that is not ready nothing is said of its model.
pub(super) fn withdraw(status: &mut Value) {
    let mut conditions = Conditions::read(status);
    conditions.remove(REACHABLE);
    status["conditions"] = conditions.to_value();
}
