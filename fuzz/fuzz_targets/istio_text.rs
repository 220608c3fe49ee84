//! Lines of Istio's text format, which escapes nothing.
//!
//! The values of its fields are given, a line of them is read: it says what was meant, or less. A
//! line of any bytes is read too; what was read before makes no difference.
#![no_main]

use std::{cell::RefCell, thread_local};

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::envoy::{Content, Format, LineParser};
use meshwitness_fuzz::{Meanings, OPERATORS, Operator, Rendered, turns, within};

/// What stands before each field, and before the end.
const LITERALS: [&str; 25] = [
    "[", "] \"", " ", " ", "\" ", " ", " ", " ", " \"", "\" ", " ", " ", " ", " \"", "\" \"",
    "\" \"", "\" \"", "\" \"", "\" ", " ", " ", " ", " ", " ", "",
];

struct State {
    meanings: Meanings,
    /// Used for all lines, as the agent does.
    parser: LineParser,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        meanings: Meanings::new(),
        parser: parser(),
    });
}

fn parser() -> LineParser {
    LineParser::new(Format::compile("istio-text").expect("a format of its own"))
}

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 12 {
        return Corpus::Reject;
    }
    STATE.with_borrow_mut(|state| {
        within((8 << 20) + 64 * input.len(), || check(input, state));
    });
    Corpus::Keep
});

fn check(input: &[u8], state: &mut State) {
    let line = input
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let content = state.parser.parse(line);
    assert_eq!(content, parser().parse(line));
    assert_ne!(content, Content::Hole);

    let mut rendered = Rendered::new();
    let mut values = turns(input).map(|(_, value)| value);
    for (literal, operator) in LITERALS.into_iter().zip(fields()) {
        rendered.literal(literal);
        rendered.field(&mut state.meanings, operator, values.next().unwrap_or(b"-"));
    }
    rendered.check_with(&mut state.parser);
}

/// The operators of the format, in order.
fn fields() -> impl Iterator<Item = Operator> {
    OPERATORS.iter().take(LITERALS.len() - 1).copied()
}
