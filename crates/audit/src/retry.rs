//! How long something elsewhere that failed is left alone.

use std::time::Duration;

/// It is tried again after this, then after twice as long, and so on.
const FIRST: Duration = Duration::from_secs(5);
/// Longest time between two tries.
pub(crate) const MAX: Duration = Duration::from_mins(5);

/// How long it is left alone after so many failures in a row.
pub(crate) fn after(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled.max(1)).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_less_often_up_to_a_bound() {
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 33, u32::MAX].map(|of| after(of).as_secs()).to_vec();
        assert_eq!(waits, [5, 10, 20, 160, 300, 300, 300]);
    }
}
