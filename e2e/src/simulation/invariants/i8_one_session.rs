//! I8: one voice per cluster.

use std::collections::BTreeMap;

use super::{Invariant, World};

pub(super) struct OneSession;

impl Invariant for OneSession {
    fn statement(&self) -> &'static str {
        "I8: a hub has at most one session for a cluster that has been welcomed and has not ended"
    }

    fn hold(&mut self, world: &World) -> Result<(), String> {
        for hub in &world.hubs {
            let mut open = BTreeMap::new();
            for (stream, session) in hub.process.iter().flat_map(|process| &process.sessions) {
                if session.welcomed.is_none() {
                    continue;
                }
                if let Some(other) = open.insert(session.cluster.as_str(), stream) {
                    let (hub, cluster) = (hub.index, &session.cluster);
                    return Err(format!("hub {hub} talks with {cluster} on streams {other} and {stream}"));
                }
            }
        }
        Ok(())
    }
}
