use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use types::utc::civil;

use crate::exit::{Exit, Failure};

const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";
const HOME: &str = "\x1b[H";
const CLEAR_LINE_AND_END: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
/// Spaces between two columns of a table.
const COLUMN_GAP: usize = 2;

/// Where everything that a person or a script reads goes: results on stdout, all else on stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Results are JSON documents.
    pub(crate) json: bool,
    stdout_terminal: bool,
    stdout_colour: bool,
    stderr_colour: bool,
}

impl Output {
    /// Colour only on a terminal and without `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stdout_terminal = io::stdout().is_terminal();
        Self {
            json,
            stdout_terminal,
            stdout_colour: wanted && stdout_terminal,
            stderr_colour: colour_on_stderr(),
        }
    }

    /// Whether stdout is a terminal that text can be placed on, and if so, whether in colour.
    pub(crate) fn screen(self) -> Option<bool> {
        let places = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        (self.stdout_terminal && places).then_some(self.stdout_colour)
    }

    /// A result for a person. Control characters other than line ends are made visible: part of the text may
    /// come from a model or another user, and a terminal obeys escape sequences.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let text = if self.stdout_terminal { harmless(text) } else { Cow::Borrowed(text) };
        write_stdout(&text)
    }

    /// A text that is shown again and again. On a terminal it takes the place of what was there.
    pub(crate) fn page(self, text: &str) -> Result<(), Failure> {
        if !self.stdout_terminal {
            return write_stdout(&format!("{text}\n"));
        }
        // Each line is cleared as it is written, then what is left below: the page does not flicker.
        let lines = harmless(text).replace('\n', CLEAR_LINE_AND_END);
        write_stdout(&format!("{HOME}{lines}{CLEAR_BELOW}"))
    }

    /// A table whose columns are aligned. Its last column is not padded.
    pub(crate) fn table(self, headers: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let table = aligned(headers, rows);
        if !self.stdout_colour {
            return self.text(&table);
        }
        let (head, body) = table.split_once('\n').unwrap_or((&table, ""));
        write_stdout(&format!("{BOLD}{head}{RESET}\n"))?;
        self.text(body)
    }

    /// Why the command ended early; nothing if it ended well.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.exit == Exit::Ok {
            return;
        }
        if self.json {
            let document = serde_json::json!({
                "error": { "exit": failure.exit.code(), "what": failure.what, "advice": failure.advice }
            });
            note(document);
            return;
        }
        let (on, off) = if self.stderr_colour { (RED, RESET) } else { ("", "") };
        let _ = writeln!(io::stderr(), "{on}error:{off} {}", harmless(&failure.what));
        for line in &failure.advice {
            note(format_args!("  {line}"));
        }
    }
}

/// A result for a script: one document on one line.
pub(crate) fn document(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(document)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the result as JSON: {error}")))?;
    text.push('\n');
    write_stdout(&text)
}

/// Progress, and whatever else is no result.
pub(crate) fn note(note: impl Display) {
    // Nobody reads a closed stderr, and that is no reason to stop.
    let _ = writeln!(io::stderr(), "{}", harmless(&note.to_string()));
}

/// A question to a person at the terminal.
pub(crate) fn prompt(text: &str) {
    let _ = write!(io::stderr(), "{text}");
    let _ = io::stderr().flush();
}

/// Whether stderr may carry colour.
pub(crate) fn colour_on_stderr() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal()
}

/// A reader that went away (`llmos chat … | head`) has what it wanted: that ends the command, and well.
fn write_stdout(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, "nobody reads stdout any more"),
        _ => Failure::new(Exit::Failed, format!("cannot write to stdout: {error}")),
    })
}

/// The text with every control character but line end and tab replaced by U+FFFD.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(harmful) { Cow::Owned(text.replace(harmful, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// What others have written, as a part of a line of ours: nothing in it ends the line, turns it around, moves the cursor or is
/// invisible.
pub(crate) fn one_line(text: &str) -> String {
    const AS_IT_IS: [char; 3] = ['"', '\'', '\\'];
    let mut shown = String::with_capacity(text.len());
    // Of all else the library escapes what is not printed (Unicode: Cc, Cf, Zl, Zp, unassigned).
    for part in text.split_inclusive(AS_IT_IS) {
        let plain = part.trim_end_matches(AS_IT_IS);
        shown.extend(plain.escape_debug());
        shown.push_str(&part[plain.len()..]);
    }
    shown
}

fn aligned(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headers.get(column).map(|header| header.len())).max().unwrap_or(0) + COLUMN_GAP
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut table = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, &width) in cells.zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(table, "{cell:width$}");
        }
        table.truncate(table.trim_end_matches(' ').len());
        table.push('\n');
    };
    line(&mut headers.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    table
}

/// Seconds since 1970 as `2026-11-23 19:51Z`.
pub(crate) fn date(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let minutes = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}Z", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows =
            vec![vec!["1".into(), "größer".into(), "x".into()], vec!["23".into(), "k".into(), String::new()]];
        assert_eq!(aligned(&["ID", "NAME", "WHY"], &rows), "ID  NAME    WHY\n1   größer  x\n23  k\n");
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(harmless("a\tb\n"), "a\tb\n");
        assert_eq!(harmless("\x1b[2Jgone\r\u{9b}"), "\u{fffd}[2Jgone\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_part_of_a_line_stays_one() {
        for (text, shown) in [
            ("größer हिन्दी 日本語 \"x\" it's \\", "größer हिन्दी 日本語 \"x\" it's \\"),
            ("a\nb\u{2028}c\td", "a\\nb\\u{2028}c\\td"),
            ("\u{202e}abc\u{200b}\u{1b}[2J", "\\u{202e}abc\\u{200b}\\u{1b}[2J"),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00Z"),
            (951_782_399, "2000-02-28 23:59Z"),
            (951_782_400, "2000-02-29 00:00Z"),
            (1_795_463_506, "2026-11-23 19:51Z"),
            (4_107_542_400, "2100-03-01 00:00Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
