//! Random choices that a seed repeats exactly: `SplitMix64`, written out so that no version of a
//! dependency can change what a seed means. Not for secrets.

/// A stream of random choices.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An independent stream for one part of the work, so that a choice more or less in one part
    /// leaves the others as they were.
    pub(crate) fn for_part(seed: u64, part: u64) -> Self {
        let mut parent = Self::new(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let state = parent.next();
        Self { state }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`. The bias of the multiplication is far below what a test can see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing to choose from");
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits")
    }

    /// An index into something of `len` elements.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        let bound = u64::try_from(len).expect("lengths fit 64 bits");
        usize::try_from(self.below(bound)).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_parts_differ() {
        let draw = |mut dice: Dice| -> Vec<u64> { (0..8).map(|_| dice.below(1000)).collect() };
        assert_eq!(draw(Dice::new(7)), draw(Dice::new(7)));
        assert_ne!(draw(Dice::for_part(7, 1)), draw(Dice::for_part(7, 2)));
    }

    #[test]
    fn below_reaches_every_number_and_never_the_bound() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 5];
        for _ in 0..1_000 {
            seen[dice.index(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
