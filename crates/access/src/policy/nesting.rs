//! How deep a policy is nested. Cedar's parser and what works on its result call themselves for each level, and who runs out of
//! stack is gone with all that they serve: so this is looked at before anything is parsed.

/// Most brackets within one another. On the 2 MiB stack of a worker thread, without any optimisation, 32 are still no
/// trouble and 48 are the end.
const BRACKETS_MAX: usize = 12;
/// Most `if`s of a policy: they nest without brackets, and 300 are still no trouble.
const IFS_MAX: usize = 32;

/// What is too deep in it, if anything is.
pub(super) fn too_deep(text: &str) -> Option<String> {
    let (mut depth, mut ifs) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let token = match next {
            '"' => string_bytes(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            letter if is_word(letter) => rest.find(|other| !is_word(other)).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(token);
        match token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "if" => ifs += 1,
            _ => {}
        }
        if depth > BRACKETS_MAX {
            return Some(format!("more than {BRACKETS_MAX} brackets stand within one another in it"));
        }
        if ifs > IFS_MAX {
            return Some(format!("it has more than {IFS_MAX} `if`s"));
        }
        rest = after;
    }
    None
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of the string that the text begins with, its quotes included.
fn string_bytes(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_is_counted_and_nothing_hides_it() {
        let deep = |open: &str, close: &str, count: usize| {
            format!("{}true{}", open.repeat(count), close.repeat(count))
        };
        for (text, allowed) in [
            (deep("(", ")", BRACKETS_MAX), true),
            (deep("(", ")", BRACKETS_MAX + 1), false),
            (deep("[", "]", BRACKETS_MAX + 1), false),
            (deep("{a: ", "}", BRACKETS_MAX + 1), false),
            (deep("!(", ")", 8_000), false),
            ("(true) && ".repeat(1_000), true),
            ("if true then true else ".repeat(IFS_MAX), true),
            ("if true then true else ".repeat(IFS_MAX + 1), false),
            // Brackets of strings and comments open and close nothing.
            (deep("(\")\" == \"\\\"))\" && ", ")", BRACKETS_MAX + 1), false),
            (deep("( // )\n", ")", BRACKETS_MAX + 1), false),
            (format!("\"{}\"", "(".repeat(100)), true),
            (format!("// {}", "(".repeat(100)), true),
            (format!("\"{}", "(".repeat(100)), true),
            ("ifs".repeat(100), true),
        ] {
            assert_eq!(too_deep(&text).is_none(), allowed, "{text:.80}");
        }
    }
}
