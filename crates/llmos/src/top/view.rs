//! Draws the screen. Every line is clipped by the area that it is drawn in, so that no size is too small.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    app::{App, Mode, Pane},
    help, meters,
    rows::{self, Row},
    table::Table,
    theme::{self, Theme},
    words,
};

/// Narrower, and the figures stand in one column.
const TWO_COLUMNS_MIN: u16 = 72;
/// Lower, and there are no figures, only tables; and lower still, only the table that keys are for.
const FIGURES_HEIGHT_MIN: u16 = 12;
const BOTH_TABLES_HEIGHT_MIN: u16 = 7;
/// Most characters of a bar's half of the screen.
const HALF_MAX: u16 = 100;
/// The part of the tables' lines that models may take.
const MODELS_PART: u16 = 3;
/// Lines of a table above its rows: its name and the titles of its columns.
const TABLE_HEAD: u16 = 2;
const MENU_WIDTH: u16 = 20;
/// Characters of the word beside a key in the last line, as in htop.
const KEY_WORD: usize = 6;

/// Draws everything. `stale_s` is how old the figures are, if that is older than they should be.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App, stale_s: Option<f64>, theme: Theme) {
    let area = frame.area();
    if let Mode::Help(first) = app.mode {
        return help::draw(frame, first, theme);
    }
    let (body, footer) = split_bottom(area, 1);
    let body = draw_alarm(frame, app, body, stale_s, theme);
    let body = if body.height >= FIGURES_HEIGHT_MIN { draw_figures(frame, app, body, theme) } else { body };
    let body = draw_menu(frame, app, body, theme);
    let dim = stale_s.is_some();
    let (models, sequences) = split_tables(app, body);
    let active = app.pane;
    let tenant = app.tenant.map(|tenant| format!("tenant {tenant}"));
    let drawn = Drawn { name: "Models", active: active == Pane::Models, note: None, dim, theme };
    draw_table(frame, &mut app.models, models, &drawn);
    let drawn = Drawn { name: "Sequences", active: active == Pane::Sequences, note: tenant, dim, theme };
    draw_table(frame, &mut app.sequences, sequences, &drawn);
    draw_footer(frame, app, footer, theme);
}

/// Says above everything that the figures are not what is, and why.
fn draw_alarm(frame: &mut Frame<'_>, app: &App, area: Rect, stale_s: Option<f64>, theme: Theme) -> Rect {
    let age = stale_s.map(|age| format!("figures of {} ago", words::duration(age)));
    let alarm = match (&app.lost, age) {
        (Some(why), age) => {
            let age = age.unwrap_or_else(|| "old figures".to_owned());
            format!(" STALE: {age}; trying again: {}", words::one_line(why))
        }
        _ if app.paused => " PAUSED: Z goes on".to_owned(),
        (None, Some(age)) => format!(" STALE: {age}; the server takes its time to answer"),
        (None, None) => return area,
    };
    let (line, rest) = split_top(area, 1);
    let width = line.width as usize;
    let text = format!("{:<width$}", words::cut(&alarm, width));
    frame.render_widget(Line::styled(text, theme.alarm()), line);
    rest
}

fn draw_figures(frame: &mut Frame<'_>, app: &App, area: Rect, theme: Theme) -> Rect {
    let two = area.width >= TWO_COLUMNS_MIN;
    let half = if two { (area.width / 2).min(HALF_MAX) } else { area.width }.saturating_sub(2);
    let mut bars = meters::bars(app, half as usize, theme);
    let texts = meters::texts(app, half as usize, theme);
    if two {
        bars.push(meters::server(app, half as usize, theme));
        let height = texts.len() as u16;
        let (lines, rest) = split_top(area, height + 1);
        let right_x = lines.x + 1 + half + 2;
        draw_lines(frame, bars, Rect { x: lines.x + 1, width: half, ..lines });
        let right = Rect { x: right_x, width: lines.right().saturating_sub(right_x + 1).min(half), ..lines };
        draw_lines(frame, texts, right);
        return rest;
    }
    // What is looked for most, in one column.
    let few: Vec<Line<'_>> = texts.into_iter().take(2).chain(bars.into_iter().skip(2)).collect();
    let (lines, rest) = split_top(area, few.len() as u16);
    draw_lines(frame, few, Rect { x: lines.x + 1, width: half, ..lines });
    rest
}

fn draw_lines(frame: &mut Frame<'_>, lines: Vec<Line<'_>>, area: Rect) {
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

/// A column of choices at the left, as in htop.
fn draw_menu(frame: &mut Frame<'_>, app: &mut App, area: Rect, theme: Theme) -> Rect {
    let (title, entries, at) = match &app.mode {
        Mode::SortMenu(at) => {
            let at = *at;
            ("Sort by", app.table().columns.iter().map(|column| column.title.to_owned()).collect(), at)
        }
        Mode::TenantMenu(tenants, at) => {
            let tenants = tenants.iter().map(|tenant| format!("tenant {tenant}"));
            let entries: Vec<String> = std::iter::once("all tenants".to_owned()).chain(tenants).collect();
            ("Show", entries, *at)
        }
        _ => return area,
    };
    let width = MENU_WIDTH.min(area.width);
    let menu = Rect { width, ..area };
    let rest = Rect { x: area.x + width, width: area.width - width, ..area };
    let inner = (width as usize).saturating_sub(1);
    let (head, list) = split_top(menu, 1);
    frame.render_widget(
        Line::styled(format!(" {title:<0$}", inner.saturating_sub(1)), theme.columns(true)),
        head,
    );
    let beyond = (at + 1).saturating_sub(list.height as usize);
    for ((index, entry), y) in entries.iter().enumerate().skip(beyond).zip(list.y..list.bottom()) {
        let (mark, style) = if index == at { (">", theme.selected()) } else { (" ", Style::new()) };
        let text =
            format!("{mark}{:<1$}", words::cut(entry, inner.saturating_sub(1)), inner.saturating_sub(1));
        frame.render_widget(Line::styled(text, style), Rect { y, height: 1, ..list });
    }
    rest
}

fn split_tables(app: &App, area: Rect) -> (Rect, Rect) {
    if area.height < BOTH_TABLES_HEIGHT_MIN {
        let nothing = Rect { height: 0, ..area };
        return if app.pane == Pane::Models { (area, nothing) } else { (nothing, area) };
    }
    let wanted = (app.models.rows.len().max(1)).min(usize::from(u16::MAX / 2)) as u16 + TABLE_HEAD;
    let most = (area.height / MODELS_PART).max(TABLE_HEAD + 1);
    // With few sequences, many models may have more.
    let sequences = app.sequences.rows.len().min(usize::from(u16::MAX / 2)) as u16 + TABLE_HEAD + 1;
    split_top(area, wanted.min(most.max(area.height.saturating_sub(sequences))))
}

/// How a table is drawn, beside what is in it.
struct Drawn<'a> {
    name: &'a str,
    active: bool,
    /// What else limits it.
    note: Option<String>,
    dim: bool,
    theme: Theme,
}

fn draw_table(frame: &mut Frame<'_>, table: &mut Table, area: Rect, drawn: &Drawn<'_>) {
    if area.height == 0 {
        return;
    }
    let (name, area) = if area.height > TABLE_HEAD { split_top(area, 1) } else { (Rect::ZERO, area) };
    frame.render_widget(name_line(table, name.width as usize, drawn), name);
    let (head, body) = split_top(area, 1);
    let width = (head.width as usize).saturating_sub(1);
    let shown = rows::layout(table.columns, &table.rows, width);
    let columns = drawn.theme.columns(drawn.active);
    let mut titles = vec![Span::styled(" ", columns)];
    for &(at, width) in &shown {
        let column = &table.columns[at];
        let sorted = at == table.sort;
        let arrow = if table.largest_first { "▽" } else { "△" };
        let title = if sorted { format!("{}{arrow}", column.title) } else { column.title.to_owned() };
        let style = if sorted { drawn.theme.sorted(drawn.active) } else { columns };
        titles.push(Span::styled(pad(&title, width, column.right), style));
        titles.push(Span::styled(" ", columns));
    }
    let titles = Line::from(titles);
    let rest = " ".repeat((head.width as usize).saturating_sub(titles.width()));
    frame.render_widget(titles + Span::styled(rest, columns), head);
    let window = table.window(body.height as usize);
    let selected = table.selected_index();
    for (index, y) in window.zip(body.y..body.bottom()) {
        let mark = drawn.active && index == selected;
        let line = row_line(&table.rows[index], table, &shown, width, mark, drawn);
        frame.render_widget(line, Rect { y, height: 1, ..body });
    }
    if table.rows.is_empty() && body.height > 0 {
        let text = if table.all > 0 { "  none that the filter lets through" } else { "  none" };
        frame.render_widget(Line::styled(text, theme::STALE), Rect { height: 1, ..body });
    }
}

/// `▸ Sequences 3 of 20, filter "abc", tenant 1`: what is in the table and which part of it is shown.
fn name_line(table: &Table, width: usize, drawn: &Drawn<'_>) -> Line<'static> {
    let mark = if drawn.active { "▸" } else { " " };
    let count = if table.rows.len() == table.all {
        format!(" {}", table.all)
    } else {
        format!(" {} of {}", table.rows.len(), table.all)
    };
    let filter = (!table.filter.is_empty()).then(|| format!("filter \"{}\"", words::one_line(&table.filter)));
    let limits: Vec<String> = [Some(count), filter, drawn.note.clone()].into_iter().flatten().collect();
    let name_style = if drawn.active { theme::FIGURE } else { Style::new() };
    Line::from(vec![
        Span::styled(format!("{mark}{}", drawn.name), name_style),
        Span::raw(words::cut(&limits.join(", "), width)),
    ])
}

fn row_line(
    row: &Row,
    table: &Table,
    shown: &[(usize, usize)],
    width: usize,
    marked: bool,
    drawn: &Drawn<'_>,
) -> Line<'static> {
    let mut text = String::from(if marked { ">" } else { " " });
    for &(at, width) in shown {
        let cell = row.cells.get(at).map_or("", |cell| cell.text.as_str());
        text += &pad(cell, width, table.columns[at].right);
        text.push(' ');
    }
    let text = format!("{text:<0$}", width + 1);
    let style = match (marked, drawn.dim) {
        (true, _) => drawn.theme.selected(),
        (false, true) => theme::STALE,
        (false, false) => drawn.theme.row(row.tone),
    };
    Line::styled(text, style)
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let text = words::cut(text, width);
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

fn draw_footer(frame: &mut Frame<'_>, app: &App, area: Rect, theme: Theme) {
    let width = area.width as usize;
    let filter = match app.pane {
        Pane::Models => &app.models.filter,
        Pane::Sequences => &app.sequences.filter,
    };
    let line = match (&app.mode, &app.message) {
        (Mode::Confirm(_, question), _) => {
            let question = format!(" {} y/n", words::one_line(question));
            Line::styled(format!("{:<width$}", words::cut(&question, width)), theme.alarm())
        }
        (Mode::Search(text), message) => {
            let note = message.as_ref().map(|message| format!("  ({message})")).unwrap_or_default();
            typed(&[("F3", "Next"), ("Esc", "Done")], "Search", text, &note, theme)
        }
        (Mode::Filter, _) => typed(&[("Enter", "Done"), ("Esc", "Clear")], "Filter", filter, "", theme),
        (Mode::SortMenu(_) | Mode::TenantMenu(..), _) => {
            keys(&[("Enter", "Choose"), ("Esc", "Leave"), ("Up/Down", "Move")], theme)
        }
        (_, Some(message)) => {
            Line::styled(format!(" {:<1$}", words::cut(message, width), width), theme.selected())
        }
        _ => keys(&footer_keys(app, width), theme),
    };
    frame.render_widget(line, area);
}

/// The keys that fit, the most important ones first.
fn footer_keys(app: &App, width: usize) -> Vec<(&'static str, &'static str)> {
    let end = if app.pane == Pane::Models { "Unload" } else { "Kill" };
    let mut all = vec![
        ("F1", "Help"),
        ("Tab", "Table"),
        ("F3", "Search"),
        ("F4", "Filter"),
        ("F6", "SortBy"),
        ("F9", end),
        ("F10", "Quit"),
    ];
    if app.pane == Pane::Models {
        all.push(("l", "Load"));
    } else {
        all.push(("u", "Tenant"));
    }
    all.extend([("I", "Invert"), ("Z", "Pause"), ("+/-", "Delay")]);
    let mut used = 0;
    all.retain(|(key, _)| {
        used += key.len() + KEY_WORD;
        used <= width
    });
    all
}

fn keys(keys: &[(&'static str, &'static str)], theme: Theme) -> Line<'static> {
    let spans = keys
        .iter()
        .flat_map(|(key, word)| [Span::raw(*key), Span::styled(format!("{word:<KEY_WORD$}"), theme.key())]);
    spans.collect()
}

fn typed(
    shown: &[(&'static str, &'static str)],
    what: &str,
    text: &str,
    note: &str,
    theme: Theme,
) -> Line<'static> {
    let mut line = keys(shown, theme);
    line.push_span(Span::styled(format!(" {what}: "), theme.label()));
    line.push_span(Span::raw(words::one_line(text)));
    line.push_span(Span::styled(" ", theme.selected()));
    line.push_span(Span::raw(note.to_owned()));
    line
}

fn split_top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

fn split_bottom(area: Rect, height: u16) -> (Rect, Rect) {
    split_top(area, area.height.saturating_sub(height))
}
