//! Reads what a model server says of itself.

use serde_json::Value;

/// The model in an answer to `/v1/models`: the only one, or the one that others are adapters of. Empty when it names
/// none; none when it is no such answer.
pub(super) fn listed(answer: &Value) -> Option<String> {
    if answer["object"] != "list" {
        return None;
    }
    let models = answer["data"].as_array()?;
    let id = |model: &Value| model["id"].as_str().unwrap_or_default().to_owned();
    Some(match models.as_slice() {
        [only] => id(only),
        many => {
            let base = many.iter().find(|model| model["object"] == "model" && model["root"] == model["id"]);
            base.map(id).unwrap_or_default()
        }
    })
}

/// The model in an answer to `/v1/metadata`: its short name, without the version.
pub(super) fn described(answer: &Value) -> String {
    let short = answer["modelInfo"][0]["shortName"].as_str().unwrap_or_default();
    short.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accept_model_status_query_names() {
        let model = |id: &str, root: &str| json!({"object": "model", "id": id, "root": root});
        for (answer, name) in [
            (json!({"object": "list", "data": [{"id": "meta/llama"}]}), Some("meta/llama")),
            (
                json!({"object": "list", "data": [model("lora-a", "base"), model("base", "base")]}),
                Some("base"),
            ),
            (json!({"object": "list", "data": [model("a", "x"), model("b", "y")]}), Some("")),
            (json!({"object": "list", "data": []}), Some("")),
            (json!({"object": "model", "data": []}), None),
            (json!({"object": "list"}), None),
            (json!([]), None),
        ] {
            assert_eq!(listed(&answer).as_deref(), name, "{answer}");
        }
        for (answer, name) in [
            (json!({"modelInfo": [{"shortName": "llama:1.8"}]}), "llama"),
            (json!({"modelInfo": [{"shortName": "llama"}]}), "llama"),
            (json!({"modelInfo": []}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(described(&answer), name, "{answer}");
        }
    }
}
