//! The element types of tensors, by the numbers that GGUF gives them.

use std::fmt;

use serde::Serialize;

/// How the elements of a tensor are stored: plain, or in blocks of quantised ones.
///
/// The list and the sizes are those of `ggml_type` and `type_traits` in llama.cpp b10200. Types that were removed
/// there are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[expect(non_camel_case_types, reason = "the names of the field")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum TensorType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1_M,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
}

/// One row per type: number, name, elements per block, bytes per block.
const TYPES: [(TensorType, u32, &str, u64, u64); 35] = {
    use TensorType as T;
    [
        (T::F32, 0, "F32", 1, 4),
        (T::F16, 1, "F16", 1, 2),
        (T::Q4_0, 2, "Q4_0", 32, 18),
        (T::Q4_1, 3, "Q4_1", 32, 20),
        (T::Q5_0, 6, "Q5_0", 32, 22),
        (T::Q5_1, 7, "Q5_1", 32, 24),
        (T::Q8_0, 8, "Q8_0", 32, 34),
        (T::Q8_1, 9, "Q8_1", 32, 36),
        (T::Q2_K, 10, "Q2_K", 256, 84),
        (T::Q3_K, 11, "Q3_K", 256, 110),
        (T::Q4_K, 12, "Q4_K", 256, 144),
        (T::Q5_K, 13, "Q5_K", 256, 176),
        (T::Q6_K, 14, "Q6_K", 256, 210),
        (T::Q8_K, 15, "Q8_K", 256, 292),
        (T::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
        (T::IQ2_XS, 17, "IQ2_XS", 256, 74),
        (T::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
        (T::IQ1_S, 19, "IQ1_S", 256, 50),
        (T::IQ4_NL, 20, "IQ4_NL", 32, 18),
        (T::IQ3_S, 21, "IQ3_S", 256, 110),
        (T::IQ2_S, 22, "IQ2_S", 256, 82),
        (T::IQ4_XS, 23, "IQ4_XS", 256, 136),
        (T::I8, 24, "I8", 1, 1),
        (T::I16, 25, "I16", 1, 2),
        (T::I32, 26, "I32", 1, 4),
        (T::I64, 27, "I64", 1, 8),
        (T::F64, 28, "F64", 1, 8),
        (T::IQ1_M, 29, "IQ1_M", 256, 56),
        (T::BF16, 30, "BF16", 1, 2),
        (T::TQ1_0, 34, "TQ1_0", 256, 54),
        (T::TQ2_0, 35, "TQ2_0", 256, 66),
        (T::MXFP4, 39, "MXFP4", 32, 17),
        (T::NVFP4, 40, "NVFP4", 64, 36),
        (T::Q1_0, 41, "Q1_0", 128, 18),
        (T::Q2_0, 42, "Q2_0", 64, 18),
    ]
};
/// Numbers that were types once and that llama.cpp reads no more.
const REMOVED: [u32; 8] = [4, 5, 31, 32, 33, 36, 37, 38];

impl TensorType {
    /// The type with this number in a file, or why there is none.
    pub(crate) fn of(number: u32) -> Result<Self, &'static str> {
        match TYPES.iter().find(|row| row.1 == number) {
            Some(row) => Ok(row.0),
            None if REMOVED.contains(&number) => Err("was removed from the format; quantise the model again"),
            None => Err("is not known"),
        }
    }

    /// All types, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|row| row.0)
    }

    /// Its number in a file.
    pub fn number(self) -> u32 {
        self.row().1
    }

    /// Its name, as people write it: `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements of one block; 1 if it is not quantised. A row of a tensor is whole blocks.
    pub fn elements_per_block(self) -> u64 {
        self.row().3
    }

    /// Bytes of one block.
    pub fn bytes_per_block(self) -> u64 {
        self.row().4
    }

    /// Bytes of this many elements, which are whole blocks; absent where 64 bits do not hold it.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        (elements / self.elements_per_block()).checked_mul(self.bytes_per_block())
    }

    fn row(self) -> &'static (Self, u32, &'static str, u64, u64) {
        // The rows are in the order of the variants, which a test holds.
        &TYPES[self as usize]
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_variant() {
        for (index, row) in TYPES.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(format!("{:?}", row.0), row.2);
            assert_eq!(TensorType::of(row.1), Ok(row.0));
        }
        assert!(TYPES.windows(2).all(|pair| pair[0].1 < pair[1].1), "by number");
    }

    #[test]
    fn removed_and_unknown_numbers_are_told_apart() {
        for number in 0..64 {
            let known = TYPES.iter().any(|row| row.1 == number);
            let removed = TensorType::of(number).is_err_and(|why| why.contains("removed"));
            assert_eq!(removed, number < 43 && !known, "{number}");
        }
    }

    #[test]
    fn bytes_of_elements() {
        assert_eq!(TensorType::Q4_K.bytes(512), Some(288));
        assert_eq!(TensorType::F64.bytes(u64::MAX), None);
    }
}
