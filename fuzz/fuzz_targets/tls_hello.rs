//! The first bytes of a direction, read as a hello of TLS.
//!
//! The input is the stream, in pieces behind their lengths. Cut anywhere it is a beginning or what the
//! whole is; its pieces say the same as the whole in order and in the other order; and what is told of
//! it may be shown.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::http::hello::{Beginning, Hello, MOST_BYTES, Parsed, Start, is_host, parse};
use meshwitness_fuzz::{pieces, within};

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 11 {
        return Corpus::Reject;
    }
    within((1 << 20) + 64 * input.len(), || check(input));
    Corpus::Keep
});

fn check(input: &[u8]) {
    let stream: Vec<u8> = pieces(input).flatten().copied().collect();
    let whole = parse(&stream);
    for end in 0..stream.len() {
        let part = parse(&stream[..end]);
        assert!(part == Parsed::Partial || part == whole, "cut at {end}");
    }
    if let Parsed::Hello(hello) = &whole {
        check_shown(hello);
    }
    let expected = match whole {
        Parsed::Hello(hello) => Some(Start::Hello(hello)),
        Parsed::Plain => Some(Start::Plain),
        Parsed::Partial | Parsed::Unreadable => None,
    };
    let mut at = 0;
    let placed: Vec<(u64, &[u8])> = pieces(input)
        .map(|piece| {
            let offset = at;
            at += piece.len() as u64;
            (offset, piece)
        })
        .collect();
    assert_eq!(start(placed.iter().copied()), expected, "in order");
    // So many pieces wait for the first one.
    if placed.len() <= 16 {
        assert_eq!(start(placed.into_iter().rev()), expected, "the last first");
    }
}

/// What pieces of a stream say of its beginning.
fn start<'a>(pieces: impl Iterator<Item = (u64, &'a [u8])>) -> Option<Start> {
    let mut beginning = Beginning::default();
    let mut start = None;
    for (offset, piece) in pieces {
        let said = beginning.add(offset, piece);
        assert!(said.is_none() || start.is_none(), "told twice");
        start = start.or(said);
        assert!(beginning.held() <= 17 * MOST_BYTES);
    }
    start
}

fn check_shown(hello: &Hello) {
    let is_shown = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
    match hello {
        Hello::Client(hello) => {
            let name = hello.server_name.iter();
            assert!(name.into_iter().all(|name| is_host(name.as_bytes())));
            assert!(hello.protocols.len() <= 16 && hello.protocols.iter().all(is_shown));
        }
        Hello::Server(hello) => assert!(hello.protocol.iter().all(is_shown)),
    }
}
