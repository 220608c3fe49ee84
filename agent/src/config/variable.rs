//! `${NAME}` and `${NAME:-default}`.
//!
//! A value from the environment must not be able to change the structure of the file, and
//! `{ name: ${NODE_NAME} }` is no YAML: braces cannot stand in a flow mapping. So each reference
//! is lifted out of the text before it is parsed, a mark takes its place, and the value replaces
//! the mark in the scalar that holds it. A reference in a comment is never looked at.

/// The marks: characters of Unicode's private use area, which no configuration needs.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// The references of a text.
#[derive(Debug)]
pub(super) struct Variables {
    references: Vec<Reference>,
}

#[derive(Debug)]
struct Reference {
    /// As it is written.
    source: String,
    /// What it stands for, or what is wrong with it.
    value: Result<String, String>,
}

/// A scalar after its references were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// As it is written in the file: what a message may show, since values from the environment
    /// can be secrets.
    pub(super) source: String,
}

impl Variables {
    /// Lifts the references out of `text`, asking `environment` for their values. The error is
    /// the line of a character that stands for a mark.
    pub(super) fn lift(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(String, Self), usize> {
        if let Some(position) = text.find([OPEN, CLOSE]) {
            return Err(text[..position].matches('\n').count() + 1);
        }
        let mut references = Vec::new();
        let mut lifted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(position) = rest.find("${") {
            let is_escaped = rest[..position].ends_with('$');
            let begin = position - usize::from(is_escaped);
            lifted.push_str(&rest[..begin]);
            let (reference, after) = cut_reference(&rest[position..]);
            let value = match is_escaped {
                true => Ok(reference.to_owned()),
                false => resolve(reference, environment),
            };
            let source = rest[begin..position + reference.len()].to_owned();
            rest = after;
            lifted.push_str(&format!("{OPEN}{}{CLOSE}", references.len()));
            references.push(Reference { source, value });
        }
        lifted.push_str(rest);
        Ok((lifted, Self { references }))
    }

    /// Replaces the marks in a scalar; none if it has none. The error says what is wrong with a
    /// reference.
    pub(super) fn fill(&self, scalar: &str) -> Result<Option<Filled>, String> {
        if !scalar.contains(OPEN) {
            return Ok(None);
        }
        let mut filled = Filled {
            text: String::new(),
            source: String::new(),
        };
        let mut parts = scalar.split(OPEN);
        let before = parts.next().unwrap_or_default();
        filled.text.push_str(before);
        filled.source.push_str(before);
        for part in parts {
            let (index, after) = part.split_once(CLOSE).unwrap_or((part, ""));
            let reference = index
                .parse()
                .ok()
                .and_then(|index: usize| self.references.get(index))
                .ok_or("an escape stands for a character that is not allowed here")?;
            filled.text.push_str(reference.value.as_ref()?);
            filled.source.push_str(&reference.source);
            filled.text.push_str(after);
            filled.source.push_str(after);
        }
        Ok(Some(filled))
    }
}

/// The reference at the beginning of `text`, and what follows it. One that does not end before
/// its line or its quotes do is only its `${`.
fn cut_reference(text: &str) -> (&str, &str) {
    let end = text.find(['}', '\n', '"', '\'']);
    let end = end.filter(|&end| text[end..].starts_with('}'));
    text.split_at(end.map_or("${".len(), |end| end + 1))
}

fn resolve(source: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let malformed = || {
        format!(
            "expected `${{NAME}}` or `${{NAME:-default}}` (`$${{` for a literal `${{`), got `{source}`"
        )
    };
    let inner = source
        .strip_prefix("${")
        .and_then(|inner| inner.strip_suffix('}'))
        .ok_or_else(malformed)?;
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || default.is_some_and(|default| default.contains("${")) {
        return Err(malformed());
    }
    match (environment(name), default) {
        // As in a shell, `:-` also stands in for an empty value.
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set: set it, or write `${{{name}:-default}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Variables;

    fn environment(name: &str) -> Option<String> {
        match name {
            "NODE_NAME" => Some("n1".into()),
            "EMPTY" => Some(String::new()),
            "_x1" => Some("x: [1, {".into()),
            _ => None,
        }
    }

    fn fill(text: &str) -> Result<String, String> {
        let (lifted, variables) = Variables::lift(text, &environment).unwrap();
        Ok(match variables.fill(&lifted)? {
            Some(filled) => {
                assert_eq!(filled.source, text);
                filled.text
            }
            None => lifted,
        })
    }

    #[test]
    fn references_become_their_values() {
        for (text, expected) in [
            ("plain $ {x} $x", "plain $ {x} $x"),
            ("${NODE_NAME}", "n1"),
            ("a${NODE_NAME}b${EMPTY}c${_x1}", "an1bcx: [1, {"),
            ("${NODE_NAME:-other}", "n1"),
            ("${EMPTY:-other}", "other"),
            ("${MISSING:-}", ""),
            ("${MISSING:-a:-b c}", "a:-b c"),
            ("$${NODE_NAME} $$ $", "${NODE_NAME} $$ $"),
            ("%REQ(X)% ${NODE_NAME}}", "%REQ(X)% n1}"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("${MISSING}", "MISSING is not set"),
            ("${}", "expected `${NAME}`"),
            ("${1X}", "expected `${NAME}`"),
            ("${X-y}", "expected `${NAME}`"),
            ("${X", "got `${`"),
            ("${X\n}", "got `${`"),
            ("'${X'}", "got `${`"),
            ("${X:-${Y}}", "expected `${NAME}`"),
        ] {
            let error = fill(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(
            Variables::lift("a\nb\u{e000}", &environment).unwrap_err(),
            2
        );
    }
}
