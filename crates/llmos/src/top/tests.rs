//! The screen as a person meets it: keys go in, text comes out. No terminal, no server.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    app::{Action, App, DELAY_S_MAX, DELAY_S_MIN, Mode, Pane, Reaction},
    fixture,
    rows::RowId,
    theme::Theme,
    view,
};

const PLAIN: Theme = Theme { colour: false };

/// Two models; sequences 1 to `sequences`, the first one oldest, every third one waiting and of tenant 2.
fn app(sequences: u64) -> App {
    let mut app = App::new(1.0);
    for second in 0..4_u32 {
        let sequence = |id: u64| {
            let model = if id.is_multiple_of(2) { "big" } else { "small" };
            let mut sequence = fixture::sequence(id, model, 100, id as u32 * second);
            sequence.age_s = (sequences - id) as f64 + f64::from(second);
            if id.is_multiple_of(3) {
                (sequence.tenant, sequence.state) = (2, "waiting".to_owned());
                sequence.why = vec!["is number 1 of 2 waiting".to_owned()];
            }
            sequence
        };
        app.take(fixture::sample(second.into(), &["big", "small"], (1..=sequences).map(sequence).collect()));
    }
    app
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// Presses keys one by one; what the last one asks for.
fn press(app: &mut App, keys: &[KeyCode]) -> Reaction {
    keys.iter().map(|&code| app.press(key(code))).last().unwrap_or(Reaction::Draw)
}

fn chars(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn drawn(app: &mut App, width: u16, height: u16, stale_s: Option<f64>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, app, stale_s, PLAIN)).unwrap();
    let buffer = terminal.backend().buffer();
    assert!(
        buffer.content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)),
        "colour, where there should be none"
    );
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn ids(app: &App) -> Vec<u64> {
    let id = |row: &super::rows::Row| match row.id {
        RowId::Sequence(id) => id,
        RowId::Model(_) => 0,
    };
    app.sequences.rows.iter().map(id).collect()
}

#[test]
fn the_screen_at_three_sizes() {
    // The lines that must be there, by what they begin with, and one word that must be on them.
    let cases: &[(u16, u16, &[(&str, &str)])] = &[
        (
            120,
            40,
            &[
                (" CPU   [", "25.0%]  Tokens/s  21.0 out, 200 in ███"),
                (" Memory[", "6.0G/16.0G]  Sequences 4 running, 2 waiting"),
                (" Models[", "1.0G/16.0G]  1st token p50"),
                (" KV    [", "2048/8192 tokens]  Token gap p50"),
                (" Models 2", ""),
                (" MODEL△ ", "CORES"),
                (" small ", "ready"),
                ("▸Sequences 6", ""),
                ("      ID MODEL", "AGE▽ WHY"),
                (">      1 small", "runs; 3 of at most 512 tokens"),
                ("       3 small", "is number 1 of 2 waiting"),
                ("F1Help", "F9Kill  F10Quit"),
            ],
        ),
        (
            80,
            24,
            &[
                (" CPU   [", "25.0%]  Tokens/s"),
                (" MODEL△ ", "OUT/s WHY"),
                ("      ID MODEL", "WHY"),
                (">      1 small", "runs; 3 of at"),
                ("F1Help", "F10Quit"),
            ],
        ),
        (
            60,
            15,
            &[
                (" Tokens/s  21.0 out", "in"),
                (" KV    [", "]"),
                (">      1 running", "runs; 3 of"),
                ("F1Help", "F9Kill"),
            ],
        ),
    ];
    for &(width, height, expected) in cases {
        let mut app = app(6);
        let lines = drawn(&mut app, width, height, None);
        for (start, word) in expected {
            let found = lines.iter().any(|line| line.starts_with(start) && line.contains(word));
            assert!(found, "{width}x{height}: no line `{start}...{word}` in\n{}", lines.join("\n"));
        }
        assert!(lines[height as usize - 1].starts_with("F1Help"), "the keys stand in the last line");
    }
}

#[test]
fn no_size_is_too_small_or_too_large_for_any_mode() {
    let modes: [&[KeyCode]; 7] = [
        &[],
        &[KeyCode::F(1)],
        &[KeyCode::F(6)],
        &[KeyCode::Char('u')],
        &[KeyCode::F(9)],
        &[KeyCode::F(3), KeyCode::Char('x')],
        &[KeyCode::F(4), KeyCode::Char('x')],
    ];
    for keys in modes {
        for sequences in [0, 50] {
            let mut app = app(sequences);
            press(&mut app, keys);
            for width in [1, 2, 9, 21, 71, 72, 300] {
                for height in [1, 2, 3, 6, 7, 8, 13, 100] {
                    for stale_s in [None, Some(7.0)] {
                        drawn(&mut app, width, height, stale_s);
                    }
                }
            }
        }
    }
    drawn(&mut App::new(1.0), 120, 40, None);
}

#[test]
fn colour_where_it_is_wanted() {
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    terminal.draw(|frame| view::draw(frame, &mut app(3), None, Theme { colour: true })).unwrap();
    assert!(terminal.backend().buffer().content().iter().any(|cell| cell.bg == Color::Green));
}

#[test]
fn keys_move_sort_and_choose_as_in_htop() {
    let (down, up, enter, tab) = (KeyCode::Down, KeyCode::Up, KeyCode::Enter, KeyCode::Tab);
    let c = KeyCode::Char;
    // Keys, then the order of the sequences and the selected one.
    let cases: &[(&str, &[KeyCode], &[u64], u64)] = &[
        ("oldest first", &[], &[1, 2, 3, 4, 5, 6], 1),
        ("down and up", &[down, down, up], &[1, 2, 3, 4, 5, 6], 2),
        ("end", &[KeyCode::End], &[1, 2, 3, 4, 5, 6], 6),
        (
            "beyond the end",
            &[KeyCode::PageDown, KeyCode::End, down, KeyCode::Home, up],
            &[1, 2, 3, 4, 5, 6],
            1,
        ),
        ("inverted", &[c('I')], &[6, 5, 4, 3, 2, 1], 6),
        ("a selected row is followed", &[down, c('I')], &[6, 5, 4, 3, 2, 1], 2),
        ("by rate", &[c('P')], &[6, 5, 4, 3, 2, 1], 6),
        ("by memory", &[c('M')], &[6, 5, 4, 3, 2, 1], 6),
        ("by age again", &[c('M'), c('T')], &[1, 2, 3, 4, 5, 6], 1),
        ("by the menu: model", &[KeyCode::F(6), KeyCode::Home, down, enter], &[2, 4, 6, 1, 3, 5], 2),
        ("the menu left", &[c('>'), KeyCode::Home, KeyCode::Esc], &[1, 2, 3, 4, 5, 6], 1),
        ("tenant 2", &[c('u'), down, down, enter], &[3, 6], 3),
        (
            "all tenants again",
            &[c('u'), KeyCode::End, enter, c('u'), KeyCode::Home, enter],
            &[1, 2, 3, 4, 5, 6],
            1,
        ),
        ("the other table's order", &[tab, c('I'), c('P'), tab], &[1, 2, 3, 4, 5, 6], 1),
        ("filter", &[c('\\'), c('W'), c('a'), c('i'), enter], &[3, 6], 3),
        ("filter corrected", &[KeyCode::F(4), c('x'), KeyCode::Backspace, enter], &[1, 2, 3, 4, 5, 6], 1),
        ("filter cleared", &[KeyCode::F(4), c('x'), KeyCode::Esc], &[1, 2, 3, 4, 5, 6], 1),
        ("search", &[c('/'), c('w'), c('a'), c('i'), enter], &[1, 2, 3, 4, 5, 6], 3),
        ("search on", &[KeyCode::F(3), c('w'), c('a'), KeyCode::F(3), enter], &[1, 2, 3, 4, 5, 6], 6),
        ("search around", &[c('/'), c('w'), KeyCode::F(3), KeyCode::F(3), enter], &[1, 2, 3, 4, 5, 6], 3),
        ("k in a search is a letter", &[c('/'), c('k'), c('y'), enter], &[1, 2, 3, 4, 5, 6], 1),
        ("help and back", &[KeyCode::F(1), down, c('q')], &[1, 2, 3, 4, 5, 6], 1),
    ];
    for &(name, keys, order, selected) in cases {
        let mut app = app(6);
        assert_eq!(press(&mut app, keys), Reaction::Draw, "{name}");
        assert_eq!(app.mode, Mode::Browse, "{name}");
        assert_eq!(ids(&app), order, "{name}");
        assert_eq!(app.sequences.selected().unwrap().id, RowId::Sequence(selected), "{name}");
    }
}

#[test]
fn nothing_is_ended_without_a_yes() {
    let c = KeyCode::Char;
    let act = |action| Reaction::Act(action);
    let cases: &[(&[KeyCode], Reaction)] = &[
        (&[KeyCode::F(9)], Reaction::Draw),
        (&[KeyCode::F(9), KeyCode::Enter, c('x'), c('n'), c('y')], Reaction::Draw),
        (&[c('k'), KeyCode::Esc, c('y')], Reaction::Draw),
        (&[c('k'), c('y')], act(Action::Kill(1))),
        (&[KeyCode::Down, KeyCode::F(9), c('x'), c('Y')], act(Action::Kill(2))),
        (&[KeyCode::Tab, c('k'), c('y')], act(Action::Unload("big".into()))),
        (&[KeyCode::Tab, KeyCode::Down, c('l'), c('y')], act(Action::Load("small".into()))),
        (&[c('l'), c('y')], Reaction::Draw),
        (&[c('\\'), c('%'), KeyCode::Enter, c('k'), c('y')], Reaction::Draw),
        (&[c('q')], Reaction::Quit),
        (&[KeyCode::F(10)], Reaction::Quit),
    ];
    for (keys, expected) in cases {
        assert_eq!(press(&mut app(3), keys), *expected, "{keys:?}");
    }
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    for before in [&[][..], &[KeyCode::F(1)], &[c('/')], &[c('k')]] {
        let mut app = app(3);
        press(&mut app, before);
        assert_eq!(app.press(control('c')), Reaction::Quit, "{before:?}");
    }
    assert_eq!(app(3).press(control('l')), Reaction::Redraw);
}

#[test]
fn the_question_names_what_was_selected_when_it_was_asked() {
    let mut app = app(3);
    press(&mut app, &[KeyCode::F(9)]);
    app.take(fixture::sample(9.0, &["big"], vec![fixture::sequence(8, "big", 1, 1)]));
    let lines = drawn(&mut app, 80, 24, None);
    assert_eq!(lines[23], " end sequence 1 of tenant 1? y/n");
    assert_eq!(press(&mut app, &chars("y")), Reaction::Act(Action::Kill(1)));
    app.acted(&Action::Kill(1), Some("there is no\nsequence \x1b[31m"));
    assert_eq!(drawn(&mut app, 80, 24, None)[23], " not done: there is no sequence \u{fffd}[31m");
    app.acted(&Action::Kill(1), None);
    assert_eq!(drawn(&mut app, 80, 24, None)[23], " ended sequence 1");
}

#[test]
fn old_figures_are_marked_and_pauses_said() {
    let mut app = app(3);
    app.lost = Some("no server is running".to_owned());
    let lines = drawn(&mut app, 80, 24, Some(12.0));
    assert_eq!(lines[0], " STALE: figures of 12.0s ago; trying again: no server is running");
    assert!(lines.iter().any(|line| line.starts_with(">      1 small")), "the last figures stay");
    app.take(fixture::sample(9.0, &["big"], Vec::new()));
    assert!(drawn(&mut app, 80, 24, None)[0].starts_with(" CPU"));
    assert!(drawn(&mut app, 80, 24, Some(5.0))[0].contains("takes its time"));
    press(&mut app, &chars("Z"));
    assert!(app.paused && drawn(&mut app, 80, 24, None)[0].starts_with(" PAUSED"));
    press(&mut app, &chars("Z"));
    assert!(!app.paused);
}

#[test]
fn typed_text_and_delays_have_limits() {
    let mut app = app(3);
    press(&mut app, &[KeyCode::F(4)]);
    press(&mut app, &chars(&"x".repeat(1000)));
    assert_eq!(app.sequences.filter.chars().count(), 64);
    press(&mut app, &[KeyCode::Esc]);
    press(&mut app, &chars(&"-".repeat(50)));
    assert!((app.delay_s - DELAY_S_MIN).abs() < f64::EPSILON);
    press(&mut app, &chars(&"+".repeat(50)));
    assert!((app.delay_s - DELAY_S_MAX).abs() < f64::EPSILON);
    press(&mut app, &[KeyCode::BackTab]);
    assert_eq!(app.pane, Pane::Models);
    for (text, good) in
        [("0.2", true), ("60", true), ("0.1", false), ("61", false), ("NaN", false), ("x", false)]
    {
        assert_eq!(super::delay(text).is_ok(), good, "{text}");
    }
}

#[test]
fn text_of_others_does_not_reach_the_terminal_as_commands() {
    let mut app = App::new(1.0);
    let mut sequence = fixture::sequence(1, "m\x1b]0;x\x07", 1, 1);
    sequence.why = vec!["a\r\nb\u{9b}2J".to_owned()];
    app.take(fixture::sample(0.0, &["m\x1b[2J"], vec![sequence]));
    let text = drawn(&mut app, 120, 40, None).concat();
    assert!(
        !text.contains(char::is_control) && text.contains("m\u{fffd}[2J") && text.contains("a b\u{fffd}2J")
    );
}
