//! Floating-point numbers of 16 bits, which the standard library has not.

/// The sign, the exponent and the fraction of the largest finite number of 16 bits.
const F16_INFINITE: u16 = 0x7c00;
/// The bits that a number of 16 bits has fewer.
const FEWER: u32 = 23 - 10;
/// What a number of 32 bits adds to an exponent, less what one of 16 bits adds.
const BIAS: u32 = 127 - 15;

/// The nearest number of 16 bits, the even one of two (IEEE 754, `binary16`). Too large ones become infinite.
pub(crate) fn f16_bits(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let (exponent, fraction) = ((bits >> 23) & 0xff, bits & 0x7f_ffff);
    if exponent == 0xff {
        let quiet = if fraction == 0 { 0 } else { 0x200 };
        return sign | F16_INFINITE | quiet;
    }
    // Where the exponent of 16 bits is less than 1, the fraction has its leading one written out, and loses more.
    let (kept, lost) = if exponent > BIAS {
        (((exponent - BIAS) << 23) | fraction, FEWER)
    } else {
        (fraction | 0x80_0000, FEWER + BIAS + 1 - exponent)
    };
    if lost > 24 {
        return sign;
    }
    let (half, rest) = (1 << (lost - 1), kept & ((1 << lost) - 1));
    let mut rounded = kept >> lost;
    // Carrying over into the exponent is right: it is the next number.
    if rest > half || (rest == half && rounded & 1 == 1) {
        rounded += 1;
    }
    sign | rounded.min(u32::from(F16_INFINITE)) as u16
}

/// The number that these 16 bits are (IEEE 754, `binary16`).
pub(crate) fn f16(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), bits & 0x3ff);
    sign * match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        0x1f if fraction == 0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + f32::from(fraction) / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// The number that these 16 bits are (`bfloat16`: the upper half of a number of 32 bits).
pub(crate) fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_16_bits_survives() {
        for bits in 0..=u16::MAX {
            let number = f16(bits);
            if number.is_nan() {
                assert!(f16(f16_bits(number)).is_nan());
            } else {
                assert_eq!(f16_bits(number), bits, "{number}");
            }
        }
    }

    /// Between two neighbours the nearer one is taken, and in the middle the even one.
    #[test]
    fn rounds_to_the_nearest_and_to_even() {
        for bits in 0..F16_INFINITE - 1 {
            let (low, high) = (f16(bits), f16(bits + 1));
            let middle = f32::midpoint(low, high);
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(f16_bits(middle), even, "{middle}");
            assert_eq!(f16_bits(-middle), even | 0x8000, "{middle}");
            assert_eq!(f16_bits(middle.next_down()), bits, "{middle}");
            assert_eq!(f16_bits(middle.next_up()), bits + 1, "{middle}");
        }
    }

    #[test]
    fn the_ends() {
        let cases = [
            (65504.0, 0x7bff),
            (65519.996, 0x7bff),
            (65520.0, 0x7c00),
            (f32::MAX, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (f32::NEG_INFINITY, 0xfc00),
            (-0.0, 0x8000),
            (2f32.powi(-25), 0),
            (2f32.powi(-25).next_up(), 1),
            (f32::MIN_POSITIVE, 0),
        ];
        for (number, bits) in cases {
            assert_eq!(f16_bits(number), bits, "{number}");
        }
        assert_eq!(bf16(0x3f80).to_bits(), 1f32.to_bits());
    }
}
