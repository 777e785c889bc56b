//! What is free of the resources over time.

/// Steps of free units; after the last one everything is free for ever.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    units: Vec<i64>,
    /// When each step begins, rising, from 0.
    times: Vec<i64>,
    /// Units that are free in each step, resource by resource.
    free: Vec<i64>,
}

impl Profile {
    pub(super) fn new(units: &[i64]) -> Self {
        Self { units: units.to_vec(), times: vec![0], free: units.to_vec() }
    }

    /// Everything is free again.
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.times.push(0);
        self.free.clear();
        self.free.extend_from_slice(&self.units);
    }

    /// The first tick from `ready` at which the demands can be met for that long.
    pub(super) fn fits(&self, ready: i64, ticks: i64, demands: &[i64]) -> i64 {
        if ticks == 0 {
            return ready;
        }
        let width = demands.len();
        let mut step = self.times.partition_point(|time| *time <= ready).saturating_sub(1);
        let mut start = ready;
        while let Some(time) = self.times.get(step)
            && *time < start + ticks
        {
            let free = &self.free[step * width..][..width];
            step += 1;
            if free.iter().zip(demands).any(|(free, demand)| free < demand) {
                // In the last step everything is free, so there is a next one.
                start = self.times.get(step).copied().unwrap_or(start);
            }
        }
        start
    }

    /// Takes the demands for that long; they have to fit.
    pub(super) fn take(&mut self, start: i64, ticks: i64, demands: &[i64]) {
        if ticks == 0 {
            return;
        }
        let first = self.split(start);
        let last = self.split(start + ticks);
        let width = demands.len();
        for step in self.free[first * width..last * width].chunks_exact_mut(width.max(1)) {
            for (free, demand) in step.iter_mut().zip(demands) {
                *free -= demand;
            }
        }
    }

    /// The step that begins at this time, made if there is none.
    fn split(&mut self, time: i64) -> usize {
        let step = self.times.partition_point(|begin| *begin < time);
        if self.times.get(step) != Some(&time) {
            let width = self.units.len();
            self.times.insert(step, time);
            let begin = step.saturating_sub(1) * width;
            let end = self.free.len();
            // What is behind moves by one step, and the step before is there twice.
            self.free.extend_from_within(end - width..);
            self.free.copy_within(begin..end - width, begin + width);
        }
        step
    }
}
