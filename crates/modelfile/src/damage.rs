//! Damaged files for tests: deterministic, from a seed.

/// How many damaged files a test tries, and how many with `LLMOS_TEST_FULL`.
const ROUNDS: u64 = 3_000;
const ROUNDS_FULL: u64 = 10_000;
/// Values that arithmetic trips over.
const EDGES: [u64; 10] =
    [0, 1, 7, 31, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

/// One way to damage a file.
pub(crate) struct Damage {
    /// State of a `SplitMix64` generator.
    state: u64,
}

impl Damage {
    /// Each of them is another one, and the same in every run.
    pub(crate) fn rounds() -> impl Iterator<Item = Self> {
        let rounds = if std::env::var_os("LLMOS_TEST_FULL").is_some() { ROUNDS_FULL } else { ROUNDS };
        (0..rounds).map(|seed| Self { state: seed })
    }

    /// The file, damaged in one to four places of its first `head` bytes.
    pub(crate) fn of(&mut self, good: &[u8], head: usize) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(head);
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => {
                    let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&edge[..width]);
                }
                3 => {
                    // A part of the file once more, somewhere else.
                    let from = self.below(head);
                    let length = self.below(64).min(bytes.len() - at).min(bytes.len() - from);
                    bytes.copy_within(from..from + length, at);
                }
                4 => {
                    let length = self.below(16).min(bytes.len() - at);
                    bytes.drain(at..at + length);
                }
                _ => {
                    let more: Vec<u8> = (0..self.below(16)).map(|_| self.next() as u8).collect();
                    bytes.splice(at..at, more);
                }
            }
            if bytes.len() < head {
                bytes.resize(head, 0);
            }
        }
        bytes
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
