//! `llmos plan solve`: where and when each task of a file runs.

use std::{fs::File, io::Write, path::Path};

use planner::{
    job_shop::{self, JobShop},
    rcpsp::{self, Project},
    task_graph::{self, Algorithm, COSTS_MAX, Machines, Schedule, TaskGraph, critical_path, verify},
};
use serde_json::json;

use super::{
    defect,
    gantt::{Bar, Chart, Lane, Profile},
    search, text,
};
use crate::{
    cli::SolveArgs,
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};

/// Ten gigabits in a second, for files that do not say how fast machines are joined.
const LINK_MB_PER_S: u64 = 1_250;
/// Machines for files that name none.
const PROCESSORS: usize = 8;
/// What projects are searched by.
const PROJECT: &str = "ga";

/// What a file describes.
enum Problem {
    /// A task graph. Its tasks have names, and its ticks are milliseconds, if it is a workflow.
    Graph(TaskGraph, Option<Vec<String>>),
    Shop(JobShop),
    Project(Project),
}

/// A schedule and what is known about it.
struct Answer {
    makespan: i64,
    lower_bound: i64,
    algorithm: &'static str,
    evaluations: u64,
    cpu_ms: f64,
    tasks: Vec<Slot>,
    critical: Vec<u32>,
}

/// Where and when a task runs; a project has no processors.
struct Slot {
    processor: Option<u32>,
    start: i64,
    finish: i64,
}

pub(crate) fn run(wanted: &SolveArgs, output: Output) -> Result<(), Failure> {
    let problem = read(wanted)?;
    // Before the search: one that has no place to go would be lost.
    let drawn = match &wanted.gantt {
        Some(path) => Some(File::create(path).trying(format_args!("write {}", path.display()))?),
        None => None,
    };
    let answer = solve(&problem, wanted, output)?;
    // Neither a full disk nor a reader that went away takes the other one's result.
    let drawn = match (drawn, &wanted.gantt) {
        (Some(mut file), Some(path)) => {
            let svg = chart(&problem, &answer, &wanted.file).svg();
            file.write_all(svg.as_bytes()).trying(format_args!("write {}", path.display()))
        }
        _ => Ok(()),
    };
    if output.json {
        print_document(&answer)?;
    } else {
        output.text(&summary(&answer, wanted))?;
        let (headers, rows) = use_of(&problem, &answer);
        output.table(&headers, &rows)?;
    }
    drawn
}

fn read(wanted: &SolveArgs) -> Result<Problem, Failure> {
    let path = &wanted.file;
    let text = text::read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let ends = |ending: &str| Path::new(name).extension().is_some_and(|found| found == ending);
    let refused = |error| text::refused(path, &error);
    let is_workflow = ends("json") || text.trim_start().starts_with('{');
    if !is_workflow && (wanted.processors.is_some() || wanted.link_mb_per_s.is_some()) {
        let what = "--processors and --link-mb-per-s go with workflows of WfCommons only";
        return Err(Failure::new(Exit::Usage, what).advise("the other formats say what the processors are"));
    }
    if is_workflow {
        let machines = Machines {
            processors: wanted.processors.map(|count| count as usize),
            unless_named: PROCESSORS,
            megabytes_per_s: wanted.link_mb_per_s.unwrap_or(LINK_MB_PER_S),
            costs_max: COSTS_MAX,
        };
        let workflow = task_graph::read_workflow(&text, machines).map_err(refused)?;
        if workflow.processors_assumed {
            output::note(format_args!("it names no machine: planned on {PROCESSORS}, or say --processors N"));
        }
        for (count, what) in [
            (workflow.several_cores, "tasks ran on several cores: each is planned on one, for as long"),
            (workflow.without_size, "files have no size: they are carried in no time"),
        ] {
            if count > 0 {
                output::note(format_args!("{count} {what}"));
            }
        }
        return Ok(Problem::Graph(workflow.graph, Some(workflow.names)));
    }
    if ends("hdag") || text.split_ascii_whitespace().next().is_some_and(|word| ["p", "c"].contains(&word)) {
        return task_graph::read(&text).map(|graph| Problem::Graph(graph, None)).map_err(refused);
    }
    if ends("rcp") {
        return rcpsp::read(&text).map(Problem::Project).map_err(refused);
    }
    let shop = job_shop::read(&text).map(Problem::Shop);
    shop.map_err(|error| refused(error).advise("it was read as a job shop; a project's name ends with .rcp"))
}

fn solve(problem: &Problem, wanted: &SolveArgs, output: Output) -> Result<Answer, Failure> {
    let seed = wanted.search.seed;
    let named = Algorithm::NAMES.into_iter().find(|named| named.0 == wanted.algorithm);
    let (name, algorithm) = named.unwrap_or(("auto", Algorithm::Auto));
    let (graph, name, searched) = match problem {
        Problem::Project(project) => return solve_project(project, name, wanted, output),
        Problem::Graph(graph, _) => {
            let searched = search::run(&wanted.search, output, |budget, control| {
                task_graph::solve(graph, algorithm, budget, seed, control)
            })?;
            if wanted.verify {
                verify::schedule(graph, &searched.found.schedule).map_err(|wrong| defect(&wrong))?;
            }
            (graph, name, searched)
        }
        Problem::Shop(shop) => {
            let searched = search::run(&wanted.search, output, |budget, control| {
                job_shop::solve(shop, algorithm, budget, seed, control)
            })?;
            if wanted.verify {
                job_shop::verify(shop, &searched.found.schedule).map_err(|wrong| defect(&wrong))?;
            }
            // What `auto` is here, so that the name repeats the search.
            (shop.graph(), if algorithm == Algorithm::Auto { "sa" } else { name }, searched)
        }
    };
    let task_graph::Solution { schedule, lower_bound, evaluations } = searched.found;
    Ok(Answer {
        makespan: schedule.makespan(),
        lower_bound,
        algorithm: name,
        evaluations,
        cpu_ms: searched.cpu_ms,
        critical: critical_path(graph, &schedule),
        tasks: slots(&schedule),
    })
}

fn slots(schedule: &Schedule) -> Vec<Slot> {
    let placed = schedule.placed.iter();
    placed.map(|at| Slot { processor: Some(at.processor), start: at.start, finish: at.finish }).collect()
}

fn solve_project(
    project: &Project,
    name: &str,
    wanted: &SolveArgs,
    output: Output,
) -> Result<Answer, Failure> {
    if !["auto", PROJECT].contains(&name) {
        let what = format!("a project is not solved by `{name}`: its activities share resources");
        return Err(Failure::new(Exit::Usage, what).advise(format_args!("use `{PROJECT}` or `auto`")));
    }
    let searched = search::run(&wanted.search, output, |budget, control| {
        rcpsp::solve(project, budget, wanted.search.seed, control)
    })?;
    let rcpsp::Solution { starts, makespan, lower_bound, evaluations } = searched.found;
    if wanted.verify {
        rcpsp::verify(project, &starts).map_err(|wrong| defect(&wrong))?;
    }
    let critical = rcpsp::critical_path(project, &starts);
    let slot = |(start, activity): (i64, &rcpsp::Activity)| Slot {
        processor: None,
        start,
        finish: start + activity.ticks,
    };
    let tasks = starts.into_iter().zip(project.activities()).map(slot).collect();
    let cpu_ms = searched.cpu_ms;
    Ok(Answer { makespan, lower_bound, algorithm: PROJECT, evaluations, cpu_ms, tasks, critical })
}

fn print_document(answer: &Answer) -> Result<(), Failure> {
    let slot = |(task, slot): (usize, &Slot)| {
        let Slot { processor, start, finish } = slot;
        json!({ "task": task, "processor": processor, "start": start, "finish": finish })
    };
    let schedule: Vec<_> = answer.tasks.iter().enumerate().map(slot).collect();
    output::document(&json!({
        "makespan": answer.makespan,
        "lower_bound": answer.lower_bound,
        "algorithm": answer.algorithm,
        "cpu_ms": answer.cpu_ms,
        "evaluations": answer.evaluations,
        "schedule": schedule,
    }))
}

fn summary(answer: &Answer, wanted: &SolveArgs) -> String {
    let Answer { makespan, algorithm, evaluations, cpu_ms, .. } = answer;
    let checked = if wanted.verify { "; checked" } else { "" };
    format!(
        "makespan {makespan}, {}{checked}\n{algorithm}, {evaluations} evaluations, seed {}; {cpu_ms:.1} ms of one processor\n\n",
        proven(answer),
        wanted.search.seed
    )
}

/// How near to the least makespan it is known to be.
fn proven(answer: &Answer) -> String {
    let Answer { makespan, lower_bound, .. } = answer;
    if makespan == lower_bound {
        return "the least that there can be".to_owned();
    }
    let above = (*makespan as f64 / *lower_bound as f64 - 1.0) * 100.0;
    if above.is_finite() {
        format!("at most {above:.1} % above the least (lower bound {lower_bound})")
    } else {
        format!("lower bound {lower_bound}")
    }
}

/// How much of each processor, machine or resource is used.
fn use_of(problem: &Problem, answer: &Answer) -> ([&'static str; 3], Vec<Vec<String>>) {
    let row = |of: String, count: String, share: f64| vec![of, count, format!("{:.0} %", share * 100.0)];
    if let Problem::Project(project) = problem {
        let rows = profiles(project, answer).into_iter().enumerate();
        let rows =
            rows.map(|(index, profile)| row(index.to_string(), profile.units.to_string(), profile.used));
        return (["RESOURCE", "UNITS", "USED"], rows.collect());
    }
    let lanes = lanes(problem, answer);
    let mut counts = vec![0_usize; lanes.len()];
    for processor in answer.tasks.iter().filter_map(|slot| slot.processor) {
        counts[processor as usize] += 1;
    }
    let rows = lanes.into_iter().zip(counts).enumerate();
    let rows = rows.map(|(processor, (lane, count))| {
        row(processor.to_string(), count.to_string(), lane.busy.unwrap_or_default())
    });
    let what = if matches!(problem, Problem::Shop(_)) { "MACHINE" } else { "PROCESSOR" };
    ([what, "TASKS", "BUSY"], rows.collect())
}

fn lanes(problem: &Problem, answer: &Answer) -> Vec<Lane> {
    let (count, what) = match problem {
        Problem::Graph(graph, _) => (graph.links().processors(), "processor"),
        Problem::Shop(shop) => (shop.machines(), "machine"),
        Problem::Project(_) => (0, ""),
    };
    let mut busy = vec![0_i64; count];
    for slot in &answer.tasks {
        if let Some(busy) = slot.processor.and_then(|processor| busy.get_mut(processor as usize)) {
            *busy += slot.finish - slot.start;
        }
    }
    let share = |busy: i64| Some(busy as f64 / answer.makespan.max(1) as f64);
    let busy = busy.into_iter().enumerate();
    busy.map(|(index, busy)| Lane { label: format!("{what} {index}"), busy: share(busy) }).collect()
}

/// How many units of each resource are used, from tick to tick.
fn profiles(project: &Project, answer: &Answer) -> Vec<Profile> {
    let of_resource = |(resource, units): (usize, &i64)| {
        let (mut changes, mut work) = (Vec::new(), 0.0);
        for (slot, activity) in answer.tasks.iter().zip(project.activities()) {
            let demand = activity.demands[resource];
            changes.extend([(slot.start, demand), (slot.finish, -demand)]);
            work += demand as f64 * activity.ticks as f64;
        }
        changes.sort_unstable();
        let mut used = 0;
        let mut steps: Vec<(i64, i64)> = Vec::new();
        for (tick, change) in changes {
            used += change;
            match steps.last_mut() {
                Some(last) if last.0 == tick => last.1 = used,
                _ => steps.push((tick, used)),
            }
        }
        let whole = *units as f64 * answer.makespan as f64;
        let share = if whole > 0.0 { work / whole } else { 0.0 };
        Profile { label: format!("resource {resource}"), units: *units, used: share, steps }
    };
    project.units().iter().enumerate().map(of_resource).collect()
}

fn chart(problem: &Problem, answer: &Answer, file: &Path) -> Chart {
    let names = match problem {
        Problem::Graph(_, names) => names.as_deref(),
        _ => None,
    };
    let unit = if names.is_some() { "ms" } else { "ticks" };
    let rows = match problem {
        Problem::Project(_) => None,
        _ => Some(lanes(problem, answer)),
    };
    // Activities of a project lie one below the other where they run at the same time.
    let (lanes, row_of) = match rows {
        Some(lanes) => {
            let row_of =
                answer.tasks.iter().map(|slot| slot.processor.unwrap_or_default() as usize).collect();
            (lanes, row_of)
        }
        None => stacked(&answer.tasks),
    };
    let bar = |((task, slot), lane): ((usize, &Slot), usize)| {
        let label = match (problem, names) {
            (Problem::Shop(shop), _) => job_and_operation(shop, task),
            (_, Some(names)) => names[task].clone(),
            _ => task.to_string(),
        };
        Bar { label, lane, start: slot.start, finish: slot.finish }
    };
    Chart {
        title: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        subtitle: format!(
            "makespan {} {unit}, {}; {}, {} evaluations",
            answer.makespan,
            proven(answer),
            answer.algorithm,
            answer.evaluations
        ),
        unit,
        end: answer.makespan,
        bound: answer.lower_bound,
        lanes,
        bars: answer.tasks.iter().enumerate().zip(row_of).map(bar).collect(),
        critical: answer.critical.iter().map(|task| *task as usize).collect(),
        profiles: match problem {
            Problem::Project(project) => profiles(project, answer),
            _ => Vec::new(),
        },
    }
}

/// As in `3.1`: the second operation of job 3.
fn job_and_operation(shop: &JobShop, mut task: usize) -> String {
    for (job, operations) in shop.jobs().iter().enumerate() {
        if task < operations.len() {
            return format!("{job}.{task}");
        }
        task -= operations.len();
    }
    String::new()
}

/// Rows in which nothing overlaps: each task in the first one that is free when it begins.
fn stacked(tasks: &[Slot]) -> (Vec<Lane>, Vec<usize>) {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|task| (tasks[*task].start, *task));
    let (mut free_at, mut row_of) = (Vec::<i64>::new(), vec![0; tasks.len()]);
    for task in order {
        let row = free_at.iter().position(|free| *free <= tasks[task].start).unwrap_or(free_at.len());
        if row == free_at.len() {
            free_at.push(0);
        }
        free_at[row] = tasks[task].finish;
        row_of[task] = row;
    }
    let lanes = free_at.iter().map(|_| Lane { label: String::new(), busy: None }).collect();
    (lanes, row_of)
}
