//! The mock's vectors: how often which words occur, so that texts with the same words are near.

use engine::Purpose;

use crate::mock::SEPARATOR;

/// Numbers in a vector; words share them by their hash.
pub(crate) const DIMENSIONS: usize = 64;

/// The vector of a prompt, for a model with this purpose.
pub(crate) fn vector(purpose: Purpose, tokens: &[u32]) -> Vec<f32> {
    match purpose {
        Purpose::Generate | Purpose::Embed => bag(tokens),
        Purpose::Rank => {
            let (query, document) = match tokens.iter().position(|&token| token == SEPARATOR) {
                Some(at) => (&tokens[..at], &tokens[at + 1..]),
                None => (tokens, &[][..]),
            };
            vec![bag(query).iter().zip(bag(document)).map(|(a, b)| a * b).sum()]
        }
    }
}

/// Counts of words, as a vector of length 1.
fn bag(tokens: &[u32]) -> Vec<f32> {
    let mut bag = vec![0.0_f32; DIMENSIONS];
    for word in tokens.split(|&token| token == u32::from(b' ')).filter(|word| !word.is_empty()) {
        let hash = word.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &token| {
            (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3)
        });
        bag[(hash >> 32) as usize % DIMENSIONS] += 1.0;
    }
    let length = bag.iter().map(|count| count * count).sum::<f32>().sqrt().max(1.0);
    bag.iter_mut().for_each(|count| *count /= length);
    bag
}
