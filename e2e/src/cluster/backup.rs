//! A cluster's etcd data as a backup holds them, and their restoration.
//!
//! By etcd's own JSON gateway, since several clusters share one etcd and each is restored by itself.

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use runtime::plain_http::ask;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cluster, ClusterError};

/// Everything that a cluster had stored at one moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Backup {
    #[serde(default)]
    kvs: Vec<Pair>,
}

/// Key and value, base64.
#[derive(Debug, Clone, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

impl Backup {
    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kvs.len()
    }

    /// The same without every key that has one of these in its path.
    #[must_use]
    pub fn without(mut self, paths: &[&str]) -> Self {
        self.kvs.retain(|pair| {
            let key = BASE64_STANDARD.decode(&pair.key).unwrap_or_default();
            let key = String::from_utf8_lossy(&key);
            !paths.iter().any(|path| key.contains(path))
        });
        self
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kvs.is_empty()
    }
}

impl Cluster {
    /// Backs up everything that is stored; the API server may be at work.
    pub async fn back_up(&self) -> Result<Backup, ClusterError> {
        let answer = self.etcd("/v3/kv/range", &self.all_keys()).await?;
        serde_json::from_value(answer).map_err(|error| self.etcd_fault(error.into()))
    }

    /// Puts back what a backup holds and removes everything newer, as an admin does: the API server is down meanwhile.
    pub async fn restore(&self, backup: &Backup) -> Result<(), ClusterError> {
        self.kill_api_server();
        self.etcd("/v3/kv/deleterange", &self.all_keys()).await?;
        for pair in &backup.kvs {
            self.etcd("/v3/kv/put", &json!({"key": pair.key, "value": pair.value})).await?;
        }
        self.start_api_server().await
    }

    /// The range of this cluster's keys: from its prefix to the next one.
    fn all_keys(&self) -> Value {
        let (first, end) = (format!("/{}/", self.name), format!("/{}0", self.name));
        json!({"key": BASE64_STANDARD.encode(first), "range_end": BASE64_STANDARD.encode(end)})
    }

    async fn etcd(&self, path: &str, body: &Value) -> Result<Value, ClusterError> {
        let address = self.etcd.trim_start_matches("http://");
        let address: SocketAddr =
            address.parse().map_err(|_| self.etcd_fault(io::ErrorKind::InvalidInput.into()))?;
        let answer = ask(address, "POST", path, &body.to_string(), u64::MAX).await;
        let answer = answer.map_err(|error| self.etcd_fault(error))?;
        if !answer.is_ok() {
            return Err(self.etcd_fault(io::Error::other(answer.to_string())));
        }
        serde_json::from_str(&answer.body).map_err(|error| self.etcd_fault(error.into()))
    }

    fn etcd_fault(&self, source: io::Error) -> ClusterError {
        ClusterError::Io { path: self.etcd.clone().into(), source }
    }
}
