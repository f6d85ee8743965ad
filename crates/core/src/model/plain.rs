//! Makes foreign text safe for a log, a terminal, systemd or the cluster.

use std::borrow::Cow;

/// Returns `text` as one line, without characters that a reader would obey instead of showing:
/// sd_notify(3) takes each line for an assignment, a terminal interprets escape sequences, and
/// bidirectional controls show letters in another order than they have.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => shown.push(' '),
            letter if is_obeyed(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown.into()
}

/// Returns true for such a character. There are none above U+FFFF.
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_be_obeyed_is_shown() {
        for (text, shown) in [
            ("", ""),
            ("größer {\"a\": 'b'} \\ 100 %", "größer {\"a\": 'b'} \\ 100 %"),
            ("a\nREADY=0\r\n\tb", "a READY=0   b"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m\0\u{7f}", "\\u{9b}31m\\u{0}\\u{7f}"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    proptest! {
        #[test]
        fn plain_text_is_one_line_and_stays(text in any::<String>()) {
            let shown = plain(&text);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert_eq!(plain(&shown), shown.as_ref());
        }
    }
}
