//! What is on the screen, and what each key does to it. Nothing here draws, asks or waits.

use gateway::admin_types::Version;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    help,
    history::History,
    rows::{
        self, MODEL_COLUMNS, MODEL_KEYS, Row, RowId, SEQUENCE_AGE, SEQUENCE_COLUMNS, SEQUENCE_KEYS, SortKeys,
    },
    sample::Sample,
    table::Table,
    words,
};

/// Shortest and longest time from sample to sample, in seconds.
pub(crate) const DELAY_S_MIN: f64 = 0.2;
pub(crate) const DELAY_S_MAX: f64 = 60.0;
/// What `+` and `-` change it by, as a factor: three presses double or halve it.
const DELAY_STEP: f64 = 1.26;
/// Longest text to search or filter by, in characters.
const TYPED_CHARS_MAX: usize = 64;

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) history: History,
    /// Why the server does not answer any more; the figures are old then.
    pub(crate) lost: Option<String>,
    pub(crate) server: Option<Version>,
    pub(crate) delay_s: f64,
    pub(crate) paused: bool,
    pub(crate) pane: Pane,
    pub(crate) models: Table,
    pub(crate) sequences: Table,
    /// Only this tenant's sequences are shown.
    pub(crate) tenant: Option<u64>,
    pub(crate) mode: Mode,
    /// What happened last, until the next key.
    pub(crate) message: Option<String>,
}

/// Which table the keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pane {
    Models,
    Sequences,
}

/// What the next key is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mode {
    Browse,
    /// From this line on.
    Help(usize),
    Search(String),
    Filter,
    SortMenu(usize),
    /// Tenants to choose from, after "all", and which one is marked.
    TenantMenu(Vec<u64>, usize),
    /// What is to be done, and the question whether it is.
    Confirm(Action, String),
}

/// What the server is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Kill(u64),
    Unload(String),
    Load(String),
}

/// What a key asks of the one who pressed it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing but to draw.
    Draw,
    /// To draw everything anew, because something else wrote to the terminal.
    Redraw,
    Act(Action),
    Quit,
}

impl Action {
    /// Says that it is under way.
    pub(crate) fn begun(&self) -> String {
        match self {
            Self::Kill(id) => format!("ending sequence {id}..."),
            Self::Unload(model) => format!("sending {model} out of memory..."),
            Self::Load(model) => format!("bringing {model} into memory..."),
        }
    }

    /// Says that it was done.
    pub(crate) fn done(&self) -> String {
        match self {
            Self::Kill(id) => format!("ended sequence {id}"),
            Self::Unload(model) => format!("{model} is not in memory any more"),
            Self::Load(model) => format!("{model} is being loaded"),
        }
    }
}

impl App {
    pub(crate) fn new(delay_s: f64) -> Self {
        Self {
            history: History::default(),
            lost: None,
            server: None,
            delay_s,
            paused: false,
            pane: Pane::Sequences,
            models: Table::new(&MODEL_COLUMNS, 0),
            sequences: Table::new(&SEQUENCE_COLUMNS, SEQUENCE_AGE),
            tenant: None,
            mode: Mode::Browse,
            message: None,
        }
    }

    /// The server has answered.
    pub(crate) fn take(&mut self, sample: Sample) {
        self.lost = None;
        self.history.push(sample);
        self.refresh();
    }

    pub(crate) fn table(&mut self) -> &mut Table {
        match self.pane {
            Pane::Models => &mut self.models,
            Pane::Sequences => &mut self.sequences,
        }
    }

    pub(crate) fn press(&mut self, key: KeyEvent) -> Reaction {
        if key.kind == KeyEventKind::Release {
            return Reaction::Draw;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Reaction::Quit,
                KeyCode::Char('l') => Reaction::Redraw,
                _ => Reaction::Draw,
            };
        }
        let reaction = match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code),
            Mode::Help(first) => self.help(first, key.code),
            Mode::Search(text) => self.search(text, key.code),
            Mode::Filter => self.filter(key.code),
            Mode::SortMenu(at) => self.sort_menu(at, key.code),
            Mode::TenantMenu(tenants, at) => self.tenant_menu(tenants, at, key.code),
            Mode::Confirm(action, question) => self.confirm(action, question, key.code),
        };
        self.refresh();
        reaction
    }

    fn browse(&mut self, key: KeyCode) -> Reaction {
        let page = self.table().page();
        match key {
            KeyCode::F(10) | KeyCode::Char('q') => return Reaction::Quit,
            KeyCode::Up => self.table().up(1),
            KeyCode::Down => self.table().down(1),
            KeyCode::PageUp => self.table().up(page),
            KeyCode::PageDown => self.table().down(page),
            KeyCode::Home => self.table().select(0),
            KeyCode::End => self.table().select(usize::MAX),
            KeyCode::Tab | KeyCode::BackTab => {
                self.pane = if self.pane == Pane::Models { Pane::Sequences } else { Pane::Models };
            }
            KeyCode::F(1) | KeyCode::Char('h' | '?') => self.mode = Mode::Help(0),
            KeyCode::F(3) | KeyCode::Char('/') => self.mode = Mode::Search(String::new()),
            KeyCode::F(4) | KeyCode::Char('\\') => self.mode = Mode::Filter,
            KeyCode::F(6) | KeyCode::Char('<' | '>' | ',' | '.') => {
                self.mode = Mode::SortMenu(self.table().sort);
            }
            KeyCode::Char('I') => self.table().largest_first ^= true,
            KeyCode::Char('M') => self.sort_by(|keys| Some(keys.memory)),
            KeyCode::Char('P') => self.sort_by(|keys| Some(keys.rate)),
            KeyCode::Char('T') => self.sort_by(|keys| keys.age),
            KeyCode::Char('u') => self.choose_tenant(),
            KeyCode::F(9) | KeyCode::Char('k') => {
                self.ask(|row| {
                    Some(match &row.id {
                        RowId::Sequence(id) => {
                            (Action::Kill(*id), format!("end sequence {id}{}?", whose(row)))
                        }
                        RowId::Model(model) => {
                            (Action::Unload(model.clone()), format!("send {model} out of memory?"))
                        }
                    })
                });
            }
            KeyCode::Char('l') => {
                self.ask(|row| match &row.id {
                    RowId::Sequence(_) => None,
                    RowId::Model(model) => {
                        Some((Action::Load(model.clone()), format!("bring {model} into memory?")))
                    }
                });
            }
            KeyCode::Char('Z') => self.paused ^= true,
            KeyCode::Char('+') => self.set_delay(self.delay_s * DELAY_STEP),
            KeyCode::Char('-') => self.set_delay(self.delay_s / DELAY_STEP),
            _ => {}
        }
        Reaction::Draw
    }

    /// Any key that does not scroll leaves the help, as in htop.
    fn help(&mut self, first: usize, key: KeyCode) -> Reaction {
        const PAGE: usize = 10;
        let first = match key {
            KeyCode::Up => first.saturating_sub(1),
            KeyCode::Down => first + 1,
            KeyCode::PageUp => first.saturating_sub(PAGE),
            KeyCode::PageDown => first + PAGE,
            _ => return Reaction::Draw,
        };
        self.mode = Mode::Help(first.min(help::LINES));
        Reaction::Draw
    }

    fn search(&mut self, mut text: String, key: KeyCode) -> Reaction {
        match key {
            KeyCode::Enter | KeyCode::Esc => return Reaction::Draw,
            KeyCode::F(3) | KeyCode::Down => self.find(&text, true),
            _ => {
                edit(&mut text, key);
                self.find(&text, false);
            }
        }
        self.mode = Mode::Search(text);
        Reaction::Draw
    }

    fn find(&mut self, text: &str, beyond_selected: bool) {
        if !text.is_empty() && !self.table().find(text, beyond_selected) {
            self.message = Some("nothing contains that".to_owned());
        }
    }

    fn filter(&mut self, key: KeyCode) -> Reaction {
        match key {
            KeyCode::Enter => return Reaction::Draw,
            KeyCode::Esc => {
                self.table().filter.clear();
                return Reaction::Draw;
            }
            _ => edit(&mut self.table().filter, key),
        }
        self.mode = Mode::Filter;
        Reaction::Draw
    }

    fn sort_menu(&mut self, at: usize, key: KeyCode) -> Reaction {
        let count = self.table().columns.len();
        match menu(at, count, key) {
            Choice::Marked(at) => self.mode = Mode::SortMenu(at),
            Choice::Taken(at) => self.table().sort_by(at),
            Choice::Left => {}
        }
        Reaction::Draw
    }

    fn tenant_menu(&mut self, tenants: Vec<u64>, at: usize, key: KeyCode) -> Reaction {
        match menu(at, tenants.len() + 1, key) {
            Choice::Marked(at) => self.mode = Mode::TenantMenu(tenants, at),
            Choice::Taken(at) => {
                self.tenant = at.checked_sub(1).and_then(|at| tenants.get(at).copied());
                self.pane = Pane::Sequences;
            }
            Choice::Left => {}
        }
        Reaction::Draw
    }

    fn confirm(&mut self, action: Action, question: String, key: KeyCode) -> Reaction {
        match key {
            KeyCode::Char('y' | 'Y') => return Reaction::Act(action),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.message = Some("nothing was done".to_owned());
            }
            _ => self.mode = Mode::Confirm(action, question),
        }
        Reaction::Draw
    }

    /// What is to be done is settled now: the table may move before the answer comes.
    fn ask(&mut self, about: impl FnOnce(&Row) -> Option<(Action, String)>) {
        match self.table().selected().map(about) {
            Some(Some((action, question))) => self.mode = Mode::Confirm(action, question),
            Some(None) => self.message = Some("only models are loaded; Tab leads to them".to_owned()),
            None => self.message = Some("nothing is selected".to_owned()),
        }
    }

    fn sort_by(&mut self, column: impl FnOnce(SortKeys) -> Option<usize>) {
        let keys = if self.pane == Pane::Models { MODEL_KEYS } else { SEQUENCE_KEYS };
        match column(keys) {
            Some(column) => self.table().sort_by(column),
            None => self.message = Some("models have no age to sort by".to_owned()),
        }
    }

    fn choose_tenant(&mut self) {
        let sequences = self.history.newest().map_or(&[][..], |sample| &sample.processes.sequences);
        let mut tenants: Vec<u64> =
            sequences.iter().map(|sequence| sequence.tenant).chain(self.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let at = tenants.iter().position(|&tenant| Some(tenant) == self.tenant).map_or(0, |at| at + 1);
        self.mode = Mode::TenantMenu(tenants, at);
    }

    fn set_delay(&mut self, delay_s: f64) {
        self.delay_s = delay_s.clamp(DELAY_S_MIN, DELAY_S_MAX);
        self.message = Some(format!("a look every {:.1} s", self.delay_s));
    }

    fn refresh(&mut self) {
        self.models.show(rows::models(&self.history), None);
        self.sequences.show(rows::sequences(&self.history), self.tenant);
    }

    /// The server was asked.
    pub(crate) fn acting(&mut self, action: &Action) {
        self.message = Some(action.begun());
    }

    /// The action was carried out, or not.
    pub(crate) fn acted(&mut self, action: &Action, failure: Option<&str>) {
        self.message = Some(match failure {
            None => action.done(),
            Some(why) => format!("not done: {}", words::one_line(why)),
        });
    }
}

/// Somebody waits for a sequence: the question says who.
fn whose(row: &Row) -> String {
    row.tenant.map_or_else(String::new, |tenant| format!(" of tenant {tenant}"))
}

enum Choice {
    Marked(usize),
    Taken(usize),
    Left,
}

fn menu(at: usize, count: usize, key: KeyCode) -> Choice {
    let last = count.saturating_sub(1);
    match key {
        KeyCode::Up => Choice::Marked(at.saturating_sub(1)),
        KeyCode::Down => Choice::Marked((at + 1).min(last)),
        KeyCode::Home | KeyCode::PageUp => Choice::Marked(0),
        KeyCode::End | KeyCode::PageDown => Choice::Marked(last),
        KeyCode::Enter => Choice::Taken(at),
        KeyCode::Esc | KeyCode::Char('q') | KeyCode::F(10) => Choice::Left,
        _ => Choice::Marked(at),
    }
}

fn edit(text: &mut String, key: KeyCode) {
    match key {
        KeyCode::Backspace => {
            text.pop();
        }
        KeyCode::Char(c) if !c.is_control() && text.chars().count() < TYPED_CHARS_MAX => text.push(c),
        _ => {}
    }
}
