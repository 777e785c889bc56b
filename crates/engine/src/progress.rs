use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant as Clock;

/// Below this share of a load its pace says little about the rest.
const TELLING_SHARE: f32 = 0.1;
/// A load that takes longer than expected is always this far from its end.
const LEFT_MIN: Duration = Duration::from_secs(1);

/// How far the loading of a model has come, for those who wait for it.
#[derive(Debug)]
pub struct LoadProgress {
    begun: Clock,
    reached: Mutex<Reached>,
    /// Process id of the worker, 0 as long as there is none.
    worker: AtomicU32,
    abandoned: AtomicBool,
}

#[derive(Debug, Default)]
struct Reached {
    /// 0 to 1.
    share: f32,
    /// Where the stage began that runs now.
    stage: f32,
    /// How long it took to get there.
    after: Duration,
    /// How long the whole is expected to take.
    expected: Option<Duration>,
}

impl LoadProgress {
    /// A load that begins now.
    pub fn begin() -> Self {
        Self {
            begun: Clock::now(),
            reached: Mutex::default(),
            worker: AtomicU32::new(0),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Notes the process that loads it.
    pub fn work_in(&self, pid: Option<u32>) {
        self.worker.store(pid.unwrap_or(0), Ordering::Release);
    }

    /// The process that loads it, if there is one yet.
    pub fn worker(&self) -> Option<u32> {
        Some(self.worker.load(Ordering::Acquire)).filter(|&pid| pid != 0)
    }

    /// Nobody waits for this load any more.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether nobody waits for it any more: for those who cannot be stopped from outside.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// How long it is expected to take in all: what it took the last time, or a guess by its size.
    pub fn expect(&self, duration: Duration) {
        self.reached().expected = Some(duration);
    }

    /// What is done is a stage; from here on [`reach`](Self::reach) counts the rest of the load.
    pub fn end_stage(&self) {
        let mut reached = self.reached();
        reached.stage = reached.share;
    }

    /// Notes that this share of the stage, 0 to 1, is done. It never goes back.
    pub fn reach(&self, share: f32) {
        let mut reached = self.reached();
        let share = reached.stage + (1.0 - reached.stage) * share.min(1.0);
        if share > reached.share {
            reached.share = share;
            reached.after = self.begun.elapsed();
        }
    }

    /// What is done, in percent.
    pub fn percent(&self) -> u8 {
        (self.reached().share * 100.0) as u8
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How long it will still take: by its own pace once that is known, else by what was expected. `None` where
    /// there is nothing to judge by.
    pub fn left(&self) -> Option<Duration> {
        let reached = self.reached();
        let whole = if reached.share >= TELLING_SHARE {
            reached.after.div_f32(reached.share)
        } else {
            reached.expected?
        };
        Some(whole.saturating_sub(self.begun.elapsed()).max(LEFT_MIN))
    }

    fn reached(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_judged_by_the_pace_and_before_that_by_what_was_expected() {
        let s = Duration::from_secs;
        let progress = LoadProgress::begin();
        assert_eq!(progress.left(), None);
        progress.expect(s(30));
        tokio::time::advance(s(10)).await;
        assert_eq!(progress.left(), Some(s(20)));
        progress.reach(0.05);
        assert_eq!(progress.left(), Some(s(20)));
        progress.reach(0.25);
        progress.reach(0.1);
        assert_eq!((progress.percent(), progress.left()), (25, Some(s(30))));
        progress.end_stage();
        progress.reach(0.5);
        assert_eq!(progress.percent(), 62, "half of the rest");
        progress.reach(7.0);
        assert_eq!((progress.percent(), progress.left()), (100, Some(s(1))));
    }
}
