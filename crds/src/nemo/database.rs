//! The PostgreSQL database of a NeMo microservice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::said;

/// Port of PostgreSQL where none is given.
const PORT: i32 = 5432;
/// Key of the password where none is given.
const PASSWORD_KEY: &str = "password";

/// A PostgreSQL database that is there already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseConfig {
    /// How to sign in.
    pub credentials: DatabaseCredentials,
    /// Host of the database.
    #[schemars(length(min = 1))]
    pub host: String,
    /// Port of the database. Default 5432.
    #[schemars(range(min = 1, max = 65535), extend("default" = 5432))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Name of the database.
    #[schemars(length(min = 1))]
    pub database_name: String,
}

/// How to sign in to a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseCredentials {
    /// The user.
    #[schemars(length(min = 1))]
    pub user: String,
    /// Secret of the namespace that holds the password.
    #[schemars(length(min = 1))]
    pub secret_name: String,
    /// Key of the password in the Secret. Default `password`.
    #[schemars(extend("default" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_key: Option<String>,
}

impl DatabaseConfig {
    /// Port of the database, 5432 where none is given.
    #[must_use]
    pub fn port(&self) -> i32 {
        self.port.unwrap_or(PORT)
    }
}

impl DatabaseCredentials {
    /// Key of the password in the Secret, `password` where none is given.
    #[must_use]
    pub fn password_key(&self) -> &str {
        said(self.password_key.as_deref(), PASSWORD_KEY)
    }
}
