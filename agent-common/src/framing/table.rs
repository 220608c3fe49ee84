//! The transition table of [`Framing`](super::Framing), built at compile time.
//!
//! ```text
//!   ┌──────────────────────────────────────────────────────────────┐
//!   ▼                                                              │
//! START* ─┬▶ METHOD* ▶ TARGET* ▶ REQUEST* ─┐                       │
//!         └▶ RESPONSE* ▶ STATUS* ▶ REASON ─┴▶ LINE ─┬▶ END_LF ─┬───┤ no body, or (length)
//!                                              ▲    ├▶ OTHER   │   │
//!                                              │    ├▶ LENGTH* │   │
//!                                              │    └▶ CODING* │   │
//!                                              └── LINE_LF ◀┘  │   │
//!                                                              │   │
//!                     UNTIL_CLOSE ◀────────────────────────────┤   │
//!                     CHUNK_SIZE ◀─────────────────────────────┘   │
//!                       │ ▲                                        │
//!                       ▼ └─ CHUNK_DATA_CR ◀─ (size)               │
//!                     CHUNK_* ─┬────────────────┘                  │
//!                              └▶ TRAILER* ────────────────────────┘
//!
//! any ──▶ OPAQUE, RAW or LOST, by what was known so far
//! ```
//!
//! In parentheses: bytes of body are passed over before the state is taken up.
//!
//! A state is a small number and not an enum: the states of a keyword are a run, one for each
//! character that matched, and the kernel's loop masks the number instead of checking it.
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants that are far smaller; TryFrom is not const"
)]

use super::{
    classes::{self, SINGLES, Set},
    text::Text,
};

/// A cell: the next state in the low byte, an action in the high one.
type Transition = u16;

/// Rows, a power of two so that a mask is a bounds check.
const ROWS: usize = 128;
/// Columns, a power of two for the same reason.
const COLUMNS: usize = classes::CLASSES as usize;

/// The column of each byte.
static CLASSES: [u8; 256] = CLASSES_AT_BUILD;
/// Row by state, column by byte class.
static TRANSITIONS: [Transition; ROWS * COLUMNS] = transitions();

// Message start; the number is also the direction bits of the flags (see `super`).
pub(super) const START: u8 = 0;
pub(super) const START_REQUEST: u8 = 1;
pub(super) const START_RESPONSE: u8 = 2;
/// Behind empty lines before a request.
pub(super) const START_AGAIN: u8 = 3;
const START_LF: u8 = 4;

// Start lines. A run is as long as its keyword: `X + n` has matched n + 1 of its characters.
const EITHER_HTTP: u8 = START_LF + 1;
const METHOD_HEAD: u8 = EITHER_HTTP + 4;
const METHOD_CONNECT: u8 = METHOD_HEAD + 4;
/// A method of upper-case letters and hyphens so far.
const METHOD: u8 = METHOD_CONNECT + 7;
/// A method of any token characters.
const METHOD_ODD: u8 = METHOD + 1;
const TARGET_FIRST: u8 = METHOD_ODD + 1;
const TARGET: u8 = TARGET_FIRST + 1;
const REQUEST_SPACE: u8 = TARGET + 1;
const REQUEST_HTTP: u8 = REQUEST_SPACE + 1;
const REQUEST_SLASH: u8 = REQUEST_HTTP + 4;
const REQUEST_MAJOR: u8 = REQUEST_SLASH + 1;
const REQUEST_DOT: u8 = REQUEST_MAJOR + 1;
const REQUEST_CR: u8 = REQUEST_DOT + 1;
const REQUEST_LF: u8 = REQUEST_CR + 1;
const RESPONSE_HTTP: u8 = REQUEST_LF + 1;
const RESPONSE_SLASH: u8 = RESPONSE_HTTP + 4;
const RESPONSE_MAJOR: u8 = RESPONSE_SLASH + 1;
const RESPONSE_DOT: u8 = RESPONSE_MAJOR + 1;
const RESPONSE_SPACE: u8 = RESPONSE_DOT + 1;
const STATUS: u8 = RESPONSE_SPACE + 1;
const STATUS_1: u8 = STATUS + 1;
const STATUS_10: u8 = STATUS_1 + 1;
const STATUS_1X: u8 = STATUS_10 + 1;
const STATUS_2: u8 = STATUS_1X + 1;
const STATUS_20: u8 = STATUS_2 + 1;
const STATUS_3: u8 = STATUS_20 + 1;
const STATUS_30: u8 = STATUS_3 + 1;
const STATUS_X: u8 = STATUS_30 + 1;
const STATUS_XX: u8 = STATUS_X + 1;
const STATUS_END: u8 = STATUS_XX + 1;
const REASON: u8 = STATUS_END + 1;
const RESPONSE_LF: u8 = REASON + 1;

// Fields of the head.
const LINE: u8 = RESPONSE_LF + 1;
const NAME_LENGTH: u8 = LINE + 1;
const NAME_CODING: u8 = NAME_LENGTH + CONTENT_LENGTH.len() as u8;
/// A line that says nothing about the body, from its second character on.
const OTHER: u8 = NAME_CODING + TRANSFER_ENCODING.len() as u8;
const LINE_LF: u8 = OTHER + 1;
const LENGTH: u8 = LINE_LF + 1;
const LENGTH_DIGITS: u8 = LENGTH + 1;
const CODING: u8 = LENGTH_DIGITS + 1;
const CODING_CHUNKED: u8 = CODING + 1;
/// White space behind a length or a coding.
const VALUE_END: u8 = CODING_CHUNKED + CHUNKED.len() as u8;
const END_LF: u8 = VALUE_END + 1;

// Bodies. While bytes of one remain the table is not asked: the state is the next one.
pub(super) const CHUNK_DATA_CR: u8 = END_LF + 1;
const CHUNK_DATA_LF: u8 = CHUNK_DATA_CR + 1;
pub(super) const CHUNK_SIZE: u8 = CHUNK_DATA_LF + 1;
const CHUNK_DIGITS: u8 = CHUNK_SIZE + 1;
const CHUNK_SPACE: u8 = CHUNK_DIGITS + 1;
const CHUNK_EXTENSION: u8 = CHUNK_SPACE + 1;
const CHUNK_LF: u8 = CHUNK_EXTENSION + 1;
pub(super) const TRAILER: u8 = CHUNK_LF + 1;
const TRAILER_TEXT: u8 = TRAILER + 1;
const TRAILER_LF: u8 = TRAILER_TEXT + 1;
const TRAILER_END_LF: u8 = TRAILER_LF + 1;
pub(super) const UNTIL_CLOSE: u8 = TRAILER_END_LF + 1;

// Terminal states.
pub(super) const OPAQUE: u8 = UNTIL_CLOSE + 1;
pub(super) const RAW: u8 = OPAQUE + 1;
pub(super) const LOST: u8 = RAW + 1;

const _: () = assert!((LOST as usize) < ROWS);

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const CHUNKED: &[u8] = b"chunked";

/// The next state on `byte` in `state`, and an action.
#[inline(always)]
pub(super) fn transition(state: u8, byte: u8) -> (u8, u8) {
    // Added, since the compiler would leave out the mask after an OR: of what was put together by
    // one, verifiers like that of 5.10 know nothing.
    let cell = state as usize * COLUMNS + CLASSES[byte as usize] as usize;
    let [next, action] = TRANSITIONS[cell & (ROWS * COLUMNS - 1)].to_le_bytes();
    (next, action)
}

/// By state: what is text in it.
static TEXTS: [Text; ROWS] = texts();

/// What is text in `state`: bytes that do not change it.
#[inline(always)]
pub(super) fn text(state: u8) -> Option<Text> {
    let text = TEXTS[state as usize & (ROWS - 1)];
    text.is_some().then_some(text)
}

const fn texts() -> [Text; ROWS] {
    let mut texts = [Text::NONE; ROWS];
    texts[TARGET as usize] = Text::from(b'!');
    texts[REASON as usize] = Text::from(b' ');
    texts[OTHER as usize] = Text::from(b' ');
    texts[CHUNK_EXTENSION as usize] = Text::from(b' ');
    texts[TRAILER_TEXT as usize] = Text::from(b' ');
    texts
}

/// 0, of which neither the compiler nor the verifier knows that it is.
///
/// A loop that begins with numbers unknown to the verifier looks the same to it in each turn,
/// on whatever path it came there, and is followed once.
#[inline(always)]
pub(super) fn unknown_zero(seed: u8) -> u64 {
    // A class is less than 64. The product, for what the verifier knows, can be anything.
    u64::from(CLASSES[seed as usize] >> 6).wrapping_mul(0x5555_5555_5555_5555)
}

/// Whether a message has begun and its start line has not ended.
#[inline(always)]
pub(super) const fn in_start_line(state: u8) -> bool {
    START_LF < state && state < LINE
}

/// What a transition does besides changing the state. 0: nothing.
pub(super) mod action {
    /// The first byte of a message.
    pub(in super::super) const BEGIN: u8 = 1;
    /// The first byte of what is no message.
    pub(in super::super) const BEGIN_FAIL: u8 = 2;
    /// This is not HTTP/1, or not so plain that the framing is proven.
    pub(in super::super) const FAIL: u8 = 3;
    /// A method of upper-case letters ended.
    pub(in super::super) const METHOD: u8 = 4;
    /// The method is HEAD.
    pub(in super::super) const HEAD: u8 = 5;
    /// The method is CONNECT.
    pub(in super::super) const CONNECT: u8 = 6;
    /// The version is 1.0.
    pub(in super::super) const VERSION_0: u8 = 7;
    /// The version is 1.1.
    pub(in super::super) const VERSION_1: u8 = 8;
    /// The status is 1xx, but not 101.
    pub(in super::super) const INTERIM: u8 = 9;
    /// The status is 101.
    pub(in super::super) const SWITCHING: u8 = 10;
    /// The status is 204 or 304.
    pub(in super::super) const BODILESS: u8 = 11;
    /// A request line ended.
    pub(in super::super) const REQUEST: u8 = 12;
    /// A status line ended.
    pub(in super::super) const RESPONSE: u8 = 13;
    /// The colon behind Content-Length.
    pub(in super::super) const LENGTH: u8 = 14;
    /// The colon behind Transfer-Encoding.
    pub(in super::super) const CODING: u8 = 15;
    /// A digit of Content-Length.
    pub(in super::super) const DECIMAL: u8 = 16;
    /// A digit of a chunk size.
    pub(in super::super) const HEXADECIMAL: u8 = 17;
    /// The head ended.
    pub(in super::super) const HEAD_END: u8 = 18;
    /// The line of a chunk size ended.
    pub(in super::super) const CHUNK: u8 = 19;
    /// The trailers ended.
    pub(in super::super) const TRAILERS_END: u8 = 20;
}

const fn transitions() -> [Transition; ROWS * COLUMNS] {
    let table = Builder::new();
    let table = start_lines(table);
    let table = status_codes(table);
    let table = head_fields(table);
    bodies(table).cells
}

const fn start_lines(table: Builder) -> Builder {
    table
        // Message starts. A status line is no start where requests came before.
        .request(START, EITHER_HTTP)
        .request(START_REQUEST, METHOD_HEAD)
        .request(START_AGAIN, METHOD_HEAD)
        .on(START_RESPONSE, b"H", RESPONSE_HTTP, action::BEGIN)
        .on(START_LF, b"\n", START_AGAIN, 0)
        // Methods.
        .method(METHOD, action::METHOD)
        .methods(EITHER_HTTP, b"HTTP", action::METHOD)
        .on(EITHER_HTTP, b"E", METHOD_HEAD + 1, 0)
        .on(EITHER_HTTP + 3, b"/", RESPONSE_SLASH, 0)
        .methods(METHOD_HEAD, b"HEAD", action::HEAD)
        .methods(METHOD_CONNECT, b"CONNECT", action::CONNECT)
        .set(METHOD_ODD, Set::Token, METHOD_ODD, 0)
        .on(METHOD_ODD, b" ", TARGET_FIRST, 0)
        // Target and version.
        .set(TARGET_FIRST, Set::Visible, TARGET, 0)
        .set(TARGET, Set::Visible, TARGET, 0)
        .on(TARGET, b" ", REQUEST_SPACE, 0)
        .on(REQUEST_SPACE, b"H", REQUEST_HTTP, 0)
        .keyword(REQUEST_HTTP, b"HTTP", false)
        .on(REQUEST_HTTP + 3, b"/", REQUEST_SLASH, 0)
        .on(REQUEST_SLASH, b"1", REQUEST_MAJOR, 0)
        .on(REQUEST_MAJOR, b".", REQUEST_DOT, 0)
        .on(REQUEST_DOT, b"0", REQUEST_CR, action::VERSION_0)
        .on(REQUEST_DOT, b"1", REQUEST_CR, action::VERSION_1)
        .on(REQUEST_CR, b"\r", REQUEST_LF, 0)
        .on(REQUEST_LF, b"\n", LINE, action::REQUEST)
        // Version of a status line.
        .keyword(RESPONSE_HTTP, b"HTTP", false)
        .on(RESPONSE_HTTP + 3, b"/", RESPONSE_SLASH, 0)
        .on(RESPONSE_SLASH, b"1", RESPONSE_MAJOR, 0)
        .on(RESPONSE_MAJOR, b".", RESPONSE_DOT, 0)
        .on(RESPONSE_DOT, b"0", RESPONSE_SPACE, action::VERSION_0)
        .on(RESPONSE_DOT, b"1", RESPONSE_SPACE, action::VERSION_1)
        .on(RESPONSE_SPACE, b" ", STATUS, 0)
}

const fn status_codes(table: Builder) -> Builder {
    table
        .on(STATUS, b"1", STATUS_1, 0)
        .on(STATUS, b"2", STATUS_2, 0)
        .on(STATUS, b"3", STATUS_3, 0)
        .on(STATUS, b"45", STATUS_X, 0)
        .set(STATUS_1, Set::Digit, STATUS_1X, 0)
        .on(STATUS_1, b"0", STATUS_10, 0)
        .set(STATUS_1X, Set::Digit, STATUS_END, action::INTERIM)
        .set(STATUS_10, Set::Digit, STATUS_END, action::INTERIM)
        .on(STATUS_10, b"1", STATUS_END, action::SWITCHING)
        .set(STATUS_2, Set::Digit, STATUS_XX, 0)
        .on(STATUS_2, b"0", STATUS_20, 0)
        .set(STATUS_20, Set::Digit, STATUS_END, 0)
        .on(STATUS_20, b"4", STATUS_END, action::BODILESS)
        .set(STATUS_3, Set::Digit, STATUS_XX, 0)
        .on(STATUS_3, b"0", STATUS_30, 0)
        .set(STATUS_30, Set::Digit, STATUS_END, 0)
        .on(STATUS_30, b"4", STATUS_END, action::BODILESS)
        .set(STATUS_X, Set::Digit, STATUS_XX, 0)
        .set(STATUS_XX, Set::Digit, STATUS_END, 0)
        // The space before an empty reason is required, but servers leave it out.
        .on(STATUS_END, b" ", REASON, 0)
        .on(STATUS_END, b"\r", RESPONSE_LF, 0)
        .set(REASON, Set::Text, REASON, 0)
        .on(REASON, b"\r", RESPONSE_LF, 0)
        .on(RESPONSE_LF, b"\n", LINE, action::RESPONSE)
}

const fn head_fields(table: Builder) -> Builder {
    table
        .set(LINE, Set::Token, OTHER, 0)
        .on(LINE, b"cC", NAME_LENGTH, 0)
        .on(LINE, b"tT", NAME_CODING, 0)
        .on(LINE, b"\r", END_LF, 0)
        .on(END_LF, b"\n", START, action::HEAD_END)
        .names(NAME_LENGTH, CONTENT_LENGTH, LENGTH, action::LENGTH)
        .names(NAME_CODING, TRANSFER_ENCODING, CODING, action::CODING)
        .set(OTHER, Set::Text, OTHER, 0)
        .on(OTHER, b"\r", LINE_LF, 0)
        // The next line begins with a name: one that begins with white space goes on with this
        // value (obs-fold), which readers treat differently.
        .on(LINE_LF, b"\n", LINE, 0)
        .on(LENGTH, b" \t", LENGTH, 0)
        .set(LENGTH, Set::Digit, LENGTH_DIGITS, action::DECIMAL)
        .set(LENGTH_DIGITS, Set::Digit, LENGTH_DIGITS, action::DECIMAL)
        .on(LENGTH_DIGITS, b" \t", VALUE_END, 0)
        .on(LENGTH_DIGITS, b"\r", LINE_LF, 0)
        .on(CODING, b" \t", CODING, 0)
        .on(CODING, b"cC", CODING_CHUNKED, 0)
        .keyword(CODING_CHUNKED, CHUNKED, true)
        .on(CODING_CHUNKED + 6, b" \t", VALUE_END, 0)
        .on(CODING_CHUNKED + 6, b"\r", LINE_LF, 0)
        .on(VALUE_END, b" \t", VALUE_END, 0)
        .on(VALUE_END, b"\r", LINE_LF, 0)
}

const fn bodies(table: Builder) -> Builder {
    table
        .on(CHUNK_DATA_CR, b"\r", CHUNK_DATA_LF, 0)
        .on(CHUNK_DATA_LF, b"\n", CHUNK_SIZE, 0)
        .set(CHUNK_SIZE, Set::HexDigit, CHUNK_DIGITS, action::HEXADECIMAL)
        .set(
            CHUNK_DIGITS,
            Set::HexDigit,
            CHUNK_DIGITS,
            action::HEXADECIMAL,
        )
        .on(CHUNK_DIGITS, b" \t", CHUNK_SPACE, 0)
        .on(CHUNK_DIGITS, b";", CHUNK_EXTENSION, 0)
        .on(CHUNK_DIGITS, b"\r", CHUNK_LF, 0)
        .on(CHUNK_SPACE, b" \t", CHUNK_SPACE, 0)
        .on(CHUNK_SPACE, b";", CHUNK_EXTENSION, 0)
        .on(CHUNK_SPACE, b"\r", CHUNK_LF, 0)
        .set(CHUNK_EXTENSION, Set::Text, CHUNK_EXTENSION, 0)
        .on(CHUNK_EXTENSION, b"\r", CHUNK_LF, 0)
        .on(CHUNK_LF, b"\n", CHUNK_DATA_CR, action::CHUNK)
        .set(TRAILER, Set::Token, TRAILER_TEXT, 0)
        .on(TRAILER, b"\r", TRAILER_END_LF, 0)
        .set(TRAILER_TEXT, Set::Text, TRAILER_TEXT, 0)
        .on(TRAILER_TEXT, b"\r", TRAILER_LF, 0)
        .on(TRAILER_LF, b"\n", TRAILER, 0)
        .on(TRAILER_END_LF, b"\n", START, action::TRAILERS_END)
}

/// The table while it is written; what no rule names fails. A later rule overwrites an earlier.
struct Builder {
    cells: [Transition; ROWS * COLUMNS],
}

impl Builder {
    const fn new() -> Self {
        let fail = cell(RAW, action::FAIL);
        let mut table = Self {
            cells: [fail; ROWS * COLUMNS],
        };
        let mut start = START;
        while start <= START_LF {
            table = table.row(start, cell(RAW, action::BEGIN_FAIL));
            start += 1;
        }
        let mut terminal = UNTIL_CLOSE;
        while terminal <= LOST {
            table = table.row(terminal, cell(terminal, 0));
            terminal += 1;
        }
        table
    }

    const fn row(mut self, state: u8, transition: Transition) -> Self {
        let mut column = 0;
        while column < COLUMNS {
            self.cells[state as usize * COLUMNS + column] = transition;
            column += 1;
        }
        self
    }

    /// In `state`, each of `bytes`.
    const fn on(mut self, state: u8, bytes: &[u8], next: u8, action: u8) -> Self {
        let mut index = 0;
        while index < bytes.len() {
            let class = CLASSES_AT_BUILD[bytes[index] as usize] as usize;
            assert!(
                class < SINGLES.len(),
                "a byte that a rule names is missing from SINGLES"
            );
            self.cells[state as usize * COLUMNS + class] = cell(next, action);
            index += 1;
        }
        self
    }

    /// In `state`, each byte of `set`.
    const fn set(mut self, state: u8, set: Set, next: u8, action: u8) -> Self {
        let mut byte = 0;
        while byte < 256 {
            if set.contains(byte as u8) {
                let class = CLASSES_AT_BUILD[byte] as usize;
                self.cells[state as usize * COLUMNS + class] = cell(next, action);
            }
            byte += 1;
        }
        self
    }

    /// The run of `word` from its second character on.
    const fn keyword(mut self, run: u8, word: &[u8], any_case: bool) -> Self {
        let mut matched = 1;
        while matched < word.len() {
            let state = run + matched as u8 - 1;
            let byte = word[matched];
            self = self.on(state, &[byte], state + 1, 0);
            if any_case && byte != b'-' {
                self = self.on(state, &[byte.to_ascii_uppercase()], state + 1, 0);
            }
            matched += 1;
        }
        self
    }

    /// A state in which a request may begin, and what an H may begin.
    const fn request(self, state: u8, h: u8) -> Self {
        self.set(state, Set::Token, METHOD_ODD, action::BEGIN)
            .set(state, Set::Upper, METHOD, action::BEGIN)
            .on(state, b"C", METHOD_CONNECT, action::BEGIN)
            .on(state, b"H", h, action::BEGIN)
            .on(state, b"\r", START_LF, 0)
    }

    /// A state inside a method.
    const fn method(self, state: u8, ended: u8) -> Self {
        self.set(state, Set::Token, METHOD_ODD, 0)
            .set(state, Set::Upper, METHOD, 0)
            .on(state, b" ", TARGET_FIRST, ended)
    }

    /// The run of one method; all others leave it.
    const fn methods(mut self, run: u8, word: &[u8], ended: u8) -> Self {
        let mut matched = 1;
        while matched <= word.len() {
            let whole = matched == word.len();
            let ended = if whole { ended } else { action::METHOD };
            self = self.method(run + matched as u8 - 1, ended);
            matched += 1;
        }
        self.keyword(run, word, false)
    }

    /// The run of one field name; all others leave it. The whole name has to be followed by a
    /// colon: with white space in between, some readers take it for the field and some do not.
    const fn names(mut self, run: u8, word: &[u8], value: u8, found: u8) -> Self {
        let whole = run + word.len() as u8 - 1;
        let mut state = run;
        while state < whole {
            self = self
                .set(state, Set::Text, OTHER, 0)
                .on(state, b"\r", LINE_LF, 0);
            state += 1;
        }
        self.keyword(run, word, true)
            .set(whole, Set::Token, OTHER, 0)
            .on(whole, b":", value, found)
    }
}

/// [`CLASSES`], for the builder: a constant cannot read a static.
const CLASSES_AT_BUILD: [u8; 256] = classes::classes();

const fn cell(next: u8, action: u8) -> Transition {
    u16::from_le_bytes([next, action])
}
