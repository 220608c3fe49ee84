//! Numbers of payment cards: ISO/IEC 7812, with its check digit (Luhn).

use super::{Found, SensitiveKind, names};

/// The shortest number that is looked for.
const SHORTEST: usize = 14;

/// The longest number that is looked for.
const LONGEST: usize = 16;

/// How cards print their numbers in groups.
const GROUPED: [&[usize]; 3] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

pub(super) fn look_for(text: &[u8], found: &mut Found) {
    let mut at = SHORTEST - 1;
    // A run that is long enough covers one of every `SHORTEST` bytes.
    while at < text.len() {
        if !is_part(text[at]) {
            at += SHORTEST;
            continue;
        }
        let before = text[..at].iter().rev().take_while(|byte| is_part(**byte));
        let start = at - before.count();
        let after = text[at..].iter().take_while(|byte| is_part(**byte));
        let end = at + after.count();
        if end - start >= SHORTEST && is_in_run(text, start, end) {
            found.add(SensitiveKind::CardNumber);
            return;
        }
        at = end + SHORTEST;
    }
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'+')
}

/// Whether a number stands in a run of digits and separators.
fn is_in_run(text: &[u8], start: usize, end: usize) -> bool {
    let mut at = start;
    while at < end {
        let digits = text[at..end]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        if digits == 0 {
            at += 1;
            continue;
        }
        let begins = at
            .checked_sub(1)
            .is_none_or(|before| ends_word(text[before]));
        if begins && (is_whole(text, at, digits) || is_grouped(text, at)) && !is_named_id(text, at)
        {
            return true;
        }
        at += digits;
    }
    false
}

fn is_whole(text: &[u8], at: usize, length: usize) -> bool {
    let end = at + length;
    (SHORTEST..=LONGEST).contains(&length)
        && text.get(end).is_none_or(|after| ends_word(*after))
        && is_card(text[at..end].iter().copied())
}

fn is_grouped(text: &[u8], at: usize) -> bool {
    let Some(separator) = text.get(at + 4).filter(|byte| !byte.is_ascii_digit()) else {
        return false;
    };
    GROUPED.iter().any(|groups| {
        let length = groups.iter().sum::<usize>() + groups.len() - 1;
        let Some(text_of) = text.get(at..at + length) else {
            return false;
        };
        let fits = || {
            let mut parts = text_of.split(|byte| byte == separator);
            let parts = parts.by_ref().zip(groups.iter());
            parts
                .filter(|(part, length)| {
                    part.len() == **length && part.iter().all(u8::is_ascii_digit)
                })
                .count()
                == groups.len()
        };
        let digits = text_of.iter().copied().filter(u8::is_ascii_digit);
        let after = text.get(at + length);
        fits()
            && after.is_none_or(|after| ends_word(*after) && after != separator)
            && is_card(digits)
    })
}

/// What may stand beside a number. Not a point, which makes it part of a fraction or an address.
fn ends_word(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'.' | b'-') && byte < 0x80
}

/// Whether the number is the value of a parameter or member that names something.
fn is_named_id(text: &[u8], at: usize) -> bool {
    let before = &text[..at];
    let Some(before) = before.strip_suffix(b"=").or(before.strip_suffix(b":")) else {
        return false;
    };
    let length = before
        .iter()
        .rev()
        .take(names::LONGEST_NAME)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    names::is_identifier(&before[before.len() - length..])
}

/// Whether digits are of an issuer that exists, with the length of its numbers, and the last one
/// checks the others.
fn is_card(digits: impl Iterator<Item = u8> + Clone) -> bool {
    let values = digits.map(|digit| u32::from(digit - b'0'));
    let length = values.clone().count();
    let first_four = values
        .clone()
        .take(4)
        .fold(0, |sum, digit| sum * 10 + digit);
    let issued = match first_four {
        // Diners Club.
        3000..=3059 | 3600..=3699 | 3800..=3999 => 14,
        // American Express.
        3400..=3499 | 3700..=3799 => 15,
        // JCB.
        3528..=3589 => 16,
        // Visa.
        4000..=4999 => 16,
        // Mastercard.
        5100..=5599 | 2221..=2720 => 16,
        // Discover, UnionPay.
        6011 | 6200..=6299 | 6440..=6599 => 16,
        _ => return false,
    };
    let mut sum = 0;
    for (place, digit) in values.enumerate() {
        let doubled = (length - place) % 2 == 0;
        let weight = if doubled { digit * 2 } else { digit };
        sum += weight / 10 + weight % 10;
    }
    length == issued && sum % 10 == 0
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::{is_card, look_for};
    use crate::envoy::sensitive::Found;

    fn holds_card(text: &str) -> bool {
        let mut found = Found::default();
        look_for(text.as_bytes(), &mut found);
        !found.0.is_empty()
    }

    #[test]
    fn cards_are_found() {
        // The issuers' own test numbers.
        for card in [
            "4111111111111111",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "30569309025904",
            "6212345678901232",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
        ] {
            for (before, after) in [
                ("", ""),
                ("/pay/", "/done"),
                ("?card=", "&x"),
                ("\"", "\""),
                ("a b, ", "; c"),
            ] {
                let text = format!("{before}{card}{after}");
                assert!(holds_card(&text), "{text}");
            }
        }
    }

    #[test]
    fn other_numbers_are_not() {
        for text in [
            // A wrong check digit.
            "4111111111111112",
            // Times in seconds, milliseconds, microseconds and nanoseconds.
            "1800000000 1800000000000 1800000000000000 1800000000000000000",
            // A trace id, a span id, a request id that are all digits.
            "00-41111111111111114111111111111111-4111111111111111-01",
            "3f0c1f4e-4111-4111-8111-111111111111",
            "41111111-1111-1111-1111-111111111111",
            // Parts of longer numbers.
            "x4111111111111111",
            "41111111111111110",
            "0.4111111111111111",
            "4111111111111111.5",
            "4111-1111-1111-1111-1111",
            "10.0.0.1:4111 1111 1111 1111x",
            // What is named an id.
            "?order_id=4111111111111111",
            "trace_id:4111111111111111",
            "200 0 19 1 1 4111 1111",
        ] {
            assert!(!holds_card(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_check_digit_decides(first in 400_000_000_000_000_u64..500_000_000_000_000) {
            let cards = (0..10_u64).map(|last| (first * 10 + last).to_string());
            let valid = cards.filter(|card| is_card(card.bytes())).count();
            prop_assert_eq!(valid, 1);
        }
    }
}
