use super::*;

#[test]
fn nothing_of_a_record_acts_on_the_terminal() {
    let cases = [
        ("plain text, 1 < 2, it's", "plain text, 1 < 2, it's"),
        ("m\u{fc}ller \u{674e} \u{1f600}", "m\u{fc}ller \u{674e} \u{1f600}"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\0"),
        ("\u{1b}[31m\u{7f}\u{9b}", "\\u{1b}[31m\\u{7f}\\u{9b}"),
        ("a\u{202e}b\u{2066}c\u{2069}\u{200f}\u{61c}", "a\\u{202e}b\\u{2066}c\\u{2069}\\u{200f}\\u{61c}"),
        ("a\u{2028}b\u{2029}c\u{85}", "a\\u{2028}b\\u{2029}c\\u{85}"),
        ("a\u{200b}\u{feff}\u{ad}\u{e0041}\u{a0}", "a\\u{200b}\\u{feff}\\u{ad}\\u{e0041}\\u{a0}"),
        ("\u{3164}\u{2800}\u{301}\u{e000}", "\\u{3164}\\u{2800}\\u{301}\\u{e000}"),
    ];
    for (text, shown) in cases {
        assert_eq!(plain(text), shown);
        assert_eq!(quoted(text), format!("\"{shown}\""));
    }
}

#[test]
fn each_text_is_shown_in_one_way_only() {
    assert_eq!(quoted("a\"b\\n"), "\"a\\\"b\\\\n\"");
    assert_eq!(quoted("\n"), "\"\\n\"");
    assert_eq!(quoted("\\n"), "\"\\\\n\"");
    assert_eq!(name("time_ms"), "time_ms");
    assert_eq!(name("time \n"), "\"time \\n\"");
    assert_eq!(name(""), "\"\"");
}
