//! The CPU time of this thread: other work on the machine does not change it, or hardly.

use std::time::Duration;

use planner::Progress;
use rustix::time::{ClockId, clock_gettime};

/// What this thread has used since it began.
pub(crate) fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// What this thread has used since then.
pub(crate) fn since(begun: Duration) -> Duration {
    thread_time().saturating_sub(begun)
}

/// Lets a search of the planner go on for so long, from now on.
pub(crate) fn within(limit: Duration) -> impl FnMut(Progress) -> bool {
    let begun = thread_time();
    move |_| since(begun) < limit
}

/// What something costs, and what comes of it.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = thread_time();
    let result = work();
    (result, since(begun))
}
