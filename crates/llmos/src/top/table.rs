//! One table: which rows are shown, in which order, and which one is selected.

use std::ops::Range;

use super::rows::{self, Column, Row, RowId};

/// A table, as it was left by the last key and the last sample.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: &'static [Column],
    /// Index of the column that it is sorted by.
    pub(crate) sort: usize,
    pub(crate) largest_first: bool,
    /// Only rows that contain it are shown.
    pub(crate) filter: String,
    /// What is shown.
    pub(crate) rows: Vec<Row>,
    /// How many there would be without filters.
    pub(crate) all: usize,
    selected: usize,
    /// Whether the selection goes with its row. Until somebody moves it, it stays on top.
    follows: bool,
    first: usize,
    page: usize,
}

impl Table {
    pub(crate) fn new(columns: &'static [Column], sort: usize) -> Self {
        Self {
            columns,
            sort,
            largest_first: columns[sort].largest_first,
            filter: String::new(),
            rows: Vec::new(),
            all: 0,
            selected: 0,
            follows: false,
            first: 0,
            page: 1,
        }
    }

    pub(crate) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.selected)
    }

    pub(crate) fn selected_index(&self) -> usize {
        self.selected
    }

    /// Shows these rows. What was selected stays selected; if it is gone, what stands in its place is.
    pub(crate) fn show(&mut self, all: Vec<Row>, tenant: Option<u64>) {
        let selected: Option<RowId> = self.selected().map(|row| row.id.clone());
        self.all = all.len();
        self.rows = all;
        self.rows.retain(|row| tenant.is_none() || row.tenant == tenant);
        if !self.filter.is_empty() {
            self.rows.retain(|row| row.contains(&self.filter));
        }
        rows::sort(&mut self.rows, self.sort, self.largest_first);
        let place = self.rows.iter().position(|row| Some(&row.id) == selected.as_ref());
        self.selected = place.filter(|_| self.follows).unwrap_or(self.selected);
        self.selected = self.selected.min(self.rows.len().saturating_sub(1));
    }

    /// Selects this row, or the last one. The top is a place, any other row is one that is watched.
    pub(crate) fn select(&mut self, index: usize) {
        self.selected = index.min(self.rows.len().saturating_sub(1));
        self.follows = self.selected > 0;
    }

    pub(crate) fn up(&mut self, rows: usize) {
        self.select(self.selected.saturating_sub(rows));
    }

    pub(crate) fn down(&mut self, rows: usize) {
        self.select(self.selected.saturating_add(rows));
    }

    /// Rows that are seen at once.
    pub(crate) fn page(&self) -> usize {
        self.page
    }

    /// Selects the next row that contains the text, from the selected one on and around.
    pub(crate) fn find(&mut self, text: &str, beyond_selected: bool) -> bool {
        let count = self.rows.len();
        let start = self.selected + usize::from(beyond_selected);
        let found = (start..start + count).map(|at| at % count).find(|&at| self.rows[at].contains(text));
        if let Some(at) = found {
            self.select(at);
        }
        found.is_some()
    }

    pub(crate) fn sort_by(&mut self, column: usize) {
        self.sort = column;
        self.largest_first = self.columns[column].largest_first;
    }

    /// The rows that are seen through a window of this height: it moves no more than the selection makes it.
    pub(crate) fn window(&mut self, height: usize) -> Range<usize> {
        self.page = height.max(1);
        let last_first = self.rows.len().saturating_sub(height);
        self.first =
            self.first.clamp((self.selected + 1).saturating_sub(self.page), self.selected).min(last_first);
        self.first..self.rows.len().min(self.first + height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rows::{Cell, SEQUENCE_COLUMNS, Tone};

    /// Sequences with these numbers; odd ones are of tenant 1, even ones of tenant 2.
    fn rows(ids: &[u64]) -> Vec<Row> {
        let cell = |id: u64| Cell { text: format!("s{id}"), number: Some(id as f64) };
        let row = |&id: &u64| Row {
            id: RowId::Sequence(id),
            tenant: Some(2 - id % 2),
            tone: Tone::Plain,
            cells: vec![cell(id)],
        };
        ids.iter().map(row).collect()
    }

    fn shown(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    #[test]
    fn the_selected_row_stays_selected_until_it_is_gone() {
        let mut table = Table::new(&SEQUENCE_COLUMNS, 0);
        table.show(rows(&[1, 2, 3]), None);
        assert_eq!(shown(&table), ["s3", "s2", "s1"]);
        table.show(rows(&[1, 2, 3, 4]), None);
        assert_eq!(table.selected().unwrap().id, RowId::Sequence(4));
        table.down(2);
        table.show(rows(&[1, 2, 3, 4, 5]), None);
        assert_eq!((table.selected_index(), &table.selected().unwrap().id), (3, &RowId::Sequence(2)));
        table.show(rows(&[1, 4]), None);
        assert_eq!(table.selected().unwrap().id, RowId::Sequence(1));
        table.show(Vec::new(), None);
        assert_eq!((table.selected(), table.selected_index()), (None, 0));
        assert!(!table.find("s", true));
    }

    #[test]
    fn filters_and_search() {
        let mut table = Table::new(&SEQUENCE_COLUMNS, 0);
        table.show(rows(&[1, 2, 3, 10, 11]), Some(1));
        assert_eq!((shown(&table), table.all), (vec!["s11", "s3", "s1"], 5));
        table.filter = "S1".to_owned();
        table.show(rows(&[1, 2, 3, 10, 11]), None);
        assert_eq!(shown(&table), ["s11", "s10", "s1"]);
        assert!(table.find("s1", true) && table.selected_index() == 1);
        assert!(table.find("s1", false) && table.selected_index() == 1);
        assert!(table.find("s11", true) && table.selected_index() == 0);
        assert!(!table.find("s2", false));
    }

    #[test]
    fn the_window_follows_the_selection() {
        let mut table = Table::new(&SEQUENCE_COLUMNS, 0);
        table.show(rows(&(0..10).collect::<Vec<_>>()), None);
        for (selected, height, expected) in [
            (0, 4, 0..4),
            (3, 4, 0..4),
            (4, 4, 1..5),
            (9, 4, 6..10),
            (7, 4, 6..10),
            (5, 4, 5..9),
            (5, 20, 0..10),
            (5, 1, 5..6),
            (5, 0, 5..5),
        ] {
            table.select(selected);
            assert_eq!(table.window(height), expected, "row {selected}, height {height}");
        }
        table.show(Vec::new(), None);
        assert_eq!(table.window(4), 0..0);
    }
}
