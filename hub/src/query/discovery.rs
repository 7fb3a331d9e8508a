//! What the API server and kubectl are told of the kinds.

use serde_json::{Value, json};

use super::API_VERSION;

/// The APIResourceList of the version.
pub(super) fn resources() -> Value {
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION,
        "resources": [
            {
                "name": "nimassignments", "singularName": "nimassignment", "namespaced": true,
                "kind": "NIMAssignment", "verbs": ["get", "list"], "shortNames": ["nima"],
            },
            {
                "name": "clustercapacities", "singularName": "clustercapacity", "namespaced": false,
                "kind": "ClusterCapacity", "verbs": ["get"],
            },
            {
                "name": "placementexplanations", "singularName": "placementexplanation", "namespaced": true,
                "kind": "PlacementExplanation", "verbs": ["get"],
            },
            {
                "name": "placementsimulations", "singularName": "placementsimulation", "namespaced": true,
                "kind": "PlacementSimulation", "verbs": ["create"],
            },
        ],
    })
}
