//! I2: a spoke never goes back behind what it has accepted.

use std::collections::BTreeMap;

use super::{Fact, Invariant, World};

/// Term and generation, by spoke and uid. A higher term may bring a lower generation: its hub was restored.
#[derive(Default)]
pub(super) struct NoOlderGeneration {
    accepted: BTreeMap<(usize, String), (u64, i64)>,
}

impl Invariant for NoOlderGeneration {
    fn statement(&self) -> &'static str {
        "I2: a spoke never applies an older generation than it has accepted, but under a higher term"
    }

    fn done(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Accepted { spoke, uid, term, generation } => {
                let known = self.accepted.entry((*spoke, uid.clone())).or_default();
                *known = (*known).max((*term, *generation));
            }
            Fact::Applied { spoke, uid, term, generation } => {
                let known = self.accepted.get(&(*spoke, uid.clone())).copied().unwrap_or_default();
                // A spoke that was handed over begins anew.
                if known > (*term, *generation) && !world.handed_over.contains(spoke) {
                    return Err(format!(
                        "spoke {spoke} applied {uid} of term {term} and generation {generation} after it had accepted \
                         {known:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
