//! Tokens to text: whole characters only, and nothing of a stop string.

/// Turns the bytes of tokens into text that may be shown.
///
/// Holds back what may still become something else: the first bytes of a character, and the longest tail that
/// may be the beginning of a stop string. Everything else leaves at once.
pub(crate) struct TextStream {
    stop: Vec<String>,
    /// Decoded, but perhaps the beginning of a stop string.
    held: String,
    /// The beginning of a character: at most 3 bytes.
    partial: Vec<u8>,
}

/// What one token adds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// This text, perhaps none.
    Text(String),
    /// This text, and then a stop string: the answer ends here.
    Stopped(String),
}

impl TextStream {
    pub(crate) fn new(stop: &[String]) -> Self {
        Self { stop: stop.to_vec(), held: String::new(), partial: Vec::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Shown {
        self.partial.extend_from_slice(bytes);
        decode_whole(&mut self.partial, &mut self.held);
        // The earliest stop string wins, as if it had been looked for after every byte.
        if let Some(at) = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            self.partial.clear();
            return Shown::Stopped(std::mem::take(&mut self.held));
        }
        let keep = self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - keep);
        Shown::Text(std::mem::replace(&mut self.held, tail))
    }

    /// What is left when no more tokens come.
    pub(crate) fn finish(mut self) -> String {
        self.held.push_str(&String::from_utf8_lossy(&self.partial));
        self.held
    }
}

/// Moves whole characters from `bytes` to `text`; bytes that can never be a character become U+FFFD.
fn decode_whole(bytes: &mut Vec<u8>, text: &mut String) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(whole) => {
                text.push_str(whole);
                bytes.clear();
                return;
            }
            Err(error) => {
                let good = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..good]));
                let Some(bad) = error.error_len() else {
                    bytes.drain(..good);
                    return;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..good + bad);
            }
        }
    }
}

/// Length of the longest tail of `text` that begins `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| {
            text.is_char_boundary(text.len() - n)
                && stop.as_bytes().starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes the pieces; returns the shown texts joined, the number of bytes shown before the end, and whether
    /// a stop string ended it.
    fn run(pieces: &[&[u8]], stop: &[&str]) -> (String, bool) {
        let stop: Vec<String> = stop.iter().map(ToString::to_string).collect();
        let mut stream = TextStream::new(&stop);
        let mut shown = String::new();
        for piece in pieces {
            match stream.push(piece) {
                Shown::Text(text) => shown += &text,
                Shown::Stopped(text) => return (shown + &text, true),
            }
        }
        (shown + &stream.finish(), false)
    }

    #[test]
    fn cuts_at_stop_strings_and_keeps_characters_whole() {
        let cases: &[(&[&[u8]], &[&str], &str, bool)] = &[
            (&[b"a", b"b"], &[], "ab", false),
            (&[b"\xe4\xbd", b"\xa0!"], &[], "你!", false),
            (&[b"\xe4\xbd"], &[], "\u{fffd}", false),
            (&[b"a\xffb"], &[], "a\u{fffd}b", false),
            (&[b"one\n", b"\ntwo"], &["\n\n"], "one", true),
            (&[b"one\n", b"two"], &["\n\n"], "one\ntwo", false),
            (&[b"one\n"], &["\n\n"], "one\n", false),
            (&[b"abcd"], &["cd", "b"], "a", true),
            (&[b"aa", b"ab"], &["aab"], "a", true),
            (&[b"\xe4", b"\xbd", b"\xa0", b"x"], &["你"], "", true),
        ];
        for &(pieces, stop, want, stopped) in cases {
            assert_eq!(run(pieces, stop), (want.to_owned(), stopped), "{pieces:?} {stop:?}");
        }
    }

    #[test]
    fn splitting_differently_never_changes_the_text() {
        let text = "He said: \u{1f600} stop. 你好 STO P STOP and more".as_bytes();
        let whole = run(&[text], &["STOP", "zz"]);
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(run(&pieces, &["STOP", "zz"]), whole, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn holds_back_no_more_than_needed() {
        let mut stream = TextStream::new(&["###".to_owned()]);
        assert_eq!(stream.push(b"hello #"), Shown::Text("hello ".into()));
        assert_eq!(stream.push(b"1"), Shown::Text("#1".into()));
    }
}
