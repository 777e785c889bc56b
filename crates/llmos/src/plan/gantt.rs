//! A schedule as a picture: a row for each processor, time from left to right, idle time hatched, the critical path dark and joined by
//! lines. It is made to be printed, also without colour: what matters differs in lightness too.

use std::fmt::Write as _;

/// Pixels of the whole width: a landscape page of A4 at 96 dots per inch, without its margins.
const WIDTH: f64 = 1050.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 56.0;
/// Above the first row: title, figures, legend.
const TOP: f64 = 92.0;
/// Rows are as high as the page allows, within these.
const ROW_MIN: f64 = 12.0;
const ROW_MAX: f64 = 30.0;
const ROWS_HEIGHT: f64 = 560.0;
/// Part of a row that a bar takes.
const FILLED: f64 = 0.78;
const PROFILE_HEIGHT: f64 = 56.0;
const AXIS_HEIGHT: f64 = 40.0;
/// About so many numbers stand at the axis.
const NUMBERS: f64 = 10.0;
/// Pixels of a character in a bar.
const CHARACTER: f64 = 5.4;
/// Narrowest bar that is drawn, so that none is lost.
const BAR_MIN: f64 = 0.6;
/// Up to this width a bar has no line around it, which would be all of it.
const LINED_MIN: f64 = 3.0;

/// What is drawn.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What time is counted in.
    pub(super) unit: &'static str,
    /// When the last task is finished.
    pub(super) end: i64,
    /// No schedule is finished before.
    pub(super) bound: i64,
    pub(super) lanes: Vec<Lane>,
    /// By task.
    pub(super) bars: Vec<Bar>,
    /// The tasks of the critical path, the first first.
    pub(super) critical: Vec<usize>,
    pub(super) profiles: Vec<Profile>,
}

/// A row.
pub(super) struct Lane {
    pub(super) label: String,
    /// Part of the time in which something runs here.
    pub(super) busy: Option<f64>,
}

/// A task.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) lane: usize,
    pub(super) start: i64,
    pub(super) finish: i64,
}

/// How much of a resource is used.
pub(super) struct Profile {
    pub(super) label: String,
    pub(super) units: i64,
    /// Part of all units over all time.
    pub(super) used: f64,
    /// From each tick on so many units, until the next.
    pub(super) steps: Vec<(i64, i64)>,
}

const STYLE: &str = "text{font-family:'Helvetica Neue',Arial,'Liberation Sans','DejaVu Sans',sans-serif;font-size:11px;fill:#222}\
.title{font-size:16px;font-weight:bold}.small{font-size:10px;fill:#444}.bar{font-size:9px;text-anchor:middle;pointer-events:none}\
.end{text-anchor:end}.middle{text-anchor:middle}.dark{fill:#fff}\
.task rect{fill:#cfe0f3;stroke:#3b6ea5;stroke-width:.7}.critical rect{fill:#b3372b;stroke:#5f1008;stroke-width:.9}\
.thin rect{stroke:none}.task.thin rect{fill:#3b6ea5}\
.path{fill:none;stroke:#5f1008;stroke-width:1.3}.grid{stroke:#d4d4d4;stroke-width:.6}.axis{stroke:#444;stroke-width:1}\
.bound{stroke:#1b7837;stroke-width:1.3;stroke-dasharray:5 3}.idle{fill:url(#idle);stroke:#c4c4c4;stroke-width:.5}\
.used{fill:#cfe0f3;stroke:#3b6ea5;stroke-width:.7}";

impl Chart {
    /// The picture.
    pub(super) fn svg(&self) -> String {
        let row = (ROWS_HEIGHT / self.lanes.len().max(1) as f64).clamp(ROW_MIN, ROW_MAX);
        let rows_end = TOP + row * self.lanes.len() as f64;
        let bottom = rows_end + PROFILE_HEIGHT * self.profiles.len() as f64;
        let height = bottom + AXIS_HEIGHT;
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\">\n\
            <style>{STYLE}</style>\n<defs><pattern id=\"idle\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
            patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#fafafa\"/>\
            <line y2=\"6\" stroke=\"#d9d9d9\" stroke-width=\"1.6\"/></pattern></defs>\n\
            <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
            <text class=\"title\" x=\"12\" y=\"24\">{}</text>\n<text x=\"12\" y=\"43\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.subtitle)
        );
        self.legend(&mut svg);
        for (index, lane) in self.lanes.iter().enumerate() {
            self.lane(&mut svg, lane, TOP + row * index as f64, row);
        }
        for (index, profile) in self.profiles.iter().enumerate() {
            self.profile(&mut svg, profile, rows_end + PROFILE_HEIGHT * index as f64);
        }
        self.axis(&mut svg, bottom);
        let mut is_critical = vec![false; self.bars.len()];
        for task in &self.critical {
            is_critical[*task] = true;
        }
        // What is critical lies above the rest, and its lines above all.
        for critical in [false, true] {
            for (bar, _) in self.bars.iter().zip(&is_critical).filter(|(_, is)| **is == critical) {
                self.bar(&mut svg, bar, critical, row);
            }
        }
        self.path(&mut svg, row);
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, tick: i64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * tick as f64 / self.end.max(1) as f64
    }

    fn legend(&self, svg: &mut String) {
        let mut at = 12.0;
        let mut entry = |sample: &str, text: &str| {
            let _ = writeln!(
                svg,
                "<g transform=\"translate({at} 56)\">{sample}<text class=\"small\" x=\"24\" y=\"9\">{text}</text></g>"
            );
            at += 36.0 + text.chars().count() as f64 * CHARACTER;
        };
        let class = |class: &str| format!("<g class=\"{class}\"><rect width=\"18\" height=\"11\"/></g>");
        entry(&class("task"), "task");
        entry(&class("critical"), "critical path: the makespan hangs on it");
        entry("<rect class=\"idle\" width=\"18\" height=\"11\"/>", "idle");
        if self.bound < self.end {
            let text = format!("lower bound {}: no schedule is shorter", grouped(self.bound));
            entry("<line class=\"bound\" y1=\"5.5\" x2=\"18\" y2=\"5.5\"/>", &text);
        }
    }

    fn lane(&self, svg: &mut String, lane: &Lane, top: f64, row: f64) {
        let (height, middle) = (row * FILLED, top + row * FILLED / 2.0 + 3.5);
        let width = self.x(self.end) - LEFT;
        let _ = writeln!(
            svg,
            "<rect class=\"idle\" x=\"{LEFT}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>\
            <text class=\"small end\" x=\"{:.1}\" y=\"{middle:.2}\">{}</text>",
            LEFT - 8.0,
            escaped(&lane.label)
        );
        if let Some(busy) = lane.busy {
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{:.1}\" y=\"{middle:.2}\">{:.0} %</text>",
                LEFT + width + 8.0,
                busy * 100.0
            );
        }
    }

    fn bar(&self, svg: &mut String, bar: &Bar, critical: bool, row: f64) {
        let (left, top) = (self.x(bar.start), TOP + row * bar.lane as f64);
        let (width, height) = (self.x(bar.finish) - left, row * FILLED);
        let thin = if width < LINED_MIN { " thin" } else { "" };
        let class = if critical { "critical" } else { "task" };
        let label = escaped(&bar.label);
        let _ = write!(
            svg,
            "<g class=\"{class}{thin}\"><title>{label}: {} to {}</title>\
            <rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{:.2}\" height=\"{height:.2}\"/>",
            grouped(bar.start),
            grouped(bar.finish),
            width.max(BAR_MIN)
        );
        if width > bar.label.chars().count() as f64 * CHARACTER + 4.0 {
            let dark = if critical { " dark" } else { "" };
            let (x, y) = (left + width / 2.0, top + height / 2.0 + 3.2);
            let _ = write!(svg, "<text class=\"bar{dark}\" x=\"{x:.2}\" y=\"{y:.2}\">{label}</text>");
        }
        svg.push_str("</g>\n");
    }

    /// From the end of each task of the critical path to the begin of the next.
    fn path(&self, svg: &mut String, row: f64) {
        let middle = |bar: &Bar| TOP + row * bar.lane as f64 + row * FILLED / 2.0;
        for pair in self.critical.windows(2) {
            let (from, to) = (&self.bars[pair[0]], &self.bars[pair[1]]);
            if from.lane != to.lane || from.finish != to.start {
                let (x1, y1, x2, y2) = (self.x(from.finish), middle(from), self.x(to.start), middle(to));
                let _ = writeln!(svg, "<path class=\"path\" d=\"M{x1:.2} {y1:.2}L{x2:.2} {y2:.2}\"/>");
            }
        }
    }

    fn profile(&self, svg: &mut String, profile: &Profile, top: f64) {
        let (high, floor) = (top + 14.0, top + PROFILE_HEIGHT - 4.0);
        let (left, right) = (self.x(0), self.x(self.end));
        let y = |units: i64| floor - (floor - high) * units as f64 / profile.units.max(1) as f64;
        let mut area = format!("M{left:.2} {floor:.2}");
        for (tick, units) in &profile.steps {
            let _ = write!(area, "H{:.2}V{:.2}", self.x(*tick), y(*units));
        }
        let _ = writeln!(
            svg,
            "<rect class=\"idle\" x=\"{left:.2}\" y=\"{high:.2}\" width=\"{:.2}\" height=\"{:.2}\"/>\
            <path class=\"used\" d=\"{area}V{floor:.2}Z\"/>\
            <text class=\"small end\" x=\"{x:.1}\" y=\"{:.2}\">{}</text>\
            <text class=\"small end\" x=\"{x:.1}\" y=\"{:.2}\">{} units</text>\
            <text class=\"small\" x=\"{:.1}\" y=\"{:.2}\">{:.0} %</text>",
            right - left,
            floor - high,
            high + 14.0,
            escaped(&profile.label),
            high + 27.0,
            grouped(profile.units),
            right + 8.0,
            high + 20.0,
            profile.used * 100.0,
            x = LEFT - 8.0,
        );
    }

    /// Numbers below, and lines up through all rows.
    fn axis(&self, svg: &mut String, bottom: f64) {
        let (begin, end) = (self.x(0), self.x(self.end));
        let step = round_step(self.end);
        let mut tick = 0;
        while tick <= self.end {
            let x = self.x(tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.2}\" y1=\"{:.1}\" x2=\"{x:.2}\" y2=\"{:.1}\"/>\
                <text class=\"small middle\" x=\"{x:.2}\" y=\"{:.1}\">{}</text>",
                TOP - 4.0,
                bottom + 4.0,
                bottom + 16.0,
                grouped(tick)
            );
            tick = tick.saturating_add(step);
        }
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{begin:.2}\" y1=\"{bottom:.1}\" x2=\"{end:.2}\" y2=\"{bottom:.1}\"/>\
            <line class=\"axis\" x1=\"{end:.2}\" y1=\"{:.1}\" x2=\"{end:.2}\" y2=\"{bottom:.1}\"/>\
            <text class=\"end\" x=\"{end:.2}\" y=\"{:.1}\">makespan {}</text>\
            <text class=\"small middle\" x=\"{:.2}\" y=\"{:.1}\">time in {}</text>",
            TOP - 8.0,
            TOP - 12.0,
            grouped(self.end),
            f64::midpoint(begin, end),
            bottom + 32.0,
            self.unit
        );
        if self.bound < self.end {
            let x = self.x(self.bound);
            let _ = writeln!(
                svg,
                "<line class=\"bound\" x1=\"{x:.2}\" y1=\"{:.1}\" x2=\"{x:.2}\" y2=\"{bottom:.1}\"/>",
                TOP - 8.0
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that about [`NUMBERS`] stand at the axis.
fn round_step(end: i64) -> i64 {
    let rough = end as f64 / NUMBERS;
    let mut power: i64 = 1;
    while power.saturating_mul(10) as f64 <= rough {
        power *= 10;
    }
    [1, 2, 5].into_iter().map(|times| times * power).find(|step| *step as f64 >= rough).unwrap_or(10 * power)
}

/// With a thin space between thousands.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    grouped
}

/// As text of XML: a name may contain anything, also what XML has no place for.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (end, step) in [
            (0, 1),
            (9, 1),
            (20, 2),
            (21, 5),
            (100, 10),
            (101, 20),
            (4_999, 500),
            (i64::MAX / 2, 500_000_000_000_000_000),
        ] {
            assert_eq!(round_step(end), step, "{end}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_names_are_text() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (-123_456, "-123 456")] {
            assert_eq!(grouped(number).replace('\u{2009}', " "), text);
        }
        assert_eq!(escaped("</text><script>\u{1b}&\"é"), "&lt;/text&gt;&lt;script&gt;\u{fffd}&amp;&quot;é");
    }
}
