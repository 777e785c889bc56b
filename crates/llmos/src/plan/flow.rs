//! `llmos plan flow`: a flow of least cost, or a greatest flow, of a DIMACS file.

use std::path::Path;

use planner::flow::{Arc, FlowError, Problem, max_flow, min_cost, read, verify};
use serde_json::json;

use super::{cpu_time, defect, text};
use crate::{
    exit::{Exit, Failure},
    output::{self, Output},
};

pub(crate) fn run(file: &Path, output: Output) -> Result<(), Failure> {
    let problem = read(&text::read(file)?).map_err(|error| text::refused(file, &error))?;
    let begun = cpu_time();
    let (name, value, arcs, flows) = match problem {
        Problem::MinCost(problem) => {
            let answer = min_cost(&problem).map_err(|error| refused(&error))?;
            verify::min_cost(&problem, &answer).map_err(|wrong| defect(&wrong))?;
            ("cost", answer.cost, problem.arcs, answer.flows)
        }
        Problem::MaxFlow(problem) => {
            let answer = max_flow(&problem).map_err(|error| refused(&error))?;
            verify::max_flow(&problem, &answer).map_err(|wrong| defect(&wrong))?;
            ("value", answer.value.into(), problem.arcs, answer.flows)
        }
    };
    let cpu_ms = cpu_time().saturating_sub(begun).as_secs_f64() * 1e3;
    if output.json {
        // What is larger than readers of JSON keep exact is written as text.
        let value = i64::try_from(value).map_or_else(|_| json!(value.to_string()), |value| json!(value));
        let flows: Vec<[i64; 3]> = used(&arcs, &flows).collect();
        return output::document(
            &json!({ name: value, "status": "optimal", "cpu_ms": cpu_ms, "flows": flows }),
        );
    }
    let used = used(&arcs, &flows).count();
    output.text(&format!(
        "{name} {value}, optimal: proven and checked\n{used} of {} arcs are used; {cpu_ms:.1} ms of one processor\n",
        arcs.len()
    ))
}

/// From, to and units of the arcs that are used, as the file counts nodes.
fn used<'a>(arcs: &'a [Arc], flows: &'a [i64]) -> impl Iterator<Item = [i64; 3]> + 'a {
    let used = arcs.iter().zip(flows).filter(|(_, flow)| **flow != 0);
    used.map(|(arc, flow)| [i64::from(arc.from) + 1, i64::from(arc.to) + 1, *flow])
}

fn refused(error: &FlowError) -> Failure {
    // A file counts nodes from 1, and the planner from 0.
    let error = match error {
        FlowError::Infeasible { nodes, example, short, cut } => {
            FlowError::Infeasible { nodes: *nodes, example: example + 1, short: *short, cut: cut.clone() }
        }
        other => other.clone(),
    };
    Failure::new(Exit::Failed, error)
}
