//! OR-tools' CP-SAT beside our searches: the same projects, the same CPU time, one thread.

use std::{path::Path, time::Duration};

use anyhow::Result;
use planner::rcpsp::Project;
use serde::Deserialize;
use serde_json::json;

use crate::peer::Peer;

const SCRIPT: &str = include_str!("../../peers/cp_sat.py");

/// The running peer.
pub(super) struct CpSat(Peer);

/// What it found.
#[derive(Deserialize)]
pub(super) struct Answer {
    /// When each activity begins, if it found a schedule.
    pub(super) starts: Option<Vec<i64>>,
    /// It says that no schedule is shorter.
    pub(super) bound: i64,
    /// CPU time that it took, in milliseconds.
    pub(super) ms: f64,
}

impl CpSat {
    pub(super) fn start(python: &Path) -> Result<Self> {
        Ok(Self(Peer::start(python, SCRIPT)?))
    }

    pub(super) fn solve(&mut self, project: &Project, limit: Duration) -> Result<Answer> {
        let activities = project.activities();
        let ticks: Vec<i64> = activities.iter().map(|activity| activity.ticks).collect();
        let demands: Vec<&Vec<i64>> = activities.iter().map(|activity| &activity.demands).collect();
        self.0.ask(&json!({
            "ticks": ticks,
            "demands": demands,
            "units": project.units(),
            "orders": project.orders(),
            "ms": limit.as_secs_f64() * 1e3,
        }))
    }
}
