//! What a cluster keeps in etcd: the size of its values, by resource.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Ground;
use crate::failure::Failure;

impl Ground {
    /// Bytes of the values under a cluster's prefix, by resource: `events`, `apps.nvidia.com/nimservices`, …
    pub async fn stored(&self, cluster: &str) -> Result<BTreeMap<String, u64>, Failure> {
        let prefix = format!("/{cluster}/");
        // The end of a range of all keys with a prefix is the prefix with its last byte raised.
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let question = json!({"key": bytes(&prefix), "range_end": bytes(&format!("/{cluster}0"))});
        let mut sizes = BTreeMap::new();
        for Pair { key, value } in self.range(&question.to_string()).await?.kvs {
            let key = String::from_utf8_lossy(&key.0);
            let resource = resource(key.strip_prefix(&prefix).unwrap_or(&key)).to_owned();
            *sizes.entry(resource).or_default() += value.0.len() as u64;
        }
        Ok(sizes)
    }

    /// One question to etcd's JSON interface.
    async fn range(&self, question: &str) -> Result<Range, Failure> {
        let address = self.etcd().trim_start_matches("http://").parse::<SocketAddr>()?;
        let mut stream = TcpStream::connect(address).await?;
        // HTTP/1.0: the answer ends with the connection, and is never in chunks.
        let length = question.len();
        let head =
            format!("POST /v3/kv/range HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{question}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let body = body.ok_or_else(|| Failure::new(format!("etcd said {answer:?}")))?;
        Ok(serde_json::from_str(body)?)
    }
}

/// What etcd answers.
#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: ByteString,
    value: ByteString,
}

/// `apps.nvidia.com/nimservices` of `apps.nvidia.com/nimservices/ns/name`, `events` of `events/ns/name`: a group has a dot.
fn resource(key: &str) -> &str {
    let mut slashes = key.match_indices('/').map(|(at, _)| at);
    let first = slashes.next().unwrap_or(key.len());
    let end = if key[..first].contains('.') { slashes.next().unwrap_or(key.len()) } else { first };
    &key[..end]
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_resource_is_its_group_if_any_and_its_plural() {
        for (key, expected) in [
            ("apps.nvidia.com/nimservices/ns/one", "apps.nvidia.com/nimservices"),
            ("events/ns/one", "events"),
            ("compact_rev_key", "compact_rev_key"),
        ] {
            assert_eq!(super::resource(key), expected);
        }
    }
}
