//! What the status tells of the served model: its name, and whether its endpoint answers.

use serde_json::Value;

use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::Subject;
use crate::operator::models::Answer;

/// The condition.
const REACHABLE: &str = "ModelReachable";

/// Puts the answer of a ready service's endpoint into its status. Readiness is the workload's own word: an endpoint that
/// we cannot reach, through a mesh or a network policy, may well be reached by those it is for.
pub(super) fn tell(subject: &Subject, status: &mut Value, answer: &Answer) {
    let mut conditions = Conditions::read(status);
    match answer {
        Answer::Asking => return,
        Answer::Served(name) => {
            status["model"]["name"] = Value::from(name.as_str());
            let message = if name.is_empty() {
                "the endpoint answers and names no model".to_owned()
            } else {
                format!("the endpoint serves {name}")
            };
            conditions.set(REACHABLE, true, "ModelFound", &message, subject.moment());
        }
        Answer::Unreachable(problem) => {
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
