//! Made-up input of every awkward kind, the same in every run.

/// A small generator of numbers, seeded.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("small");
        usize::try_from(self.next() % end).expect("smaller")
    }
}

/// At least `bytes` bytes: text, empty lines, bytes that are not UTF-8, long lines, and a last line without
/// a newline.
pub(crate) fn corpus(bytes: usize, random: &mut Random) -> Vec<u8> {
    let mut corpus = Vec::with_capacity(bytes + 100_000);
    while corpus.len() < bytes {
        let length = match random.below(100) {
            0..10 => 0,
            10..90 => random.below(200),
            90..99 => random.below(4_000),
            _ => random.below(100_000),
        };
        let text = random.below(3) > 0;
        for _ in 0..length {
            let byte = random.next().to_le_bytes()[0];
            let byte = if text { b' ' + byte % 94 } else { byte };
            corpus.push(if byte == b'\n' { b'\r' } else { byte });
        }
        corpus.push(b'\n');
    }
    corpus.extend_from_slice(b"the last line has no newline");
    corpus
}
