//! Figures in few characters, as htop writes them.

use crate::output;

/// Characters of a text that is shown on one line; nobody's terminal is wider.
const LINE_CHARS_MAX: usize = 1000;
const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
const BINARY_STEPS: [(u32, &str); 4] = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];

/// Bytes, in units of 1024: `512M`, `1.5G`.
pub(crate) fn bytes(bytes: f64) -> String {
    let steps = BINARY_STEPS.map(|(bits, unit)| (2_f64.powi(bits as i32), unit));
    scaled(bytes, &steps).unwrap_or_else(|| format!("{bytes:.0}B"))
}

/// A count; large ones are shortened: `99999`, `100k`, `1.5M`.
pub(crate) fn count(count: f64) -> String {
    const WHOLE_MAX: f64 = 99_999.0;
    if count <= WHOLE_MAX { format!("{count:.0}") } else { scaled(count, &STEPS).unwrap_or_default() }
}

/// Something per second: `0.4`, `123`, `12.5k`.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        ..99.95 => format!("{rate:.1}"),
        ..9_999.5 => format!("{rate:.0}"),
        _ => scaled(rate, &STEPS).unwrap_or_default(),
    }
}

/// Seconds, with about three digits: `1.5s`, `2m05`, `3h07`, `4d02h`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..=99 => format!("{:.1}s", seconds.max(0.0)),
        100..=5_999 => format!("{}m{:02}", whole / 60, whole % 60),
        6_000..=359_999 => format!("{}h{:02}", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A latency: `0.52 ms`, `12 ms`, `1.25 s`; `-` if there is none.
pub(crate) fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.01 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// On one line, with nothing in it that a terminal obeys.
pub(crate) fn one_line(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    output::harmless(&text).chars().take(LINE_CHARS_MAX).collect()
}

/// At most so many characters; what is cut off shows as `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { kept + "…" }
}

fn scaled(value: f64, steps: &[(f64, &str)]) -> Option<String> {
    let &(step, unit) = steps.iter().find(|(step, _)| value >= *step)?;
    let value = value / step;
    Some(if value < 99.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_few_characters() {
        let cases: &[(fn(f64) -> String, f64, &str)] = &[
            (bytes, 0.0, "0B"),
            (bytes, 1023.0, "1023B"),
            (bytes, 1536.0, "1.5K"),
            (bytes, 536_870_912.0, "512M"),
            (bytes, 1e15, "909T"),
            (count, 0.0, "0"),
            (count, 99_999.0, "99999"),
            (count, 100_000.0, "100k"),
            (count, 1_500_000.0, "1.5M"),
            (rate, 0.04, "0.0"),
            (rate, 99.96, "100"),
            (rate, 12_500.0, "12.5k"),
            (duration, -1.0, "0.0s"),
            (duration, 1.54, "1.5s"),
            (duration, 125.0, "2m05"),
            (duration, 11_220.0, "3h07"),
            (duration, 352_800.0, "98h00"),
            (duration, 777_600.0, "9d00h"),
            (|seconds| latency(Some(seconds)), 0.000_52, "0.5 ms"),
            (|seconds| latency(Some(seconds)), 0.0123, "12 ms"),
            (|seconds| latency(Some(seconds)), 1.25, "1.2 s"),
            (|_| latency(None), 0.0, "-"),
        ];
        for &(written, value, expected) in cases {
            assert_eq!(written(value), expected, "{value}");
        }
    }

    #[test]
    fn text_is_cut_and_harmless() {
        assert_eq!(one_line(" a\n\tb \x1b]0;x\x07 "), "a b \u{fffd}]0;x\u{fffd}");
        for (width, expected) in [(0, ""), (1, "…"), (3, "gr…"), (5, "größe"), (9, "größe")] {
            assert_eq!(cut("größe", width), expected, "{width}");
        }
    }
}
