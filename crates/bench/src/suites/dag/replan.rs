//! Planning again: each large graph is scheduled, its last processor is lost when a third of the time is over, and the rest is planned
//! again; then, without a limit on moves, for a second.

use std::time::Duration;

use anyhow::{Context, Result};
use planner::{
    Budget,
    task_graph::{Algorithm, Known, Placed, Situation, replan, solve, verify},
};

use super::{Instance, LONG, SEED};
use crate::{
    cpu::{timed, within},
    figures::{Findings, Outcome},
    progress,
};

/// Smaller graphs are no question.
const TASKS_MIN: usize = 900;
/// Of so many processors one is lost.
const PROCESSORS: usize = 8;
/// How long the schedule that is to be changed is searched for.
const BEFORE: Duration = Duration::from_millis(200);
/// When the new plan has to be there, less what its last step may take.
const PLAN: Duration = Duration::from_micros(4_500);
/// Beside those that have to, one task in so many may move.
const MAY_MOVE: usize = 20;
const ENDLESS: Budget = Budget { evaluations: u64::MAX };

/// What a new plan cost and did.
struct Replanned {
    first_ms: f64,
    ms: f64,
    over_resolve: f64,
    moved: f64,
}

pub(super) fn measure(instances: &[Instance], findings: &mut Findings) -> Result<()> {
    let is_one = |instance: &&Instance| {
        instance.graph.tasks() >= TASKS_MIN && instance.graph.links().processors() == PROCESSORS
    };
    let mut all = Vec::new();
    for instance in instances.iter().filter(is_one) {
        progress(&format!("dag: planning {} again", instance.name));
        let one = replanned(instance).with_context(|| instance.name.clone())?;
        let text = format!(
            "{:.3} of what a second gives, {:.3} moved, {:.2} ms; a first plan in {:.2} ms",
            one.over_resolve, one.moved, one.ms, one.first_ms
        );
        findings.text(format!("again: {}", instance.name), text);
        all.push(one);
    }
    let values = |of: fn(&Replanned) -> f64| all.iter().map(of).collect::<Vec<f64>>();
    let ratio = Outcome::of_ratios(&values(|one| one.over_resolve));
    findings.outcomes.insert("replan_ms_1000", Outcome::of(&values(|one| one.ms)));
    findings.outcomes.insert("replan_over_resolve", ratio);
    findings.outcomes.insert("replan_moved_share", Outcome::of(&values(|one| one.moved)));
    Ok(())
}

fn replanned(instance: &Instance) -> Result<Replanned> {
    let graph = &instance.graph;
    let old = solve(graph, Algorithm::Auto, ENDLESS, SEED, &mut within(BEFORE)).schedule;
    let now = old.makespan() / 3;
    let gone = PROCESSORS - 1;
    let lost: Vec<bool> = (0..PROCESSORS).map(|processor| processor == gone).collect();
    let known = |placed: &Placed| {
        let runs = placed.start < now && placed.processor as usize != gone;
        if placed.finish <= now || runs { Known::Started(*placed) } else { Known::Planned(*placed) }
    };
    let known: Vec<Known> = old.placed.iter().map(known).collect();
    let waiting = known.iter().filter(|known| matches!(known, Known::Planned(_))).count();
    let situation = Situation { now, known: &known, lost: &lost };
    let may_move = Some(waiting / MAY_MOVE);
    let none = Budget { evaluations: 0 };
    let (first, first_took) = timed(|| replan(graph, &situation, may_move, none, SEED, &mut within(PLAN)));
    verify::new_plan(graph, &situation, &first?.schedule)?;
    let (plan, took) = timed(|| replan(graph, &situation, may_move, ENDLESS, SEED, &mut within(PLAN)));
    let plan = plan?;
    let makespan = verify::new_plan(graph, &situation, &plan.schedule)?;
    let again = replan(graph, &situation, None, ENDLESS, SEED, &mut within(LONG))?;
    let best = verify::new_plan(graph, &situation, &again.schedule)?;
    Ok(Replanned {
        first_ms: first_took.as_secs_f64() * 1e3,
        ms: took.as_secs_f64() * 1e3,
        over_resolve: makespan as f64 / best as f64,
        moved: plan.moved as f64 / waiting.max(1) as f64,
    })
}
