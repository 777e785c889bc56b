//! Taillard's file format.

use super::{JobShop, Operation};
use crate::{
    ReadError,
    task_graph::{PROCESSORS_MAX, TASKS_MAX},
    words::Words,
};

/// Reads a file: a line with the numbers of jobs and machines, then for each job a line with as many pairs of machine (from 0) and
/// ticks as there are machines. Empty lines and lines that begin with `#` do not count.
pub fn read(text: &str) -> Result<JobShop, ReadError> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let end = text.lines().count() + 1;
    let mut lines = lines.filter(|(_, line)| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    let cut_off = |what: &str| ReadError {
        line: end,
        column: 1,
        why: format!("{what} is missing; is the file cut off?"),
    };
    let (number, line) =
        lines.next().ok_or_else(|| cut_off("the line with the numbers of jobs and machines"))?;
    let mut words = Words::new(line, number);
    let jobs = words.below("the number of jobs", TASKS_MAX)?;
    let machines = words.below("the number of machines", PROCESSORS_MAX)?;
    words.end()?;
    if jobs * machines > TASKS_MAX {
        return Err(words.wrong(&format!("there are more than {TASKS_MAX} operations")));
    }
    let mut shop = Vec::new();
    for job in 0..jobs {
        let (number, line) = lines.next().ok_or_else(|| cut_off(&format!("job {job}")))?;
        let mut words = Words::new(line, number);
        let mut operations = Vec::new();
        for _ in 0..machines {
            let machine = words.index("the machine", machines)?;
            let ticks = words.number("the time")?;
            if ticks < 0 {
                return Err(words.wrong(&format!("an operation takes {ticks} ticks; it is 0 or more")));
            }
            operations.push(Operation { machine, ticks });
        }
        words.end()?;
        shop.push(operations);
    }
    if let Some((number, line)) = lines.next() {
        return Err(Words::new(line, number).wrong("there are more jobs than were announced"));
    }
    let wrong = |why: String| ReadError { line: end, column: 1, why };
    JobShop::new(machines, shop).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, line, column, says) in [
            ("", 1, 1, "numbers of jobs and machines is missing"),
            ("x 1", 1, 1, "no whole number"),
            ("1", 1, 1, "machines is missing"),
            ("1 2000", 1, 3, "0 to 1024"),
            ("131072 1024", 1, 8, "more than 131072 operations"),
            ("1 1 1", 1, 5, "should have ended"),
            ("1 1\n\n# jobs\n", 4, 1, "job 0 is missing"),
            ("1 1\n1 5", 2, 1, "there are 1, counted from 0"),
            ("1 1\n0 -5", 2, 3, "0 or more"),
            ("1 2\n0 5 1", 2, 5, "the time is missing"),
            ("1 1\n0 5 0 5", 2, 5, "should have ended"),
            ("1 1\n0 5\n0 5", 3, 1, "more jobs than"),
            ("1 1\n0 99999999999999999", 3, 1, "longer tick"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.why.contains(says), "{text}: {error}");
        }
    }
}
