//! Text that others have written, as it gets into a record: short, and on one line whatever is in it.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Longest value of a record, in bytes; what is longer is cut, with a mark that says so.
pub(crate) const VALUE_BYTES_MAX: usize = 512;

/// The beginning of a text, and how long it was if that is not all of it.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= VALUE_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=VALUE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}[cut: {} bytes]", &text[..end], text.len())
}

/// As JSON on one line, in which nothing ends the line, turns it around or is invisible: also not for programs that take
/// U+2028 for the end of a line.
pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut written = Vec::with_capacity(VALUE_BYTES_MAX);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut written, OneLine))?;
    Ok(written)
}

struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_treacherous(*c)) {
            out.write_all(&text.as_bytes()[plain_from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            plain_from = at + c.len_utf8();
        }
        out.write_all(&text.as_bytes()[plain_from..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        CompactFormatter.write_char_escape(out, escape)
    }
}

/// Controls, what separates lines and paragraphs, what changes the direction, and what is not seen (Unicode TR 36, "Bidirectional
/// Text Spoofing"; the general category Cf, as far as it is not a part of words).
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_stays_on_one_line_and_is_read_back_as_it_was() {
        for text in [
            "a\nb\r\nc\0",
            "\u{2028}{\"kind\":\"end\"}\u{2029}",
            "\u{202e}abc\u{202c}",
            "\u{85}\u{9b}31m",
            "größer 日本語 😀 \"\\",
            "\u{e0041}tag",
        ] {
            let written = String::from_utf8(json(&text).unwrap()).unwrap();
            assert!(!written.chars().any(is_treacherous), "{written:?}");
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
        assert_eq!(json(&"größer").unwrap(), "\"größer\"".as_bytes());
    }

    #[test]
    fn what_is_long_is_cut_with_a_mark() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(5_000_000);
        let short = cut(&long);
        assert!(short.len() < VALUE_BYTES_MAX + 32, "{}", short.len());
        assert!(short.ends_with("ä[cut: 10000000 bytes]"), "{short}");
        assert!(cut(&format!("x{long}")).starts_with('x'));
    }
}
