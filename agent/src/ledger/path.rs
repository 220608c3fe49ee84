//! Normalisation of paths (RFC 3986 section 6.2.2), so that what Envoy normalises still agrees.

/// The target without fragment, its path normalised: dot segments removed, slashes merged,
/// escapes of unreserved characters undone, the others in upper case. Returns path and query.
pub(super) fn normalize(target: &str) -> (String, Option<&str>) {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    (remove_dot_segments(&normalize_escapes(path)), query)
}

fn normalize_escapes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let byte = escape
            .get(1..3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => {
                out.push('%');
                rest = &escape[1..];
                continue;
            }
        }
        rest = &escape[3..];
    }
    out.push_str(rest);
    out
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

    use super::normalize;

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
        ] {
            assert_eq!(normalize(sent).0, logged, "{sent}");
        }
        assert_eq!(
            normalize("/a/../b?q=../#x"),
            ("/b".to_owned(), Some("q=../"))
        );
    }

    proptest! {
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
