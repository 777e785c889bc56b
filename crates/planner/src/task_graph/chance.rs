//! Random amounts without floating-point mathematics, so that they are the same on every machine.

use crate::Random;

/// One, in the fixed point used here.
pub(super) const ONE: i64 = 1 << 16;
/// `ln 2`.
const LN_2: i64 = 45_426;
const STEPS: usize = 256;
/// `ln(1 + i/256)`.
const LN: [i64; STEPS] = logarithms();

/// By bits of the binary logarithm: squaring doubles it, and what goes above 2 is a bit.
const fn logarithms() -> [i64; STEPS] {
    let mut table = [0; STEPS];
    let mut step = 0;
    while step < STEPS {
        // 1 + step/256, with 32 bits behind the point.
        let mut value = (1_u64 << 32) + ((step as u64) << 24);
        let (mut log2, mut bit) = (0_i64, 0);
        while bit < 16 {
            value = ((value as u128 * value as u128) >> 32) as u64;
            log2 <<= 1;
            if value >= 1 << 33 {
                value >>= 1;
                log2 |= 1;
            }
            bit += 1;
        }
        table[step] = (log2 * LN_2) >> 16;
        step += 1;
    }
    table
}

/// Exponentially distributed with this mean, to one part in 256; up to 44 times the mean.
pub(super) fn exponential(random: &mut Random, mean: i64) -> i64 {
    let bits = random.bits() | 1;
    let zeros = bits.leading_zeros();
    // bits / 2^64 = 2^-(zeros + 1) · (1 + fraction)
    let fraction = ((bits << zeros) >> 55) as usize & (STEPS - 1);
    let minus_ln = i64::from(zeros + 1) * LN_2 - LN[fraction];
    ((i128::from(mean) * i128::from(minus_ln)) >> 16) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_distributed_exponentially() {
        let mut random = Random::new(5);
        let drawn: Vec<i64> = (0..100_000).map(|_| exponential(&mut random, 1_000)).collect();
        let mean = drawn.iter().sum::<i64>() / 100_000;
        assert!((980..1_020).contains(&mean), "{mean}");
        // Shares above one, two and three times the mean: 1/e, 1/e², 1/e³.
        for (times, share) in [(1, 36_788), (2, 13_534), (3, 4_979)] {
            let above = drawn.iter().filter(|drawn| **drawn > times * 1_000).count();
            assert!(above.abs_diff(share) < 600, "{times}: {above}");
        }
        assert!(drawn.iter().all(|drawn| *drawn >= 0));
        assert_eq!(LN[128], 26_572, "ln 1.5 · 2^16, rounded down twice");
    }
}
