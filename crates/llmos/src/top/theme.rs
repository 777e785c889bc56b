//! How things look. Colour never says anything alone: without it there is still what the words say, reversed video
//! and the mark before the selected row.

use ratatui::style::{Color, Modifier, Style};

use super::rows::Tone;

/// Figures.
pub(crate) const FIGURE: Style = Style::new().add_modifier(Modifier::BOLD);
/// Old figures.
pub(crate) const STALE: Style = Style::new().add_modifier(Modifier::DIM);

/// htop's colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    pub(crate) colour: bool,
}

impl Theme {
    /// Titles of the columns.
    pub(crate) fn columns(self, active: bool) -> Style {
        match (self.colour, active) {
            (true, true) => Style::new().fg(Color::Black).bg(Color::Green),
            (true, false) => Style::new().fg(Color::Black).bg(Color::Gray),
            (false, true) => Style::new().add_modifier(Modifier::REVERSED),
            (false, false) => Style::new().add_modifier(Modifier::UNDERLINED),
        }
    }

    /// The title of the column that is sorted by.
    pub(crate) fn sorted(self, active: bool) -> Style {
        if self.colour && active {
            Style::new().fg(Color::Black).bg(Color::Cyan)
        } else {
            self.columns(active).add_modifier(Modifier::BOLD)
        }
    }

    /// The row, or the line of a menu, that keys are for.
    pub(crate) fn selected(self) -> Style {
        if self.colour {
            Style::new().fg(Color::Black).bg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    pub(crate) fn row(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Waiting => self.coloured(Color::Yellow),
            Tone::Failed => self.coloured(Color::Red),
        }
    }

    /// What figures are called.
    pub(crate) fn label(self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// A bar that is so full, 0 to 1.
    pub(crate) fn bar(self, share: f64) -> Style {
        self.coloured(match share {
            ..0.75 => Color::Green,
            ..0.9 => Color::Yellow,
            _ => Color::Red,
        })
    }

    pub(crate) fn picture(self) -> Style {
        self.coloured(Color::Green)
    }

    /// The word beside a key in the last line.
    pub(crate) fn key(self) -> Style {
        self.selected()
    }

    /// What must not be overlooked.
    pub(crate) fn alarm(self) -> Style {
        if self.colour {
            Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}
