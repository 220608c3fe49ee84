//! What must not leave the node: values in queries, credentials in URLs, header values off the
//! list.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{IdentityRedaction, Pattern};
use crate::http::Headers;

/// What stands where a value was.
pub const REDACTED: &str = "REDACTED";

/// What becomes of query values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryRedaction {
    /// They stay.
    Keep,
    /// Names stay, values become `REDACTED`.
    #[default]
    Values,
    /// The whole query goes.
    Drop,
}

/// What is kept of the traffic's own values.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// Queries.
    pub query: QueryRedaction,
    /// Paths whose text is a secret.
    pub paths: Vec<Pattern>,
    /// Names, in lower case, of the headers whose values are kept.
    pub headers: Vec<Arc<str>>,
    /// What is kept of who asked.
    pub identity: IdentityRedaction,
}

impl Redaction {
    /// Path and query of a request target, as records show them.
    #[must_use]
    pub fn target(&self, target: &str) -> (String, Option<String>) {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        (
            self.path(&without_credentials(path)),
            query.and_then(|query| self.query(query)),
        )
    }

    /// An authority without the user information that must not be in it (RFC 9110 section 4.2.4).
    #[must_use]
    pub fn authority(&self, authority: &str) -> String {
        authority.rsplit('@').next().unwrap_or_default().to_owned()
    }

    /// The headers that are on the list, one entry a name, values in order. If some are `undecoded`,
    /// each that is absent may be one of them, and is there without values.
    #[must_use]
    pub fn headers(&self, headers: &Headers, undecoded: bool) -> Vec<(Arc<str>, Vec<String>)> {
        let mut kept = Vec::with_capacity(self.headers.len().min(headers.len()));
        for name in &self.headers {
            let values: Vec<_> = headers.values(name).map(str::to_owned).collect();
            if undecoded || !values.is_empty() {
                kept.push((Arc::clone(name), values));
            }
        }
        kept
    }

    fn path(&self, path: &str) -> String {
        match self.paths.iter().any(|pattern| pattern.matches(path)) {
            true => format!("/{REDACTED}"),
            false => path.to_owned(),
        }
    }

    fn query(&self, query: &str) -> Option<String> {
        match self.query {
            QueryRedaction::Keep => Some(query.to_owned()),
            QueryRedaction::Drop => None,
            QueryRedaction::Values => {
                let pairs = query.split('&').map(|pair| match pair.split_once('=') {
                    Some((name, _)) => Cow::Owned(format!("{name}={REDACTED}")),
                    // A pair without `=` may be a bare token.
                    None if pair.is_empty() => Cow::Borrowed(pair),
                    None => Cow::Borrowed(REDACTED),
                });
                Some(pairs.collect::<Vec<_>>().join("&"))
            }
        }
    }
}

/// The path of a target in absolute form may bear `user:password@`.
fn without_credentials(path: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = path.split_once("://") else {
        return Cow::Borrowed(path);
    };
    let (authority, tail) = rest
        .find('/')
        .map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit('@').next().unwrap_or_default();
    Cow::Owned(format!("{scheme}://{host}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::{QueryRedaction, Redaction};
    use crate::http::Headers;

    #[test]
    fn query_values_go_and_names_stay() {
        let redaction = Redaction::default();
        let (path, query) = redaction.target("/a?token=hunter2&b=&flag#frag");
        assert_eq!(
            (path.as_str(), query.as_deref()),
            ("/a", Some("token=REDACTED&b=REDACTED&REDACTED"))
        );
        let redaction = Redaction {
            query: QueryRedaction::Drop,
            ..Redaction::default()
        };
        assert_eq!(redaction.target("/a?b=c"), ("/a".into(), None));
    }

    #[test]
    fn credentials_in_urls_go() {
        let redaction = Redaction::default();
        assert_eq!(redaction.target("http://u:p@h/x").0, "http://h/x");
        assert_eq!(redaction.authority("u:p@h:80"), "h:80");
    }

    #[test]
    fn headers_off_the_list_go_and_those_that_may_have_been_sent_have_no_value() {
        let redaction = Redaction {
            headers: ["user-agent", "traceparent"].map(Into::into).to_vec(),
            ..Redaction::default()
        };
        let sent = [("cookie", "a=b"), ("user-agent", "curl")];
        let sent = sent.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sent: Headers = sent.into_iter().collect();
        let agent = ("user-agent".into(), vec!["curl".to_owned()]);
        let unknown = ("traceparent".into(), Vec::new());
        let both = [agent, unknown];
        assert_eq!(redaction.headers(&sent, false), both[..1]);
        assert_eq!(redaction.headers(&sent, true), both);
    }

    #[test]
    fn secret_paths_go() {
        let paths = vec!["/reset/*".parse().unwrap()];
        let redaction = Redaction {
            paths,
            ..Redaction::default()
        };
        assert_eq!(redaction.target("/reset/abc?x=y").0, "/REDACTED");
        assert_eq!(redaction.target("/login").0, "/login");
    }
}
