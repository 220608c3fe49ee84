//! Conversations of `nghttp` 1.52 with nginx 1.22, and what nginx logged of them.
//!
//! Each file holds what the two wrote, compressed with gzip: the end (0 is the client), the number
//! of bytes in two bytes, and the bytes.

use std::io::Read;

use flate2::read::GzDecoder;

use super::wire::{Talk, by_stream};
use crate::http::{
    Exchange,
    tests::script::{CLIENT, SERVER, begun, lost},
};

/// `nghttp -n -b 40`: padding, and streams that only have a priority.
pub(super) fn padded() -> Talk {
    read(include_bytes!("recorded/padded.gz"))
}

/// `nghttp -n --continuation`: header blocks in two frames.
pub(super) fn continued() -> Talk {
    read(include_bytes!("recorded/continued.gz"))
}

fn read(compressed: &[u8]) -> Talk {
    let mut bytes = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
    let mut talk = Talk::default();
    let mut rest = &bytes[..];
    while let Some(([end, high, low], more)) = rest.split_first_chunk() {
        let (written, more) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        talk.add(if *end == 0 { CLIENT } else { SERVER }, written);
        rest = more;
    }
    talk
}

/// Path, status and bytes of each exchange, as nginx logs them.
fn logged(talk: &Talk) -> Vec<(String, u16, u64)> {
    let events = talk.events();
    let exchanges = by_stream(&events);
    assert_eq!((begun(&events), lost(&events)), (exchanges.len(), vec![]));
    let line = |exchange: &Exchange| {
        assert!(exchange.gap.is_none() && !exchange.undecoded);
        let head = exchange.request.head.as_ref().unwrap();
        assert_eq!(head.method.as_deref(), Some("GET"));
        let response = exchange.response.as_ref().unwrap();
        assert_eq!(
            response.headers.values("server").next(),
            Some("nginx/1.22.1")
        );
        assert!(response.ended.is_some());
        let path = head.path.clone().unwrap();
        (path, response.status.unwrap(), response.body_bytes)
    };
    exchanges.iter().map(line).collect()
}

fn lines(lines: &[(&str, u16, u64)]) -> Vec<(String, u16, u64)> {
    let owned = |(path, status, bytes): &(&str, u16, u64)| ((*path).to_owned(), *status, *bytes);
    lines.iter().map(owned).collect()
}

#[test]
fn padding_and_priorities_of_nghttp2() {
    let talk = padded();
    let expected = [
        ("/f1.txt", 200, 600),
        ("/f2.txt", 200, 2400),
        ("/f3.txt", 200, 5400),
        ("/missing", 404, 153),
        ("/gone", 410, 143),
        ("/f1.txt?again", 200, 600),
        ("/f2.txt?a=1", 200, 2400),
        ("/f3.txt?b=2", 200, 5400),
    ];
    assert_eq!(logged(&talk), lines(&expected));
    for exchange in talk.exchanges() {
        let head = exchange.request.head.unwrap();
        assert_eq!(head.headers.values("x-request-id").next(), Some("0b6e"));
        assert_eq!(head.headers.values("user-agent").next(), Some("recorder"));
    }
}

#[test]
fn continuations_of_nghttp2() {
    let talk = continued();
    let expected = [
        ("/f1.txt", 200, 600),
        ("/f2.txt", 200, 2400),
        ("/gone", 410, 143),
    ];
    assert_eq!(logged(&talk), lines(&expected));
    for exchange in talk.exchanges() {
        let headers = exchange.request.head.unwrap().headers;
        let long: usize = headers.iter().map(|(_, value)| value.len()).sum();
        assert!(long > 10_000, "{long}");
    }
}
