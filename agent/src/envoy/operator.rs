//! Format strings into their pieces, as Envoy's substitution formatter cuts them.

use thiserror::Error;

/// A piece of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that every line carries as it is.
    Literal(String),
    /// A command operator.
    Operator(Operator),
}

/// `%COMMAND(arguments):length%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    /// Upper-case letters, digits and `_`.
    pub(super) command: String,
    /// What stands in the brackets; none without brackets.
    pub(super) arguments: Option<String>,
    /// The most bytes of the value that are written.
    pub(super) length: Option<usize>,
}

/// A format that cannot be compiled. Positions count bytes of the format from 0.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// A `%` that begins no operator.
    #[error(
        "byte {0} of the log format: expected `%COMMAND%`, `%COMMAND(…)%` or `%COMMAND(…):N%`; \
         write a percent sign as `%%`"
    )]
    Operator(usize),
    /// A line break before the end: a line could never be told from the next.
    #[error("byte {0} of the log format: a line break is allowed at the end only")]
    LineBreak(usize),
    /// Nothing to read.
    #[error(
        "the log format holds no operator: expected `auto`, `istio-text`, `istio-json` or operators such as `%START_TIME%`"
    )]
    NoOperator,
    /// A JSON format whose member is neither text, number, object nor list.
    #[error("member `{key}` of the JSON log format: {source}")]
    Member {
        /// Its name, outer names first, joined by dots.
        key: String,
        /// What is wrong with it.
        #[source]
        source: Box<FormatError>,
    },
    /// Objects within objects without end.
    #[error("the JSON log format nests deeper than {0} objects")]
    TooDeep(usize),
}

/// Cuts a format string. Neighbouring literals are joined, `%%` is a percent sign, and the line
/// break at the end is left out.
///
/// # Errors
/// [`FormatError::Operator`] and [`FormatError::LineBreak`].
pub(super) fn split(format: &str) -> Result<Vec<Piece>, FormatError> {
    let format = format.strip_suffix('\n').unwrap_or(format);
    let format = format.strip_suffix('\r').unwrap_or(format);
    if let Some(position) = format.find(['\n', '\r']) {
        return Err(FormatError::LineBreak(position));
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = format;
    while let Some(position) = rest.find('%') {
        literal.push_str(&rest[..position]);
        rest = &rest[position..];
        if let Some(tail) = rest.strip_prefix("%%") {
            literal.push('%');
            rest = tail;
            continue;
        }
        let at = format.len() - rest.len();
        let (operator, tail) = operator(rest).ok_or(FormatError::Operator(at))?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Operator(operator));
        rest = tail;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Reads the operator at the front of `text`.
///
/// The arguments may hold `%` and `)`: they end at the first `)` with which the operator is whole.
fn operator(text: &str) -> Option<(Operator, &str)> {
    let text = text.strip_prefix('%')?;
    let name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let end = text.bytes().position(|byte| !name(byte))?;
    let (command, rest) = text.split_at(end);
    if command.is_empty() {
        return None;
    }
    let build = |arguments: Option<&str>, length| Operator {
        command: command.to_owned(),
        arguments: arguments.map(str::to_owned),
        length,
    };
    let Some(inner) = rest.strip_prefix('(') else {
        let (length, tail) = length_and_end(rest)?;
        return Some((build(None, length), tail));
    };
    inner.match_indices(')').find_map(|(close, _)| {
        let (length, tail) = length_and_end(&inner[close + 1..])?;
        Some((build(Some(&inner[..close]), length), tail))
    })
}

/// Reads `%` or `:N%`.
fn length_and_end(text: &str) -> Option<(Option<usize>, &str)> {
    if let Some(tail) = text.strip_prefix('%') {
        return Some((None, tail));
    }
    let (number, tail) = text.strip_prefix(':')?.split_once('%')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(())?;
    Some((Some(number.parse().ok()?), tail))
}

#[cfg(test)]
mod tests {
    use super::{FormatError, Operator, Piece, split};

    fn operator(command: &str, arguments: Option<&str>, length: Option<usize>) -> Piece {
        Piece::Operator(Operator {
            command: command.to_owned(),
            arguments: arguments.map(str::to_owned),
            length,
        })
    }

    #[test]
    fn cuts_operators_with_arguments_and_lengths() {
        assert_eq!(
            split("[%START_TIME(%s.%3f)%] %REQ(X-A?:PATH):10%%PROTOCOL%\n").unwrap(),
            vec![
                Piece::Literal("[".to_owned()),
                operator("START_TIME", Some("%s.%3f"), None),
                Piece::Literal("] ".to_owned()),
                operator("REQ", Some("X-A?:PATH"), Some(10)),
                operator("PROTOCOL", None, None),
            ]
        );
    }

    #[test]
    fn arguments_may_hold_brackets_and_percent_signs_are_escaped() {
        assert_eq!(
            split("100%% %CEL(request.url_path.contains('v'))%").unwrap(),
            vec![
                Piece::Literal("100% ".to_owned()),
                operator("CEL", Some("request.url_path.contains('v')"), None),
            ]
        );
    }

    #[test]
    fn says_where_an_operator_is_broken() {
        for format in [
            "ab%",
            "ab%req%",
            "ab%REQ(x%",
            "ab%REQ(x):y%",
            "ab%REQ(x)",
            "ab% REQ%",
        ] {
            assert_eq!(split(format), Err(FormatError::Operator(2)), "{format}");
        }
        assert_eq!(split("%A%\n%B%"), Err(FormatError::LineBreak(3)));
    }
}
