//! What commands beside the hub did: told to the hub that leads, whose log is the audit trail. Each record waits in a Secret
//! of the hub's namespace, since a command's own output goes to whoever runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hub_core::audit::{Act, Action, Actor};
use hub_scheduler::fleet::ClusterName;
use jiff::Timestamp;
use runtime::chain;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::RecordAct;
use crate::pki::{SecretError, Secrets};

/// Marks the Secrets that hold a record.
const LABEL: (&str, &str) = ("nimfleet.io/audit-record", "true");
const PREFIX: &str = "nimfleet-audit-";
/// Key of the record, JSON.
const RECORD: &str = "record";
/// How often the hub that leads looks for records.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// One act of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    action: Action,
    /// The pod that it was run in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    at: Timestamp,
}

impl Record {
    /// A command did this at this moment.
    pub(crate) fn new(action: Action, pod: Option<&str>, cause: impl Into<String>) -> Self {
        let pod = pod.map(str::to_owned);
        Self { action, pod, cause: cause.into(), cluster: None, term: None, at: Timestamp::now() }
    }

    /// For this cluster.
    pub(crate) fn cluster(mut self, cluster: &ClusterName) -> Self {
        self.cluster = Some(cluster.as_str().to_owned());
        self
    }

    /// About this term.
    pub(crate) fn term(mut self, term: u64) -> Self {
        self.term = Some(term);
        self
    }

    /// Leaves the record to the hub that leads, or to the next that does.
    pub(crate) async fn hand_over(&self, secrets: &impl Secrets) -> Result<(), SecretError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let data = BTreeMap::from([(RECORD.to_owned(), bytes)]);
        secrets.create(&format!("{PREFIX}{}", Uuid::new_v4()), Some(LABEL), data).await.map(drop)
    }

    fn write(&self) {
        let at = self.at.to_string();
        let act = Act::new(self.action, Actor::Command(self.pod.clone()), &self.cause).at(&at);
        let cluster: Option<ClusterName> = self.cluster.as_deref().and_then(|name| name.parse().ok());
        let act = cluster.iter().fold(act, Act::cluster);
        self.term.into_iter().fold(act, Act::term).record();
    }
}

/// Writes down what commands leave, until `stop`. A record whose Secret cannot be deleted is written down once by this
/// process, and again by the next that leads.
pub(crate) async fn follow(secrets: impl Secrets, stop: CancellationToken) {
    let (mut looks, mut written, mut said) = (interval(LOOKS_EVERY), BTreeSet::new(), String::new());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let problem =
            take(&secrets, &mut written).await.map_or_else(|error| chain(&error), |()| String::new());
        if !problem.is_empty() && problem != said {
            tracing::warn!(problem, "audit records of commands cannot be read or deleted; tried again");
        }
        said = problem;
    }
}

async fn take(secrets: &impl Secrets, written: &mut BTreeSet<String>) -> Result<(), SecretError> {
    let mut found = Vec::new();
    for stored in secrets.list(LABEL).await? {
        let record = stored.data.get(RECORD).and_then(|bytes| serde_json::from_slice::<Record>(bytes).ok());
        match record {
            Some(record) => found.push((stored.name, record)),
            // Not deleted: it may be a record of a later version.
            None if written.insert(stored.name.clone()) => {
                tracing::warn!(secret = stored.name, "this audit record cannot be read, and stays");
            }
            None => {}
        }
    }
    found.sort_by_key(|(_, record)| record.at);
    for (name, record) in found {
        if written.insert(name.clone()) {
            record.write();
        }
        secrets.delete(&name).await?;
        written.remove(&name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::written;
    use super::*;
    use crate::pki::memory::Memory;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_a_command_did_is_written_by_the_leader_once_with_pod_and_time() {
        let secrets = Memory::default();
        let record = Record::new(Action::Token, Some("nimfleet-hub-1"), "join-command");
        let record = record.cluster(&"east".parse().unwrap());
        block_on(record.hand_over(&secrets)).unwrap();
        let rotate = Record::new(Action::RaiseTerm, None, "raise-term: asked").term(7);
        block_on(rotate.hand_over(&secrets)).unwrap();
        let mut seen = BTreeSet::new();
        let lines = written(|| block_on(take(&secrets, &mut seen)).unwrap());
        let expected = [
            json!({"level": "INFO", "target": "audit", "action": "token", "actor": "command", "subject": "nimfleet-hub-1",
                "cause": "join-command", "cluster": "east", "at": record.at.to_string()}),
            json!({"level": "INFO", "target": "audit", "action": "raise-term", "actor": "command",
                "cause": "raise-term: asked", "term": 7, "at": rotate.at.to_string()}),
        ];
        assert_eq!(lines, expected);
        assert!(secrets.secrets.lock().unwrap().is_empty() && seen.is_empty());
        assert!(written(|| block_on(take(&secrets, &mut seen)).unwrap()).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_stays() {
        let secrets = Memory::default();
        let data = BTreeMap::from([(RECORD.to_owned(), b"{\"action\":\"later\"}".to_vec())]);
        block_on(secrets.create("nimfleet-audit-x", Some(LABEL), data)).unwrap();
        let mut seen = BTreeSet::new();
        let lines = written(|| block_on(take(&secrets, &mut seen)).unwrap());
        assert!(lines.len() == 1 && lines[0]["secret"] == "nimfleet-audit-x", "{lines:?}");
        assert!(written(|| block_on(take(&secrets, &mut seen)).unwrap()).is_empty());
        assert_eq!(secrets.secrets.lock().unwrap().len(), 1);
    }
}
