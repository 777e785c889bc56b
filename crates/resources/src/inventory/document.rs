//! An inventory as a file: read strictly, and refused with everything that is wrong with it.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;
use serde_path_to_error::{Path as FieldPath, Segment};

use super::{Inventory, check};

/// Largest file: a described machine with all that the limits allow is smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Problems that are reported at once.
const PROBLEMS_MAX: usize = 64;

/// Why a file does not describe a machine.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is longer than any machine.
    #[error("{} has more than {FILE_BYTES_MAX} bytes; no described machine needs as many", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no JSON.
    #[error("{} is no JSON document: {error}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: serde_json::Error,
    },
    /// It does not describe a machine that there can be.
    #[error("{} does not describe a machine that there can be", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it, at most 64 things.
        problems: Vec<Problem>,
    },
}

/// Something that is wrong with a described machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As `devices[0].memory.total`; empty for the whole document.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the document" } else { &self.field };
        write!(f, "{field}: {}", self.message)
    }
}

impl Inventory {
    /// Reads the description of a machine: the JSON document that `llmos detect --json` prints.
    pub fn from_file(path: &Path) -> Result<Self, InventoryError> {
        let unreadable = |error| InventoryError::Unreadable { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        let file = modelfile::open_regular(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(InventoryError::TooLarge { path: path.to_owned() });
        }
        let document = serde_json::from_slice(&bytes)
            .map_err(|error| InventoryError::NotJson { path: path.to_owned(), error })?;
        Self::from_document(document)
            .and_then(|inventory| match serde_json::from_slice::<Self>(&bytes) {
                Ok(_) => Ok(inventory),
                // Only the text shows that a field is there twice.
                Err(error) => Err(vec![Problem { field: String::new(), message: error.to_string() }]),
            })
            .map_err(|problems| InventoryError::Refused { path: path.to_owned(), problems })
    }

    /// Makes an inventory of a document, or says all that is wrong with it.
    pub(super) fn from_document(mut document: Value) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut guessed = false;
        while problems.len() < PROBLEMS_MAX {
            match serde_path_to_error::deserialize::<_, Self>(&document) {
                Ok(inventory) => {
                    // A value of ours in the place of a wrong one would be judged as if it were theirs.
                    if !guessed {
                        problems.extend(check::problems(&inventory));
                    }
                    problems.truncate(PROBLEMS_MAX);
                    return if problems.is_empty() { Ok(inventory) } else { Err(problems) };
                }
                Err(error) => {
                    let field = error.path().to_string();
                    let field = if field == "." { String::new() } else { field };
                    problems.push(Problem { field, message: error.inner().to_string() });
                    match mend(&mut document, error.path(), &error.inner().to_string()) {
                        Some(Mended::Removed) => {}
                        Some(Mended::Guessed) => guessed = true,
                        None => break,
                    }
                }
            }
        }
        Err(problems)
    }
}

/// Something of each type. The last is a word, to which the answer may be a better one.
const STAND_INS: [&str; 6] = ["null", "0", "false", "[]", "{}", "\"0\""];

enum Mended {
    /// The field is gone; the rest is as it was.
    Removed,
    /// Something stands in its place that can be read on past.
    Guessed,
}

/// Changes a document so that reading it gets past an error, to find the next one.
fn mend(document: &mut Value, at: &FieldPath, why: &str) -> Option<Mended> {
    let mut segments: Vec<Segment> = at.iter().cloned().collect();
    if let Some(name) = quoted(why, "missing field `") {
        segments.push(Segment::Map { key: name.to_owned() });
    }
    let last = segments.pop()?;
    let parent = segments.iter().try_fold(&mut *document, |value, segment| enter(value, segment))?;
    if why.starts_with("unknown field `") {
        let Segment::Map { key } = &last else { return None };
        return parent.as_object_mut()?.remove(key).map(|_| Mended::Removed);
    }
    if let (Segment::Map { key }, Some(fields)) = (&last, parent.as_object_mut()) {
        fields.entry(key).or_insert(Value::Null);
    }
    let refused = complaint(document)?;
    segments.push(last);
    let mut candidates: Vec<Value> =
        STAND_INS.iter().rev().filter_map(|text| serde_json::from_str(text).ok()).collect();
    while let Some(candidate) = candidates.pop() {
        let is_a_guess = candidate == "0";
        let place = segments.iter().try_fold(&mut *document, |value, segment| enter(value, segment))?;
        *place = candidate;
        let Some(now) = complaint(document).filter(|now| now.0 == refused.0) else {
            return Some(Mended::Guessed);
        };
        // To a wrong word serde answers with the right ones.
        let expected = quoted(&now.1, "expected one of `").or_else(|| quoted(&now.1, "expected `"));
        if is_a_guess && let Some(word) = expected {
            candidates.push(Value::String(word.to_owned()));
        }
    }
    None
}

/// Where reading a document stops, and why.
fn complaint(document: &Value) -> Option<(String, String)> {
    let error = serde_path_to_error::deserialize::<_, Inventory>(document).err()?;
    Some((error.path().to_string(), error.inner().to_string()))
}

fn enter<'a>(value: &'a mut Value, segment: &Segment) -> Option<&'a mut Value> {
    match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// What stands in backquotes after some words of serde's.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once('`').map(|(name, _)| name)
}
