//! Patterson's file format, `.rcp`.

use super::{ACTIVITIES_MAX, Activity, ORDERS_MAX, Project, RESOURCES_MAX};
use crate::{ReadError, words::Words};

/// Reads a file: the numbers of activities and resources; the units of each resource; then for each activity its ticks, its demands,
/// the number of those that follow it, and these, counted from 1. Where lines end does not matter.
pub fn read(text: &str) -> Result<Project, ReadError> {
    let mut numbers = Numbers { lines: text.lines(), words: Words::new("", 0), line: 0 };
    let count = numbers.number("the number of activities", 0, ACTIVITIES_MAX as i64)?;
    let resources = numbers.number("the number of resources", 0, RESOURCES_MAX as i64)?;
    let mut units = Vec::new();
    for _ in 0..resources {
        units.push(numbers.number("the units of a resource", 0, super::UNITS_MAX)?);
    }
    let (mut activities, mut orders) = (Vec::new(), Vec::new());
    for activity in 0..count {
        let ticks = numbers.number("the ticks of an activity", 0, super::TICKS_MAX)?;
        let mut demands = Vec::new();
        for units in &units {
            demands.push(numbers.number("the demand of an activity", 0, *units)?);
        }
        activities.push(Activity { ticks, demands });
        let left = (ORDERS_MAX - orders.len()) as i64;
        for _ in 0..numbers.number("the number of those that follow", 0, left)? {
            let next = numbers.number("one that follows", 1, count)? - 1;
            if next == activity {
                return Err(numbers.words.wrong("an activity cannot follow itself"));
            }
            orders.push((activity as u32, next as u32));
        }
    }
    let place = numbers.line;
    if numbers.next_line_with_words() {
        numbers.words.next();
        return Err(numbers.words.wrong("the file should have ended before"));
    }
    Project::new(units, activities, orders).map_err(|error| ReadError {
        line: place,
        column: 1,
        why: error.to_string(),
    })
}

/// Numbers over the ends of lines.
struct Numbers<'a> {
    lines: std::str::Lines<'a>,
    words: Words<'a>,
    line: usize,
}

impl Numbers<'_> {
    /// The next number, if it is one of these.
    fn number(&mut self, what: &str, least: i64, most: i64) -> Result<i64, ReadError> {
        if !self.next_line_with_words() {
            let why = format!("{what} is missing; is the file cut off?");
            return Err(ReadError { line: self.line + 1, column: 1, why });
        }
        let number = self.words.number(what)?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(self.words.wrong(&format!("{what} is {number}; it may be {least} to {most}")))
        }
    }

    /// Goes on to the line of the next word; false if there is none.
    fn next_line_with_words(&mut self) -> bool {
        while self.words.is_done() {
            let Some(line) = self.lines.next() else {
                return false;
            };
            self.line += 1;
            self.words = Words::new(line, self.line);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, line, column, says) in [
            ("", 1, 1, "activities is missing"),
            ("9000 1", 1, 1, "0 to 8192"),
            ("1 65", 1, 3, "0 to 64"),
            ("1 1\n-1", 2, 1, "0 to 2147483648"),
            ("1 1\n1\n-2 0 0", 3, 1, "the ticks of an activity is -2"),
            ("1 1\n1\n1 2 0", 3, 3, "it may be 0 to 1"),
            ("1 1\n1\n1 1 1 2", 3, 7, "it may be 1 to 1"),
            ("1 1\n1\n1 1 1 1", 3, 7, "cannot follow itself"),
            ("1 1\n1\n1 1", 4, 1, "those that follow is missing"),
            ("1 1\n1\n1 1 0\n\n 7", 5, 2, "should have ended"),
            ("1 1\n1\n1 NaN 0", 3, 3, "no whole number"),
            ("2 0\n1 1 2\n1 1 1\n", 3, 1, "wait for each other: 0 → 1 → 0 (counted from 0)"),
            ("3 0\n1 1 2\n1 1 3\n1 1 2\n", 4, 1, "wait for each other: 1 → 2 → 1"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.why.contains(says), "{text}: {error}");
        }
        let project = read("2 1\n3\n1 2\n1 2\n4 3 0\n").unwrap();
        assert_eq!((project.units(), project.orders()), (&[3][..], &[(0, 1)][..]));
    }
}
