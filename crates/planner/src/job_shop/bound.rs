//! The bound of one machine.

use super::JobShop;
use crate::one_machine::{Work, preemptive};

/// No schedule has a smaller makespan.
pub fn lower_bound(shop: &JobShop) -> i64 {
    let mut machines = vec![Vec::new(); shop.machines()];
    let mut longest = 0;
    for job in shop.jobs() {
        let whole: i64 = job.iter().map(|operation| operation.ticks).sum();
        let mut head = 0;
        for operation in job {
            let tail = whole - head - operation.ticks;
            machines[operation.machine as usize].push(Work { head, ticks: operation.ticks, tail });
            head += operation.ticks;
        }
        longest = longest.max(whole);
    }
    machines.into_iter().map(preemptive).fold(longest, i64::max)
}
