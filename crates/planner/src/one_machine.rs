//! One machine that may be interrupted: a bound for what has to happen on it.

use std::{cmp::Reverse, collections::BinaryHeap};

/// What a machine has to do: not before `head`, and with `tail` to follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) head: i64,
    pub(crate) ticks: i64,
    pub(crate) tail: i64,
}

/// The least makespan of one machine that may be interrupted: always the work with the longest tail runs (Jackson's
/// preemptive schedule; Carlier, "The One-Machine Sequencing Problem", EJOR 11, 1982).
pub(crate) fn preemptive(mut works: Vec<Work>) -> i64 {
    works.sort_by_key(|work| Reverse(work.head));
    let mut open = BinaryHeap::new();
    let (mut now, mut last) = (0, 0);
    loop {
        if open.is_empty() {
            let Some(next) = works.last() else {
                return last;
            };
            now = now.max(next.head);
        }
        while let Some(work) = works.pop_if(|work| work.head <= now) {
            open.push((work.tail, work.ticks));
        }
        if let Some((tail, ticks)) = open.pop() {
            let until = works.last().map_or(i64::MAX, |next| next.head);
            let runs = ticks.min(until - now);
            now += runs;
            last = last.max(now + tail);
            if runs < ticks {
                open.push((tail, ticks - runs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_is_bound_by_heads_work_and_tails() {
        let work = |head, ticks, tail| Work { head, ticks, tail };
        for (works, expected) in [
            (vec![], 0),
            (vec![work(3, 4, 5)], 12),
            // The second one interrupts the first for its tail: 1, then 2 to 5, then 7 more.
            (vec![work(0, 8, 0), work(1, 4, 10)], 15),
            (vec![work(0, 8, 3), work(1, 4, 10)], 15),
            (vec![work(0, 8, 4), work(1, 4, 10)], 16),
            (vec![work(0, 1, 0), work(10, 1, 0)], 11),
        ] {
            assert_eq!(preemptive(works.clone()), expected, "{works:?}");
        }
    }
}
