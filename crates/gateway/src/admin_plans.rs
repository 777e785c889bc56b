//! The part of the admin API that plans.

use std::sync::Arc;

use axum::{Json, extract::State};
use path::{PlanRequest, WorkflowPlan};
use planner::task_graph::Machines;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::OutOfRange;
use utoipa::ToSchema;

use crate::{
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// Milliseconds of a search, if nothing is said.
const BUDGET_MS: u64 = 100;
/// Processors of a workflow that names none.
const PROCESSORS: usize = 8;
/// Ten gigabits in a second, if nothing is said.
const LINK_MB_PER_S: u64 = 1_250;

/// A workflow to be planned.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkflowPlanRequest {
    /// What a file of [WfCommons](https://github.com/wfcommons/WfFormat) has below `workflow`.
    #[schema(value_type = Object)]
    workflow: Box<RawValue>,
    /// So many processors, each a machine of its own, in place of the machines of the workflow: 1 to 256; 8 if it names none.
    processors: Option<u64>,
    /// Megabytes (10⁶ bytes) in a second between two machines, from 1; 1250 if nothing is said.
    link_mb_per_s: Option<u64>,
    /// Milliseconds that the search may take, 0 to 1000; 100 if nothing is said.
    budget_ms: Option<u64>,
    /// Where its chance begins; 1 if nothing is said.
    seed: Option<u64>,
}

/// A schedule, checked by code that shares nothing with the search.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlannedWorkflow {
    /// Milliseconds until the last task is finished.
    makespan_ms: i64,
    /// No schedule takes less, in milliseconds.
    lower_bound_ms: i64,
    /// Schedules that were looked at.
    evaluations: u64,
    /// Whether the workflow names no machine, and nothing was said of processors.
    processors_assumed: bool,
    /// The tasks, in the order of the workflow.
    schedule: Vec<ScheduledTask>,
}

/// Where and when a task runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduledTask {
    /// Its id.
    id: String,
    /// The processor, from 0.
    processor: u32,
    /// When it begins, in milliseconds.
    start_ms: i64,
    /// When it is finished, in milliseconds.
    finish_ms: i64,
    /// Whether the whole takes longer if it does.
    critical: bool,
}

/// Plan a workflow
///
/// Where and when each task runs, so that all are finished soonest. Nothing is run.
#[utoipa::path(
    post,
    path = "/api/v1/workflow-plans",
    tag = "admin",
    request_body = WorkflowPlanRequest,
    responses(
        (status = 200, description = "The schedule", body = PlannedWorkflow),
        (status = "4XX", description = "Not allowed, or a workflow that cannot be planned", body = ErrorBody),
        (status = "5XX", description = "Another plan is being made", body = ErrorBody),
    ),
)]
pub(crate) async fn plan_workflow(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<WorkflowPlanRequest>,
) -> Result<Json<PlannedWorkflow>, ApiError> {
    let plan = gateway.path.plan_workflow(credential, request.try_into()?).await?;
    Ok(Json(plan.into()))
}

impl TryFrom<WorkflowPlanRequest> for PlanRequest {
    type Error = OutOfRange;

    fn try_from(request: WorkflowPlanRequest) -> Result<Self, OutOfRange> {
        let WorkflowPlanRequest { workflow, processors, link_mb_per_s, budget_ms, seed } = request;
        let within = |name, value: Option<u64>, least: u64, most: u64| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(OutOfRange::new(name, value, format!("{least} to {most}")))
            }
            value => Ok(value),
        };
        let processors = within("processors", processors, 1, path::PLAN_PROCESSORS_MAX as u64)?;
        Ok(Self {
            workflow: format!("{{\"workflow\":{}}}", workflow.get()),
            machines: Machines {
                processors: processors.map(|count| count as usize),
                unless_named: PROCESSORS,
                megabytes_per_s: within("link_mb_per_s", link_mb_per_s, 1, u64::from(u32::MAX))?
                    .unwrap_or(LINK_MB_PER_S),
                costs_max: path::PLAN_COSTS_MAX,
            },
            budget_ms: within("budget_ms", budget_ms, 0, path::PLAN_BUDGET_MS_MAX)?.unwrap_or(BUDGET_MS),
            seed: seed.unwrap_or(1),
        })
    }
}

impl From<WorkflowPlan> for PlannedWorkflow {
    fn from(plan: WorkflowPlan) -> Self {
        let task = |task: path::PlannedTask| ScheduledTask {
            id: task.id,
            processor: task.processor,
            start_ms: task.start,
            finish_ms: task.finish,
            critical: task.is_critical,
        };
        Self {
            makespan_ms: plan.makespan,
            lower_bound_ms: plan.lower_bound,
            evaluations: plan.evaluations,
            processors_assumed: plan.processors_assumed,
            schedule: plan.tasks.into_iter().map(task).collect(),
        }
    }
}
