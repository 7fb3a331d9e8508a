//! How often strangers may ask: per source first, then over all, so that a flood uses up nobody's turn but its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};

/// Requests to enrol per second and at once of one source: a site whose clusters join together stands behind one
/// address, and each cluster that waits for its admin asks every two seconds.
const PER_SOURCE: (NonZeroU32, NonZeroU32) = (nonzero(10), nonzero(50));
/// The same over all: each costs the hub's API server a read and seldom a write.
const OVERALL: (NonZeroU32, NonZeroU32) = (nonzero(100), nonzero(200));
/// Sources that are remembered before those are forgotten that have all their turns again.
const SOURCES: usize = 4096;
/// Handshakes at once of one source: three quarters of what the listener takes, since a whole fleet may stand behind one
/// address and come back at once. The rest is for others.
pub(super) const HANDSHAKES_PER_SOURCE: u32 = 768;

/// How often strangers may ask. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Limits {
    shared: Arc<Shared>,
}

struct Shared {
    per_source: DefaultKeyedRateLimiter<IpAddr>,
    overall: DefaultDirectRateLimiter,
    handshakes: Mutex<HashMap<IpAddr, u32>>,
}

/// One handshake under way; over when it is dropped.
pub(super) struct Handshake {
    limits: Limits,
    source: IpAddr,
}

impl Limits {
    pub(super) fn new() -> Self {
        let quota = |(per_second, at_once)| Quota::per_second(per_second).allow_burst(at_once);
        let shared = Shared {
            per_source: DefaultKeyedRateLimiter::keyed(quota(PER_SOURCE)),
            overall: DefaultDirectRateLimiter::direct(quota(OVERALL)),
            handshakes: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether that source may ask to enrol now.
    pub(super) fn may_enrol(&self, source: IpAddr) -> bool {
        let Shared { per_source, overall, .. } = &*self.shared;
        if per_source.len() > SOURCES {
            per_source.retain_recent();
        }
        per_source.check_key(&source_of(source)).is_ok() && overall.check().is_ok()
    }

    /// Begins a handshake, unless its source has too many under way.
    pub(super) fn begin_handshake(&self, source: IpAddr) -> Option<Handshake> {
        let source = source_of(source);
        let mut handshakes = self.handshakes();
        let under_way = handshakes.entry(source).or_default();
        if *under_way >= HANDSHAKES_PER_SOURCE {
            return None;
        }
        *under_way += 1;
        drop(handshakes);
        Some(Handshake { limits: self.clone(), source })
    }

    fn handshakes(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut handshakes = self.limits.handshakes();
        if let Some(under_way) = handshakes.get_mut(&self.source) {
            *under_way -= 1;
            if *under_way == 0 {
                handshakes.remove(&self.source);
            }
        }
    }
}

/// Whoever has one IPv6 address has its whole /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

const fn nonzero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_of_one_source_uses_up_its_own_turns_only() {
        let limits = Limits::new();
        let flood = (0..10_000).filter(|_| limits.may_enrol(address("192.0.2.1"))).count();
        assert!((50..100).contains(&flood), "{flood} of the flood were let in");
        for host in 2..=11 {
            assert!(limits.may_enrol(address(&format!("192.0.2.{host}"))), "host {host} pays for another");
        }
    }

    #[test]
    fn all_sources_together_have_a_limit() {
        let limits = Limits::new();
        let sources = (0..100_u32).flat_map(|host| [host; 10]).map(|host| IpAddr::from(host.to_be_bytes()));
        let admitted = sources.filter(|source| limits.may_enrol(*source)).count();
        assert!((200..400).contains(&admitted), "{admitted}");
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_ipv4() {
        assert_eq!(source_of(address("2001:db8:1:2:3::4")), source_of(address("2001:db8:1:2::1")));
        assert_ne!(source_of(address("2001:db8:1:2::1")), source_of(address("2001:db8:1:3::1")));
        assert_eq!(source_of(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn handshakes_of_one_source_are_bounded_and_forgotten_when_over() {
        let limits = Limits::new();
        let source = address("192.0.2.1");
        let under_way: Vec<_> =
            std::iter::repeat_with(|| limits.begin_handshake(source)).take(1000).collect();
        assert_eq!(under_way.iter().flatten().count(), HANDSHAKES_PER_SOURCE as usize);
        assert!(limits.begin_handshake(address("192.0.2.2")).is_some());
        drop(under_way);
        assert!(limits.handshakes().is_empty());
    }
}
