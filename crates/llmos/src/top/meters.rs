//! The figures above the tables.

use ratatui::text::{Line, Span};

use super::{
    app::App,
    history::Latency,
    theme::{FIGURE, Theme},
    words,
};

/// Heights of the picture of the past, in eighths of a line.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Characters of a meter's name.
const NAME: usize = 6;
/// Characters that a bar must have to say anything.
const BAR_MIN: usize = 4;

/// Narrower, and it is not said what time the latencies are of.
const WINDOW_MIN: usize = 50;

/// A bar with its figures at its right end: `Name[|||||     43.2%]`. Of what is scarce there should be some left.
pub(crate) fn bar<'a>(
    name: &'a str,
    share: Option<f64>,
    scarce: bool,
    figures: &str,
    width: usize,
    theme: Theme,
) -> Line<'a> {
    let inside = width.saturating_sub(NAME + 2);
    let share = share.unwrap_or(0.0).clamp(0.0, 1.0);
    let figures = words::cut(figures, inside);
    let room = inside - figures.chars().count();
    // The figures stand in the bar, as in htop: it may be longer than what is left of them.
    let full = (share * inside as f64).round() as usize;
    let strokes = if room >= BAR_MIN { full.min(room) } else { 0 };
    Line::from(vec![
        Span::styled(format!("{name:<NAME$}"), theme.label()),
        Span::styled("[", FIGURE),
        Span::styled("|".repeat(strokes), if scarce { theme.bar(share) } else { theme.picture() }),
        Span::raw(" ".repeat(room - strokes)),
        Span::raw(figures),
        Span::styled("]", FIGURE),
    ])
}

/// Rates as columns, newest at the right, as many as there is room for; the highest is as high as a line.
pub(crate) fn picture(
    rates: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator,
    width: usize,
) -> String {
    let beyond = rates.len().saturating_sub(width);
    let rates: Vec<f64> = rates.skip(beyond).collect();
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let level = |rate: f64| {
        let share = if highest > 0.0 { rate / highest } else { 0.0 };
        LEVELS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
    };
    rates.into_iter().map(level).collect()
}

/// What fills up: processors, memory, the models' part of it, KV memory.
pub(crate) fn bars(app: &App, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let Some(sample) = app.history.newest() else { return Vec::new() };
    let replicas = &sample.processes.replicas;
    let of = |used: f64, total: f64| (total > 0.0).then(|| used / total);
    let busy = app.history.busy();
    let busy_text = busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.1}%", busy * 100.0));
    let memory = sample.machine.memory;
    let total = memory.map_or(0.0, |memory| memory.total as f64);
    let used = memory.map_or(0.0, |memory| memory.used as f64);
    let memory_text =
        memory.map_or_else(|| "-".to_owned(), |_| format!("{}/{}", words::bytes(used), words::bytes(total)));
    let models: f64 =
        replicas.iter().filter_map(|replica| replica.resident.or(replica.memory)).sum::<u64>() as f64;
    let models_text = match memory {
        Some(_) => format!("{}/{}", words::bytes(models), words::bytes(total)),
        None => words::bytes(models),
    };
    let kv_used: f64 = replicas.iter().map(|replica| f64::from(replica.kv_used)).sum();
    let kv_total: f64 = replicas.iter().map(|replica| f64::from(replica.kv_total)).sum();
    let kv_text = format!("{}/{} tokens", words::count(kv_used), words::count(kv_total));
    vec![
        bar("CPU", busy, false, &busy_text, width, theme),
        bar("Memory", of(used, total), true, &memory_text, width, theme),
        bar("Models", of(models, total), true, &models_text, width, theme),
        bar("KV", of(kv_used, kv_total), true, &kv_text, width, theme),
    ]
}

/// What goes by: tokens, sequences, latencies, requests.
pub(crate) fn texts(app: &App, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let Some(sample) = app.history.newest() else { return Vec::new() };
    let replicas = &sample.processes.replicas;
    let rate = app.history.rate(None);
    let mut tokens =
        pairs("Tokens/s", &[(words::rate(rate.output), "out"), (words::rate(rate.input), "in")], theme);
    let room = width.saturating_sub(tokens.width() + 1);
    tokens.push_span(Span::raw(" "));
    tokens.push_span(Span::styled(picture(app.history.output_rates(), room), theme.picture()));
    let running: usize = replicas.iter().map(|replica| replica.running).sum();
    let waiting: usize = replicas.iter().map(|replica| replica.waiting).sum();
    let sequences = [(running.to_string(), "running"), (waiting.to_string(), "waiting")];
    let outcomes = &sample.figures.outcomes;
    let ended: Vec<(String, &str)> =
        outcomes.iter().map(|(how, &count)| (words::count(count), how.as_str())).collect();
    let ended = if ended.is_empty() { vec![("none".to_owned(), "")] } else { ended };
    let window = format!(", last {}", words::duration(app.history.window_s()));
    let window = if width < WINDOW_MIN { "" } else { &window };
    vec![
        tokens,
        pairs("Sequences", &sequences, theme),
        latency("1st token", app.history.first_token(), window, theme),
        latency("Token gap", app.history.inter_token(), window, theme),
        pairs("Ended", &ended, theme),
    ]
}

/// Who answers.
pub(crate) fn server(app: &App, width: usize, theme: Theme) -> Line<'static> {
    let mut line = vec![Span::styled(format!("{:<NAME$}", "Server"), theme.label()), Span::raw(" ")];
    match &app.server {
        Some(server) => {
            let text = format!("llmos {}, process {}, {}", server.version, server.pid, server.listen);
            let room = width.saturating_sub(NAME + 1);
            line.push(Span::raw(words::cut(&words::one_line(&text), room)));
        }
        None => line.push(Span::raw("-")),
    }
    line.into()
}

fn latency(name: &str, latency: Latency, window: &str, theme: Theme) -> Line<'static> {
    let mut line = pairs(name, &[], theme);
    for (quantile, value) in [("p50 ", latency.p50_s), (" p99 ", latency.p99_s)] {
        line.push_span(Span::raw(quantile));
        line.push_span(Span::styled(format!("{:>7}", words::latency(value)), FIGURE));
    }
    line.push_span(Span::raw(window.to_owned()));
    line
}

fn pairs(name: &str, pairs: &[(String, &str)], theme: Theme) -> Line<'static> {
    const TEXT_NAME: usize = 10;
    let mut line = vec![Span::styled(format!("{name:<TEXT_NAME$}"), theme.label())];
    for (index, (figure, what)) in pairs.iter().enumerate() {
        let gap = if index == 0 { "" } else { ", " };
        line.push(Span::raw(gap));
        line.push(Span::styled(figure.clone(), FIGURE));
        line.push(Span::raw(format!(" {}", words::one_line(what))));
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Theme = Theme { colour: false };

    #[test]
    fn bars_are_as_wide_as_they_are_told() {
        for (share, figures, width, expected) in [
            (Some(0.5), "50%", 18, "CPU   [|||||  50%]"),
            (Some(1.0), "100%", 18, "CPU   [||||||100%]"),
            (Some(7.0), "700%", 18, "CPU   [||||||700%]"),
            (Some(-1.0), "", 18, "CPU   [          ]"),
            (None, "-", 18, "CPU   [         -]"),
            (Some(1.0), "123456", 13, "CPU   [1234…]"),
            (Some(1.0), "1", 8, "CPU   []"),
            (Some(1.0), "1", 0, "CPU   []"),
        ] {
            assert_eq!(bar("CPU", share, true, figures, width, PLAIN).to_string(), expected, "{width}");
        }
    }

    #[test]
    fn the_past_as_a_picture() {
        for (rates, width, expected) in [
            (&[][..], 5, ""),
            (&[0.0, 0.0], 5, "▁▁"),
            (&[8.0, 4.0, 1.0, 0.0], 9, "█▄▁▁"),
            (&[80.0, 1.0, 2.0], 2, "▄█"),
            (&[1.0], 0, ""),
        ] {
            assert_eq!(picture(rates.iter().copied(), width), expected, "{rates:?}");
        }
    }
}
