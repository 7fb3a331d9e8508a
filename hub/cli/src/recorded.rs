//! Objects of a fleet as an API server answered them, for tests: east (H100), west (L40S) and plain (no GPU), with NVIDIA's
//! sample placed on east; `draining` is the same fleet while east is emptied and west cordoned, `held` while west and plain are
//! silent.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::session::Seen;

/// The files of one moment.
pub(crate) struct Moment {
    pub(crate) clusters: &'static str,
    pub(crate) placements: &'static str,
    pub(crate) decisions: &'static str,
    pub(crate) assignments: &'static str,
    pub(crate) explanation: &'static str,
}

macro_rules! moment {
    ($folder:literal) => {
        Moment {
            clusters: include_str!(concat!("recorded/", $folder, "/gpuclusters.json")),
            placements: include_str!(concat!("recorded/", $folder, "/nimplacements.json")),
            decisions: include_str!(concat!("recorded/", $folder, "/nimplacementdecisions.json")),
            assignments: include_str!(concat!("recorded/", $folder, "/nimassignments.json")),
            explanation: include_str!(concat!("recorded/", $folder, "/explanation.json")),
        }
    };
}

pub(crate) const PLACED: Moment = moment!("placed");
pub(crate) const DRAINING: Moment = moment!("draining");
pub(crate) const HELD: Moment = moment!("held");

/// A recorded object or list.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The items of a recorded list, as somebody sees them who may see all.
pub(crate) fn seen<T: DeserializeOwned>(text: &str) -> Seen<T> {
    let items = json(text)["items"].take();
    Seen { items: serde_json::from_value(items).unwrap(), hidden: None }
}

/// A time a minute after the last thing that happened in any record.
pub(crate) fn now() -> Timestamp {
    "2026-12-01T00:30:00Z".parse().unwrap()
}

/// Text as it is without a terminal.
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
