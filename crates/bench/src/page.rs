//! The report for people: a table for the terminal, a page for the documentation.

use std::{collections::HashMap, fmt::Write};

use crate::{
    figures::{Better, Detail, Figure, Report, Status, Value},
    machine::Surroundings,
};

/// Spaces between two columns.
const COLUMN_GAP: usize = 2;
/// Where there is nothing to say.
const NOTHING: &str = "-";
const FIGURE_COLUMNS: [&str; 7] = ["figure", "value", "unit", "target", "peer", "met", "spread"];
const DETAIL_COLUMNS: [&str; 3] = ["detail", "value", "unit"];

/// A report as aligned tables.
pub(crate) fn plain(report: &Report) -> String {
    let commit = report.commit.as_deref().unwrap_or("no commit");
    let mut text = format!("suite {} at {commit}\n{}\n\n", report.suite, report.machine);
    aligned(&mut text, &FIGURE_COLUMNS, &report.figures.iter().map(figure).collect::<Vec<_>>());
    if !report.details.is_empty() {
        text.push('\n');
        aligned(&mut text, &DETAIL_COLUMNS, &report.details.iter().map(detail).collect::<Vec<_>>());
    }
    text
}

/// What every page begins with.
const HEAD: &str = "# Benchmarks\n\n\
     Written by `make bench`, or for one suite by `llmos-bench SUITE --write docs/benchmarks.md`; do not edit. A value is the \
     median of its rounds, the spread their least and greatest. Ratios are ours over the peer's, measured in the same \
     minutes, in turns.\n";
/// What stands before the name of a suite.
const SECTION: &str = "\n## ";

/// The page that is kept with the documentation: the suites that were measured now, and those of the page before that were not, in
/// the order of `order`. Each says what made it, of which commit, when and where.
pub(crate) fn markdown(
    reports: &[Report],
    before: &str,
    order: &[&str],
    command: &str,
    surroundings: &Surroundings,
) -> String {
    let mut sections: HashMap<String, String> = HashMap::new();
    for section in before.split(SECTION).skip(1) {
        let name = section.lines().next().unwrap_or_default().to_owned();
        sections.insert(name, section.trim_end().to_owned() + "\n");
    }
    for report in reports {
        sections.insert(report.suite.to_owned(), section(report, command, surroundings));
    }
    let sections = order.iter().filter_map(|name| sections.get(*name));
    sections.fold(HEAD.to_owned(), |page, section| page + SECTION + section)
}

fn section(report: &Report, command: &str, surroundings: &Surroundings) -> String {
    let commit = report.commit.as_deref().map_or(NOTHING.to_owned(), |commit| format!("`{commit}`"));
    let (date, machine) = (&surroundings.date, &surroundings.machine);
    let mut section =
        format!("{}\n\n`{command}` at commit {commit}, {date}, on {machine}.\n\n", report.suite);
    piped(&mut section, &FIGURE_COLUMNS, &report.figures.iter().map(figure).collect::<Vec<_>>());
    if !report.details.is_empty() {
        section.push_str("\n### Details\n\n");
        piped(&mut section, &DETAIL_COLUMNS, &report.details.iter().map(detail).collect::<Vec<_>>());
    }
    section
}

fn figure(figure: &Figure) -> Vec<String> {
    let sign = match figure.better {
        Better::Higher => "≥",
        Better::Lower => "≤",
    };
    let met = match (figure.status, figure.met) {
        (Status::PeerMissing, _) => "peer missing",
        (Status::Skipped, _) => "skipped",
        (Status::Measured, Some(true)) => "yes",
        (Status::Measured, _) => "no",
    };
    let spread = figure.spread.map_or(NOTHING.to_owned(), |spread| {
        format!("{} to {} ({} rounds)", number(spread.min), number(spread.max), spread.rounds)
    });
    vec![
        figure.name.to_owned(),
        figure.value.map_or(NOTHING.to_owned(), number),
        figure.unit.to_owned(),
        format!("{sign} {}", figure.target),
        figure.peer.unwrap_or(NOTHING).to_owned(),
        met.to_owned(),
        spread,
    ]
}

fn detail(detail: &Detail) -> Vec<String> {
    let value = match &detail.value {
        Value::Number(value) => number(*value),
        Value::Text(text) => text.clone(),
    };
    vec![detail.name.clone(), value, detail.unit.to_owned()]
}

/// Three decimals where they matter, none where they are noise.
fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "not finite".to_owned(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn aligned(text: &mut String, columns: &[&str], rows: &[Vec<String>]) {
    let header: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let lines: Vec<&[String]> = std::iter::once(&header[..]).chain(rows.iter().map(Vec::as_slice)).collect();
    let width = |column: usize| {
        // A remark has no unit, and being long it would push the units of all other rows out of sight.
        let counts = |line: &&&[String]| column == 0 || line.last().is_some_and(|last| !last.is_empty());
        let cells = lines.iter().filter(counts).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for line in lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(padded, "{cell:0$}", width + COLUMN_GAP);
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
}

fn piped(text: &mut String, columns: &[&str], rows: &[Vec<String>]) {
    let line =
        |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    text.push_str(&line(&mut columns.iter().map(|&column| column.to_owned())));
    text.push_str(&line(&mut columns.iter().map(|_| "---".to_owned())));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(|cell| cell.replace('|', "\\|"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Spread;

    fn report() -> Report {
        let figure = |name, value, status, met| Figure {
            name,
            value,
            unit: "ratio",
            target: 0.95,
            better: Better::Higher,
            peer: Some("llama-server"),
            spread: value.map(|_| Spread { min: 0.9, max: 1.25, rounds: 3 }),
            status,
            met,
        };
        let detail = |name: &str, value, unit| Detail { name: name.to_owned(), value, unit };
        Report {
            suite: "engine",
            commit: Some("abc".into()),
            machine: "2 x CPU".into(),
            figures: vec![
                figure("fast", Some(1.0), Status::Measured, Some(true)),
                figure("slower", Some(0.5), Status::Measured, Some(false)),
                figure("lonely", None, Status::PeerMissing, None),
            ],
            details: vec![
                detail("rate", Value::Number(1234.5), "tokens/s"),
                detail("hardware", Value::Text("AVX = 1 | AVX2 = 1 | and very much more".into()), ""),
            ],
        }
    }

    #[test]
    fn the_terminal_gets_aligned_columns() {
        let expected = "suite engine at abc\n2 x CPU\n\n\
            FIGURE  VALUE  UNIT   TARGET  PEER          MET           SPREAD\n\
            fast    1.000  ratio  ≥ 0.95  llama-server  yes           0.900 to 1.250 (3 rounds)\n\
            slower  0.500  ratio  ≥ 0.95  llama-server  no            0.900 to 1.250 (3 rounds)\n\
            lonely  -      ratio  ≥ 0.95  llama-server  peer missing  -\n\n\
            DETAIL    VALUE  UNIT\n\
            rate      1234   tokens/s\n\
            hardware  AVX = 1 | AVX2 = 1 | and very much more\n";
        assert_eq!(plain(&report()), expected);
    }

    #[test]
    fn the_page_says_what_how_where_and_when_and_keeps_what_was_not_measured() {
        let surroundings =
            Surroundings { commit: Some("abc".into()), machine: "2 x CPU".into(), date: "2026-11-23".into() };
        let order = ["estimate", "engine", "vault"];
        let before = "# old head\n\n## vault\n\n`x` at commit `old`.\n\n### Details\n\n| a | b |\n\n## engine\n\nold\n\n## gone\n";
        let page = markdown(&[report()], before, &order, "llmos-bench engine", &surroundings);
        for line in [
            "`llmos-bench engine` at commit `abc`, 2026-11-23, on 2 x CPU.",
            "| figure | value | unit | target | peer | met | spread |",
            "| fast | 1.000 | ratio | ≥ 0.95 | llama-server | yes | 0.900 to 1.250 (3 rounds) |",
            "| hardware | AVX = 1 \\| AVX2 = 1 \\| and very much more |  |",
            "`x` at commit `old`.",
            "### Details",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let names: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(names, ["## engine", "## vault"]);
        assert!(!page.contains("old head") && page.ends_with("| a | b |\n"), "{page}");
        assert_eq!(markdown(&[report()], &page, &order, "llmos-bench engine", &surroundings), page);
    }
}
