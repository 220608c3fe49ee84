//! Any format string, and any line of it.
//!
//! What stands before the first mark is a format string of its own, and its first line is read in
//! it. Then come, one by one, operators with what they write (a byte says which) and the texts
//! around them: a line of such a format says what was meant, or less.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::envoy::{Content, Format, FormatError, LineParser};
use meshwitness_fuzz::{End, Meanings, OPERATORS, Rendered, Turn, turns, within};

thread_local! {
    static MEANINGS: RefCell<Meanings> = RefCell::new(Meanings::new());
}

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 12 {
        return Corpus::Reject;
    }
    MEANINGS.with_borrow_mut(|meanings| {
        within((8 << 20) + 256 * input.len(), || check(input, meanings));
    });
    Corpus::Keep
});

fn check(input: &[u8], meanings: &mut Meanings) {
    let mut turns = turns(input);
    let format = turns.next().map_or(&[][..], |(_, format)| format);
    check_any(format, input);
    let mut rendered = Rendered::new();
    for (turn, bytes) in turns {
        match (turn, bytes.split_first()) {
            (Turn::Write(End::Client), Some((operator, value))) => {
                let operator = OPERATORS[usize::from(*operator) % OPERATORS.len()];
                rendered.field(meanings, operator, value);
            }
            (Turn::Write(End::Server) | Turn::Cut, _) => {
                let text = String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ");
                rendered.literal(&text);
            }
            (Turn::Write(End::Client), None) => {}
        }
    }
    if rendered.is_format() {
        rendered.check();
    }
}

fn check_any(format: &[u8], line: &[u8]) {
    let Ok(text) = str::from_utf8(format) else {
        return;
    };
    match Format::compile(text) {
        Ok(format) => {
            let content = LineParser::new(format).parse(line);
            assert_ne!(content, Content::Hole);
        }
        Err(FormatError::Operator(at)) => {
            assert_eq!(text.as_bytes().get(at), Some(&b'%'), "no operator at {at}");
        }
        Err(FormatError::LineBreak(at)) => {
            assert!(
                matches!(text.as_bytes().get(at), Some(b'\r' | b'\n')),
                "no line break at {at}"
            );
        }
        Err(FormatError::NoOperator | FormatError::Member { .. } | FormatError::TooDeep(_)) => {}
    }
}
