//! Free TCP ports on loopback, each handed out once.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what systems give to outgoing connections by themselves (from 32768 on Linux), so that no client of ours
/// takes a port between the moment it is found free and the moment its server listens.
const FIRST: u16 = 20_000;
/// How many ports are tried from there.
const COUNT: u16 = 12_000;

/// No port was free.
#[derive(Debug, thiserror::Error)]
#[error("no free TCP port on 127.0.0.1 from {FIRST} to {last}: end what listens there", last = FIRST + COUNT - 1)]
pub struct NoFreePort;

/// A port of 127.0.0.1 on which nobody listens.
pub fn free() -> Result<u16, NoFreePort> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side start apart.
    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or(NoFreePort)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_free_and_different() {
        let ports: BTreeSet<u16> = (0..50).map(|_| super::free().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }
}
