//! I7: a spoke that does not read holds a bounded amount of a hub's memory.

use super::{Invariant, World};

/// What is under way at once, the object that crosses it, and signs of life.
const MOST: usize = (4 << 20) + (256 << 10) + (64 << 10);

pub(super) struct BoundedMemory;

impl Invariant for BoundedMemory {
    fn statement(&self) -> &'static str {
        "I7: what waits on a hub for a spoke that does not read is at most what may be under way at once"
    }

    fn hold(&mut self, world: &World) -> Result<(), String> {
        for hub in &world.hubs {
            for (stream, session) in hub.process.iter().flat_map(|process| &process.sessions) {
                let waiting = world.stage.net.waiting(*stream);
                if waiting > MOST {
                    let (hub, cluster) = (hub.index, &session.cluster);
                    return Err(format!("{waiting} bytes wait on hub {hub} for {cluster}"));
                }
            }
        }
        Ok(())
    }
}
