use crate::OutOfRange;

/// Most tokens that one request may bias.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// Most stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 16;
/// Longest stop string, in bytes. Bounds what a stream must hold back.
pub const STOP_BYTES_MAX: usize = 256;

/// How the next token is drawn, as asked for and not yet checked. Make a [`Sampling`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingValues {
    /// 0 (always the likeliest token) to 2.
    pub temperature: f32,
    /// Keep the likeliest tokens that together reach this probability: above 0, to 1 (off).
    pub top_p: f32,
    /// Keep this many of the likeliest tokens; 0 is off.
    pub top_k: u32,
    /// Keep tokens at least this likely, relative to the likeliest: 0 (off) to 1.
    pub min_p: f32,
    /// -2 to 2: a fixed malus for every token that occurred.
    pub presence_penalty: f32,
    /// -2 to 2: a malus for each time a token occurred.
    pub frequency_penalty: f32,
    /// Above 0, to 2; 1 is off: divides the logit of tokens that occurred.
    pub repetition_penalty: f32,
    /// The same seed, prompt and batch shape draw the same tokens. Without one a fresh seed is drawn.
    pub seed: Option<u32>,
    /// Added to the logits of these token ids: -100 to 100 each.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingValues {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.05,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            seed: None,
            logit_bias: Vec::new(),
        }
    }
}

/// Checked [`SamplingValues`]: every value is finite and in its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling(SamplingValues);

impl Sampling {
    /// The values, all in range.
    pub fn values(&self) -> &SamplingValues {
        &self.0
    }
}

impl TryFrom<SamplingValues> for Sampling {
    type Error = OutOfRange;

    fn try_from(values: SamplingValues) -> Result<Self, OutOfRange> {
        within("temperature", values.temperature, 0.0, 2.0)?;
        within("min_p", values.min_p, 0.0, 1.0)?;
        within("presence_penalty", values.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", values.frequency_penalty, -2.0, 2.0)?;
        within_above("top_p", values.top_p, 1.0)?;
        within_above("repetition_penalty", values.repetition_penalty, 2.0)?;
        if values.logit_bias.len() > LOGIT_BIAS_MAX {
            let allowed = format!("at most {LOGIT_BIAS_MAX} tokens");
            return Err(OutOfRange::new(
                "logit_bias",
                format!("{} tokens", values.logit_bias.len()),
                allowed,
            ));
        }
        for &(_, bias) in &values.logit_bias {
            within("logit_bias", bias, -100.0, 100.0)?;
        }
        Ok(Self(values))
    }
}

/// NaN lies in no range, so it is refused by both checks.
fn within(parameter: &'static str, value: f32, min: f32, max: f32) -> Result<(), OutOfRange> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(OutOfRange::new(parameter, value, format!("{min} to {max}")))
}

fn within_above(parameter: &'static str, value: f32, max: f32) -> Result<(), OutOfRange> {
    if value > 0.0 && value <= max {
        return Ok(());
    }
    Err(OutOfRange::new(parameter, value, format!("above 0, to {max}")))
}

/// Texts at which a generation ends; the answer does not contain them.
#[derive(Default)]
pub struct StopStrings(Vec<String>);

impl StopStrings {
    /// Accepts up to 16 non-empty strings of up to 256 bytes.
    pub fn new(strings: Vec<String>) -> Result<Self, OutOfRange> {
        if strings.len() > STOP_STRINGS_MAX {
            let allowed = format!("at most {STOP_STRINGS_MAX} strings");
            return Err(OutOfRange::new("stop", format!("{} strings", strings.len()), allowed));
        }
        if let Some(bad) = strings.iter().find(|s| s.is_empty() || s.len() > STOP_BYTES_MAX) {
            let allowed = format!("strings of 1 to {STOP_BYTES_MAX} bytes");
            return Err(OutOfRange::new("stop", format!("a string of {} bytes", bad.len()), allowed));
        }
        Ok(Self(strings))
    }

    /// The strings, in the order given.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_checked_at_both_ends() {
        let base = SamplingValues::default;
        assert!(Sampling::try_from(base()).is_ok());
        let bad: [(&str, SamplingValues); 12] = [
            ("temperature", SamplingValues { temperature: f32::NAN, ..base() }),
            ("temperature", SamplingValues { temperature: -0.1, ..base() }),
            ("temperature", SamplingValues { temperature: f32::INFINITY, ..base() }),
            ("top_p", SamplingValues { top_p: 0.0, ..base() }),
            ("top_p", SamplingValues { top_p: 1.1, ..base() }),
            ("min_p", SamplingValues { min_p: 1.1, ..base() }),
            ("presence_penalty", SamplingValues { presence_penalty: 2.1, ..base() }),
            ("frequency_penalty", SamplingValues { frequency_penalty: -2.1, ..base() }),
            ("repetition_penalty", SamplingValues { repetition_penalty: 0.0, ..base() }),
            ("repetition_penalty", SamplingValues { repetition_penalty: f32::NAN, ..base() }),
            ("logit_bias", SamplingValues { logit_bias: vec![(1, 101.0)], ..base() }),
            ("logit_bias", SamplingValues { logit_bias: vec![(1, 0.0); LOGIT_BIAS_MAX + 1], ..base() }),
        ];
        for (parameter, values) in bad {
            assert_eq!(Sampling::try_from(values).unwrap_err().parameter, parameter);
        }
    }

    #[test]
    fn stop_strings_are_bounded() {
        assert!(StopStrings::new(vec!["\n".into()]).is_ok());
        for bad in [
            vec![String::new()],
            vec!["x".repeat(STOP_BYTES_MAX + 1)],
            vec!["x".into(); STOP_STRINGS_MAX + 1],
        ] {
            assert_eq!(StopStrings::new(bad).err().unwrap().parameter, "stop");
        }
    }
}
