//! One algorithm on many graphs.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use planner::{
    Budget,
    task_graph::{Algorithm, solve, verify},
};

use super::{Instance, SEED, SMALL};
use crate::{
    cpu::{timed, within},
    statistics::geomean,
};

/// What an algorithm did on a graph.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) makespan: i64,
    /// Over the reference.
    pub(super) ratio: f64,
    pub(super) took: Duration,
    is_small: bool,
}

impl Ran {
    /// Whether it counts for the tail of the distribution.
    pub(super) fn counts(&self) -> bool {
        self.is_small
    }
}

/// What an algorithm did on some graphs, in their order.
pub(super) struct Series {
    pub(super) ran: Vec<Ran>,
}

impl Series {
    pub(super) fn run(instances: &[&Instance], algorithm: Algorithm, limit: Duration) -> Result<Self> {
        let ran = instances.iter().map(|instance| {
            let budget = Budget { evaluations: u64::MAX };
            let mut control = within(limit);
            let (solution, took) = timed(|| solve(&instance.graph, algorithm, budget, SEED, &mut control));
            let makespan = verify::schedule(&instance.graph, &solution.schedule);
            let makespan = makespan.with_context(|| instance.name.clone())?;
            let ratio = makespan as f64 / instance.reference() as f64;
            Ok(Ran { makespan, ratio, took, is_small: instance.is_small() })
        });
        Ok(Self { ran: ran.collect::<Result<_>>()? })
    }

    pub(super) fn worse_than_heft(&self, instances: &[&Instance]) -> usize {
        let pairs = instances.iter().zip(&self.ran);
        pairs.filter(|(instance, ran)| ran.makespan > instance.heft).count()
    }

    /// Rising.
    pub(super) fn ratios(&self, of: impl Fn(&Ran) -> bool) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.ran.iter().filter(|ran| of(ran)).map(|ran| ran.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// Nine of ten small instances are not above it.
    pub(super) fn p90(&self) -> f64 {
        let small = self.ratios(Ran::counts);
        small.get((small.len() * 9).div_ceil(10).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn worst(&self, of: impl Fn(&Ran) -> bool) -> f64 {
        self.ratios(of).last().copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, large) = (self.ratios(|_| true), self.ratios(|ran| !ran.counts()));
        write!(formatter, "geomean {:.4}; up to {SMALL} tasks: ", geomean(&all))?;
        write!(formatter, "p90 {:.3}, worst {:.3}", self.p90(), self.worst(Ran::counts))?;
        if !large.is_empty() {
            let worst = self.worst(|ran| !ran.counts());
            write!(formatter, "; above: geomean {:.4}, worst {worst:.3}", geomean(&large))?;
        }
        Ok(())
    }
}
