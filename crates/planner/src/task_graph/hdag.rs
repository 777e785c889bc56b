//! The file format `.hdag`: task graphs on processors of one or more nodes.

use super::{EDGES_MAX, Edge, Links, PROCESSORS_MAX, TASKS_MAX, TaskGraph};
use crate::words::{ReadError, Words};

/// Reads a file:
///
/// ```text
/// c a comment
/// p hdag N P E            tasks, processors, edges
/// n node_of_p0 ...        the node of each processor
/// k intra inter           link factors within a node and between nodes, thousandths of a tick per unit
/// w j c_0 ... c_{P-1}     ticks of task j on each processor; -1: cannot run there
/// e i j d                 i precedes j with d units of data
/// ```
///
/// ```
/// let graph = planner::task_graph::read("p hdag 2 2 1\nn 0 1\nk 0 500\nw 0 3 4\nw 1 -1 5\ne 0 1 8\n")?;
/// assert_eq!((graph.cost(1, 0), graph.cost(1, 1)), (None, Some(5)));
/// # Ok::<(), planner::ReadError>(())
/// ```
pub fn read(text: &str) -> Result<TaskGraph, ReadError> {
    let mut reader = Reader::default();
    let mut count = 0;
    for (index, line) in text.lines().enumerate() {
        count = index + 1;
        let mut words = Words::new(line, count);
        match words.next() {
            None | Some("c") => {}
            Some("p") => reader.sizes(&mut words)?,
            Some("n") => reader.nodes(&mut words)?,
            Some("k") => reader.factors(&mut words)?,
            Some("w") => reader.costs(&mut words)?,
            Some("e") => reader.edge(&mut words)?,
            Some(_) => return Err(words.wrong("a line begins with c, p, n, k, w or e")),
        }
    }
    reader.end(count + 1)
}

#[derive(Default)]
struct Reader {
    sizes: Option<Sizes>,
    nodes: Option<Vec<u32>>,
    factors: Option<(i64, i64)>,
    costs: Vec<Option<i64>>,
    has_costs: Vec<bool>,
    edges: Vec<Edge>,
}

#[derive(Clone, Copy)]
struct Sizes {
    tasks: usize,
    processors: usize,
    edges: usize,
}

impl Reader {
    fn sizes(&mut self, words: &mut Words<'_>) -> Result<(), ReadError> {
        if self.sizes.is_some() {
            return Err(words.wrong("there is a second line that begins with p"));
        }
        if words.next() != Some("hdag") {
            return Err(words.wrong("the problem is `hdag`"));
        }
        let tasks = words.below("the number of tasks", TASKS_MAX)?;
        let processors = words.below("the number of processors", PROCESSORS_MAX)?;
        if processors == 0 {
            return Err(words.wrong("there has to be a processor"));
        }
        if tasks * processors > super::COSTS_MAX {
            return Err(words.wrong("tasks times processors are too many costs"));
        }
        let edges = words.below("the number of edges", EDGES_MAX)?;
        words.end()?;
        self.sizes = Some(Sizes { tasks, processors, edges });
        self.costs = vec![None; tasks * processors];
        self.has_costs = vec![false; tasks];
        Ok(())
    }

    fn known(&self, words: &Words<'_>) -> Result<Sizes, ReadError> {
        self.sizes.ok_or_else(|| words.wrong("a line that begins with p has to come first"))
    }

    fn nodes(&mut self, words: &mut Words<'_>) -> Result<(), ReadError> {
        let sizes = self.known(words)?;
        let read = |_| words.below("the node", PROCESSORS_MAX).map(|node| node as u32);
        let nodes = (0..sizes.processors).map(read).collect::<Result<_, _>>()?;
        if self.nodes.replace(nodes).is_some() {
            return Err(words.wrong("there is a second line that begins with n"));
        }
        words.end()
    }

    fn factors(&mut self, words: &mut Words<'_>) -> Result<(), ReadError> {
        let read = |words: &mut Words<'_>, what| match words.number(what)? {
            factor @ 0.. => Ok(factor),
            factor => Err(words.wrong(&format!("{what} is {factor}; it is 0 or more"))),
        };
        let factors = (read(words, "the factor within a node")?, read(words, "the factor between nodes")?);
        if self.factors.replace(factors).is_some() {
            return Err(words.wrong("there is a second line that begins with k"));
        }
        words.end()
    }

    fn costs(&mut self, words: &mut Words<'_>) -> Result<(), ReadError> {
        let sizes = self.known(words)?;
        let task = words.index("the task", sizes.tasks)? as usize;
        if std::mem::replace(&mut self.has_costs[task], true) {
            return Err(words.wrong("the costs of this task were there already"));
        }
        for processor in 0..sizes.processors {
            self.costs[task * sizes.processors + processor] = match words.number("a cost")? {
                -1 => None,
                cost @ 0.. => Some(cost),
                cost => return Err(words.wrong(&format!("a cost is {cost}; it is 0 or more, or -1"))),
            };
        }
        words.end()
    }

    fn edge(&mut self, words: &mut Words<'_>) -> Result<(), ReadError> {
        let sizes = self.known(words)?;
        if self.edges.len() == sizes.edges {
            return Err(
                words.wrong(&format!("there are more than the {} edges that were announced", sizes.edges))
            );
        }
        let from = words.index("the task before", sizes.tasks)?;
        let to = words.index("the task behind", sizes.tasks)?;
        if from == to {
            return Err(words.wrong("a task cannot wait for itself"));
        }
        let data = words.number("the data")?;
        if data < 0 {
            return Err(words.wrong(&format!("the data is {data}; it is 0 or more")));
        }
        self.edges.push(Edge { from, to, data });
        words.end()
    }

    fn end(self, line: usize) -> Result<TaskGraph, ReadError> {
        let wrong = |why: String| ReadError { line, column: 1, why };
        let Some(sizes) = self.sizes else {
            return Err(wrong("there is no line that begins with p".to_owned()));
        };
        let Some(nodes) = self.nodes else {
            return Err(wrong("there is no line that begins with n; is the file cut off?".to_owned()));
        };
        let Some((intra, inter)) = self.factors else {
            return Err(wrong("there is no line that begins with k; is the file cut off?".to_owned()));
        };
        if let Some(task) = self.has_costs.iter().position(|has| !has) {
            return Err(wrong(format!("there are no costs of task {task}; is the file cut off?")));
        }
        if self.edges.len() != sizes.edges {
            let (found, announced) = (self.edges.len(), sizes.edges);
            return Err(wrong(format!(
                "there are {found} edges, and {announced} were announced; is the file cut off?"
            )));
        }
        let graph = Links::of_nodes(&nodes, intra, inter)
            .and_then(|links| TaskGraph::new(&self.costs, links, self.edges));
        graph.map_err(|error| wrong(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "p hdag 2 1 1\nn 0\nk 0 0\n";

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, line, column, says) in [
            ("", 1, 1, "no line that begins with p"),
            ("x", 1, 1, "c, p, n, k, w or e"),
            ("p min 1 1 0", 1, 3, "`hdag`"),
            ("p hdag 1000000 1 0", 1, 8, "0 to 131072"),
            ("p hdag 1 0 0", 1, 10, "has to be a processor"),
            ("p hdag 131072 1024 0", 1, 15, "too many costs"),
            ("p hdag 1 1", 1, 10, "edges is missing"),
            ("p hdag 1 1 0\np hdag 1 1 0", 2, 1, "second line"),
            ("w 0 1", 1, 1, "has to come first"),
            ("p hdag 1 1 0\nk 0 0\nw 0 1", 4, 1, "begins with n"),
            ("p hdag 1 1 0\nn 0\nw 0 1", 4, 1, "begins with k"),
            ("p hdag 1 1 0\nk -1 0", 2, 3, "0 or more"),
            (&format!("{HEAD}w 2 1"), 4, 3, "there are 2, counted from 0"),
            (&format!("{HEAD}w 0 -2"), 4, 5, "or -1"),
            (&format!("{HEAD}w 0 1.5"), 4, 5, "no whole number"),
            (&format!("{HEAD}w 0 NaN"), 4, 5, "no whole number"),
            (&format!("{HEAD}w 0 1\nw 0 1"), 5, 3, "there already"),
            (&format!("{HEAD}w 0 1"), 5, 1, "no costs of task 1"),
            (&format!("{HEAD}w 0 -1\nw 1 1\ne 0 1 0"), 7, 1, "task 0 can run on no processor"),
            (&format!("{HEAD}w 0 1\nw 1 1"), 6, 1, "0 edges, and 1 were"),
            (&format!("{HEAD}w 0 1\nw 1 1\ne 0 1"), 6, 5, "the data is missing"),
            (&format!("{HEAD}w 0 1\nw 1 1\ne 0 0 1"), 6, 5, "wait for itself"),
            (&format!("{HEAD}w 0 1\nw 1 1\ne 0 1 -3"), 6, 7, "0 or more"),
            (&format!("{HEAD}w 0 1\nw 1 1\ne 0 1 0\ne 1 0 0"), 7, 1, "more than the 1 edges"),
            (&format!("{HEAD}w 0 99999999999999\nw 1 1\ne 0 1 0"), 7, 1, "longer tick"),
            ("p hdag 2 1 2\nn 0\nk 0 0\nw 0 1\nw 1 1\ne 0 1 0\ne 1 0 0", 8, 1, "0 → 1 → 0"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.why.contains(says), "{text}: {error}");
        }
    }
}
