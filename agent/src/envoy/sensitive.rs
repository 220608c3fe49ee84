//! What an access log must not hold: where it stands and of what kind it is, never what it says.
//!
//! Each test looks for a mark that is rare in a log (`=` behind the name of a password, `@`
//! behind a URL's scheme, `eyJ`, a long run of digits), so a line without any costs one pass.

mod card;
mod names;
mod token;
mod url;

use std::{borrow::Cow, sync::Arc};

use memchr::memchr;
use serde::{Deserialize, Serialize};

pub(super) use names::{Holds, credential_key, may_have_credential_key};

/// The most that is told of one line.
const MOST_PER_LINE: usize = 16;

/// How often a value is taken out of percent-encoding: a URL may stand within another's query.
const ENCODINGS: usize = 2;

/// Something in a line that an access log must not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensitive {
    /// Where in the line: an operator of the format, or a key of JSON. None where the line does
    /// not tell: its fields cannot be told apart, or it is of no known format.
    pub field: Option<Arc<str>>,
    /// What.
    pub kind: SensitiveKind,
}

/// What an access log must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SensitiveKind {
    /// `Bearer` and a token (RFC 6750).
    BearerToken,
    /// A JSON Web Token (RFC 7519) that stands for itself.
    Jwt,
    /// `Basic` and a user with a password (RFC 7617).
    BasicCredentials,
    /// `user:password@` of a URL.
    UrlCredentials,
    /// The value of a parameter with the name of a password, a token or a key.
    QueryValue,
    /// A payment card's number, with a valid check digit.
    CardNumber,
    /// The id of an access key of AWS.
    AwsAccessKey,
    /// A whole header or member that is made to hold a credential.
    Credential,
    /// A cookie.
    Cookie,
}

/// Kinds that were found in one text, each once.
#[derive(Debug, Default)]
struct Found(Vec<SensitiveKind>);

impl Found {
    fn add(&mut self, kind: SensitiveKind) {
        if !self.0.contains(&kind) {
            self.0.push(kind);
        }
    }
}

/// Collects what is found in the pieces of a line.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Sensitive>);

impl Findings {
    /// Looks through a piece: the value of a field, or what stands between fields.
    pub(super) fn look_at(&mut self, field: Option<&Arc<str>>, holds: Holds, text: &[u8]) {
        for kind in kinds_in(text, holds) {
            let sensitive = Sensitive {
                field: field.cloned(),
                kind,
            };
            if self.0.len() < MOST_PER_LINE && !self.0.contains(&sensitive) {
                self.0.push(sensitive);
            }
        }
    }

    pub(super) fn into_vec(self) -> Vec<Sensitive> {
        self.0
    }
}

/// Whether it is worth while to look at a line field by field.
pub(super) fn may_be_in(line: &[u8]) -> bool {
    let mut found = Found::default();
    look_for_all(line, Holds::Text, &mut found);
    // An authority without a scheme, or something that is encoded.
    !found.0.is_empty() || memchr::memchr2(b'@', b'%', line).is_some()
}

fn kinds_in(text: &[u8], holds: Holds) -> Vec<SensitiveKind> {
    let mut found = Found::default();
    if holds != Holds::Nothing {
        look_for_all(text, holds, &mut found);
        let mut text = Cow::Borrowed(text);
        for _ in 0..ENCODINGS {
            let Cow::Owned(decoded) = decoded(&text) else {
                break;
            };
            look_for_all(&decoded, holds, &mut found);
            text = Cow::Owned(decoded);
        }
    }
    match holds {
        Holds::Cookie if !is_harmless(text) => found.add(SensitiveKind::Cookie),
        Holds::Credential if found.0.is_empty() && !is_harmless(text) => {
            found.add(SensitiveKind::Credential);
        }
        _ => {}
    }
    found.0
}

fn look_for_all(text: &[u8], holds: Holds, found: &mut Found) {
    token::look_for(text, found);
    url::look_for_parameters(text, found);
    url::look_for_credentials(text, holds == Holds::Authority, found);
    if holds != Holds::Identifier {
        card::look_for(text, found);
    }
}

/// Whether a value stands where a secret was taken out, or is too short or too plain to be one.
fn is_harmless(value: &[u8]) -> bool {
    /// What programs write in a secret's place, or what is no value.
    const WORDS: [&[u8]; 16] = [
        b"redacted",
        b"masked",
        b"hidden",
        b"filtered",
        b"removed",
        b"sanitized",
        b"scrubbed",
        b"omitted",
        b"null",
        b"nil",
        b"none",
        b"undefined",
        b"unknown",
        b"anonymous",
        b"true",
        b"false",
    ];
    const SHORTEST: usize = 3;
    if value.len() < SHORTEST {
        return true;
    }
    let value = decoded(value);
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    let mut letters = value.iter().filter(|byte| is_letter(byte));
    let longest = WORDS.iter().map(|word| word.len()).max().unwrap_or(0);
    let first: Vec<u8> = letters
        .by_ref()
        .take(longest + 1)
        .map(u8::to_ascii_lowercase)
        .collect();
    let is_masked =
        first.iter().all(|byte| *byte == b'x') && letters.all(|byte| matches!(byte, b'x' | b'X'));
    is_masked || WORDS.contains(&first.as_slice())
}

/// Takes a text out of percent-encoding (RFC 3986 section 2.1); what is no encoding stays.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'%', text) else {
        return Cow::Borrowed(text);
    };
    let mut out = text[..first].to_vec();
    let mut rest = &text[first..];
    let mut changed = false;
    while let [byte, tail @ ..] = rest {
        let octet = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match octet {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[3..];
                changed = true;
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    match changed {
        true => Cow::Owned(out),
        false => Cow::Borrowed(text),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Holds, SensitiveKind, is_harmless, kinds_in, may_be_in};

    #[test]
    fn what_was_taken_out_is_harmless() {
        for value in [
            "",
            "-",
            "a1",
            "REDACTED",
            "[redacted]",
            "<Redacted>",
            "%5BREDACTED%5D",
            "***",
            "%2A%2A%2A%2A",
            "xxxx-XXXX",
            "null",
            "(none)",
            "true",
        ] {
            assert!(is_harmless(value.as_bytes()), "{value}");
        }
        for value in ["hunter2", "redacted1", "xxy", "42a", "nullify"] {
            assert!(!is_harmless(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_is_encoded_is_found() {
        for (text, kind) in [
            (
                "/a?next=%2Flogin%3Ftoken%3Dhunter2",
                SensitiveKind::QueryValue,
            ),
            (
                "/a?next=%252Flogin%253Ftoken%253Dhunter2",
                SensitiveKind::QueryValue,
            ),
            ("/a?pass%77ord=hunter2", SensitiveKind::QueryValue),
            (
                "/p?u=http%3A%2F%2Fuser%3Ahunter2%40db",
                SensitiveKind::UrlCredentials,
            ),
            ("/pay/4111%201111%201111%201111", SensitiveKind::CardNumber),
        ] {
            assert_eq!(kinds_in(text.as_bytes(), Holds::Text), [kind], "{text}");
        }
    }

    #[test]
    fn whole_fields_are_judged_by_their_names() {
        let kinds = |holds, text: &str| kinds_in(text.as_bytes(), holds);
        assert_eq!(
            kinds(Holds::Credential, "opaque"),
            [SensitiveKind::Credential]
        );
        assert_eq!(
            kinds(Holds::Credential, "Bearer abcdefg1"),
            [SensitiveKind::BearerToken]
        );
        assert_eq!(kinds(Holds::Credential, "-"), []);
        assert_eq!(kinds(Holds::Cookie, "session=abc"), [SensitiveKind::Cookie]);
        assert_eq!(
            kinds(Holds::Authority, "user:hunter2@shop"),
            [SensitiveKind::UrlCredentials]
        );
        assert_eq!(kinds(Holds::Text, "user:hunter2@shop"), []);
        assert_eq!(kinds(Holds::Identifier, "4111111111111111"), []);
        assert_eq!(kinds(Holds::Nothing, "4111111111111111"), []);
    }

    #[test]
    fn a_clean_line_has_nothing() {
        let line = br#"[2026-11-22T07:25:10.806Z] "GET /a?page=2&next_page_token=abcdef HTTP/1.1" 200 - via_upstream - "-" 0 1234567890123 1 1 "-" "Mozilla/5.0 (+mailto:bot@shop.example)" "3f0c1f4e-4111-4111-8111-111111111111" "b.shop:80" "10.0.0.2:8080" inbound|8080|| 127.0.0.6:41111 10.0.0.2:8080 10.0.0.1:51111 - default"#;
        assert_eq!(kinds_in(line, Holds::Text), []);
    }

    #[test]
    fn no_text_takes_long() {
        for part in [
            "=", "?token=", "@", "://a:", "eyJ", "Bearer ", "Basic ", "4111 ", "4", "%25", "AKIA",
        ] {
            let text = part.repeat((1 << 20) / part.len());
            let began = std::time::Instant::now();
            may_be_in(text.as_bytes());
            kinds_in(text.as_bytes(), Holds::Authority);
            assert!(began.elapsed().as_secs() < 5, "{part}");
        }
    }
}
