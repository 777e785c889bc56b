//! Workflows as WfCommons records them: JSON in WfFormat, from 1.5 on with a specification and an execution, before with both in one
//! list of tasks (<https://github.com/wfcommons/WfFormat>).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{COSTS_MAX, EDGES_MAX, Edge, GraphError, Links, PROCESSORS_MAX, TASKS_MAX, TaskGraph};
use crate::words::{ReadError, chain};

/// A tick of a workflow is a millisecond.
const TICKS_PER_S: f64 = 1e3;
/// So a megabyte in a second is so many bytes in a tick.
const BYTES_PER_TICK: u64 = 1_000;
/// Between machines a unit of data is a tick of a link.
const BETWEEN: i64 = 1_000;

/// What a file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machines {
    /// So many processors, each a machine of its own, in place of those of the file.
    pub processors: Option<usize>,
    /// The same for a file that names no machine.
    pub unless_named: usize,
    /// Megabytes (10⁶ bytes) in a second between two machines, from 1. On one machine data takes no time.
    pub megabytes_per_s: u64,
    /// Most tasks times processors, up to [`COSTS_MAX`]: more are refused before there is memory for them.
    pub costs_max: usize,
}

/// A workflow that was recorded.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its tasks in the order of the file; a tick is a millisecond, and a processor a core of a machine.
    pub graph: TaskGraph,
    /// The id of each task.
    pub names: Vec<String>,
    /// Tasks that were recorded with several cores. Each is planned on one, for as long as it ran.
    pub several_cores: usize,
    /// Files that a task reads, another one writes, and of which no size is known: they take no time.
    pub without_size: usize,
    /// Whether the processors are those of [`Machines::unless_named`].
    pub processors_assumed: bool,
}

/// Reads a file. Every core of the machines of the file is a processor; all are alike, since the clock that a file names is what a
/// kernel showed at some moment. An edge carries the files that the first task writes and the second reads.
///
/// ```
/// use planner::task_graph::{Machines, read_workflow};
///
/// let text = r#"{"workflow": {
///     "specification": {
///         "tasks": [
///             {"id": "a", "parents": [], "children": ["b"], "outputFiles": ["f"]},
///             {"id": "b", "parents": ["a"], "children": [], "inputFiles": ["f"]}
///         ],
///         "files": [{"id": "f", "sizeInBytes": 3000000}]
///     },
///     "execution": {
///         "tasks": [{"id": "a", "runtimeInSeconds": 1.5}, {"id": "b", "runtimeInSeconds": 2}],
///         "machines": [{"nodeName": "m", "cpu": {"coreCount": 4}}]
///     }
/// }}"#;
/// let workflow = read_workflow(text, Machines { processors: None, unless_named: 8, megabytes_per_s: 1000, costs_max: 1000 })?;
/// assert_eq!(workflow.graph.links().processors(), 4);
/// assert_eq!(workflow.graph.cost(0, 3), Some(1500));
/// assert_eq!(workflow.graph.edges()[0].data, 3, "ticks between machines");
/// # Ok::<(), planner::ReadError>(())
/// ```
pub fn read_workflow(text: &str, machines: Machines) -> Result<Workflow, ReadError> {
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let recorded = Recorded::new(text, document.workflow)?;
    let edges = recorded.edges(machines.megabytes_per_s.max(1).saturating_mul(BYTES_PER_TICK))?;
    let nodes = recorded.nodes(machines)?;
    let ticks = recorded.ticks()?;
    let count = nodes.len().saturating_mul(ticks.len());
    let wrong = |error: GraphError| recorded.wrong(error);
    let most = machines.costs_max.min(COSTS_MAX);
    if count > most {
        return Err(wrong(GraphError::TooMany { what: "tasks times processors", count, most }));
    }
    let costs: Vec<Option<i64>> =
        ticks.iter().flat_map(|ticks| std::iter::repeat_n(Some(*ticks), nodes.len())).collect();
    let links = Links::of_nodes(&nodes, 0, BETWEEN).map_err(wrong)?;
    let graph = TaskGraph::new(&costs, links, edges).map_err(wrong)?;
    let several_cores = recorded.runs.values().filter(|run| run.cores.is_some_and(|cores| cores.0 > 1.0));
    Ok(Workflow {
        several_cores: several_cores.count(),
        without_size: recorded.without_size(),
        processors_assumed: machines.processors.is_none() && recorded.machines.is_empty(),
        names: recorded.ids.iter().map(|id| id.0.clone().into_owned()).collect(),
        graph,
    })
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    workflow: Body<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    specification: Option<Specification<'a>>,
    #[serde(borrow)]
    execution: Option<Execution<'a>>,
    // Before 1.5 there were only these.
    #[serde(borrow, default, alias = "jobs")]
    tasks: Vec<Task<'a>>,
    #[serde(default)]
    machines: Vec<Machine>,
}

#[derive(Deserialize)]
struct Specification<'a> {
    #[serde(borrow)]
    tasks: Vec<Task<'a>>,
    #[serde(borrow, default)]
    files: Vec<File<'a>>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(borrow)]
    tasks: Vec<Run<'a>>,
    #[serde(default)]
    machines: Vec<Machine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    #[serde(borrow)]
    id: Option<Name<'a>>,
    #[serde(borrow)]
    name: Option<Name<'a>>,
    #[serde(borrow, default)]
    parents: Vec<Name<'a>>,
    #[serde(borrow, default)]
    children: Vec<Name<'a>>,
    #[serde(borrow, default)]
    input_files: Vec<Name<'a>>,
    #[serde(borrow, default)]
    output_files: Vec<Name<'a>>,
    // Before 1.5.
    #[serde(borrow, default)]
    files: Vec<File<'a>>,
    runtime_in_seconds: Option<Amount>,
    runtime: Option<Amount>,
    cores: Option<Amount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(borrow)]
    id: Option<Name<'a>>,
    #[serde(borrow)]
    name: Option<Name<'a>>,
    size_in_bytes: Option<Amount>,
    size: Option<Amount>,
    link: Option<Link>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Link {
    Input,
    Output,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    #[serde(borrow)]
    id: Name<'a>,
    #[serde(rename = "runtimeInSeconds")]
    seconds: Amount,
    #[serde(rename = "coreCount")]
    cores: Option<Amount>,
}

#[derive(Deserialize)]
struct Machine {
    cpu: Option<Cpu>,
}

#[derive(Deserialize)]
struct Cpu {
    #[serde(alias = "coreCount", alias = "count")]
    cores: Option<u32>,
}

/// Borrowed from the text where it can be, so that its place is known.
#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A number that is not negative.
#[derive(Clone, Copy)]
struct Amount(f64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number >= 0.0 {
            Ok(Self(number))
        } else {
            Err(D::Error::custom(format_args!("a time, size or number is {number}; it is 0 or more")))
        }
    }
}

/// A file whose references are resolved.
struct Recorded<'a> {
    text: &'a str,
    ids: Vec<Name<'a>>,
    tasks: Vec<Task<'a>>,
    index: BTreeMap<Name<'a>, u32>,
    runs: BTreeMap<Name<'a>, Run<'a>>,
    sizes: BTreeMap<Name<'a>, u64>,
    machines: Vec<Machine>,
}

impl<'a> Recorded<'a> {
    fn new(text: &'a str, body: Body<'a>) -> Result<Self, ReadError> {
        let (mut tasks, files) = match body.specification {
            Some(specification) => (specification.tasks, specification.files),
            None => (body.tasks, Vec::new()),
        };
        let (runs, machines) = match body.execution {
            Some(execution) => (execution.tasks, execution.machines),
            None => (Vec::new(), body.machines),
        };
        let mut recorded = Self {
            text,
            ids: Vec::new(),
            tasks: Vec::new(),
            index: BTreeMap::new(),
            runs: runs.into_iter().map(|run| (run.id.clone(), run)).collect(),
            sizes: BTreeMap::new(),
            machines,
        };
        if tasks.is_empty() || tasks.len() > TASKS_MAX {
            let count = tasks.len();
            return Err(recorded.end(format!("there are {count} tasks; there may be 1 to {TASKS_MAX}")));
        }
        for (task, index) in tasks.iter_mut().zip(0..) {
            let Some(id) = task.id.clone().or_else(|| task.name.clone()) else {
                return Err(recorded.end(format!("task {index}, counted from 0, has no id")));
            };
            if recorded.index.insert(id.clone(), index).is_some() {
                return Err(recorded.at(&id, format!("there are two tasks `{}`", id.0)));
            }
            if let Some(seconds) = task.runtime_in_seconds.or(task.runtime)
                && !recorded.runs.contains_key(&id)
            {
                recorded.runs.insert(id.clone(), Run { id: id.clone(), seconds, cores: task.cores });
            }
            recorded.ids.push(id);
        }
        // Before 1.5 parents were called by their names.
        for (task, index) in tasks.iter().zip(0..) {
            if let Some(name) = task.name.clone() {
                recorded.index.entry(name).or_insert(index);
            }
        }
        let mut older = Vec::new();
        for task in &mut tasks {
            for file in task.files.drain(..) {
                let Some(name) = file.id.clone().or_else(|| file.name.clone()) else { continue };
                match file.link {
                    Some(Link::Input) => task.input_files.push(name),
                    Some(Link::Output) => task.output_files.push(name),
                    None => {}
                }
                older.push(file);
            }
        }
        for file in files.into_iter().chain(older) {
            if let Some((name, size)) = file.id.or(file.name).zip(file.size_in_bytes.or(file.size)) {
                recorded.sizes.insert(name, size.0 as u64);
            }
        }
        recorded.tasks = tasks;
        Ok(recorded)
    }

    /// How long each task ran.
    fn ticks(&self) -> Result<Vec<i64>, ReadError> {
        let ticks = self.ids.iter().map(|id| match self.runs.get(id) {
            Some(run) => Ok((run.seconds.0 * TICKS_PER_S).round() as i64),
            None => Err(self.at(id, format!("it is not recorded how long task `{}` ran", id.0))),
        });
        ticks.collect()
    }

    /// The machine of each processor.
    fn nodes(&self, machines: Machines) -> Result<Vec<u32>, ReadError> {
        let unless_named = self.machines.is_empty().then_some(machines.unless_named);
        let cores: Vec<usize> = if let Some(count) = machines.processors.or(unless_named) {
            vec![1; count.clamp(1, PROCESSORS_MAX + 1)]
        } else {
            let cores = |machine: &Machine| machine.cpu.as_ref().and_then(|cpu| cpu.cores).unwrap_or(1);
            self.machines.iter().map(|machine| cores(machine).max(1) as usize).collect()
        };
        let count: usize = cores.iter().sum();
        if count > PROCESSORS_MAX {
            return Err(self.end(format!(
                "its machines have {count} cores, and at most {PROCESSORS_MAX} processors can be worked with"
            )));
        }
        Ok(cores.iter().zip(0..).flat_map(|(cores, node)| std::iter::repeat_n(node, *cores)).collect())
    }

    fn edges(&self, bytes_per_tick: u64) -> Result<Vec<Edge>, ReadError> {
        let mut parents = vec![BTreeSet::new(); self.tasks.len()];
        let (mut pairs, mut written) = (0, BTreeMap::<&Name<'_>, BTreeSet<u32>>::new());
        for (task, index) in self.tasks.iter().zip(0..) {
            for file in &task.output_files {
                written.entry(file).or_default().insert(index);
            }
            let before = task.parents.iter().map(|name| (name, true));
            for (name, comes_before) in before.chain(task.children.iter().map(|name| (name, false))) {
                let Some(other) = self.index.get(name).copied() else {
                    let (id, relation) =
                        (&self.ids[index as usize].0, if comes_before { "parent" } else { "child" });
                    let why = format!("task `{id}` has the {relation} `{}`, which there is not", name.0);
                    return Err(self.at(name, why));
                };
                if other == index {
                    return Err(self.at(name, format!("task `{}` cannot wait for itself", name.0)));
                }
                let (parent, child) = if comes_before { (other, index) } else { (index, other) };
                pairs += usize::from(parents[child as usize].insert(parent));
                if pairs > EDGES_MAX {
                    return Err(self.at(name, format!("there are more than {EDGES_MAX} edges")));
                }
            }
        }
        let mut edges = Vec::with_capacity(pairs);
        for ((task, parents), to) in self.tasks.iter().zip(&parents).zip(0..) {
            let mut bytes: BTreeMap<u32, u64> = parents.iter().map(|parent| (*parent, 0)).collect();
            for file in task.input_files.iter().collect::<BTreeSet<_>>() {
                let size = self.sizes.get(file).copied().unwrap_or_default();
                let Some(writers) = written.get(file) else { continue };
                // Whichever are fewer: a file may be written by all tasks and read by all.
                if parents.len() < writers.len() {
                    let those = bytes.iter_mut().filter(|(parent, _)| writers.contains(parent));
                    those.for_each(|(_, sum)| *sum = sum.saturating_add(size));
                    continue;
                }
                for writer in writers {
                    if let Some(sum) = bytes.get_mut(writer) {
                        *sum = sum.saturating_add(size);
                    }
                }
            }
            let edge = |(from, bytes): (u32, u64)| {
                let data = i64::try_from(bytes.div_ceil(bytes_per_tick)).unwrap_or(i64::MAX);
                Edge { from, to, data }
            };
            edges.extend(bytes.into_iter().map(edge));
        }
        Ok(edges)
    }

    fn without_size(&self) -> usize {
        let written: BTreeSet<_> = self.tasks.iter().flat_map(|task| &task.output_files).collect();
        let read: BTreeSet<_> = self.tasks.iter().flat_map(|task| &task.input_files).collect();
        written.intersection(&read).filter(|file| !self.sizes.contains_key(**file)).count()
    }

    /// A complaint about a graph, with names.
    fn wrong(&self, error: GraphError) -> ReadError {
        let GraphError::Cycle(cycle) = error else { return self.end(error.to_string()) };
        let names: Vec<&str> = cycle.iter().map(|task| &*self.ids[*task as usize].0).collect();
        let why = format!("tasks wait for each other: {}", chain(&names));
        match cycle.first() {
            Some(first) => self.at(&self.ids[*first as usize], why),
            None => self.end(why),
        }
    }

    /// A complaint about a name in the text.
    fn at(&self, name: &Name<'_>, why: String) -> ReadError {
        let (begin, at) = (self.text.as_ptr() as usize, name.0.as_ptr() as usize);
        // One that had escapes in it is a copy, and nowhere in the text.
        let before = at.checked_sub(begin).and_then(|at| self.text.get(..at));
        let Some(before) = before.filter(|_| matches!(name.0, Cow::Borrowed(_))) else {
            return self.end(why);
        };
        let column = before.rfind('\n').map_or(before.len(), |end| before.len() - end - 1);
        ReadError { line: before.matches('\n').count() + 1, column: column + 1, why }
    }

    /// A complaint about the whole.
    fn end(&self, why: String) -> ReadError {
        ReadError { line: self.text.lines().count().max(1), column: 1, why }
    }
}

fn not_json(error: &serde_json::Error) -> ReadError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let why = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let why = if error.is_eof() { format!("{why}; is the file cut off?") } else { why.to_owned() };
    ReadError { line: line.max(1), column: column.max(1), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINES: Machines =
        Machines { processors: None, unless_named: 8, megabytes_per_s: 1, costs_max: COSTS_MAX };

    fn new_format(tasks: &str, runs: &str) -> String {
        format!(
            r#"{{"name": "w", "workflow": {{
"specification": {{"tasks": [{tasks}], "files": [{{"id": "f", "sizeInBytes": 2500}}]}},
"execution": {{"makespanInSeconds": 1, "tasks": [{runs}],
"machines": [{{"nodeName": "m", "cpu": {{"coreCount": 2}}}}, {{"nodeName": "n"}}]}}}}}}"#
        )
    }

    #[test]
    fn both_shapes_are_the_same_graph() {
        let tasks = r#"{"id": "1", "name": "a", "children": ["2"], "parents": [], "outputFiles": ["f", "g"]},
            {"id": "2", "name": "b", "children": [], "parents": ["1"], "inputFiles": ["f", "g", "f"]}"#;
        let runs =
            r#"{"id": "2", "runtimeInSeconds": 0.25}, {"id": "1", "runtimeInSeconds": 2, "coreCount": 4}"#;
        let new = read_workflow(&new_format(tasks, runs), MACHINES).unwrap();
        let old = r#"{"workflow": {"machines": [{"nodeName": "m", "cpu": {"count": 2}}, {"nodeName": "n"}], "tasks": [
            {"id": "1", "name": "a", "runtime": 2, "cores": 4, "children": ["b"], "files": [{"name": "f", "size": 2500, "link": "output"}]},
            {"id": "2", "name": "b", "runtime": 0.25, "parents": ["a"], "files": [{"name": "f", "size": 2500, "link": "input"}]}]}}"#;
        let old = read_workflow(old, MACHINES).unwrap();
        for workflow in [&new, &old] {
            let Workflow { graph, names, several_cores, .. } = workflow;
            assert_eq!((graph.tasks(), graph.links().processors(), names.join(" ").as_str()), (2, 3, "1 2"));
            assert_eq!((graph.cost(0, 2), graph.cost(1, 0), *several_cores), (Some(2000), Some(250), 1));
            assert_eq!(graph.edges(), [Edge { from: 0, to: 1, data: 3 }]);
            assert_eq!((graph.links().factor(0, 1), graph.links().factor(1, 2)), (0, 1000));
        }
        assert_eq!((new.without_size, old.without_size), (1, 0));
        let unnamed =
            read_workflow(r#"{"workflow": {"tasks": [{"id": "a", "runtime": 1}]}}"#, MACHINES).unwrap();
        assert!(unnamed.processors_assumed && !new.processors_assumed);
        assert_eq!(unnamed.graph.links().processors(), 8);
        let given = Machines { processors: Some(5), ..MACHINES };
        assert_eq!(read_workflow(&new_format(tasks, runs), given).unwrap().graph.links().factor(3, 4), 1000);
    }

    /// All tasks write all files and read them: a page of text that could take hours.
    #[test]
    fn what_is_short_to_say_is_short_to_read() {
        let files: Vec<String> = (0..7).map(|file| format!("\"f{file}\"")).collect();
        let (files, count) = (files.join(","), 20_000);
        let task = |id: usize| {
            let parent = if id == 0 { String::new() } else { format!("\"t{}\"", id - 1) };
            format!(
                "{{\"id\": \"t{id}\", \"runtimeInSeconds\": 1, \"parents\": [{parent}], \"inputFiles\": [{files}], \"outputFiles\": [{files}]}}"
            )
        };
        let tasks: Vec<String> = (0..count).map(task).collect();
        let text = format!("{{\"workflow\": {{\"tasks\": [{}]}}}}", tasks.join(","));
        let begun = std::time::Instant::now();
        let workflow = read_workflow(&text, MACHINES).unwrap();
        assert_eq!(workflow.graph.edges().len(), count - 1);
        assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
        let narrow = Machines { costs_max: count * 8 - 1, ..MACHINES };
        let error = read_workflow(&text, narrow).unwrap_err();
        assert!(error.why.contains("159999"), "{}", error.why);
    }

    /// As dear as a workflow may be, on many processors, and so dense that to look ahead would take a minute.
    #[test]
    fn the_dearest_and_the_densest_are_planned_in_time() {
        use super::super::{Algorithm, solve, verify};
        let dear = r#"{"workflow": {"tasks": [{"id": "a", "runtimeInSeconds": 7e10}]}}"#;
        let task = |id: usize| {
            let parents: Vec<String> = (0..id).map(|parent| format!("\"t{parent}\"")).collect();
            let parents = parents.join(",");
            format!("{{\"id\": \"t{id}\", \"runtimeInSeconds\": 1, \"parents\": [{parents}]}}")
        };
        let tasks: Vec<String> = (0..600).map(task).collect();
        let dense = format!("{{\"workflow\": {{\"tasks\": [{}]}}}}", tasks.join(","));
        for text in [dear, &dense] {
            let many = Machines { processors: Some(256), ..MACHINES };
            let graph = read_workflow(text, many).unwrap().graph;
            let begun = std::time::Instant::now();
            let mut half_a_second =
                |_: crate::Progress| begun.elapsed() < std::time::Duration::from_millis(500);
            let budget = crate::Budget { evaluations: u64::MAX };
            let found = solve(&graph, Algorithm::Ensemble, budget, 1, &mut half_a_second);
            verify::schedule(&graph, &found.schedule).unwrap();
            assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let a = r#"{"id": "a", "parents": []}"#;
        let ran = r#"{"id": "a", "runtimeInSeconds": 1}"#;
        let two = r#"{"id": "a", "runtimeInSeconds": 1}, {"id": "b", "runtimeInSeconds": 1}"#;
        let cycle = r#"{"id": "a", "parents": ["b"]}, {"id": "b", "parents": ["a"]}"#;
        let many = format!("{}{{}}", "{},".repeat(TASKS_MAX));
        let wide =
            r#"{"workflow": {"machines": [{"cpu": {"cores": 2000}}], "tasks": [{"id": "a", "runtime": 1}]}}"#;
        for (text, line, column, says) in [
            ("", 1, 1, "EOF while parsing a value; is the file cut off?"),
            (
                "{\"workflow\":\n{\"tasks\": [{\"id\": \"a",
                2,
                20,
                "EOF while parsing a string; is the file cut off?",
            ),
            ("{}", 1, 2, "missing field `workflow`"),
            (r#"{"workflow": {"tasks": 3}}"#, 1, 24, "invalid type: integer `3`"),
            (r#"{"workflow": {}}"#, 1, 1, "there are 0 tasks; there may be 1 to 131072"),
            (&new_format(&many, ran), 4, 1, "131073 tasks; there may be 1 to 131072"),
            (&new_format("{}", ran), 4, 1, "task 0, counted from 0, has no id"),
            (&new_format(&format!("{a}, {a}"), ran), 2, 65, "two tasks `a`"),
            (&new_format(a, ""), 2, 37, "not recorded how long task `a` ran"),
            (&new_format(a, r#"{"id": "a", "runtimeInSeconds": -1}"#), 3, 83, "is -1; it is 0 or more"),
            (&new_format(a, r#"{"id": "a", "runtimeInSeconds": 1e999}"#), 3, 85, "number out of range"),
            (&new_format(a, r#"{"id": "a", "runtimeInSeconds": 1e15}"#), 4, 1, "use a longer tick"),
            (&new_format(r#"{"id": "a", "parents": ["a"]}"#, ran), 2, 54, "`a` cannot wait for itself"),
            (
                &new_format(r#"{"id": "a", "children": ["x"]}"#, ran),
                2,
                55,
                "the child `x`, which there is not",
            ),
            (&new_format(cycle, two), 2, 37, "wait for each other: a → b → a"),
            (wide, 1, 1, "2000 cores, and at most 1024"),
        ] {
            let error = read_workflow(text, MACHINES).unwrap_err();
            let shown = &text[..text.len().min(200)];
            assert!(error.why.contains(says), "{shown}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{shown}: {error}");
        }
    }
}
