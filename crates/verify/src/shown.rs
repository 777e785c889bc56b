//! Text of strangers, made safe to print: what a record says must not move the cursor, hide or turn letters around, or
//! look like a line of ours.

#[cfg(test)]
mod tests;

/// Letters by their category, but nothing is drawn for them.
const BLANK_LETTERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{2800}'];

/// In quotes, as a string of Rust: control characters, line separators, directions (bidi), and what is invisible are
/// written as escapes, and so are quotes and backslashes, so that each text is shown in one way only.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, |char| char == '"' || char == '\\'))
}

/// Without quotes: for JSON, which has its own.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// A name as it is if it is made of what names are made of, else in quotes.
pub(crate) fn name(text: &str) -> String {
    let is_simple = |char: char| char.is_ascii_alphanumeric() || "._-/:".contains(char);
    if !text.is_empty() && text.chars().all(is_simple) { text.to_owned() } else { quoted(text) }
}

fn escaped(text: &str, also: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if BLANK_LETTERS.contains(&char) {
            shown.extend(char.escape_unicode());
        } else if matches!(char, '"' | '\'' | '\\') && !also(char) {
            shown.push(char);
        } else {
            // Of all others the library escapes what is not printed (Unicode: Cc, Cf, Zl, Zp, odd spaces, unassigned),
            // and what combines with the letter before it.
            shown.extend(char.escape_debug());
        }
    }
    shown
}
