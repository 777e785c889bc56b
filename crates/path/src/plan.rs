//! Where and when the tasks of a workflow run: the planner's answer to whoever may ask for it. Nothing is run, and nothing is kept.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use access::{Credential, PlanWorkflow};
use audit::Facts;
use planner::{
    Budget, Progress,
    task_graph::{self, Algorithm, Machines, critical_path, read_workflow, verify},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use types::UserId;

use crate::{Path, PathError};

/// Plans that are made at once, in all: what they use, models do not have.
const AT_ONCE: usize = 1;
/// Most that wait for their turn; further ones are told to come again.
const WAITING_MAX: usize = 16;
/// Longest that somebody waits for their turn. Then they are told to come again.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// When those come again who found no place to wait, or one of their own that waits: a plan takes about as long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest search, in milliseconds.
pub const PLAN_BUDGET_MS_MAX: u64 = 1_000;
/// Most processors.
pub const PLAN_PROCESSORS_MAX: usize = 256;
/// Most tasks times processors: the first answer to more takes longer than a search may.
pub const PLAN_COSTS_MAX: usize = 250_000;

/// What is to be planned.
pub struct PlanRequest {
    /// The workflow, as WfCommons writes it.
    pub workflow: String,
    /// What it runs on.
    pub machines: Machines,
    /// Milliseconds that the search may take, from 0 to 1,000.
    pub budget_ms: u64,
    /// Where its chance begins.
    pub seed: u64,
}

/// A schedule that was checked, and what is known of it. Times are in milliseconds.
pub struct WorkflowPlan {
    /// When the last task is finished.
    pub makespan: i64,
    /// No schedule is shorter than this.
    pub lower_bound: i64,
    /// Schedules that were looked at.
    pub evaluations: u64,
    /// The tasks, in the order of the workflow.
    pub tasks: Vec<PlannedTask>,
    /// Whether the workflow names no machine.
    pub processors_assumed: bool,
}

/// Where and when a task runs.
pub struct PlannedTask {
    /// Its id.
    pub id: String,
    /// The processor, from 0.
    pub processor: u32,
    /// When it begins.
    pub start: i64,
    /// When it is finished.
    pub finish: i64,
    /// Whether the whole takes longer if this does.
    pub is_critical: bool,
}

/// Who may use the processors for plans: one after the other, in the order in which they come, and of each user one.
pub(crate) struct Planner {
    turns: Arc<Semaphore>,
    users: Arc<Mutex<HashSet<UserId>>>,
}

/// A place of one's own among those who plan and wait; given back when it is dropped.
struct Place {
    user: UserId,
    users: Arc<Mutex<HashSet<UserId>>>,
}

impl Default for Planner {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), users: Arc::default() }
    }
}

impl Planner {
    async fn turn(&self, user: UserId) -> Result<(Place, OwnedSemaphorePermit), PathError> {
        let come_again = || PathError::Planning { retry_after: RETRY_AFTER };
        let place = self.place(user).ok_or_else(come_again)?;
        let turn = timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        // The semaphore is never closed.
        let turn = turn.ok().and_then(Result::ok).ok_or_else(come_again)?;
        Ok((place, turn))
    }

    fn place(&self, user: UserId) -> Option<Place> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let has_place = users.len() < AT_ONCE + WAITING_MAX && users.insert(user);
        has_place.then(|| Place { user, users: Arc::clone(&self.users) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.user);
    }
}

impl Path {
    /// Finds out where and when each task of a workflow runs, so that all are finished soonest.
    pub async fn plan_workflow(
        &self,
        credential: Credential,
        request: PlanRequest,
    ) -> Result<WorkflowPlan, PathError> {
        self.open()?;
        let decided = self.decided_in_own::<PlanWorkflow>(&credential).await?;
        let acting = decided.act(Facts::none().with("budget_ms", request.budget_ms)).await?;
        let planned = async {
            let turn = self.planner.turn(acting.principal().user).await?;
            let planned = tokio::task::spawn_blocking(move || {
                let planned = plan(&request);
                drop(turn);
                planned
            });
            // A defect of the planner is no reason to be gone.
            planned.await.unwrap_or_else(|_| Err(PathError::Workflow("the planner failed on it".to_owned())))
        };
        let planned = planned.await;
        acting.end_with(planned, |plan| Facts::none().with("tasks", plan.tasks.len())).await
    }
}

fn plan(request: &PlanRequest) -> Result<WorkflowPlan, PathError> {
    let refused = |error: &dyn std::fmt::Display| PathError::Workflow(error.to_string());
    let workflow = read_workflow(&request.workflow, request.machines).map_err(|error| refused(&error))?;
    let (graph, count) = (&workflow.graph, workflow.names.len());
    let processors = graph.links().processors();
    if processors > PLAN_PROCESSORS_MAX {
        return Err(refused(&format_args!(
            "its machines have {processors} cores; at most {PLAN_PROCESSORS_MAX} processors are planned for here"
        )));
    }
    let (begun, limit) = (Instant::now(), Duration::from_millis(request.budget_ms));
    // No time at all is no evaluation: then the answer does not hang on how fast this machine is.
    let budget = Budget { evaluations: if limit.is_zero() { 0 } else { u64::MAX } };
    let mut control = |_: Progress| begun.elapsed() < limit;
    let found = task_graph::solve(graph, Algorithm::Auto, budget, request.seed, &mut control);
    let schedule = &found.schedule;
    verify::schedule(graph, schedule).map_err(|wrong| {
        tracing::error!("the planner made a schedule that does not hold: {wrong}");
        refused(&"the planner failed on it")
    })?;
    let mut is_critical = vec![false; count];
    for task in critical_path(graph, schedule) {
        is_critical[task as usize] = true;
    }
    let planned = workflow.names.into_iter().zip(&schedule.placed).zip(is_critical);
    let tasks = planned.map(|((id, at), is_critical)| {
        let (processor, start, finish) = (at.processor, at.start, at.finish);
        PlannedTask { id, processor, start, finish, is_critical }
    });
    Ok(WorkflowPlan {
        makespan: schedule.makespan(),
        lower_bound: found.lower_bound,
        evaluations: found.evaluations,
        tasks: tasks.collect(),
        processors_assumed: workflow.processors_assumed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever asks again and again has one place, so others come between.
    #[tokio::test(start_paused = true)]
    async fn each_user_has_one_place_and_all_come_in_turn() {
        let planner = Arc::new(Planner::default());
        let first = planner.turn(UserId(1)).await.ok().unwrap();
        assert!(planner.turn(UserId(1)).await.is_err(), "one of theirs is being planned");
        let waiting = tokio::spawn({
            let planner = planner.clone();
            async move { planner.turn(UserId(2)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(planner.turn(UserId(2)).await.is_err(), "one of theirs waits");
        drop(first);
        assert!(waiting.await.unwrap());
        let held = planner.turn(UserId(3)).await.ok().unwrap();
        // Nobody waits for ever.
        assert!(planner.turn(UserId(4)).await.is_err());
        let all: Vec<Place> = (10..).map_while(|user| planner.place(UserId(user))).collect();
        assert_eq!(all.len(), WAITING_MAX);
        drop((held, all));
        assert!(planner.turn(UserId(4)).await.is_ok());
    }
}
