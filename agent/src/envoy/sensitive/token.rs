//! Tokens: what is sent behind `Bearer` and `Basic`, JSON Web Tokens, access keys of AWS.

use std::sync::LazyLock;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::memmem::Finder;

use super::{Found, SensitiveKind, is_harmless};

/// A bearer token is no shorter; `Bearer` may also be a word.
const SHORTEST_TOKEN: usize = 8;

/// Of so many letters a word is none.
const LONGER_THAN_WORDS: usize = 20;

/// How much of a JSON Web Token's head is looked at.
const HEAD: usize = 24;

/// Letters and digits behind `AKIA`.
const KEY_TAIL: usize = 16;

/// Base64 without regard for padding.
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

struct Marks {
    bearer: [Finder<'static>; 2],
    basic: [Finder<'static>; 2],
    jwt: Finder<'static>,
    aws: [Finder<'static>; 2],
}

/// Schemes are written with a capital, in lower case or in capitals.
static MARKS: LazyLock<Marks> = LazyLock::new(|| Marks {
    bearer: ["earer", "EARER"].map(Finder::new),
    basic: ["asic", "ASIC"].map(Finder::new),
    jwt: Finder::new("eyJ"),
    aws: ["AKIA", "ASIA"].map(Finder::new),
});

pub(super) fn look_for(text: &[u8], found: &mut Found) {
    let marks = &*MARKS;
    let behind = |finder: &Finder<'static>, is_one: fn(&[u8]) -> bool| {
        let mut places = finder.find_iter(text);
        places.any(|at| credentials(text, at, finder.needle().len()).is_some_and(is_one))
    };
    let bearer = marks.bearer.iter().any(|mark| behind(mark, is_bearer));
    if bearer {
        found.add(SensitiveKind::BearerToken);
    }
    if marks.basic.iter().any(|mark| behind(mark, is_basic)) {
        found.add(SensitiveKind::BasicCredentials);
    }
    // What stands behind `Bearer` is told already.
    let mut tokens = marks.jwt.find_iter(text);
    if !bearer && tokens.any(|at| is_jwt(text, at)) {
        found.add(SensitiveKind::Jwt);
    }
    let is_key = |mark: &Finder<'static>| mark.find_iter(text).any(|at| is_aws_key(text, at));
    if marks.aws.iter().any(is_key) {
        found.add(SensitiveKind::AwsAccessKey);
    }
}

/// The credentials (token68 of RFC 9110 section 11.2) behind a scheme whose name without its
/// first letter stands at `at`.
fn credentials(text: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    let letter = at.checked_sub(1)?;
    let begins = letter
        .checked_sub(1)
        .is_none_or(|at| !text[at].is_ascii_alphanumeric());
    if !begins || !matches!(text[letter], b'b' | b'B') {
        return None;
    }
    let rest = &text[at + length..];
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'+'));
    let (blanks, rest) = rest.split_at(blanks.count());
    let is_token68 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let end = rest.iter().take_while(is_token68).count();
    (!blanks.is_empty() && end > 0).then(|| &rest[..end])
}

fn is_bearer(token: &[u8]) -> bool {
    // A challenge names its parameters: `Bearer realm="…"`.
    let bare = token.strip_suffix(b"=").unwrap_or(token);
    let is_parameter = [&b"realm"[..], b"error", b"scope"].contains(&bare);
    let is_word = token.len() < LONGER_THAN_WORDS && !token.iter().any(u8::is_ascii_digit);
    token.len() >= SHORTEST_TOKEN && !is_parameter && !is_word && !is_harmless(token)
}

fn is_basic(token: &[u8]) -> bool {
    BASE64.decode(token).is_ok_and(|pair| {
        let is_text = !pair.iter().any(u8::is_ascii_control);
        let colon = pair.iter().position(|byte| *byte == b':');
        is_text && colon.is_some_and(|colon| !is_harmless(&pair[colon + 1..]))
    })
}

fn is_jwt(text: &[u8], at: usize) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let begins = at
        .checked_sub(1)
        .is_none_or(|before| !is_letter(&text[before]));
    if !begins {
        return false;
    }
    let token = &text[at..];
    let head = token.iter().take_while(|byte| is_letter(byte)).count();
    // `eyJ` is how `{"` begins; what follows must be text, too, so that no word is taken for it.
    let is_text = |json: Vec<u8>| json.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let begin = &token[..head.min(HEAD) / 4 * 4];
    let is_head = head >= HEAD / 2 && BASE64.decode(begin).is_ok_and(is_text);
    let payload = token[head..].strip_prefix(b".");
    is_head && payload.is_some_and(|payload| payload.first().is_some_and(is_letter))
}

fn is_aws_key(text: &[u8], at: usize) -> bool {
    let tail = at + 4;
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let is_letter = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let letters = text.get(tail..tail + KEY_TAIL);
    letters.is_some_and(|letters| letters.iter().all(is_letter))
        && ends(at.checked_sub(1).map(|before| &text[before]))
        && ends(text.get(tail + KEY_TAIL))
}

#[cfg(test)]
mod tests {
    use super::look_for;
    use crate::envoy::sensitive::{Found, SensitiveKind};

    const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

    fn kinds(text: &str) -> Vec<SensitiveKind> {
        let mut found = Found::default();
        look_for(text.as_bytes(), &mut found);
        found.0
    }

    #[test]
    fn tokens_are_found() {
        for (text, kind) in [
            (format!("/verify/{JWT}"), SensitiveKind::Jwt),
            (format!("\"{JWT}\""), SensitiveKind::Jwt),
            (format!("Bearer {JWT}"), SensitiveKind::BearerToken),
            (
                "bearer 0123456789abcdef".to_owned(),
                SensitiveKind::BearerToken,
            ),
            (
                "x=Bearer+abcdefghijklmnopqrstuvwxyz".to_owned(),
                SensitiveKind::BearerToken,
            ),
            // admin:hunter2
            (
                "Basic YWRtaW46aHVudGVyMg==".to_owned(),
                SensitiveKind::BasicCredentials,
            ),
            (
                "basic YWRtaW46aHVudGVyMg".to_owned(),
                SensitiveKind::BasicCredentials,
            ),
            (
                "?k=AKIAIOSFODNN7EXAMPLE&x".to_owned(),
                SensitiveKind::AwsAccessKey,
            ),
        ] {
            assert_eq!(kinds(&text), [kind], "{text}");
        }
    }

    #[test]
    fn words_are_not() {
        for text in [
            "Bearer realm=\"shop\"",
            "bearer of tidings",
            "Bearer REDACTED",
            "Bearer ****************",
            "forbearer 0123456789abcdef",
            "basic training 101",
            "Visual Basic",
            "eyJ.",
            "eyJohnsonAndSonsLimited.shop",
            "keyJhbGciOiJIUzI1NiJ9.x",
            "AKIAIOSFODNN7EXAMPLEX",
            "AKIAiosfodnn7example",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }
}
