//! The four forms of a request target: RFC 9112 section 3.2.

use super::head::Method;

/// A request target, split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The path and the query; of the forms without them the target itself.
    pub(super) path: String,
    /// The authority, where the target names one.
    pub(super) authority: Option<String>,
}

impl Target {
    pub(super) fn split(method: Method, target: &str) -> Self {
        if method == Method::Connect {
            return Self {
                path: target.to_owned(),
                authority: Some(target.to_owned()),
            };
        }
        match absolute(target) {
            Some((authority, path)) => Self {
                // An empty path is "/" (RFC 9110 section 4.2.3).
                path: match path.as_bytes().first() {
                    Some(b'/') => path.to_owned(),
                    _ => format!("/{path}"),
                },
                authority: Some(authority.to_owned()),
            },
            None => Self {
                path: target.to_owned(),
                authority: None,
            },
        }
    }
}

/// Authority and path of a target in absolute form. User information is left out: it is a
/// credential, and Host never carries it.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Some((host, path))
}

#[cfg(test)]
mod tests {
    use super::{Method, Target};

    fn split(target: &str) -> (String, Option<String>) {
        let target = Target::split(Method::Other, target);
        (target.path, target.authority)
    }

    #[test]
    fn takes_an_absolute_form_apart() {
        let cases = [
            ("http://h:1/p?q", "/p?q", "h:1"),
            ("HTTP://h", "/", "h"),
            ("http://h?q", "/?q", "h"),
            ("https://u:p@h/", "/", "h"),
        ];
        for (target, path, authority) in cases {
            assert_eq!(split(target), (path.to_owned(), Some(authority.to_owned())));
        }
    }

    #[test]
    fn leaves_the_other_forms_as_they_are() {
        for target in ["/", "/a?u=http://b/", "*", "a.b", "/x://y"] {
            assert_eq!(split(target), (target.to_owned(), None));
        }
        assert_eq!(
            Target::split(Method::Connect, "h:443"),
            Target {
                path: "h:443".to_owned(),
                authority: Some("h:443".to_owned())
            }
        );
    }
}
