//! Secrets in URLs: user information, and parameters with the names of secrets.

use memchr::memchr_iter;

use super::{Found, SensitiveKind, is_harmless, names};

/// How much before an `@` is looked through for the begin of an authority.
const LONGEST_USER_INFORMATION: usize = 512;

/// User information without a password that is so long is a token.
const SHORTEST_USER_TOKEN: usize = 20;

/// Parameters of a query, of a fragment or of a path's segment.
pub(super) fn look_for_parameters(text: &[u8], found: &mut Found) {
    let is_secret = memchr_iter(b'=', text).any(|equals| {
        let before = &text[..equals];
        let name = before
            .iter()
            .rev()
            .take(names::LONGEST_NAME)
            .take_while(|byte| is_name(**byte))
            .count();
        let start = equals - name;
        let introduced = start
            .checked_sub(1)
            .is_some_and(|at| matches!(text[at], b'?' | b'&' | b';' | b'#'));
        introduced && names::is_secret(&text[start..equals]) && !is_harmless(value(text, equals))
    });
    if is_secret {
        found.add(SensitiveKind::QueryValue);
    }
}

/// The value behind an `=`.
fn value(text: &[u8], equals: usize) -> &[u8] {
    let rest = &text[equals + 1..];
    let ends = |byte: &u8| matches!(byte, b'&' | b';' | b'#' | b'"' | b' ' | b'\t' | b'\\');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    &rest[..end]
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.[]$".contains(&byte)
}

/// `user:password@` behind `//`, or, of an authority, at its beginning.
pub(super) fn look_for_credentials(text: &[u8], is_authority: bool, found: &mut Found) {
    let mut last = 0;
    for at in memchr_iter(b'@', text) {
        let from = last.max(at.saturating_sub(LONGEST_USER_INFORMATION));
        let before = &text[from..at];
        last = at + 1;
        let ends = |byte: &u8| b" \"'/?#<>\\".contains(byte);
        let length = before.iter().rev().take_while(|byte| !ends(byte)).count();
        let start = at - length;
        let begins = text[..start].ends_with(b"://")
            || start == 2 && text.starts_with(b"//")
            || start == 0 && is_authority;
        if begins && is_credential(&text[start..at]) {
            found.add(SensitiveKind::UrlCredentials);
            return;
        }
    }
}

fn is_credential(user_information: &[u8]) -> bool {
    match user_information.iter().position(|byte| *byte == b':') {
        Some(colon) => !is_harmless(&user_information[colon + 1..]),
        None => {
            user_information.len() >= SHORTEST_USER_TOKEN
                && user_information.iter().any(u8::is_ascii_digit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{look_for_credentials, look_for_parameters};
    use crate::envoy::sensitive::Found;

    fn has_parameter(text: &str) -> bool {
        let mut found = Found::default();
        look_for_parameters(text.as_bytes(), &mut found);
        !found.0.is_empty()
    }

    fn has_credentials(text: &str, is_authority: bool) -> bool {
        let mut found = Found::default();
        look_for_credentials(text.as_bytes(), is_authority, &mut found);
        !found.0.is_empty()
    }

    #[test]
    fn parameters_are_told_by_their_names() {
        for text in [
            "/a?token=hunter2",
            "/a?x=1&user[password]=hunter2 HTTP/1.1",
            "/a;password=hunter2/b",
            "/cb#access_token=hunter2",
            "/a?sig=ab%2Fcd",
        ] {
            assert!(has_parameter(text), "{text}");
        }
        for text in [
            "/a?token=",
            "/a?token=&x=hunter2",
            "/a?token=REDACTED",
            "/a?page=2",
            "/token=hunter2",
            "token=hunter2",
            "status=200 token=-",
        ] {
            assert!(!has_parameter(text), "{text}");
        }
    }

    #[test]
    fn user_information_is_told_by_its_place() {
        for text in [
            "http://user:hunter2@shop/a",
            "\"redis://:hunter2@db:6379\"",
            "https://0123456789abcdef0123@host",
            "//user:hunter2@shop",
            "/login?next=https://u:hunter2@x",
        ] {
            assert!(has_credentials(text, false), "{text}");
        }
        for text in [
            "http://user@shop",
            "http://user:@shop",
            "http://user:***@shop",
            "(+mailto:bot@shop.example)",
            "http://shop/~user:x@y",
            "http://shop/?mail=a:b@c",
            "user:hunter2@shop",
        ] {
            assert!(!has_credentials(text, false), "{text}");
        }
        assert!(has_credentials("user:hunter2@shop", true));
        assert!(!has_credentials("shop:80", true));
    }
}
