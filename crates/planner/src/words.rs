//! Text that problems are read from: words of lines, and complaints that say where.

use std::fmt;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct ReadError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and what is expected.
    pub why: String,
}

/// Members of a cycle that are shown.
const CYCLE_SHOWN: usize = 8;

/// The first members of a cycle, to be read.
pub(crate) fn chain<T: fmt::Display>(cycle: &[T]) -> String {
    let mut shown: Vec<String> = cycle.iter().take(CYCLE_SHOWN).map(ToString::to_string).collect();
    if cycle.len() > CYCLE_SHOWN {
        shown.push(format!("… ({} more)", cycle.len() - CYCLE_SHOWN));
    }
    shown.extend(cycle.first().map(ToString::to_string));
    shown.join(" → ")
}

/// The words of a line.
pub(crate) struct Words<'a> {
    line: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Words<'a> {
    /// The words of a line with this number, from 1.
    pub(crate) fn new(line: &'a str, number: usize) -> Self {
        Self { line, at: 0, number }
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let begins = rest.find(|character: char| !character.is_ascii_whitespace())?;
        let word = &rest[begins..];
        let length = word.find(|character: char| character.is_ascii_whitespace()).unwrap_or(word.len());
        self.at += begins + length;
        Some(&word[..length])
    }

    /// Whether there is no further word.
    pub(crate) fn is_done(&self) -> bool {
        self.line.get(self.at..).unwrap_or_default().trim_ascii_start().is_empty()
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<i64, ReadError> {
        let Some(word) = self.next() else {
            return Err(self.wrong(&format!("{what} is missing; is the file cut off?")));
        };
        word.parse().map_err(|_| self.wrong(&format!("{what} is no whole number of 64 bits")))
    }

    pub(crate) fn below(&mut self, what: &str, most: usize) -> Result<usize, ReadError> {
        let number = self.number(what)?;
        usize::try_from(number)
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| self.wrong(&format!("{what} is {number}; it may be 0 to {most}")))
    }

    pub(crate) fn node(&mut self, nodes: usize) -> Result<u32, ReadError> {
        let number = self.number("the node")?;
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let index = index.filter(|index| *index < nodes);
        index
            .map(|index| index as u32)
            .ok_or_else(|| self.wrong(&format!("there is no node {number}; they are 1 to {nodes}")))
    }

    /// One of `count` things that are counted from 0.
    pub(crate) fn index(&mut self, what: &str, count: usize) -> Result<u32, ReadError> {
        let number = self.number(what)?;
        let index = u32::try_from(number).ok().filter(|index| (*index as usize) < count);
        index.ok_or_else(|| self.wrong(&format!("{what} is {number}; there are {count}, counted from 0")))
    }

    pub(crate) fn end(&mut self) -> Result<(), ReadError> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the line should have ended before")),
        }
    }

    /// A complaint about the word that was read last.
    pub(crate) fn wrong(&self, why: &str) -> ReadError {
        let read = self.line.get(..self.at).unwrap_or(self.line);
        let begins = read.rfind(|character: char| character.is_ascii_whitespace()).map_or(0, |at| at + 1);
        ReadError { line: self.number, column: begins + 1, why: why.to_owned() }
    }
}
