//! `llmos plan flow`: a flow of least cost, or a greatest flow, of a DIMACS file.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use planner::flow::{Arc, FlowError, Problem, max_flow, min_cost, read, verify};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::{
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};

/// Longest file, as text. A million arcs have about 30 MB.
const TEXT_BYTES_MAX: u64 = 1 << 30;
/// How a file of gzip begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(crate) fn run(file: &Path, output: Output) -> Result<(), Failure> {
    let text = text(file)?;
    let problem =
        read(&text).map_err(|error| Failure::new(Exit::Failed, format!("{}, {error}", file.display())))?;
    let begun = cpu_time();
    let (name, value, arcs, flows) = match problem {
        Problem::MinCost(problem) => {
            let answer = min_cost(&problem).map_err(|error| refused(&error))?;
            verify::min_cost(&problem, &answer).map_err(defect)?;
            ("cost", answer.cost, problem.arcs, answer.flows)
        }
        Problem::MaxFlow(problem) => {
            let answer = max_flow(&problem).map_err(|error| refused(&error))?;
            verify::max_flow(&problem, &answer).map_err(defect)?;
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

/// The check found an answer wrong: it is not shown.
fn defect(wrong: verify::Wrong) -> Failure {
    Failure::new(Exit::Failed, format!("the planner has made a mistake, which its check found: {wrong}"))
        .advise("please report it with the file")
}

/// The file as text, unpacked if it is packed by gzip.
fn text(path: &Path) -> Result<String, Failure> {
    let trying = || format!("read {}", path.display());
    let mut file = BufReader::new(modelfile::open_regular(path).trying(trying())?);
    let mut begins = Vec::with_capacity(GZIP.len());
    file.by_ref().take(GZIP.len() as u64).read_to_end(&mut begins).trying(trying())?;
    let is_packed = begins == GZIP;
    let whole = begins.as_slice().chain(file);
    let mut text = String::new();
    let read = if is_packed {
        MultiGzDecoder::new(whole).take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        read_plain(whole, &mut text)
    };
    read.trying(trying())?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} has more than {TEXT_BYTES_MAX} bytes", path.display()),
        ));
    }
    Ok(text)
}

fn read_plain(whole: std::io::Chain<&[u8], BufReader<File>>, text: &mut String) -> std::io::Result<usize> {
    whole.take(TEXT_BYTES_MAX + 1).read_to_string(text)
}

/// Time of one processor that this thread has used.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
