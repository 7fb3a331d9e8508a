//! Shares a number of replicas out over clusters.

use std::cmp::Reverse;

/// Shares `total` out in proportion to `weights`, never more than `caps` allow (one of each per cluster, same
/// order). Largest remainder; ties go to the earlier cluster, so the caller's order must be stable. Where
/// every weight is 0, all weigh the same. The sum is `total`, or the sum of `caps` if that is less.
pub(super) fn apportion(total: u32, weights: &[u32], caps: &[u32]) -> Vec<u32> {
    let mut shares = vec![0u32; caps.len()];
    let mut rest = u64::from(total).min(caps.iter().map(|cap| u64::from(*cap)).sum());
    // One round settles it unless a cap cuts a share; then what was cut is shared out among those still open.
    while rest > 0 {
        let open: Vec<usize> = (0..caps.len()).filter(|&i| shares[i] < caps[i]).collect();
        let quotas = quotas(rest, &open.iter().map(|&i| weights[i]).collect::<Vec<_>>());
        for (&i, quota) in open.iter().zip(quotas) {
            let given = u32::try_from(quota).unwrap_or(u32::MAX).min(caps[i] - shares[i]);
            shares[i] += given;
            rest -= u64::from(given);
        }
    }
    shares
}

/// The same, with a least share for each. None where these are more than `total` or than a cap allows.
pub(super) fn apportion_within(
    total: u32,
    weights: &[u32],
    floors: &[u32],
    caps: &[u32],
) -> Option<Vec<u32>> {
    let all_floors = floors.iter().map(|floor| u64::from(*floor)).sum::<u64>();
    if all_floors > u64::from(total) || floors.iter().zip(caps).any(|(floor, cap)| floor > cap) {
        return None;
    }
    // Who would get less than its least share gets just that, and the others share the rest, until all have enough.
    let mut fixed = vec![false; caps.len()];
    loop {
        let open: Vec<usize> = (0..caps.len()).filter(|&i| !fixed[i]).collect();
        let given: u32 = (0..caps.len()).filter(|&i| fixed[i]).map(|i| floors[i]).sum();
        let of = |all: &[u32]| open.iter().map(|&i| all[i]).collect::<Vec<_>>();
        let shares = apportion(total - given, &of(weights), &of(caps));
        let short: Vec<usize> =
            open.iter().zip(&shares).filter(|(i, share)| **share < floors[**i]).map(|(i, _)| *i).collect();
        if short.is_empty() {
            let mut all = floors.to_vec();
            open.iter().zip(shares).for_each(|(&i, share)| all[i] = share);
            return Some(all);
        }
        for i in short {
            fixed[i] = true;
        }
    }
}

/// Whole shares of `total` by largest remainder.
fn quotas(total: u64, weights: &[u32]) -> Vec<u64> {
    let all_equal = weights.iter().all(|weight| *weight == 0);
    let weights: Vec<u64> =
        weights.iter().map(|weight| if all_equal { 1 } else { u64::from(*weight) }).collect();
    let sum: u64 = weights.iter().sum();
    let mut quotas: Vec<u64> = weights.iter().map(|weight| total * weight / sum).collect();
    let leftover = total - quotas.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&i| (Reverse(total * weights[i] % sum), i));
    for i in order.into_iter().take(usize::try_from(leftover).unwrap_or(usize::MAX)) {
        quotas[i] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn largest_remainder() {
        for (total, weights, caps, expected) in [
            (4, vec![5, 4, 1], vec![9, 9, 9], vec![2, 2, 0]),
            (3, vec![5, 3, 1], vec![9, 9, 9], vec![2, 1, 0]),
            (2, vec![1, 1, 1], vec![9, 9, 9], vec![1, 1, 0]),
            (5, vec![8, 2], vec![3, 9], vec![3, 2]),
            (9, vec![1, 1], vec![2, 3], vec![2, 3]),
            (3, vec![0, 0], vec![9, 9], vec![2, 1]),
            (0, vec![1], vec![1], vec![0]),
            (7, vec![], vec![], vec![]),
        ] {
            assert_eq!(
                apportion(total, &weights, &caps),
                expected,
                "{total} over {weights:?} within {caps:?}"
            );
        }
    }

    #[test]
    fn nobody_gets_less_than_its_least_share() {
        for (total, weights, floors, caps, expected) in [
            (3, vec![100, 1], vec![1, 1], vec![9, 9], Some(vec![2, 1])),
            (11, vec![10, 1], vec![1, 1], vec![99, 99], Some(vec![10, 1])),
            (4, vec![9, 1], vec![2, 2], vec![3, 3], Some(vec![2, 2])),
            (3, vec![1, 1], vec![2, 2], vec![9, 9], None),
            (5, vec![1, 1], vec![2, 2], vec![9, 1], None),
            (6, vec![4, 1, 1], vec![0, 2, 0], vec![9, 9, 9], Some(vec![3, 2, 1])),
        ] {
            assert_eq!(
                apportion_within(total, &weights, &floors, &caps),
                expected,
                "{total} {weights:?} {floors:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn totals_are_conserved_and_caps_kept(
            total in 0u32..10_000,
            clusters in prop::collection::vec((0u32..1000, 0u32..1000), 0..20),
        ) {
            let (weights, caps): (Vec<_>, Vec<_>) = clusters.into_iter().unzip();
            let shares = apportion(total, &weights, &caps);
            prop_assert_eq!(shares.iter().sum::<u32>(), total.min(caps.iter().sum()));
            prop_assert!(shares.iter().zip(&caps).all(|(share, cap)| share <= cap));
        }

        #[test]
        fn shrinking_by_its_own_shares_never_grows_one(
            shares in prop::collection::vec(0u32..100, 1..10), percent in 0u32..=100,
        ) {
            let total = shares.iter().sum::<u32>() * percent / 100;
            let shrunk = apportion(total, &shares, &shares);
            prop_assert_eq!(shrunk.iter().sum::<u32>(), total);
        }
    }
}
