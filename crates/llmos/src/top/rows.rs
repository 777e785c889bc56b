//! The two tables: their columns, and a row for each model and each sequence.

use std::cmp::Ordering;

use gateway::admin_types::{Replica, Sequence};

use super::{history::History, words};

/// What a column is called, how wide it is, and what gives way when the terminal is narrow.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// In characters, at least.
    pub(crate) width: usize,
    pub(crate) right: bool,
    /// The column with the highest number goes first; 0 stays.
    pub(crate) spare: u8,
    /// Whether the largest is of most interest, and so comes first.
    pub(crate) largest_first: bool,
}

const fn text(title: &'static str, width: usize, spare: u8) -> Column {
    Column { title, width, right: false, spare, largest_first: false }
}

const fn number(title: &'static str, width: usize, spare: u8) -> Column {
    Column { title, width, right: true, spare, largest_first: true }
}

/// The column whose texts are names that somebody chose.
const NAME_TITLE: &str = "MODEL";

/// One entry per deployed model.
pub(crate) const MODEL_COLUMNS: [Column; 13] = [
    text(NAME_TITLE, 16, 0),
    text("STATE", 9, 0),
    number("PID", 8, 9),
    text("CORES", 7, 10),
    number("SET", 6, 6),
    number("RES", 6, 2),
    number("REQ", 4, 7),
    number("RUN", 4, 1),
    number("WAIT", 4, 3),
    number("KV%", 4, 1),
    number("IN/s", 7, 5),
    number("OUT/s", 7, 1),
    text("WHY", 20, 4),
];
/// One entry per generation.
pub(crate) const SEQUENCE_COLUMNS: [Column; 11] = [
    number("ID", 7, 0),
    text(NAME_TITLE, 14, 4),
    number("TENANT", 6, 6),
    text("CLASS", 11, 8),
    text("STATE", 9, 1),
    number("PROMPT", 6, 5),
    number("GEN", 6, 2),
    number("KV", 6, 7),
    number("TOK/s", 6, 1),
    number("AGE", 6, 3),
    text("WHY", 24, 0),
];

/// What `M`, `P` and `T` sort by, as indices of columns.
pub(crate) const MODEL_KEYS: SortKeys = SortKeys { memory: 5, rate: 11, age: None };
pub(crate) const SEQUENCE_KEYS: SortKeys = SortKeys { memory: 7, rate: 8, age: Some(SEQUENCE_AGE) };
/// The order that moves least.
pub(crate) const SEQUENCE_AGE: usize = 9;

/// The columns behind htop's keys for sorting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SortKeys {
    pub(crate) memory: usize,
    pub(crate) rate: usize,
    pub(crate) age: Option<usize>,
}

/// What a row is about, from sample to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowId {
    Model(String),
    Sequence(u64),
}

/// How a row stands out, beside what its words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Waiting,
    Failed,
}

/// One line of a table, with one cell for each column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: RowId,
    /// Whose it is, if it is somebody's.
    pub(crate) tenant: Option<u64>,
    pub(crate) tone: Tone,
    pub(crate) cells: Vec<Cell>,
}

/// What is shown, and what is sorted by: the number if there is one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) number: Option<f64>,
}

impl Cell {
    /// Text may come from a model's file or another user, and is made harmless.
    fn text(text: &str) -> Self {
        Self { text: words::one_line(text), number: None }
    }

    fn number(number: Option<f64>, shown: impl FnOnce(f64) -> String) -> Self {
        Self { text: number.map_or_else(|| "-".to_owned(), shown), number }
    }

    fn count(count: f64) -> Self {
        Self::number(Some(count), words::count)
    }

    /// Numbers by size, texts by letters. What is not known is less than all else.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (None, None) => self.text.cmp(&other.text),
            (known, _) => {
                if known.is_some() {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        }
    }
}

impl Row {
    /// Whether any cell contains the text, in upper or lower case.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.cells.iter().any(|cell| cell.text.to_lowercase().contains(&text))
    }
}

/// By one column; equal ones stay in order.
pub(crate) fn sort(rows: &mut [Row], column: usize, largest_first: bool) {
    rows.sort_by(|a, b| {
        let order = match (a.cells.get(column), b.cells.get(column)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => Ordering::Equal,
        };
        if largest_first { order.reverse() } else { order }
    });
}

/// The rows of the models, in the server's order.
pub(crate) fn models(history: &History) -> Vec<Row> {
    let replicas = history.newest().map_or(&[][..], |sample| &sample.processes.replicas);
    replicas.iter().map(|replica| model(replica, history)).collect()
}

/// The rows of the sequences, in the server's order.
pub(crate) fn sequences(history: &History) -> Vec<Row> {
    let sequences = history.newest().map_or(&[][..], |sample| &sample.processes.sequences);
    sequences.iter().map(|live| sequence(live, history)).collect()
}

fn model(replica: &Replica, history: &History) -> Row {
    let rate = history.rate(Some(&replica.model));
    let cores = replica.cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let kv = (replica.kv_total > 0).then(|| f64::from(replica.kv_used) / f64::from(replica.kv_total) * 100.0);
    let bytes = |bytes: Option<u64>| Cell::number(bytes.map(|bytes| bytes as f64), words::bytes);
    let left = replica.left_s.map(|left| format!("about {left:.0} s to go"));
    let pinned = replica.pinned.then(|| "pinned".to_owned());
    let why: Vec<String> = [replica.why.clone(), left, pinned].into_iter().flatten().collect();
    let state = match replica.percent {
        Some(percent) if replica.state == "loading" => format!("load {percent}%"),
        _ => replica.state.clone(),
    };
    Row {
        id: RowId::Model(replica.model.clone()),
        tenant: None,
        tone: match replica.state.as_str() {
            "ready" => Tone::Plain,
            "failed" => Tone::Failed,
            _ => Tone::Waiting,
        },
        cells: vec![
            Cell::text(&replica.model),
            Cell::text(&state),
            Cell::number(replica.pid.map(f64::from), |pid| pid.to_string()),
            Cell::text(if cores.is_empty() { "-" } else { &cores }),
            bytes(replica.memory),
            bytes(replica.resident),
            Cell::count(replica.requests as f64),
            Cell::count(replica.running as f64),
            Cell::count(replica.waiting as f64),
            Cell::number(kv, |percent| format!("{percent:.0}")),
            Cell::number(Some(rate.input), words::rate),
            Cell::number(Some(rate.output), words::rate),
            Cell::text(&why.join("; ")),
        ],
    }
}

fn sequence(sequence: &Sequence, history: &History) -> Row {
    let kv = u64::from(sequence.prompt) + u64::from(sequence.generated);
    Row {
        id: RowId::Sequence(sequence.id),
        tenant: Some(sequence.tenant),
        tone: if sequence.state == "running" { Tone::Plain } else { Tone::Waiting },
        cells: vec![
            Cell::number(Some(sequence.id as f64), |_| sequence.id.to_string()),
            Cell::text(&sequence.model),
            Cell::number(Some(sequence.tenant as f64), |_| sequence.tenant.to_string()),
            Cell::text(&sequence.class),
            Cell::text(&sequence.state),
            Cell::count(sequence.prompt.into()),
            Cell::count(sequence.generated.into()),
            Cell::count(kv as f64),
            Cell::number(history.sequence_rate(sequence.id), words::rate),
            Cell::number(Some(sequence.age_s), words::duration),
            Cell::text(&sequence.why.join("; ")),
        ],
    }
}

/// The columns that fit into so many characters, as indices and widths; between two columns there is one space. Names
/// get the room that they need, up to half of what is left over; a text in the last column gets the rest.
pub(crate) fn layout(columns: &[Column], rows: &[Row], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<(usize, usize)> =
        fitting(columns, width).into_iter().map(|at| (at, columns[at].width)).collect();
    let left = |shown: &[(usize, usize)]| {
        (width + 1).saturating_sub(shown.iter().map(|(_, width)| width + 1).sum::<usize>())
    };
    let spare = left(&shown) / 2;
    if let Some((at, width)) = shown.iter_mut().find(|(at, _)| columns[*at].title == NAME_TITLE) {
        let longest =
            rows.iter().filter_map(|row| row.cells.get(*at)).map(|cell| cell.text.chars().count()).max();
        *width += longest.unwrap_or(0).saturating_sub(*width).min(spare);
    }
    let spare = left(&shown);
    if let Some((_, width)) = shown.last_mut().filter(|(at, _)| !columns[*at].right) {
        *width += spare;
    }
    shown
}

fn fitting(columns: &[Column], width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needs = |shown: &[usize]| shown.iter().map(|&at| columns[at].width + 1).sum::<usize>();
    while needs(&shown) > width + 1 {
        let most_spare = shown.iter().copied().max_by_key(|&at| columns[at].spare);
        let Some(goes) = most_spare.filter(|&at| columns[at].spare > 0) else { break };
        shown.retain(|&at| at != goes);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let mut history = History::default();
        history.push(fixture::sample(0.0, &["m"], vec![fixture::sequence(7, "m", 100, 20)]));
        let shown = |rows: &[Row]| rows[0].cells.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
        let models = shown(&models(&history));
        assert_eq!(
            models,
            ["m", "ready", "4242", "0,1", "1.0G", "512M", "3", "2", "1", "25", "0.0", "0.0", ""]
        );
        assert_eq!(models.len(), MODEL_COLUMNS.len());
        let sequences = shown(&sequences(&history));
        let why = "runs; 20 of at most 512 tokens";
        assert_eq!(sequences, ["7", "m", "1", "normal", "running", "100", "20", "120", "-", "1.5s", why]);
        assert_eq!(sequences.len(), SEQUENCE_COLUMNS.len());
        for (columns, keys) in [(&MODEL_COLUMNS[..], MODEL_KEYS), (&SEQUENCE_COLUMNS[..], SEQUENCE_KEYS)] {
            let titles =
                [Some(keys.memory), Some(keys.rate), keys.age].map(|key| key.map(|at| columns[at].title));
            assert!(matches!(titles, [Some("RES" | "KV"), Some("OUT/s" | "TOK/s"), None | Some("AGE")]));
        }
    }

    #[test]
    fn loading_and_failing_are_said_in_words() {
        let mut sample = fixture::sample(0.0, &["a", "b"], Vec::new());
        let [a, b] = &mut sample.processes.replicas[..] else { panic!("two models") };
        (a.state, a.percent, a.left_s) = ("loading".to_owned(), Some(7), Some(12.4));
        (b.state, b.why, b.pinned) = ("failed".to_owned(), Some("no\nfile \x1b[2J".to_owned()), true);
        let mut history = History::default();
        history.push(sample);
        let rows = models(&history);
        let shown = |row: &Row| (row.tone, row.cells[1].text.clone(), row.cells[12].text.clone());
        assert_eq!(shown(&rows[0]), (Tone::Waiting, "load 7%".into(), "about 12 s to go".into()));
        assert_eq!(shown(&rows[1]), (Tone::Failed, "failed".into(), "no file \u{fffd}[2J; pinned".into()));
    }

    #[test]
    fn sorting_is_by_size_or_letters_and_stable() {
        let cells = [("b", Some(2.0)), ("a", None), ("c", Some(10.0)), ("d", Some(2.0))];
        let rows = cells.map(|(name, number)| Row {
            id: RowId::Model(name.to_owned()),
            tenant: None,
            tone: Tone::Plain,
            cells: vec![Cell::text(name), Cell::number(number, words::count)],
        });
        for (column, largest_first, expected) in
            [(0, false, "abcd"), (0, true, "dcba"), (1, false, "abdc"), (1, true, "cbda"), (99, true, "bacd")]
        {
            let mut rows = rows.clone();
            sort(&mut rows, column, largest_first);
            let order: String = rows.iter().map(|row| row.cells[0].text.clone()).collect();
            assert_eq!(order, expected, "column {column}, largest first: {largest_first}");
        }
    }

    #[test]
    fn narrow_terminals_lose_the_least_important_columns() {
        let titles = |columns: &'static [Column], width| -> Vec<&str> {
            fitting(columns, width).into_iter().map(|at| columns[at].title).collect()
        };
        assert_eq!(titles(&SEQUENCE_COLUMNS, 400).len(), SEQUENCE_COLUMNS.len());
        let sequences = ["ID", "MODEL", "STATE", "GEN", "TOK/s", "AGE", "WHY"];
        assert_eq!(titles(&SEQUENCE_COLUMNS, 79), sequences);
        let models = ["MODEL", "STATE", "RES", "RUN", "WAIT", "KV%", "OUT/s", "WHY"];
        assert_eq!(titles(&MODEL_COLUMNS, 79), models);
        assert_eq!(titles(&SEQUENCE_COLUMNS, 0), ["ID", "WHY"]);
        assert_eq!(titles(&MODEL_COLUMNS, 1), ["MODEL", "STATE"]);
        assert_eq!(titles(&MODEL_COLUMNS, 119).len(), MODEL_COLUMNS.len());
    }

    #[test]
    fn what_is_left_over_goes_to_names_and_reasons() {
        let mut history = History::default();
        let name = "a-model-with-a-long-name";
        history.push(fixture::sample(0.0, &[name], Vec::new()));
        let rows = models(&history);
        let widths = |width| {
            let shown = layout(&MODEL_COLUMNS, &rows, width);
            let (model, why) = (shown[0].1, shown.last().unwrap().1);
            (model, why, shown.iter().map(|(_, width)| width + 1).sum::<usize>() - 1)
        };
        assert_eq!(widths(114), (16, 20, 114));
        assert_eq!(widths(118), (18, 22, 118));
        assert_eq!(widths(200), (name.len(), 98, 200));
    }
}
