//! A set of clusters by their place: one bit for each.

/// Bits of one word.
const WORD: usize = 64;

/// Some of a number of clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// None of so many.
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(WORD)], len }
    }

    /// All of so many.
    pub(crate) fn all(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(WORD)];
        if let Some(last) = words.last_mut().filter(|_| !len.is_multiple_of(WORD)) {
            *last = (1 << (len % WORD)) - 1;
        }
        Self { words, len }
    }

    /// Those of so many for which it holds.
    pub(crate) fn of(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Self::none(len);
        (0..len).filter(|place| holds(*place)).for_each(|place| bits.set(place, true));
        bits
    }

    /// How many clusters there are, in it or not.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn has(&self, place: usize) -> bool {
        self.words[place / WORD] >> (place % WORD) & 1 == 1
    }

    pub(crate) fn set(&mut self, place: usize, is_in: bool) {
        let bit = 1 << (place % WORD);
        if is_in {
            self.words[place / WORD] |= bit;
        } else {
            self.words[place / WORD] &= !bit;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Keeps those that are in both.
    pub(crate) fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own &= other);
    }

    /// Takes those of the other out.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own &= !other);
    }

    /// Adds those of the other.
    pub(crate) fn unite(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own |= other);
    }

    /// Takes out those that are not in the other, and gives them.
    pub(crate) fn take_outside(&mut self, other: &Self) -> Self {
        let mut outside = self.clone();
        outside.subtract(other);
        self.intersect(other);
        outside
    }

    /// Takes out those that are in the other, and gives them.
    pub(crate) fn take(&mut self, other: &Self) -> Self {
        let mut inside = self.clone();
        inside.intersect(other);
        self.subtract(other);
        inside
    }

    /// Their places, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(at * WORD + bit)
            })
        })
    }

    /// The same clusters where they have other places: `from` says of each new place which it was.
    pub(crate) fn moved(&self, from: &[Option<usize>]) -> Self {
        Self::of(from.len(), |place| from[place].is_some_and(|before| self.has(before)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_do_what_lists_do(a in prop::collection::vec(any::<bool>(), 0..200), seed in any::<u64>()) {
            let len = a.len();
            let b: Vec<bool> = (0..len).map(|i| seed.rotate_left(u32::try_from(i).unwrap_or(0)) & 1 == 1).collect();
            let of = |list: &[bool]| Bits::of(len, |place| list[place]);
            let list = |bits: &Bits| bits.iter().collect::<Vec<_>>();
            let places = |holds: &dyn Fn(usize) -> bool| (0..len).filter(|i| holds(*i)).collect::<Vec<_>>();
            let mut bits = of(&a);
            prop_assert_eq!(list(&bits), places(&|i| a[i]));
            prop_assert_eq!(bits.count(), list(&bits).len());
            prop_assert_eq!(Bits::all(len).count(), len);
            let outside = bits.take_outside(&of(&b));
            prop_assert_eq!(list(&outside), places(&|i| a[i] && !b[i]));
            prop_assert_eq!(list(&bits), places(&|i| a[i] && b[i]));
            let mut bits = of(&a);
            let inside = bits.take(&of(&b));
            prop_assert_eq!(list(&inside), places(&|i| a[i] && b[i]));
            prop_assert_eq!(list(&bits), places(&|i| a[i] && !b[i]));
            bits.unite(&of(&b));
            prop_assert_eq!(list(&bits), places(&|i| a[i] || b[i]));
            let from: Vec<Option<usize>> = (0..=len).map(|i| i.checked_sub(1)).collect();
            prop_assert_eq!(list(&of(&a).moved(&from)), places(&|i| a[i]).iter().map(|i| i + 1).collect::<Vec<_>>());
        }
    }
}
