//! Text from outside, made safe for a terminal.

use std::fmt::{self, Write};

/// Displays text with everything escaped that a terminal would obey or hide: control characters
/// (line ends included), the marks that reorder text, and line separators. Paths, user agents and
/// names are attackers' bytes.
///
/// An escape looks as in Rust source: `\u{1b}`, `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(position) = rest.find(needs_escape) {
            f.write_str(&rest[..position])?;
            let mut characters = rest[position..].chars();
            if let Some(character) = characters.next() {
                character
                    .escape_default()
                    .try_for_each(|c| f.write_char(c))?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// Controls of C0 and C1, and the format characters of Unicode that change how their neighbours
/// are shown (UAX 9) or are not shown at all.
pub(super) fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert, proptest};

    use super::{Printable, needs_escape};

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, shown) in [
            ("", ""),
            ("/shop?q=ä 東 \\n", "/shop?q=ä 東 \\n"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("nimda\u{202e}", "nimda\\u{202e}"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left(text in any::<String>()) {
            let shown = Printable(&text).to_string();
            prop_assert!(!shown.contains(needs_escape));
            let is_harmless = !text.contains(needs_escape);
            prop_assert!(!is_harmless || shown == text);
        }
    }
}
