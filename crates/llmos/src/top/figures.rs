//! The figures that `llmos top` needs, out of the text that the server has for Prometheus.

use std::collections::BTreeMap;

use serde::Serialize;

use super::quantiles::Buckets;

const PROMPT_TOKENS: &str = "vllm:prompt_tokens_total";
const GENERATION_TOKENS: &str = "vllm:generation_tokens_total";
const OUTCOMES: &str = "vllm:request_success_total";
const FIRST_TOKEN: &str = "vllm:time_to_first_token_seconds_bucket";
const INTER_TOKEN: &str = "vllm:inter_token_latency_seconds_bucket";

/// Tokens, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Tokens {
    /// Of prompts.
    pub(crate) input: f64,
    /// Of answers.
    pub(crate) output: f64,
}

/// Counted since the server began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Tokens of requests that ended well, by model.
    pub(crate) tokens: BTreeMap<String, Tokens>,
    /// Requests that ended, by how.
    pub(crate) outcomes: BTreeMap<String, f64>,
    /// Arrival to first token, in seconds, all models together.
    pub(crate) first_token: Buckets,
    /// Token to token, in seconds, all models together.
    pub(crate) inter_token: Buckets,
}

impl Figures {
    /// Reads the `OpenMetrics` text format
    /// (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Lines that it does not know are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut figures = Self::default();
        for sample in text.lines().filter_map(Line::parse) {
            figures.take(sample);
        }
        figures
    }

    fn take(&mut self, line: Line<'_>) {
        let label = |name: &str| line.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value);
        let model = || label("model_name").cloned().unwrap_or_default();
        match line.name {
            PROMPT_TOKENS => self.tokens.entry(model()).or_default().input += line.value,
            GENERATION_TOKENS => self.tokens.entry(model()).or_default().output += line.value,
            OUTCOMES => {
                let how = label("finished_reason").cloned().unwrap_or_default();
                *self.outcomes.entry(how).or_default() += line.value;
            }
            FIRST_TOKEN | INTER_TOKEN => {
                let Some(bound) = label("le").and_then(|le| number(le)) else { return };
                let first = line.name == FIRST_TOKEN;
                let buckets = if first { &mut self.first_token } else { &mut self.inter_token };
                buckets.add(bound, line.value);
            }
            _ => {}
        }
    }
}

/// `name{label="value",...} value`; what may follow is left out.
struct Line<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        if name.is_empty() || name.starts_with('#') {
            return None;
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = number(rest.split_whitespace().next()?)?;
        Some(Self { name, labels, value })
    }
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = quoted(value)?;
        labels.push((name.trim_start_matches(','), value));
        rest = after;
    }
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            _ => value.push(c),
        }
    }
    None
}

/// A number that can be counted with; `+Inf` is one.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_two_models() {
        let text = "\
# HELP vllm:prompt_tokens Tokens of prompts.
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{model_name=\"a\"} 5
vllm:prompt_tokens_total{model_name=\"b\"} 7
vllm:generation_tokens_total{model_name=\"b\"} 9
vllm:request_success_total{model_name=\"a\",finished_reason=\"stop\"} 2
vllm:request_success_total{model_name=\"b\",finished_reason=\"stop\"} 1
vllm:request_success_total{model_name=\"b\",finished_reason=\"abort\"} 4
vllm:time_to_first_token_seconds_sum{model_name=\"a\"} 0.5
vllm:time_to_first_token_seconds_bucket{le=\"0.001\",model_name=\"a\"} 1
vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"a\"} 3
vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"b\"} 2
vllm:inter_token_latency_seconds_bucket{le=\"+Inf\",model_name=\"b\"} 8
# EOF
";
        let figures = Figures::parse(text);
        let tokens = [("a", 5.0, 0.0), ("b", 7.0, 9.0)];
        let tokens = tokens.map(|(model, input, output)| (model.to_owned(), Tokens { input, output }));
        assert_eq!(figures.tokens, tokens.into());
        assert_eq!(figures.outcomes, [("stop".to_owned(), 3.0), ("abort".to_owned(), 4.0)].into());
        assert_eq!((figures.first_token.total(), figures.inter_token.total()), (5.0, 8.0));
    }

    #[test]
    fn labels_are_unescaped_and_broken_lines_left_out() {
        let read = |line: &str| Figures::parse(line).tokens.into_keys().next();
        for (line, expected) in [
            (r#"vllm:prompt_tokens_total{model_name="a\"}\\\n"} 1"#, Some("a\"}\\\n")),
            (r#"vllm:prompt_tokens_total{x="1",model_name="m"} 1 123.4"#, Some("m")),
            ("vllm:prompt_tokens_total 1", Some("")),
            (r#"vllm:prompt_tokens_total{model_name="m"} NaN"#, None),
            (r#"vllm:prompt_tokens_total{model_name="m"}"#, None),
            (r#"vllm:prompt_tokens_total{model_name="m" 1"#, None),
            (r#"vllm:prompt_tokens_total{model_name="m\"#, None),
            ("vllm:prompt_tokens_total{", None),
            ("", None),
        ] {
            assert_eq!(read(line).as_deref(), expected, "{line}");
        }
    }
}
