//! Normalisation of paths (RFC 3986 section 6.2.2), so that what Envoy normalises still agrees.

use std::{borrow::Cow, fmt::Write};

/// The target without fragment, its path normalised: dot segments removed, slashes merged,
/// escapes of unreserved characters undone, the others in upper case, and what must be escaped is.
/// Returns path and query.
pub(super) fn normalize(target: &str) -> (Cow<'_, str>, Option<&str>) {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if is_normal(path) {
        return (Cow::Borrowed(path), query);
    }
    let path = remove_dot_segments(&normalize_escapes(path));
    (Cow::Owned(path), query)
}

/// Whether there is nothing in a path that could have to be changed.
fn is_normal(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(belongs_in_a_path)
        && !["//", "/."].iter().any(|part| path.contains(part))
}

fn normalize_escapes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            Some(byte) => push_escape(&mut out, byte),
            None if *byte == b'%' || belongs_in_a_path(*byte) => out.push(char::from(*byte)),
            None => push_escape(&mut out, *byte),
        }
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    out
}

fn push_escape(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "%{byte:02X}");
}

/// What RFC 3986 section 3.3 lets stand in a path. Envoy escapes the rest.
fn belongs_in_a_path(byte: u8) -> bool {
    is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn remove_dot_segments(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let slash = if ends_in_slash && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, proptest};

    use super::{is_normal, normalize, normalize_escapes, remove_dot_segments};

    #[test]
    fn agrees_with_what_envoy_logs() {
        for (sent, logged) in [
            ("/a//b/../c", "/a/c"),
            ("/a/./b/", "/a/b/"),
            ("/%7euser/%2f%c3", "/~user/%2F%C3"),
            ("/..//..", "/"),
            ("/a/..", "/"),
            ("/x%zz%", "/x%zz%"),
            ("*", "*"),
            ("/a#frag", "/a"),
            ("/\"<a>\"", "/%22%3Ca%3E%22"),
        ] {
            assert_eq!(normalize(sent).0, logged, "{sent}");
        }
        assert_eq!(normalize("/a/../b?q=../#x"), ("/b".into(), Some("q=../")));
    }

    proptest! {
        #[test]
        fn a_path_that_is_left_alone_would_not_change(path in "/[a%/. <é]{0,6}") {
            if is_normal(&path) {
                assert_eq!(remove_dot_segments(&normalize_escapes(&path)), path);
            }
        }

        #[test]
        fn any_text_has_a_normal_form(target in any::<String>()) {
            let (path, _) = normalize(&target);
            if path.starts_with('/') {
                let again = path.replace('?', "%3F");
                assert_eq!(normalize(&again).0.replace("%3F", "?"), path.replace("%3F", "?"));
            }
        }
    }
}
