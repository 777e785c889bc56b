//! The page that says what each key does.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::theme::Theme;

/// Keys and what they do; most as in htop.
const KEYS: [(&str, &str); 18] = [
    ("Arrows PgUp PgDn", "move the selection; a selected row is followed"),
    ("Home End", "first row, last row"),
    ("Tab", "the other table"),
    ("F1 h ?", "this page"),
    ("F3 /", "search; F3 again finds the next"),
    ("F4 \\", "show only rows that contain a text"),
    ("F6 < >", "choose the column to sort by"),
    ("I", "invert the order"),
    ("M", "sort by memory"),
    ("P", "sort by tokens per second"),
    ("T", "sort by age"),
    ("u", "show the sequences of one tenant"),
    ("F9 k", "end the sequence, or send the model out of memory; asks first"),
    ("l", "bring the model into memory; asks first"),
    ("Z", "pause, and go on"),
    ("+ -", "look less often, more often"),
    ("Ctrl-L", "draw everything anew"),
    ("F10 q Ctrl-C", "quit"),
];
/// What the columns and figures mean.
const FIGURES: [(&str, &str); 9] = [
    ("Models", "memory of all workers, of the memory of this machine"),
    ("KV", "tokens of all sequences that are held in memory"),
    ("1st token", "arrival to first token; half of the requests, 99 of 100"),
    ("Token gap", "from one token to the next, likewise"),
    ("Ended", "requests, by how: stop, length, abort (the caller left), error"),
    ("SET RES", "memory set aside for a model, and measured at its worker"),
    ("IN/s OUT/s", "tokens per second of prompts and of answers"),
    ("PROMPT GEN KV", "tokens of a prompt, of the answer so far, of both"),
    ("WHY", "why it stands where it stands"),
];
const KEY_WIDTH: usize = 18;

/// How far it can be scrolled.
pub(crate) const LINES: usize = KEYS.len() + 1 + FIGURES.len();

/// Draws the page from a line on; the last page stays full.
pub(crate) fn draw(frame: &mut Frame<'_>, first: usize, theme: Theme) {
    let area = frame.area();
    let entry = |(key, meaning): &(&'static str, &'static str)| {
        let key = Span::styled(format!("{key:>KEY_WIDTH$}"), theme.label());
        Line::from(vec![key, Span::raw(format!("  {meaning}"))])
    };
    let entries: Vec<Line<'_>> =
        KEYS.iter().map(entry).chain([Line::default()]).chain(FIGURES.iter().map(entry)).collect();
    let title = format!(
        " llmos top {}: keys as in htop. Arrows scroll, other keys lead back",
        env!("CARGO_PKG_VERSION")
    );
    let title = format!("{title:<0$}", area.width as usize);
    frame
        .render_widget(Line::styled(title, theme.columns(true)), Rect { height: area.height.min(1), ..area });
    let room = area.height.saturating_sub(1);
    let first = first.min(LINES.saturating_sub(room as usize));
    for (line, y) in entries.into_iter().skip(first).zip(area.y + 1..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}
