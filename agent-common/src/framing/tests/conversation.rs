//! Random conversations that are valid, and what is in them by the way they were made.

extern crate std;

use std::{format, string::String, vec, vec::Vec};

use proptest::{collection, prelude::Strategy, prop_oneof, sample, strategy::Just};

/// Messages of one direction, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    pub(super) bytes: Vec<u8>,
    /// Where messages begin.
    pub(super) begins: Vec<usize>,
    /// Behind the last byte of each message.
    pub(super) ends: Vec<usize>,
    /// HEAD requests, or responses to them.
    pub(super) heads: u64,
    /// Bytes of body in all, without their framing.
    pub(super) body: usize,
}

/// How the end of a message is told.
#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Chunk>, LastChunk),
}

#[derive(Clone, Debug)]
struct Chunk {
    data: Vec<u8>,
    zeroes: usize,
    upper: bool,
    extension: String,
}

#[derive(Clone, Debug)]
struct LastChunk {
    zeroes: usize,
    extension: String,
    trailers: Vec<String>,
}

#[derive(Clone, Debug)]
struct Head {
    fields: Vec<String>,
    /// Where the field stands that tells the length.
    place: sample::Index,
    name_case: u64,
    space: (String, String),
}

#[derive(Clone, Debug)]
struct Message {
    /// HTTP/1.0, where that has such messages.
    old: bool,
    start: Start,
    head: Head,
    body: Body,
}

#[derive(Clone, Debug)]
enum Start {
    Request {
        empty_lines: usize,
        method: String,
        target: String,
    },
    Response {
        status: u16,
        reason: Option<String>,
        to_head: bool,
    },
}

/// Requests, pipelined.
pub(super) fn requests() -> impl Strategy<Value = Conversation> {
    let method = prop_oneof![
        Just("GET"),
        Just("POST"),
        Just("HEAD"),
        Just("HEALTH"),
        Just("H"),
        Just("CONNECTED"),
        Just("M-SEARCH"),
        Just("HTTP"),
        Just("purge!"),
    ];
    let start = (0..3_usize, method, "/[a-z0-9/?=&%.+-]{0,80}").prop_map(
        |(empty_lines, method, target)| Start::Request {
            // Now and then.
            empty_lines: empty_lines.saturating_sub(1),
            method: method.into(),
            target,
        },
    );
    conversation(start)
}

/// Responses, to some HEAD requests among others.
pub(super) fn responses() -> impl Strategy<Value = Conversation> {
    let status = sample::select(vec![
        100, 102, 103, 110, 200, 201, 204, 206, 240, 302, 304, 314, 404, 431, 500, 503,
    ]);
    let reason = proptest::option::of("[ -~\t]{0,20}");
    let start =
        (status, reason, proptest::bool::weighted(0.3)).prop_map(|(status, reason, to_head)| {
            Start::Response {
                status,
                reason,
                to_head,
            }
        });
    conversation(start)
}

fn conversation(start: impl Strategy<Value = Start>) -> impl Strategy<Value = Conversation> {
    let old = proptest::bool::weighted(0.2);
    let message = (old, start, head(), body()).prop_map(|(old, start, head, body)| Message {
        old: old && !matches!(body, Body::Chunked(..)),
        start,
        head,
        body,
    });
    collection::vec(message, 1..8).prop_map(|messages| {
        let mut conversation = Conversation::default();
        let mut ordinal = 0;
        for message in &messages {
            message.write(&mut conversation, &mut ordinal);
        }
        conversation
    })
}

fn head() -> impl Strategy<Value = Head> {
    let name = prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9-]{0,20}",
        1 => sample::select(vec![
            "content-type", "Content-Lengths", "content-lengt", "transfer-encoding-x", "TE",
            "Trailer", "c", "t", "X-Content-Length", "content_length",
        ]).prop_map(String::from),
    ];
    let field = (name, "[ \t]?", "[ -~\t\u{80}-\u{ff}]{0,60}")
        .prop_map(|(name, space, value)| format!("{name}:{space}{value}"));
    let field = field.prop_filter("the field is told by `body`", |field| {
        let field = field.to_ascii_lowercase();
        !field.starts_with("content-length:") && !field.starts_with("transfer-encoding:")
    });
    let index = proptest::prelude::any::<sample::Index>();
    let space = ("[ \t]{0,2}", "[ \t]{0,2}");
    (
        collection::vec(field, 0..8),
        index,
        proptest::prelude::any::<u64>(),
        space,
    )
        .prop_map(|(fields, place, name_case, space)| Head {
            fields,
            place,
            name_case,
            space,
        })
}

fn body() -> impl Strategy<Value = Body> {
    let data = prop_oneof![
        3 => collection::vec(proptest::prelude::any::<u8>(), 0..40),
        1 => collection::vec(proptest::prelude::any::<u8>(), 0..6000),
        // What looks like a message is body all the same.
        1 => Just(b"HTTP/1.1 200 OK\r\n\r\nGET / HTTP/1.1\r\ncontent-length: 9\r\n\r\n".to_vec()),
    ];
    let extension = || {
        prop_oneof![
            4 => Just(String::new()),
            1 => "[ \t]{0,2};[a-z]{1,4}",
            1 => " ?; ?name=\"[ !#-~\t]{0,9}\"",
            1 => "[ \t]",
        ]
    };
    let some = data
        .clone()
        .prop_filter("a chunk of 0 bytes is the last", |data| !data.is_empty());
    let chunk = (some, 0..4_usize, proptest::bool::ANY, extension()).prop_map(
        |(data, zeroes, upper, extension)| Chunk {
            data,
            zeroes,
            upper,
            extension,
        },
    );
    let trailer = "[a-z]{1,8}: ?[ -~\t]{0,30}";
    let last = (1..4_usize, extension(), collection::vec(trailer, 0..3)).prop_map(
        |(zeroes, extension, trailers)| LastChunk {
            zeroes,
            extension,
            trailers,
        },
    );
    prop_oneof![
        Just(Body::None),
        data.prop_map(Body::Length),
        (collection::vec(chunk, 0..6), last).prop_map(|(chunks, last)| Body::Chunked(chunks, last)),
    ]
}

impl Message {
    fn write(&self, to: &mut Conversation, ordinal: &mut u32) {
        let empty = Body::Length(Vec::new());
        let mut body = &self.body;
        let mut bodiless = false;
        let mut last = true;
        let minor = u8::from(!self.old);
        match &self.start {
            Start::Request {
                empty_lines,
                method,
                target,
            } => {
                to.bytes.extend(b"\r\n".repeat(*empty_lines));
                to.begins.push(to.bytes.len());
                to.text(&format!("{method} {target} HTTP/1.{minor}\r\n"));
                if method == "HEAD" {
                    to.heads |= 1 << (*ordinal % 64);
                }
            }
            Start::Response {
                status,
                reason,
                to_head,
            } => {
                to.begins.push(to.bytes.len());
                let reason = reason
                    .as_ref()
                    .map_or(String::new(), |reason| format!(" {reason}"));
                to.text(&format!("HTTP/1.{minor} {status}{reason}\r\n"));
                last = *status >= 200;
                bodiless = !last || matches!(status, 204 | 304);
                if last && *to_head {
                    to.heads |= 1 << (*ordinal % 64);
                    bodiless = true;
                }
                if !bodiless && matches!(body, Body::None) {
                    body = &empty;
                }
            }
        }
        *ordinal += u32::from(last);
        self.write_fields(body, to);
        if !bodiless {
            body.write(to);
        }
        to.ends.push(to.bytes.len());
    }

    fn write_fields(&self, body: &Body, to: &mut Conversation) {
        let head = &self.head;
        let mut fields = head.fields.clone();
        let (before, behind) = &head.space;
        let told = match body {
            Body::None => None,
            Body::Length(data) => Some(("content-length", format!("{}", data.len()))),
            Body::Chunked(..) => Some(("transfer-encoding", "chunked".into())),
        };
        if let Some((name, value)) = told {
            let name = with_case(name, head.name_case);
            let value = with_case(&value, head.name_case >> 32);
            let field = format!("{name}:{before}{value}{behind}");
            fields.insert(head.place.index(fields.len() + 1), field);
        }
        for field in fields {
            to.text(&format!("{field}\r\n"));
        }
        to.text("\r\n");
    }
}

impl Body {
    fn write(&self, to: &mut Conversation) {
        match self {
            Self::None => {}
            Self::Length(data) => to.body(data),
            Self::Chunked(chunks, last) => {
                for chunk in chunks {
                    let size = format!("{:x}", chunk.data.len());
                    let size = if chunk.upper {
                        size.to_uppercase()
                    } else {
                        size
                    };
                    let zeroes = "0".repeat(chunk.zeroes);
                    to.text(&format!("{zeroes}{size}{}\r\n", chunk.extension));
                    to.body(&chunk.data);
                    to.text("\r\n");
                }
                to.text(&format!(
                    "{}{}\r\n",
                    "0".repeat(last.zeroes),
                    last.extension
                ));
                for trailer in &last.trailers {
                    to.text(&format!("{trailer}\r\n"));
                }
                to.text("\r\n");
            }
        }
    }
}

impl Conversation {
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn body(&mut self, data: &[u8]) {
        self.body += data.len();
        self.bytes.extend_from_slice(data);
    }
}

fn with_case(text: &str, upper: u64) -> String {
    let mut letters = text.chars().enumerate();
    let letter = |(index, letter): (usize, char)| {
        if upper >> (index % 64) & 1 != 0 {
            letter.to_ascii_uppercase()
        } else {
            letter
        }
    };
    letters.by_ref().map(letter).collect()
}
