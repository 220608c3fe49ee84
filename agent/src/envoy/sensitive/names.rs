//! What the name of a header, a parameter or a member tells about its value.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What a field may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::envoy) enum Holds {
    /// Numbers, times, addresses: nothing to look at.
    Nothing,
    /// Anything.
    #[default]
    Text,
    /// A name of a request, a trace or the like: digits in it are no card's number.
    Identifier,
    /// An authority, which may begin with `user:password@` without a scheme.
    Authority,
    /// A credential, whatever it looks like.
    Credential,
    /// Cookies.
    Cookie,
}

/// Longer names are nobody's.
pub(super) const LONGEST_NAME: usize = 64;

/// Names of parameters and headers whose values are secrets, in lower case, letters and digits
/// only.
const SECRETS: [&str; 17] = [
    "pwd",
    "pass",
    "passcode",
    "auth",
    "jwt",
    "otp",
    "sig",
    "cvv",
    "cvc",
    "credential",
    "credentials",
    "authorization",
    "proxyauthorization",
    "sessionid",
    "sessid",
    "jsessionid",
    "phpsessid",
];

/// Ends of such names.
const SECRET_ENDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "signature",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
];

/// Ends of names that look like them: the place in a list is no secret.
const PLACES: [&str; 6] = [
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "continuetoken",
    "synctoken",
    "cursortoken",
];

/// Keys of JSON members and names of headers that hold credentials, as a finding names them where
/// the format does not.
const KEYS: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "api_key",
    "x-auth-token",
    "access_token",
    "id_token",
    "refresh_token",
    "token",
    "password",
    "secret",
];

/// Whether a parameter's value is a secret.
pub(super) fn is_secret(name: &[u8]) -> bool {
    with_letters(name, |name| {
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        SECRETS.contains(&name) || ends(&SECRET_ENDS) && !ends(&PLACES)
    })
}

/// Whether a parameter's value names something.
pub(super) fn is_identifier(name: &[u8]) -> bool {
    with_letters(name, |name| {
        name.ends_with("id")
            || name.ends_with("uuid")
            || ["trace", "span", "timestamp"]
                .iter()
                .any(|part| name.contains(part))
            || ["ts", "b3"].contains(&name)
    })
}

/// The key of a member of which the format knows nothing, if it is one that holds a credential.
pub(in crate::envoy) fn credential_key(key: &str) -> Option<&'static str> {
    let known = KEYS.iter().copied();
    known.into_iter().find(|known| {
        known.len() == key.len()
            && known.bytes().zip(key.bytes()).all(|(known, given)| {
                let given = given.to_ascii_lowercase();
                known == given || matches!((known, given), (b'-', b'_'))
            })
    })
}

/// Whether a JSON line may have a member whose key is one of a credential's.
pub(in crate::envoy) fn may_have_credential_key(line: &[u8]) -> bool {
    // Without their beginnings, which may be capitals.
    static ENDS: LazyLock<[Finder<'static>; 7]> = LazyLock::new(|| {
        [
            "uthorization\"",
            "ookie\"",
            "oken\"",
            "assword\"",
            "ecret\"",
            "pi-key\"",
            "pi_key\"",
        ]
        .map(Finder::new)
    });
    line.first() == Some(&b'{') && ENDS.iter().any(|end| end.find(line).is_some())
}

impl Holds {
    /// The whole value is a secret, whatever it looks like.
    pub(in crate::envoy) fn is_credential(self) -> bool {
        matches!(self, Self::Credential | Self::Cookie)
    }

    /// What a header holds.
    pub(in crate::envoy) fn of_header(name: &str) -> Self {
        let name = name.trim_start_matches(':').as_bytes();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("cookie") || is("set-cookie") {
            Self::Cookie
        } else if is("authority") || is("host") || is("x-envoy-original-host") {
            Self::Authority
        } else if is_secret(name) {
            Self::Credential
        } else if is_identifier(name) {
            Self::Identifier
        } else {
            Self::Text
        }
    }
}

fn with_letters(name: &[u8], judge: impl FnOnce(&str) -> bool) -> bool {
    let mut letters = [0; LONGEST_NAME];
    let mut length = 0;
    for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(place) = letters.get_mut(length) else {
            return false;
        };
        *place = byte.to_ascii_lowercase();
        length += 1;
    }
    str::from_utf8(&letters[..length]).is_ok_and(judge)
}

#[cfg(test)]
mod tests {
    use super::{Holds, credential_key, is_identifier, is_secret};

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "user[password]",
            "db_Passwd",
            "access_token",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "api_key",
            "apikey",
            "x-api-key",
            "client_secret",
            "PWD",
            "sig",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "page",
            "nextPageToken",
            "page_token",
            "design",
            "author",
            "key",
            "tokens",
            "passenger",
            "code",
        ] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
        assert!(!is_secret("a".repeat(100).as_bytes()));
    }

    #[test]
    fn names_of_names() {
        for name in [
            "x-request-id",
            "traceparent",
            "X-B3-SpanId",
            "x-datadog-trace-id",
            "ts",
        ] {
            assert!(is_identifier(name.as_bytes()), "{name}");
        }
        assert!(!is_identifier(b"card"));
    }

    #[test]
    fn headers_and_keys() {
        for (name, holds) in [
            ("AUTHORIZATION", Holds::Credential),
            ("X-Api-Key", Holds::Credential),
            ("Cookie", Holds::Cookie),
            (":authority", Holds::Authority),
            ("X-REQUEST-ID", Holds::Identifier),
            ("USER-AGENT", Holds::Text),
        ] {
            assert_eq!(Holds::of_header(name), holds, "{name}");
        }
        assert_eq!(credential_key("Set_Cookie"), Some("set-cookie"));
        assert_eq!(credential_key("path"), None);
    }
}
