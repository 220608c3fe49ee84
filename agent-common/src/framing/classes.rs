//! Classes of bytes: the columns of the transition table.
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants that are far smaller; TryFrom is not const"
)]

pub(super) const DELETE: u8 = 0x7f;

/// As many classes as there may be.
pub(super) const CLASSES: u8 = 64;

/// Bytes that a rule names one by one; each has a column to itself.
pub(super) const SINGLES: &[u8] = b"acdefghiklnorstuACDEFGHIKLNOPRSTU012345-./:; \t\r\n";

/// Sets of bytes that a rule names together (RFC 9110 section 5.6.2, RFC 5234 appendix B.1).
#[derive(Clone, Copy)]
pub(super) enum Set {
    /// `tchar`.
    Token,
    /// What registered methods are made of: A to Z and the hyphen.
    Upper,
    Digit,
    HexDigit,
    /// Visible ASCII, and whatever is not ASCII.
    Visible,
    /// Visible, space and tab.
    Text,
}

const SETS: [Set; 6] = [
    Set::Token,
    Set::Upper,
    Set::Digit,
    Set::HexDigit,
    Set::Visible,
    Set::Text,
];

impl Set {
    pub(super) const fn contains(self, byte: u8) -> bool {
        match self {
            Self::Token => {
                byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
                    )
                    || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
            }
            Self::Upper => byte.is_ascii_uppercase() || byte == b'-',
            Self::Digit => byte.is_ascii_digit(),
            Self::HexDigit => byte.is_ascii_hexdigit(),
            Self::Visible => byte > b' ' && byte != DELETE,
            Self::Text => Self::Visible.contains(byte) || byte == b' ' || byte == b'\t',
        }
    }
}

/// Singles first; the others are told apart only by the sets they are in.
pub(super) const fn classes() -> [u8; 256] {
    let mut classes = [u8::MAX; 256];
    let mut next = 0;
    let mut index = 0;
    while index < SINGLES.len() {
        classes[SINGLES[index] as usize] = next;
        next += 1;
        index += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        if classes[byte] == u8::MAX {
            let mut other = byte;
            while other < 256 {
                if classes[other] == u8::MAX && memberships(other) == memberships(byte) {
                    classes[other] = next;
                }
                other += 1;
            }
            next += 1;
        }
        byte += 1;
    }
    assert!(next <= CLASSES, "more byte classes than columns");
    classes
}

/// The sets a byte is in, a bit for each.
const fn memberships(byte: usize) -> u8 {
    let mut memberships = 0;
    let mut set = 0;
    while set < SETS.len() {
        memberships |= (SETS[set].contains(byte as u8) as u8) << set;
        set += 1;
    }
    memberships
}
