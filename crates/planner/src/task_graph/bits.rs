//! A set of places that is emptied in order while it is filled.

/// A set of places.
#[derive(Debug, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn words(&self) -> usize {
        self.0.len()
    }

    pub(super) fn set(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// Takes the first place out; before `word` there is none.
    pub(super) fn take_first(&mut self, word: &mut usize) -> Option<usize> {
        while let Some(bits) = self.0.get_mut(*word) {
            if *bits != 0 {
                let place = bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                return Some(*word * 64 + place);
            }
            *word += 1;
        }
        None
    }

    /// Takes the last place out; from `word` on there is none.
    pub(super) fn take_last(&mut self, word: &mut usize) -> Option<usize> {
        while *word > 0 {
            let bits = &mut self.0[*word - 1];
            if *bits != 0 {
                let place = 63 - bits.leading_zeros() as usize;
                *bits &= !(1 << place);
                return Some((*word - 1) * 64 + place);
            }
            *word -= 1;
        }
        None
    }
}
