//! The file formats of the first DIMACS challenge (1991): `.min` for flows of least cost, `.max` for greatest flows.

use super::{ARCS_MAX, Arc, MaxFlowProblem, MinCostProblem, NODES_MAX};
use crate::words::{ReadError as DimacsError, Words};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// `p min`.
    MinCost(MinCostProblem),
    /// `p max`.
    MaxFlow(MaxFlowProblem),
}

/// Reads a file.
///
/// ```
/// use planner::flow::{Problem, read};
///
/// let Problem::MaxFlow(problem) = read("p max 2 1\nn 1 s\nn 2 t\na 1 2 7\n")? else { panic!() };
/// assert_eq!((problem.source, problem.sink, problem.arcs[0].capacity), (0, 1, 7));
/// # Ok::<(), planner::flow::DimacsError>(())
/// ```
pub fn read(text: &str) -> Result<Problem, DimacsError> {
    let mut reader = Reader::default();
    let mut count = 0;
    for (index, line) in text.lines().enumerate() {
        count = index + 1;
        let mut words = Words::new(line, count);
        match words.next() {
            None | Some("c") => {}
            Some("p") => reader.problem(&mut words)?,
            Some("n") => reader.node(&mut words)?,
            Some("a") => reader.arc(&mut words)?,
            Some(_) => return Err(words.wrong("a line begins with c, p, n or a")),
        }
    }
    reader.end(count + 1)
}

#[derive(Default)]
struct Reader {
    is_max: bool,
    supplies: Vec<i64>,
    source: Option<u32>,
    sink: Option<u32>,
    arcs: Vec<Arc>,
    announced: Option<usize>,
}

impl Reader {
    fn problem(&mut self, words: &mut Words<'_>) -> Result<(), DimacsError> {
        if self.announced.is_some() {
            return Err(words.wrong("there is a second line that begins with p"));
        }
        self.is_max = match words.next() {
            Some("min") => false,
            Some("max") => true,
            _ => return Err(words.wrong("the problem is `min` or `max`")),
        };
        let nodes = words.below("the number of nodes", NODES_MAX)?;
        self.supplies = vec![0; nodes];
        self.announced = Some(words.below("the number of arcs", ARCS_MAX)?);
        words.end()
    }

    fn node(&mut self, words: &mut Words<'_>) -> Result<(), DimacsError> {
        if self.announced.is_none() {
            return Err(words.wrong("a line that begins with p has to come first"));
        }
        let node = words.node(self.supplies.len())?;
        if self.is_max {
            let end = match words.next() {
                Some("s") => &mut self.source,
                Some("t") => &mut self.sink,
                _ => return Err(words.wrong("a node is `s` (the source) or `t` (the sink)")),
            };
            if end.replace(node).is_some() {
                return Err(words.wrong("there is another one already"));
            }
        } else {
            self.supplies[node as usize] = words.number("the supply")?;
        }
        words.end()
    }

    fn arc(&mut self, words: &mut Words<'_>) -> Result<(), DimacsError> {
        let Some(announced) = self.announced else {
            return Err(words.wrong("a line that begins with p has to come first"));
        };
        if self.arcs.len() == announced {
            return Err(words.wrong(&format!("there are more than the {announced} arcs that were announced")));
        }
        let nodes = self.supplies.len();
        let (from, to) = (words.node(nodes)?, words.node(nodes)?);
        let arc = if self.is_max {
            Arc { from, to, lower: 0, capacity: words.number("the capacity")?, cost: 0 }
        } else {
            Arc {
                from,
                to,
                lower: words.number("the lower bound")?,
                capacity: words.number("the capacity")?,
                cost: words.number("the cost")?,
            }
        };
        if arc.capacity < arc.lower || arc.lower < 0 {
            return Err(words.wrong("the bounds of this arc leave nothing: 0 ≤ lower ≤ capacity"));
        }
        self.arcs.push(arc);
        words.end()
    }

    fn end(self, line: usize) -> Result<Problem, DimacsError> {
        let wrong = |why: String| Err(DimacsError { line, column: 1, why });
        match self.announced {
            None => return wrong("there is no line that begins with p".to_owned()),
            Some(announced) if announced != self.arcs.len() => {
                let found = self.arcs.len();
                return wrong(format!(
                    "there are {found} arcs, and {announced} were announced; is the file cut off?"
                ));
            }
            Some(_) => {}
        }
        let Self { is_max, supplies, source, sink, arcs, .. } = self;
        if !is_max {
            return Ok(Problem::MinCost(MinCostProblem { supplies, arcs }));
        }
        match (source, sink) {
            (Some(source), Some(sink)) => {
                Ok(Problem::MaxFlow(MaxFlowProblem { nodes: supplies.len(), source, sink, arcs }))
            }
            _ => wrong("there is no source, or no sink".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let text = "c 8\np min 2 2\nn 1 2\nn 2 -2\na 1 2 0 1 3\n\n  a\t1 2 0 9 5  \n";
        let Problem::MinCost(problem) = read(text).unwrap() else { panic!() };
        assert_eq!(problem.supplies, [2, -2]);
        assert_eq!(problem.arcs[1], Arc { from: 0, to: 1, lower: 0, capacity: 9, cost: 5 });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, line, column, says) in [
            ("", 1, 1, "no line that begins with p"),
            ("x", 1, 1, "c, p, n or a"),
            ("p mix 1 1", 1, 3, "`min` or `max`"),
            ("p min 1 x", 1, 9, "no whole number"),
            ("p min 2000000 1", 1, 7, "0 to 1048576"),
            ("p min 1 -1", 1, 9, "0 to"),
            ("p min 1 1\np min 1 1", 2, 1, "second line"),
            ("a 1 1 0 0 0", 1, 1, "has to come first"),
            ("p min 2 1\nn 3 1", 2, 3, "no node 3"),
            ("p min 2 1\nn 0 1", 2, 3, "no node 0"),
            ("p min 2 1\na 1 2 0 1", 2, 9, "the cost is missing"),
            ("p min 2 1\na 1 2 5 1 1", 2, 11, "leave nothing"),
            ("p min 2 1\na 1 2 0 1 1 1", 2, 13, "should have ended"),
            ("p min 2 1\na 1 2 0 99999999999999999999 1", 2, 9, "no whole number"),
            ("p min 2 1\na 1 2 0 1 1\na 1 2 0 1 1", 3, 1, "more than the 1 arcs"),
            ("p min 2 2\na 1 2 0 1 1", 3, 1, "2 were announced"),
            ("p max 2 1\nn 1 s\nn 2 s\na 1 2 1", 3, 5, "another one already"),
            ("p max 2 1\nn 1 x", 2, 5, "`s`"),
            ("p max 2 1\nn 1 s\na 1 2 1", 4, 1, "no sink"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.why.contains(says), "{text}: {error}");
        }
    }
}
