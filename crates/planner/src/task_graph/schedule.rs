//! The answer: where and when each task runs.

/// Where and when a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Index of the processor.
    pub processor: u32,
    /// Tick at which it begins, from 0.
    pub start: i64,
    /// Tick at which it is finished: another one may begin then.
    pub finish: i64,
}

/// Where and when all tasks run, by task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// As many as there are tasks.
    pub placed: Vec<Placed>,
}

impl Schedule {
    /// When the last task is finished; 0 without tasks.
    pub fn makespan(&self) -> i64 {
        self.placed.iter().map(|placed| placed.finish).max().unwrap_or_default()
    }
}
