//! Tables, as kubectl asks for them.

use serde_json::{Value, json};

/// A column and what it holds of an object, as a JSON pointer.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) pointer: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub(super) priority: i32,
}

/// Whether a client prefers a table, by its `Accept` header.
pub(super) fn is_asked_for(accept: &str) -> bool {
    let first = accept.split(',').next().unwrap_or_default();
    let parts: Vec<&str> = first.split(';').map(str::trim).collect();
    parts.contains(&"as=Table") && parts.contains(&"g=meta.k8s.io")
}

/// The objects as rows.
pub(super) fn of(objects: &[Value], columns: &[Column]) -> Value {
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({"name": column.name, "type": column.kind, "format": if column.name == "Name" { "name" } else { "" },
                   "description": "", "priority": column.priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> =
                columns.iter().map(|column| object.pointer(column.pointer).cloned().unwrap_or(json!(""))).collect();
            let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
            json!({"cells": cells, "object": partial})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": definitions, "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_for_those_who_prefer_them() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert!(is_asked_for(kubectl));
        for accept in
            ["", "application/json", "application/json, application/json;as=Table;v=v1;g=meta.k8s.io"]
        {
            assert!(!is_asked_for(accept), "{accept}");
        }
    }

    #[test]
    fn a_row_holds_what_its_columns_point_to() {
        let columns = [
            Column { name: "Name", kind: "string", pointer: "/metadata/name", priority: 0 },
            Column { name: "Cluster", kind: "string", pointer: "/status/cluster", priority: 0 },
        ];
        let table = of(
            &[
                json!({"metadata": {"name": "a"}, "status": {"cluster": "east"}}),
                json!({"metadata": {"name": "b"}}),
            ],
            &columns,
        );
        assert_eq!(table["rows"][0]["cells"], json!(["a", "east"]));
        assert_eq!(table["rows"][1]["cells"], json!(["b", ""]));
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
    }
}
