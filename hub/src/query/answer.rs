//! Answers that are no objects: the API's `Status`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why something is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn unauthorized() -> Self {
        let message = "the request does not say whom it is for".to_owned();
        Self { code: StatusCode::UNAUTHORIZED, reason: "Unauthorized", message }
    }

    pub(super) fn forbidden(message: String) -> Self {
        Self { code: StatusCode::FORBIDDEN, reason: "Forbidden", message }
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: String) -> Self {
        Self { code: StatusCode::NOT_FOUND, reason: "NotFound", message }
    }

    /// It can be asked, but not like this.
    pub(super) fn not_allowed(message: String) -> Self {
        Self { code: StatusCode::METHOD_NOT_ALLOWED, reason: "MethodNotAllowed", message }
    }

    /// What was sent means nothing.
    pub(crate) fn invalid(message: String) -> Self {
        Self { code: StatusCode::UNPROCESSABLE_ENTITY, reason: "Invalid", message }
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self { code: StatusCode::BAD_REQUEST, reason: "BadRequest", message }
    }

    /// It cannot be answered now.
    pub(crate) fn unavailable(message: String) -> Self {
        Self { code: StatusCode::SERVICE_UNAVAILABLE, reason: "ServiceUnavailable", message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, reason, message } = self;
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code.as_u16(),
        });
        (code, Json(status)).into_response()
    }
}
